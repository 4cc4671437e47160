"""Packages that not every installation has, and the extras of this one that bring them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple


class Needs(NamedTuple):
    """A package that not every installation has, and the extra of this one that brings it."""

    module: str
    extra: str


def lacking(needs: Iterable[Needs]) -> str | None:
    """What is not installed, and how to get it; None where all is there."""
    missing = [need for need in needs if find_spec(need.module) is None]
    if not missing:
        return None
    packages = " and ".join(need.module for need in missing)
    return f'{packages} not installed; pip install "pogospec[{missing[0].extra}]"'
