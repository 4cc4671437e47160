"""Logged columns -> transitions: episode edges, checks and scaling, on whole columns at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pogospec.errors import DataError
from pogospec.types import Transitions

TOLERANCE = 1e-4
"""How far, in units of the scaled range, an action may lie outside its bounds and be clipped."""
CHUNK = 1 << 16
"""Rows that are worked on at once, where a step needs room of its own."""
REMEDY = "state their true bounds: low and high in the file, or data.environment"
"""What to do about action bounds that are not those of the data."""
LARGEST = 1e15
"""Rewards up to this size train in float32: a return at discount 0.999 is 1e18 at most, its square 1e36 < 3.4e38."""
BLUR = 1e-5
"""How large an error of rounding may be, in standard deviations of what is rounded."""


class Episode(NamedTuple):
    """T steps of one episode; T + 1 observations; actions in the environment's bounds."""

    observations: np.ndarray  # [T + 1, obs]
    actions: np.ndarray  # [T, act]
    rewards: np.ndarray  # [T]
    terminated: np.ndarray  # [T]
    truncated: np.ndarray  # [T]


@dataclass(slots=True)
class Columns:
    """A dataset as it was logged: one row a step, in order, actions in the environment's bounds; arrays of its own."""

    observations: np.ndarray  # [N, obs], float32, or float64 where `compact` says so
    actions: np.ndarray  # [N, act], float32
    rewards: np.ndarray  # [N], as the observations
    terminated: np.ndarray  # [N], bool: true terminations
    truncated: np.ndarray  # [N], bool: time limits and other cuts
    next_observations: np.ndarray | None = None  # [N, obs], as the observations; None: those of the next row
    ends: np.ndarray | None = None  # [N], bool: the last rows of episodes; None: where one of the flags is set
    unknown: np.ndarray | None = None  # [N], bool: rows whose next observation is not known; None: as the rest says

    def take(self, name: str) -> np.ndarray:
        """Hand a column over and let go of it, so that no two copies of all columns are ever held."""
        column = getattr(self, name)
        setattr(self, name, None)
        return column


def kind_of_column(column: np.ndarray) -> type:
    """The type in which numbers [N] or [N, d] are kept: float32, or float64 where float32 would blur an entry.

    That is one of a large offset and small steps. The error of rounding is 2^-24 of the largest value; it is held
    against the standard deviation of the entry. Takes the column in parts.
    """
    if (
        column.dtype.kind not in "fiu"
        or column.dtype.itemsize <= 2
        or column.dtype == np.float32
        or not column.size * column.ndim
    ):
        return np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        least, most = column.min(0).astype(np.float64), column.max(0).astype(np.float64)
        largest = np.maximum(np.abs(least), np.abs(most))
        blurred = (largest * 2.0**-24 > BLUR * np.sqrt(moments(column)[1])) & (least < most)
        rounds = blurred.any() and any((part.astype(np.float32) != part).any() for part in parts(column))
    return np.float64 if rounds else np.float32


def compact(column: np.ndarray) -> np.ndarray:
    """Numbers [N] or [N, d] in the type in which they are kept."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(column, kind_of_column(column))


def parts(column: np.ndarray) -> Iterator[np.ndarray]:
    """A column as so many rows at once as a step with room of its own takes."""
    return (column[begin : begin + CHUNK] for begin in range(0, len(column), CHUNK))


def rows_where(column: np.ndarray, wrong: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Rows of a column that a function of a part of it marks."""
    found = [number * CHUNK + np.flatnonzero(wrong(part)) for number, part in enumerate(parts(column))]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def moments(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (ddof 0) of each entry over rows, in float64."""
    return moments_of(lambda: parts(column), len(column))


def moments_of(pieces: Callable[[], Iterable[np.ndarray]], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of a column that comes in parts, of `CHUNK` rows each but for the last; they are asked for twice."""
    mean = np.sum([part.sum(0, np.float64) for part in pieces()], 0) / count
    return mean, np.sum([np.square(part - mean).sum(0) for part in pieces()], 0) / count


class Edges(NamedTuple):
    """Where episodes end, and the episode of each row."""

    ends: np.ndarray  # [N], bool: the last row of its episode
    episodes: np.ndarray  # [N], int32

    def place(self, row: int) -> str:
        """A row, for people; rows, episodes and steps count from 0."""
        episode = int(self.episodes[row])
        return f"row {row} (episode {episode}, step {row - int(np.searchsorted(self.episodes, episode))})"


def edges(columns: Columns) -> Edges:
    """Episode edges; the last row of the data ends an episode whatever its flags."""
    ends = last_rows(columns)
    return Edges(ends, np.cumsum(ends, dtype=np.int32) - ends)


def last_rows(columns: Columns) -> np.ndarray:
    """Whether a row is the last of its episode, [N] bool."""
    ends = (columns.terminated | columns.truncated) if columns.ends is None else columns.ends.copy()
    ends[-1:] = True
    return ends


def outside(actions: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Rows whose actions lie outside finite bounds, further than `TOLERANCE`."""
    bottom, top = np.asarray(low, np.float64), np.asarray(high, np.float64)
    slack = TOLERANCE * (top - bottom) / 2
    return rows_where(actions, lambda part: ((part < bottom - slack) | (part > top + slack)).any(1))


def spanned(low: Sequence[float], high: Sequence[float], width: int) -> bool:
    """Whether bounds of so many actions span a finite range."""
    bottom, top = np.asarray(low, np.float64), np.asarray(high, np.float64)
    return bottom.shape == top.shape == (width,) and bool(np.isfinite([bottom, top]).all() and (bottom < top).all())


def faults(
    columns: Columns,
    low: Sequence[float],
    high: Sequence[float],
    dropped: np.ndarray | None = None,
    remedy: str = REMEDY,
) -> Iterator[str]:
    """What cannot be trained on, each kind with how often and where first.

    NaN, infinity, rewards whose squares overflow, actions out of bounds, no row with a next observation. `remedy`: what
    to do about wrong bounds of data of this source.
    """

    def places(rows: np.ndarray) -> str:
        often = f"{len(rows):,} rows, first in " if len(rows) > 1 else ""
        return f"in {often}{edges(columns).place(int(rows[0]))}"

    for name in ("observations", "actions", "rewards", "next_observations"):
        column = getattr(columns, name)
        if column is None:
            continue
        rows = rows_where(column, lambda part: ~(_finite(part) if part.ndim == 1 else _finite(part).all(1)))
        if len(rows):
            where = "" if column.ndim == 1 else f", column {int(np.flatnonzero(~_finite(column[rows[0]]))[0])}"
            yield f"{name} holds NaN or infinity {places(rows)}{where}; remove its episode"
    width, bounds = columns.actions.shape[1], f"{[*map(float, low)]} to {[*map(float, high)]}"
    if len(low) != width or len(high) != width:
        found_sizes = f"{len(low)} and {len(high)} numbers for {width} actions"
        yield f"the action bounds have {found_sizes}, allowed {width} each; {remedy}"
    elif not spanned(low, high, width):
        yield f"the action bounds {bounds} span no finite range; allowed low < high; {remedy}"
    elif len(rows := outside(columns.actions, low, high)):
        first = [round(float(x), 6) for x in columns.actions[rows[0]]]
        where = f"{bounds} {places(rows)}: {first}"
        yield f"actions lie outside the bounds {where}; clip or rescale the actions, or {remedy}"
    if not usable(columns, last_rows(columns), dropped).any():
        yield (
            "the dataset holds no transitions, since no row has a next observation: each ends its episode at a time "
            "limit, or is left out; mark time limits in the last rows of episodes alone, or state next_observations"
        )


def _finite(numbers: Any) -> Any:
    return np.isfinite(numbers) & (np.abs(numbers) <= np.finfo(np.float32).max)


def oversized(rewards: np.ndarray) -> str | None:
    """What to say of rewards that are too large for float32; None where they are not."""
    sizes = np.abs(rewards[np.isfinite(rewards)])
    if not len(sizes) or float(sizes.max()) <= LARGEST:
        return None
    return (
        f"rewards as large as {float(sizes.max()):.3g}, allowed up to {LARGEST:.0e}: squares of returns overflow; "
        "scale them by data.reward.scale or data.reward.return_range"
    )


def continues(columns: Columns, ends: np.ndarray) -> np.ndarray:
    """Whether the next row goes on where each row ends, [N]: same episode, and its observation is the next one."""
    following = ~ends
    if columns.next_observations is not None:
        for begin in range(0, len(ends) - 1, CHUNK):
            stop = min(begin + CHUNK, len(ends) - 1)
            after, now = columns.observations[begin + 1 : stop + 1], columns.next_observations[begin:stop]
            same = (after == now).all(1)
            apart = np.flatnonzero(~same)
            same[apart] = np.isclose(after[apart], now[apart], 1e-5, 1e-6).all(1)
            following[begin:stop] &= same
    return following


def leaks(columns: Columns, ends: np.ndarray) -> np.ndarray | None:
    """Ends of episodes whose next observation is the first of the next episode, [N]; None where that is no habit.

    Of the last row, the first of the data: so it is in an array that was rolled by a row. A habit is what half of the
    ends have; where nothing is observed to change, there is none.
    """
    if columns.next_observations is None:
        return None
    rows = np.flatnonzero(ends)
    now, after, next_ = columns.observations[rows], (rows + 1) % len(ends), columns.next_observations[rows]
    first = columns.observations[after]
    same = np.isclose(next_, first, 1e-5, 1e-6).all(1) & ~np.isclose(next_, now, 1e-5, 1e-6).all(1)
    if not len(rows) or 2 * same.sum() < len(rows):
        return None
    found = np.zeros(len(ends), bool)
    found[rows[same]] = True
    return found


def usable(columns: Columns, ends: np.ndarray, dropped: np.ndarray | None = None) -> np.ndarray:
    """Rows with a next observation, or that need none because they terminate; without those that are `dropped`."""
    known = ~ends | columns.terminated if columns.next_observations is None else np.ones(len(ends), bool)
    if columns.unknown is not None:
        known &= ~columns.unknown | columns.terminated
    return known if dropped is None else known & ~dropped


def to_transitions(
    columns: Columns,
    low: Sequence[float],
    high: Sequence[float],
    dropped: np.ndarray | None = None,
    remedy: str = REMEDY,
) -> Transitions:
    """Transitions, actions scaled from [low, high] to [-1, 1]; uses the columns up. `dropped` [N] marks rows to leave.

    A row before one that is left keeps its next observation and action, which are those of the raw next row. A
    terminal row whose next observation is unknown carries its own. Raises DataError for the first of `faults`.
    """
    for fault in faults(columns, low, high, dropped, remedy):
        raise DataError(fault)
    ends, episodes = edges(columns)
    rows = np.flatnonzero(usable(columns, ends, dropped))
    after, valid = rows + ~ends[rows], continues(columns, ends)[rows]
    terminated, truncated = columns.take("terminated")[rows], columns.take("truncated")[rows]
    truncated |= ends[rows] & ~terminated
    observations, known = columns.take("observations"), columns.take("next_observations")
    next_observations = observations[after] if known is None else _keep(known, rows)
    observations = _keep(observations, rows)
    actions = scaled(columns.take("actions"), low, high)
    next_actions = actions[after]
    next_actions[~valid] = 0.0
    episodes = episodes[rows]
    return Transitions(
        observations,
        _keep(actions, rows),
        _keep(columns.take("rewards"), rows),
        next_observations,
        terminated.astype(np.float32),
        truncated.astype(np.float32),
        next_actions,
        valid.astype(np.float32),
        np.cumsum(np.diff(episodes, prepend=episodes[:1]) != 0, dtype=np.int32),
    )


def _keep(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The given rows, in order, moved forward in place."""
    if len(rows) == len(column):
        return column
    for begin in range(0, len(rows), CHUNK):
        chunk = rows[begin : begin + CHUNK]
        column[begin : begin + len(chunk)] = column[chunk]
    return column[: len(rows)]


def scaled(actions: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Actions scaled from [low, high] to [-1, 1] and clipped, in place."""
    bottom, top = np.asarray(low, np.float64), np.asarray(high, np.float64)
    for begin in range(0, len(actions), CHUNK):
        chunk = actions[begin : begin + CHUNK]
        chunk[:] = np.clip(2.0 * (chunk - bottom) / (top - bottom) - 1.0, -1.0, 1.0)
    return actions
