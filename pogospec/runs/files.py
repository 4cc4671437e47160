"""Files that are whole or not at all, however a process ends: JSON, and arrays with a digest; and who may write."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pogospec import regular
from pogospec.errors import RunDirectoryError, reason

READABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
"""Why a file may refuse to be written, and still be read."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Say of an OSError which file it is about; writing says none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def publish(path: Path, content: bytes) -> None:
    """Write a file aside, sync it and rename it, so that nobody ever sees a part of it; raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        with naming(path), part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):  # its room is needed for the status
            part.unlink(missing_ok=True)
        raise


def write_over(path: Path, content: bytes) -> None:
    """Write a small JSON file in its place, which takes no room where it is no longer than before; raises OSError."""
    with naming(path), path.open("r+b", buffering=0) as file:
        file.write(content.ljust(path.stat().st_size))


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file; raises OSError."""
    with naming(path), path.open("ab") as file:
        file.write(content)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, last beyond a power cut; raises OSError."""
    with naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep a second process out of a folder; raises RunDirectoryError where one is in, or it cannot be told.

    `wait`: until the other one is out.
    """
    import fcntl

    try:
        descriptor = _opened(folder / ".lock")
    except OSError as error:
        raise RunDirectoryError(f"{reason(error)}; whether the folder is in use cannot be told") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise RunDirectoryError(f"{folder} is in use by another process; wait for it or stop it") from None
        raise RunDirectoryError(f"{folder / '.lock'} cannot be locked: {reason(error)}") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _opened(lock: Path) -> int:
    """The file of a lock, made where it is missing; one that nothing can be written into serves too."""
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in READABLE or not lock.exists():
            raise
        return os.open(lock, os.O_RDONLY | os.O_NONBLOCK)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Publish a JSON file: whole or not at all; raises OSError."""
    publish(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; raises RunDirectoryError where it is missing or damaged, or lacks a key when asked."""
    try:
        content = json.loads(regular.read(path).decode())
        json.dumps(content, ensure_ascii=False).encode()  # escapes can make what no text holds
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise RunDirectoryError(f"{path} is missing or damaged")
    return _Content(content, path)


class _Content(dict[str, Any]):
    """What a JSON file holds; a key that it lacks is an error of that file."""

    def __init__(self, content: dict[str, Any], path: Path):
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise RunDirectoryError(f"{self.path} is damaged: it lacks {key}")


def sha256_of(text: str) -> str:
    """The digest of a text, as manifests have that of spec.yaml."""
    return hashlib.sha256(text.encode()).hexdigest()


def save_arrays(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Publish a safetensors file: arrays, JSON metadata and the digest of both; raises OSError."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(meta)
    publish(path, save(arrays, metadata={"meta": text, "sha256": _digest(arrays, text)}))


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `save_arrays` published; raises RunDirectoryError where it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        raw = regular.read(path)
    except OSError as error:
        raise RunDirectoryError(f"{path} cannot be read: {reason(error)}") from None
    try:
        arrays = load(raw)
        metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
        whole = metadata["sha256"] == _digest(arrays, metadata["meta"])
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise RunDirectoryError(f"{path} is damaged or cut short") from None
    if not whole:
        raise RunDirectoryError(f"{path} is damaged: its checksum differs")
    return arrays, json.loads(metadata["meta"])


def _digest(arrays: dict[str, np.ndarray], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
