"""What the training loop tells its listener."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Started(NamedTuple):
    """The plan: labels and updates of the stages."""

    stages: list[tuple[str, int]]
    seeds: int
    total_updates: int


class Progress(NamedTuple):
    """One chunk is done; metrics are means over its updates and over seeds."""

    number: int
    stage: str
    update: int
    updates: int
    total_done: int
    rate: float
    metrics: dict[str, float]


class Scored(NamedTuple):
    """A policy was rolled out; returns [seeds, episodes] are raw, scores normalised where known."""

    policy: str
    total_done: int
    returns: np.ndarray
    scores: np.ndarray | None


class Noted(NamedTuple):
    """Something that a person should know: a step that was rejected, a rule that ended a stage."""

    text: str


class Failed(NamedTuple):
    """One of several runs that train together has failed; the others go on."""

    index: int
    message: str


class Finished(NamedTuple):
    """The run came to its end."""


Event = Started | Progress | Scored | Noted | Failed | Finished
