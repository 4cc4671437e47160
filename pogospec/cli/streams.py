"""Standard output and errors that nobody may be reading any more: a training goes on without them."""

from __future__ import annotations

import errno
import io
import os
import sys

from pogospec.errors import reason
from pogospec.terminal import say

GONE = (errno.EPIPE, errno.EIO)
"""The reader has gone, or the terminal."""


class Heard(io.FileIO):
    """A stream that turns to nothing once it can no longer be written; `lost`: what kept it from being written."""

    lost: OSError | None = None

    def write(self, text) -> int:
        """Write, or pass over."""
        try:
            return super().write(text)
        except OSError as error:
            self.lost = None if error.errno in GONE else error
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            return len(text)


def listen() -> list[Heard]:
    """Take both streams over; those that are no files stay as they are."""
    taken = []
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        if isinstance(stream, io.TextIOWrapper) and isinstance(getattr(buffer, "raw", buffer), io.FileIO):
            stream.flush()
            raw = Heard(stream.fileno(), "w", closefd=False)
            taken.append(raw)
            by_lines = stream.line_buffering or stream.write_through or name == "stderr"
            text = io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors, line_buffering=by_lines)
            setattr(sys, name, text)
    return taken


def close(taken: list[Heard]) -> int:
    """Write what is left; the exit code: 1 where output was lost for another reason than that nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    lost = [raw.lost for raw in taken if raw.lost is not None]
    if lost:
        say(f"output is incomplete: {reason(lost[0])}", error=True)
        sys.stderr.flush()
    return 1 if lost else 0
