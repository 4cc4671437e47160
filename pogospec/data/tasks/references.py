"""Reference returns behind normalised scores, with their source."""

from __future__ import annotations

from typing import Any

import numpy as np

from pogospec.data.tasks.task import OURS, is_success, task_of
from pogospec.types import Reference

SOURCE, LABEL = "D4RL d4rl/infos.py", "normalised (D4RL reference returns)"
STATED = "normalised (the data's reference returns)"
D4RL = {
    "Hopper": (-20.272305, 3234.3),
    "HalfCheetah": (-280.178953, 12135.0),
    "Walker2d": (1.629008, 4592.3),
    "Ant": (-325.6, 3879.7),
}
"""Family of environments -> returns of a random and of an expert policy."""


def reference_for(environment: str | None, of_d4rl: bool = False) -> Reference | None:
    """D4RL's reference returns of an environment; D4RL-normalised is for data of D4RL in the task of D4RL only.

    An environment with arguments, a time limit or wrappers of its own is another task, of which D4RL has none.
    The return of an episode of AntMaze or OGBench is whether it succeeds: 0 and 1 make it a success rate in percent.
    """
    if environment is not None and is_success(environment):
        own = of_d4rl and environment.startswith(OURS)
        return Reference(0.0, 1.0, SOURCE if own else "goal reached", "D4RL-normalised" if own else "success rate in %")
    if environment is None:
        return None
    task = task_of(environment)
    family, _, version = task.id.partition("-")
    if family not in D4RL or task.arguments or task.wrappers:
        return None
    own = of_d4rl and version == "v4"
    return Reference(*D4RL[family], SOURCE, "D4RL-normalised" if own else LABEL)


def stated(low: Any, high: Any, source: str) -> Reference | None:
    """Reference returns that data state themselves, by `source`; None where they state none that make a score."""
    number = (int, float, np.integer, np.floating)
    if any(isinstance(value, bool) or not isinstance(value, number) or not np.isfinite(value) for value in (low, high)):
        return None
    return Reference(float(low), float(high), source, STATED) if low != high else None
