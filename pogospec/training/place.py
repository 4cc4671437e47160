"""Where a run is: plain numbers, that a checkpoint holds and that say all there is to going on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from pogospec.steps.until import History


@dataclass
class Place:
    """Where a run is; plain numbers, so that a checkpoint can hold it."""

    number: int = 0  # stage
    done: int = 0  # updates of the stage, since its last try began
    total: int = 0  # updates of the run
    tries: list[int] = field(default_factory=list)  # of each seed: step sizes that were rejected in this stage
    accepted: list[bool] = field(default_factory=list)  # of each seed: its step is taken, or given up
    flow_time: list[float] = field(default_factory=list)  # of each seed: sum of the step sizes taken
    history: dict[str, list[list[float]]] = field(default_factory=dict)  # checks in this stage
    q_rows: list[list[float]] = field(default_factory=list)  # Q of held-out rows at the last check
    ends: dict[str, list[list[float]]] = field(default_factory=dict)  # the same at the ends of the repetitions
    ended: bool = False  # the stage is over, and its policies are saved
    stuck: list[bool] = field(default_factory=list)  # of each seed: no step size was accepted
    losses: list[list[float]] = field(default_factory=list)  # count, sum and sum of squares since the last check
    best: list[list[float]] = field(default_factory=list)  # of each seed: what was found of its best policy
    phase: int = 0  # of an attempt by step doubling: its one large step, or the first or second of the two
    taus: list[float] = field(default_factory=list)  # of each seed: tau of the attempt, or of the next one
    began: list[float] = field(default_factory=list)  # of each seed: flow time at the first attempt

    @classmethod
    def fresh(cls, seeds: int) -> Place:
        """The beginning of a run."""
        return cls(tries=[0] * seeds, accepted=[False] * seeds, flow_time=[0.0] * seeds)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def enter(self, number: int) -> None:
        """Go to the beginning of a stage."""
        seeds = len(self.tries)
        self.number, self.done, self.history, self.losses, self.q_rows = number, 0, {}, [], []
        self.tries, self.accepted, self.stuck, self.ended = [0] * seeds, [False] * seeds, [], False
        self.best, self.phase = [], 0

    def again(self) -> None:
        """Go back to the beginning of the stage that the run is in."""
        self.done, self.history, self.losses = 0, {}, []

    def part(self, rows: slice) -> Place:
        """Where one of several runs is."""
        own = {name: getattr(self, name)[rows] for name in BY_SEED}
        tables = {name: {k: [row[rows] for row in v] for k, v in getattr(self, name).items()} for name in HISTORIES}
        return replace(self, **own, **tables, losses=[row[rows] for row in self.losses])

    @classmethod
    def of_parts(cls, parts: Sequence[Place]) -> Place:
        """Where several runs are that keep pace: the inverse of `part`."""
        own = {name: [value for part in parts for value in getattr(part, name)] for name in BY_SEED}
        tables = {
            name: {key: _beside([getattr(part, name)[key] for part in parts]) for key in getattr(parts[0], name)}
            for name in HISTORIES
        }
        return replace(parts[0], **own, **tables, losses=_beside([part.losses for part in parts]))


BY_SEED = ("tries", "accepted", "flow_time", "q_rows", "stuck", "best", "taus", "began")
HISTORIES = ("history", "ends")


def _beside(tables: Sequence[list[list[float]]]) -> list[list[float]]:
    """Tables [checks, seeds] of several runs as one, side by side."""
    return [[value for row in rows for value in row] for rows in zip(*tables, strict=True)]


def arrays(history: dict[str, list[list[float]]]) -> History:
    """A history as arrays [checks, seeds], which rules read."""
    return {name: np.asarray(rows) for name, rows in history.items()}
