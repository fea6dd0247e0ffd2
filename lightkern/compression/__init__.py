"""Compression: a float `Graph` becomes an int8 `Model`. Lossy, offline, NumPy only; it knows no CPU.

The passes, in the order in which `pipeline.compress` calls them, are one file each: ``fold``, ``fuse``, ``observe``,
``ranges``, ``weights``, ``lower``.
"""

from .options import CompressOptions
from .pipeline import compress

__all__ = ["CompressOptions", "compress"]
