"""Where the specs of the package lie, and files as people name them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

INSTALLED = "_specs"
"""The folder of the specs within an installed package; in a checkout they lie beside it."""


def specs_root() -> Path:
    """The folder of the specs that come with the package."""
    here = Path(__file__).parent
    return here / INSTALLED if (here / INSTALLED).is_dir() else here.parent / "specs"


def shown(file: str) -> str:
    """A file for messages: a spec of the package by its name, what is below the working directory from there."""
    if not os.path.isabs(file):
        return file
    path, root = Path(os.path.normpath(file)), specs_root()
    name = path.relative_to(root).with_suffix("").as_posix() if path.is_relative_to(root) else None
    if name is not None and root.name == INSTALLED:
        return name
    with contextlib.suppress(OSError, ValueError):
        return str(path.relative_to(Path.cwd()))
    return name or file
