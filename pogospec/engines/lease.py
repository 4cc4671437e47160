"""Who works on a unit: a file that its worker writes anew every few seconds, so that no other begins the same.

How old a lease is comes from the clock of the file system alone: clocks of machines differ. A worker that finds the
lease of its unit taken by another ends at once. Beside it each run directory has its lock, which holds where the file
system has locks; the lease is also what tells people where a unit is trained.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pogospec.errors import RunDirectoryError
from pogospec.runs import files

EVERY, MISSED = 5.0, 6
"""Seconds between two signs of life; so many of them missed, a worker counts as lost."""
HELD = 75
"""Exit code of a worker whose unit another one works on, EX_TEMPFAIL."""


@dataclass(frozen=True)
class Lease:
    """What the lease of a unit says: `state` is running, stopped, ended or refused."""

    path: Path
    about: dict[str, Any]

    @property
    def state(self) -> str:
        """How the worker is, as it wrote last."""
        return str(self.about.get("state"))

    @property
    def over(self) -> bool:
        """Whether its worker came to an end that it wrote down."""
        return self.state in ("ended", "refused")

    @property
    def live(self) -> bool:
        """Whether its worker is at work, as far as can be told."""
        return self.state == "running" and not self._gone and self.age < MISSED * float(self.about.get("every", EVERY))

    @property
    def _gone(self) -> bool:
        """Whether the worker was one of this machine, which knows its process no more."""
        if self.about.get("host") != socket.gethostname():
            return False
        try:
            os.kill(int(self.about["pid"]), 0)
        except ProcessLookupError:
            return True
        except (OSError, ValueError, RunDirectoryError):
            return False
        return False

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        try:
            return max(_now(self.path.parent) - self.path.stat().st_mtime, 0.0)
        except OSError:
            return float("inf")


def read(path: Path) -> Lease | None:
    """The lease of a unit; None where nobody has begun it."""
    try:
        return Lease(path, files.read_json(path))
    except RunDirectoryError:
        return None


def _now(folder: Path) -> float:
    """The time of the file system, which another machine may keep."""
    probe = folder / f".now-{socket.gethostname()}-{os.getpid()}"
    try:
        probe.write_bytes(b"now")
        return probe.stat().st_mtime
    except OSError:  # a folder that may only be read, by one who looks
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


class Keeper:
    """Keeps the lease of a unit while its worker is at work; `look` says how far it came, for those who watch."""

    def __init__(self, path: Path, about: dict[str, Any], look: Callable[[], dict[str, Any]], every: float = EVERY):
        self.path, self.look, self.every = path, look, every
        self.about = {"state": "running", "token": secrets.token_hex(8), "every": every, **about}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def take(self) -> bool:
        """Take the lease, and keep it from now on; False where another worker has it."""
        found = read(self.path)
        if found is not None and found.live:
            return False
        files.write_json(self.path, self.about)
        time.sleep(min(0.2, self.every))  # of two who come at once, the last to write has it
        if not self._mine():
            return False
        self.thread.start()
        return True

    def end(self, state: str, **more: Any) -> None:
        """Write down how it ended, and let go."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()
        if self._mine():
            files.write_json(self.path, self.about | self._looked() | {"state": state} | more)

    def _mine(self) -> bool:
        found = read(self.path)
        return found is None or found.about.get("token") == self.about["token"]

    def _looked(self) -> dict[str, Any]:
        try:
            return self.look()
        except (RunDirectoryError, OSError):
            return {}

    def _beat(self) -> None:
        while not self.over.wait(self.every):
            if not self._mine():
                os._exit(HELD)
            with contextlib.suppress(OSError):  # the next one may be written
                files.write_json(self.path, self.about | self._looked())
