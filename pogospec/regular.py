"""Reading of files that may be anything: what is no file never keeps a command waiting, nor feeds it without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read(path: str | Path, most: int = -1, pipes: bool = False) -> bytes:
    """The bytes of a regular file, or so many of them; `pipes`: also of what a shell puts under /dev.

    Raises OSError; of a pipe, a device or a folder too.
    """
    if pipes and str(path).startswith("/dev/"):
        with open(path, "rb") as stream:
            return stream.read(most)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        with open(handle, "rb", closefd=False) as stream:
            return stream.read(most)
    finally:
        os.close(handle)
