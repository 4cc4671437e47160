"""Goal-conditioned data: which entries of a Dict observation are observed, and where an episode reaches its goal.

D4RL's AntMaze observes where the ant is and its joints, and not its goal: in gymnasium-robotics' words the entry
`achieved_goal`, x and y of the torso, before the entry `observation`, which holds the rest. That is the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pogospec.data.columns import Episode
from pogospec.errors import DataError
from pogospec.registry import nearest

DEFAULT = ("achieved_goal", "observation")
RADIUS = 0.45
"""How near the goal counts as reached, in gymnasium-robotics."""


def entries(space: Any, observe: Sequence[str] | None) -> dict[str, int]:
    """The observed entries of a Dict space, in order, with their sizes; raises DataError."""
    from gymnasium.spaces import Box

    sizes = {name: box.shape[0] for name, box in space.items() if isinstance(box, Box) and len(box.shape) == 1}
    allowed = f"allowed {', '.join(sizes) or 'none, since no entry is a Box of one dimension'}"
    missing = [name for name in observe or DEFAULT if name not in sizes]
    if observe is None and missing:
        raise DataError(f"data.observe: the observations are a Dict without {' and '.join(missing)}; {allowed}")
    if missing or not observe and observe is not None or len(set(observe or ())) < len(observe or ()):
        close = nearest(missing[0], sizes) if missing else None
        raise DataError(
            f"data.observe: found [{', '.join(observe or ())}], {allowed}, each at most once, and one at least"
            + (f"; did you mean {close}?" if close else "")
        )
    return {name: sizes[name] for name in observe or DEFAULT}


def refused(observe: Sequence[str]) -> DataError:
    """Where there is nothing to choose from."""
    return DataError(
        f"data.observe: found [{', '.join(observe)}], but the observations of these data are one array; remove it"
    )


class Goals:
    """Turns logged episodes with Dict observations into flat ones, and remembers what a reader should know."""

    def __init__(self, space: Any, observe: Sequence[str] | None):
        self.sizes = entries(space, observe)
        self.others = {name: box.shape[0] for name, box in space.items() if name not in self.sizes}
        self.low, self.high = np.full(2, np.inf), np.full(2, -np.inf)
        self.reached = self.left = self.logged = 0

    def flat(self, episode: Episode) -> Episode:
        """The episode with its observed entries in one array [T + 1, obs]."""
        found: Any = episode.observations
        return episode._replace(observations=np.concatenate([found[name] for name in self.sizes], -1))

    def pieces(self, episode: Episode) -> Iterator[Episode]:
        """What D4RL's evaluation would have made of an AntMaze episode: each piece ends where it reaches its goal.

        A task that goes on after that logs an ant at its goal, which starts no piece, or a new goal, which does. The
        goal of a piece is the one after its first step: the first observation may still show the one before.
        """
        found: Any = episode.observations
        achieved, desired = np.asarray(found["achieved_goal"]), np.array(found["desired_goal"])
        reached = np.linalg.norm(achieved[1:] - desired[1:], axis=1) <= RADIUS
        length, begin = len(reached), 0
        self.logged += 1
        for stop in [*np.flatnonzero(reached) + 1, *([] if not length or reached[-1] else [length])]:
            goal = desired[begin + 1]
            if np.linalg.norm(achieved[begin] - goal) <= RADIUS:
                self.left += stop - begin
            else:
                self.low, self.high = np.minimum(self.low, goal), np.maximum(self.high, goal)
                yield self._piece(episode, slice(begin, stop), goal, bool(reached[stop - 1]))
            begin = stop

    def _piece(self, episode: Episode, rows: slice, goal: np.ndarray, reached: bool) -> Episode:
        found: Any = episode.observations
        after = slice(rows.start, rows.stop + 1)
        observations = {name: np.array(found[name][after]) for name in (*self.sizes, "desired_goal")}
        observations["desired_goal"][0] = goal
        ends = np.arange(rows.start, rows.stop) == rows.stop - 1
        self.reached += reached
        return self.flat(
            Episode(
                observations,  # type: ignore[arg-type]  # still a Dict
                np.asarray(episode.actions)[rows],
                np.asarray(episode.rewards)[rows],
                ends & reached,
                ends & (not reached),
            )
        )

    def notes(self) -> tuple[str, ...]:
        """What was observed, what was not, and what was left out."""
        shown, hidden = (
            ", ".join(f"{name} ({size})" for name, size in part.items()) for part in (self.sizes, self.others)
        )
        told = [f"observed: {shown}" + (f"; not {hidden}: data.observe chooses" if hidden else "")]
        if self.logged:
            span = " to ".join(f"({x:.1f}, {y:.1f})" for x, y in (self.low, self.high))
            told.append(
                f"episodes end where the ant reaches its goal, as in D4RL's evaluation: {self.left:,} rows that were "
                f"logged after that, in {self.logged:,} episodes, are left out"
            )
            blind = "" if "desired_goal" in self.sizes else "; which one it is, is not observed"
            told.append(f"goals lie from {span}{blind}")
        return tuple(told)
