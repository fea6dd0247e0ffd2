"""The container of ``.lk`` files: a safetensors file with one metadata key, and a checksum of everything behind it.

It knows bytes and tensors; what they mean, `file_format` knows. ``file_format.md`` is the specification of both.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .arrays import Array
from .errors import FormatError
from .records import Record
from .strict_json import fields_of, parse_json, refuse

if TYPE_CHECKING:
    from io import FileIO

__all__ = ["NO_CHECKSUM", "Container", "Pathlike", "read_container", "write_container"]

Pathlike = str | os.PathLike[str]
NO_CHECKSUM = "0" * 8
"""The value of ``crc32``, the first key of the text that `write_container` takes."""

_KEY = "lightkern"
_BEGIN = b'{"__metadata__":{"lightkern":"{\\"crc32\\":\\"'
"""How every header begins; the eight digits of the checksum of all that follows them come next."""
_DIGITS = slice(8 + len(_BEGIN), 16 + len(_BEGIN))
_ENTRY = {"dtype": str, "shape": list, "data_offsets": list}
_MAX_SIZE = 2**48
"""No tensor of any file is larger than this, so that no size overflows."""
_HUGE_PAGE = 2**21


def write_container(path: Pathlike, text: str, tensors: Mapping[str, Array]) -> None:
    """Replace a file by one that holds a text, whose first key is ``crc32``, and C-contiguous tensors."""
    from safetensors.numpy import save as serialize

    from .atomic_file import replace_file

    content = bytearray(serialize(dict(tensors), metadata={_KEY: text}))
    if content[8 : _DIGITS.start] != _BEGIN or content[_DIGITS] != NO_CHECKSUM.encode():
        raise RuntimeError(f"safetensors wrote a header that begins with {bytes(content[8:80])!r}, expected {_BEGIN!r}")
    content[_DIGITS] = b"%08x" % zlib.crc32(memoryview(content)[_DIGITS.stop :])
    replace_file(path, content)


class Container(Record):
    """A file whose checksum is right.

    Attributes
    ----------
    text : str
        What `write_container` was given, with the checksum in it.
    header : dict
        What safetensors says of each tensor; not checked yet.
    content : memoryview
        The whole file.
    start : int
        Where its tensors begin.
    """

    def __init__(self, text: str, header: dict[str, Any], content: memoryview, start: int) -> None:
        self.text = text
        self.header = header
        self.content = content
        self.start = start

    def tensors(self, formats: Mapping[str, str]) -> dict[str, memoryview]:
        """All tensors, as views of the file's bytes, which they cover from `start` on, without overlap or gap.

        Parameters
        ----------
        formats : mapping of str to str
            Of each dtype that may occur, the format of the memoryview that such a tensor is read as.
        """
        found = {}
        at, total = 0, len(self.content) - self.start
        for name, dtype, shape, begin, end in sorted(_entries(self.header, formats), key=lambda entry: entry[3:]):
            where = f"tensor {name!r} of the safetensors file"
            item = int(dtype[1:]) // 8
            if begin != at:
                refuse(where, f"must begin at offset {at}, where the one before it ends", begin)
            if end - begin != item * math.prod(shape):
                refuse(where, f"data_offsets must enclose the bytes of {dtype} {shape}", [begin, end])
            if end > total:
                refuse(where, f"must end within the {total} bytes of all tensors", end)
            raw = self.content[self.start + begin : self.start + end]
            aligned = raw if (self.start + begin) % item == 0 else memoryview(bytearray(raw))
            found[name] = aligned.cast(formats[dtype], shape)  # type: ignore[call-overload]
            at = end
        if at != total:
            refuse("safetensors", "the last tensor must end where the file does", f"{total - at} more bytes")
        return found


def read_container(path: Pathlike) -> Container:
    """Read a whole file and check its checksum; `FormatError` where it is damaged or no such file."""
    if stat.S_IFMT(os.stat(os.fspath(path)).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):  # open() refuses folders
        raise FormatError("must be a regular file")
    with open(path, "rb", buffering=0) as file:
        content = _read_pages(file)
    header, start = _header(content)
    metadata = header.pop("__metadata__", None)
    if not (isinstance(metadata, dict) and list(metadata) == [_KEY]):
        refuse("metadata", f"must hold the key {_KEY!r} alone, this is no lightkern file", metadata)
    if not isinstance(metadata[_KEY], str):
        refuse(f"metadata {_KEY!r}", "must be a string", metadata[_KEY])
    return Container(metadata[_KEY], header, content, start)


def _read_pages(file: FileIO) -> memoryview:
    """The content, in pages of its own: they go back to the system with the last view of them.

    The file is not mapped: whoever changed it later, in place, would change a model that was checked before.
    """
    size = os.fstat(file.fileno()).st_size
    rest = -size % _HUGE_PAGE
    huge = hasattr(mmap, "MADV_HUGEPAGE") and rest <= size // 4  # faulting in 512 small ones takes five times as long
    pages = mmap.mmap(-1, max(size + huge * rest, 1), access=mmap.ACCESS_COPY)
    if huge:
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    content = memoryview(pages)
    filled = 0
    while filled < size and (count := file.readinto(content[filled:size])):
        filled += count
    return content[:filled]


def _header(content: memoryview) -> tuple[dict[str, Any], int]:
    """8 bytes of length, then JSON, which is returned, then all tensors: where, is returned too."""
    if len(content) < 8:
        refuse("header", "a file has at least 8 bytes", len(content))
    (length,) = struct.unpack_from("<Q", content)
    if length > len(content) - 8:
        refuse(
            "header", f"its {length} bytes do not fit into the file: truncated, or no safetensors file", len(content)
        )
    if content[8 : _DIGITS.start] != _BEGIN:
        beginning = bytes(content[8 : _DIGITS.start])
        refuse("header", f"must begin with {_BEGIN.decode()}: this is no lightkern file", beginning)
    checksum = b"%08x" % zlib.crc32(content[_DIGITS.stop :])
    if content[_DIGITS] != checksum:
        refuse("crc32", f"must be {checksum.decode()}: the file is truncated or corrupt", bytes(content[_DIGITS]))
    try:
        text = str(content[8 : 8 + length], "utf-8")
    except UnicodeDecodeError as error:
        refuse(f"header byte {8 + error.start}", "must be UTF-8", bytes(content[8 + error.start : 12 + error.start]))
    header = parse_json(text)
    if not isinstance(header, dict):
        refuse("header", "must be a JSON object", header)
    return header, 8 + length


def _entries(header: Mapping[str, Any], formats: Mapping[str, str]) -> Iterator[tuple[str, str, list[int], int, int]]:
    """Name, dtype, shape, begin and end of every tensor; only their types and ranges are checked."""
    for name, entry in header.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if not isinstance(dtype, str) or dtype not in formats:
            refuse(f"tensor {name!r}", f"dtype must be one of {', '.join(formats)}", dtype)
        where = f"tensor {name!r} of the safetensors file"
        _, shape, offsets = fields_of(where, entry, _ENTRY)
        for what, least, values in (("sizes", 1, shape), ("data_offsets", 0, offsets)):
            for value in values:
                if type(value) is not int or not least <= value <= _MAX_SIZE:
                    refuse(where, f"{what} must be within {least}..{_MAX_SIZE}", value)
        if len(offsets) != 2:
            refuse(where, "data_offsets must be [begin, end]", offsets)
        yield name, dtype, shape, *offsets
