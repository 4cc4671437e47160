"""Compiled programs kept on disk, so that the same program starts at once the next time.

A folder for each version of JAX and kind of processors: XLA compiles for the instructions and the number of cores that
it finds, and JAX's own key holds neither. An entry is whole or not at all, however many runs share the folder and
wherever they are killed; a damaged one is compiled anew. Like any cache of JAX it holds code that will be run, so the
folder is its owner's alone.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pogospec.terminal import say

VARIABLE = "POGOSPEC_COMPILE_CACHE"
"""A folder, or 'off'."""
LIMIT = 2**29
"""Bytes of all entries of all folders; those unused for longest go first, when a run begins."""
LEAST_SECONDS = 0.1
"""Programs that compile in less are not kept: reading them takes about as long, and there are hundreds."""
SUFFIX, PART = ".program", ".part"
PRIVATE = ("reset_cache", "_cache", "_cache_initialized")
"""What JAX does not promise to keep; without it programs are compiled anew."""
DIGEST = hashlib.sha256().digest_size


class Usage(NamedTuple):
    """What the cache holds."""

    entries: int
    size: int  # bytes


def root() -> Path | None:
    """The folder of all entries; None where the user switched the cache off, or has one of JAX's own."""
    given = os.environ.get(VARIABLE)
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return None
    if given:
        return None if given.lower() == "off" else Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/pogospec/compiled"
    local = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(local or "~/.cache").expanduser() / "pogospec/compiled"


def place() -> Path | None:
    """The folder of what is compiled for this machine by this JAX; None as for `root`."""
    folder = root()
    return None if folder is None else folder / _machine()


def usage(folder: Path) -> Usage:
    """What lies in a folder and those below it."""
    found = _entries(folder)
    return Usage(len(found), sum(size for _, size, _ in found))


def enable() -> None:
    """Keep what this process compiles from now on; where that cannot be, say why, once, and go on without."""
    import jax

    folder = root()
    if folder is None or jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        prune(folder, LIMIT)
        place = folder / _machine()
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        _note(folder, error)
        return
    _install(place)


def prune(folder: Path, limit: int) -> None:
    """Remove entries, those unused for longest first, until the rest take at most `limit` bytes."""
    found = sorted(_entries(folder))
    total = sum(size for _, size, _ in found)
    for _, size, path in found:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size


def _entries(folder: Path) -> list[tuple[float, int, Path]]:
    """Time of the last use, bytes and path of each entry, and of what killed runs left half written."""
    found = []
    for path in [*folder.glob(f"*/*{SUFFIX}"), *folder.glob(f"*/*{PART}")]:
        try:
            about = path.stat()
        except OSError:  # another run removed it
            continue
        found.append((about.st_mtime, about.st_size, path))
    return found


def _machine() -> str:
    """A name for all that decides what a program is compiled to and is not in JAX's key."""
    cores = os.environ.get("NPROC")  # which XLA heeds, and workers are given
    if cores is None or not cores.isdecimal():
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        about = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    except OSError:
        about = [platform.processor()]
    key = hashlib.sha256("\n".join([platform.system(), platform.machine(), *about]).encode()).hexdigest()
    return f"jax-{version('jax')}-jaxlib-{version('jaxlib')}-{cores}-cores-{key[:12]}"


def _note(folder: Path, error: OSError) -> None:
    why = error.strerror or error
    how = f"set {VARIABLE} to a folder that can be written, or to off"
    say(f"note: compiled programs are not kept: {folder}: {why}; {how}", error=True)


class Folder:
    """What JAX asks for compiled programs, by keys of its own; it would write files bit by bit itself.

    An entry is its digest and its bytes; one that is damaged counts as missing, and is replaced.
    """

    def __init__(self, path: Path):
        self._path, self.writable = path, True

    def get(self, key: str) -> bytes | None:
        """The entry of a key, where there is a good one."""
        file = self._path / f"{key}{SUFFIX}"
        try:
            stored = file.read_bytes()
            os.utime(file)
        except OSError:
            return None
        digest, value = stored[:DIGEST], stored[DIGEST:]
        return value if hashlib.sha256(value).digest() == digest else None

    def put(self, key: str, value: bytes) -> None:
        """Write an entry; where that fails, say so once and write no more."""
        if not self.writable:
            return
        try:
            _write(self._path / f"{key}{SUFFIX}", hashlib.sha256(value).digest() + value)
        except OSError as error:
            self.writable = False
            _note(self._path, error)


def _install(place: Path) -> None:
    import jax
    from jax._src import compilation_cache

    if not all(hasattr(compilation_cache, name) for name in PRIVATE):
        say(f"note: compiled programs are not kept: not known how with JAX {jax.__version__}", error=True)
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    compilation_cache.reset_cache()
    compilation_cache._cache, compilation_cache._cache_initialized = Folder(place), True  # type: ignore[assignment]


def _write(file: Path, value: bytes) -> None:
    """Write a file whole or not at all; raises OSError."""
    handle, part = tempfile.mkstemp(PART, dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(value)
        os.replace(part, file)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
