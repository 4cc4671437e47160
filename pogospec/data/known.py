"""The data of a known energy: one state with nothing to observe, in which a flow on a distribution runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pogospec.spec.build import digest
from pogospec.types import Dataset, Space, Transitions


def known(target: Any, name: str) -> Dataset:
    """The data of a target."""
    rows, space = lone_state(target.dimensions)
    return Dataset(name, rows, space, None, digest(target), None)


def lone_state(size: int) -> tuple[Transitions, Space]:
    """One row without observations; actions without bounds, of so many dimensions."""
    empty, zeros, one = np.zeros((1, 0), np.float32), np.zeros(1, np.float32), np.ones(1, np.float32)
    actions = np.zeros((1, size), np.float32)
    rows = Transitions(empty, actions, zeros, empty, one, zeros, actions, zeros, np.zeros(1, np.int32))
    return rows, Space(0, size, (-math.inf,) * size, (math.inf,) * size)
