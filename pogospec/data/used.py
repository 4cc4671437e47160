"""What a run trains on of rows in a file, and what it measures on: as `arrays.py` has it of rows in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pogospec.data.arrays import HELD_ROWS, chosen, identity_normalizer, normalized, normalizer_of, reward_factor
from pogospec.data.columns import CHUNK, moments_of, oversized
from pogospec.data.stored import Stored
from pogospec.errors import DataError
from pogospec.spec.schema import DataSpec, RewardSpec
from pogospec.types import Normalizer, Transitions


@dataclass(frozen=True)
class Used:
    """Rows to train on, numbered from 0 without those that are held out; standardised, with transformed rewards."""

    stored: Stored
    first: np.ndarray  # [spans], the numbers of the first rows of stretches of them
    begins: np.ndarray  # [spans], where these lie in the file
    count: int
    reward: RewardSpec
    factor: float
    normalizer: Normalizer | None = None  # None: observations as they are

    def take(self, rows: np.ndarray, floats: Any = None) -> Transitions:
        """Rows by their numbers, of any shape; numbers with a point of the type `floats`, None: as they are."""
        span = np.searchsorted(self.first, rows, "right") - 1
        return self.seen(self.stored.take(rows - self.first[span] + self.begins[span]), floats)

    def seen(self, found: Transitions, floats: Any = None) -> Transitions:
        """Rows of the file as training sees them."""
        found = found._replace(rewards=_changed(found.rewards, self.reward, self.factor))
        found = found if self.normalizer is None else normalized(found, self.normalizer)
        if floats is None:
            return found
        return Transitions(*(c.astype(floats, copy=False) if c.dtype.kind == "f" else c for c in found))


def use(stored: Stored, data: DataSpec) -> tuple[Used, Transitions, Normalizer]:
    """What a spec has a run train on, the rows that it measures on, and the normaliser; raises DataError.

    No step holds all rows: statistics are sums over pieces, those that `columns.moments` takes too.
    """
    draw = np.random.default_rng(0)
    begins = np.append(_begins(stored), stored.count)
    apart = chosen(np.arange(stored.episodes, dtype=np.int32), data.holdout, draw)
    if len(apart):
        rows = np.concatenate([np.arange(*begins[episode : episode + 2]) for episode in np.sort(apart)])
        held = draw.permutation(rows)[:HELD_ROWS]
    else:
        held = _shuffled(stored, draw)[:HELD_ROWS]
    kept = np.setdiff1d(np.arange(stored.episodes), apart)
    lengths = np.diff(begins)[kept]
    first = np.cumsum(lengths) - lengths
    reward, factor = data.reward, reward_factor(stored.transitions(), data.reward)
    used = Used(stored, first, begins[:-1][kept], int(lengths.sum()), reward, factor)
    normalizer = identity_normalizer(stored.rows["observations"].shape[1])
    if data.normalize_observations:
        pieces = lambda: _observations(used)  # noqa: E731
        normalizer = normalizer_of(*moments_of(pieces, used.count), stored.rows["observations"].dtype)
        used = Used(stored, first, used.begins, used.count, reward, factor, normalizer)
    return used, used.seen(stored.take(held)), normalizer


def check_stored_rewards(stored: Stored, reward: RewardSpec) -> None:
    """As `arrays.check_rewards`, of rows in a file."""
    factor, most = reward_factor(stored.transitions(), reward), [0.0]
    for (rewards,) in stored.pieces("rewards"):
        sizes = np.abs(_changed(rewards, reward, factor))
        most.append(sizes.max(initial=0.0, where=np.isfinite(sizes)))
    if (told := oversized(np.asarray(most))) is not None:
        raise DataError(f"data.reward: {told}")


def _changed(rewards: np.ndarray, reward: RewardSpec, factor: float) -> np.ndarray:
    if reward == RewardSpec():
        return rewards
    return (factor * np.asarray(rewards, np.float64) + reward.shift).astype(np.float32)


def _observations(used: Used) -> Iterator[np.ndarray]:
    for begin in range(0, used.count, CHUNK):
        yield used.take(np.arange(begin, min(begin + CHUNK, used.count))).observations


def _begins(stored: Stored) -> np.ndarray:
    """The first row of each episode."""
    found, begin, before = [], 0, -1
    for (episodes,) in stored.pieces("episodes"):
        found.append(begin + np.flatnonzero(np.diff(episodes, prepend=before)))
        begin, before = begin + len(episodes), int(episodes[-1])
    return np.concatenate(found)


def _shuffled(stored: Stored, draw: np.random.Generator) -> np.ndarray:
    """`draw.permutation` of all rows, which are shuffled in a file."""
    with tempfile.TemporaryFile(dir=stored.file.parent) as file:
        rows = np.memmap(file, np.int64, "w+", shape=stored.count)
        for begin in range(0, stored.count, CHUNK):
            rows[begin : begin + CHUNK] = np.arange(begin, min(begin + CHUNK, stored.count))
        draw.shuffle(rows.view(np.ndarray))
        return np.array(rows[:HELD_ROWS])
