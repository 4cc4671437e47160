"""Files that are whole or not at all, however a process ends: JSON, and arrays with a digest; and who may write."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pogospec.errors import RunDirectoryError


def publish(path: Path, content: bytes) -> None:
    """Write a file aside, sync it and rename it, so that nobody ever sees a part of it."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def sync(folder: Path) -> None:
    """Make the names in a folder last beyond a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second process out of a folder; raises RunDirectoryError where one is in."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunDirectoryError(f"{folder} is in use by another process; wait for it or stop it") from None
        yield


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Publish a JSON file: whole or not at all."""
    publish(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file holds; raises RunDirectoryError where it is missing or damaged, or lacks a key when asked."""
    try:
        return _Content(json.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, ValueError, TypeError):
        raise RunDirectoryError(f"{path} is missing or damaged") from None


class _Content(dict[str, Any]):
    """What a JSON file holds; a key that it lacks is an error of that file."""

    def __init__(self, content: dict[str, Any], path: Path):
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise RunDirectoryError(f"{self.path} is damaged: it lacks {key}")


def save_arrays(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Publish a safetensors file: arrays, JSON metadata and the digest of both."""
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(meta)
    publish(path, save(arrays, metadata={"meta": text, "sha256": _digest(arrays, text)}))


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `save_arrays` published; raises RunDirectoryError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = path.read_bytes()
    try:
        arrays = load(raw)
        metadata = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
        whole = metadata["sha256"] == _digest(arrays, metadata["meta"])
    except (SafetensorError, KeyError):
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
