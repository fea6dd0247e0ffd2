"""Replacing a file all at once."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

__all__ = ["replace_file"]


def replace_file(path: str | os.PathLike[str], content: bytes | bytearray) -> None:
    """Write a file so that at any moment, power cuts included, the path holds all of the old or all of the new.

    A symbolic link stays, and the file that it points to is replaced. A new file gets the permissions that the umask
    gives, an existing one keeps its own. A process that is killed leaves at most a file ``.lk-*.tmp`` beside the path.

    Raises
    ------
    OSError
        If the folder does not exist, the path is no regular file, or the disk refuses; the old file is whole.
    """
    target = os.path.realpath(os.fsdecode(path))
    folder = os.path.dirname(target)
    mode = None
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(target).st_mode
    if mode is not None and not stat.S_ISREG(mode):
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, "cannot replace what is not a regular file", os.fspath(path))
    temporary = os.path.join(folder, f".lk-{os.urandom(8).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if hasattr(os, "O_DIRECTORY"):  # make the new name durable too
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
