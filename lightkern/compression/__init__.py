"""Compression: a float `Graph` becomes an int8 `Model`. Lossy, offline, NumPy only; it knows no CPU.

The passes are one file each, in the order in which `pipeline.compress` calls them: ``fold``, ``fuse``, ``equalize``,
``matching``, ``observe``, ``ranges``, ``simulate`` (with ``weights`` and ``rounding``), ``lower``, ``report``. Channels
are traced through the graph by ``groups``, which any transformation that moves or removes channels builds on.
"""

from .options import CompressOptions
from .pipeline import compress

__all__ = ["CompressOptions", "compress"]
