"""Logged columns -> transitions: episode edges, checks and scaling, on whole columns at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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


def compact(column: np.ndarray) -> np.ndarray:
    """Numbers [N] or [N, d] as float32, or as float64 where float32 would blur an entry: a large offset, small steps.

    The error of rounding is 2^-24 of the largest value; it is held against the standard deviation of the entry.
    """
    if (
        column.dtype.kind not in "fiu"
        or column.dtype.itemsize <= 2
        or column.dtype == np.float32
        or not column.size * column.ndim
    ):
        return np.asarray(column, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        least, most = column.min(0).astype(np.float64), column.max(0).astype(np.float64)
        largest = np.maximum(np.abs(least), np.abs(most))
        blurred = (largest * 2.0**-24 > BLUR * np.sqrt(moments(column)[1])) & (least < most)
        rounded = column.astype(np.float32)
        return np.asarray(column, np.float64) if blurred.any() and (rounded != column).any() else rounded


def moments(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (ddof 0) of each entry over rows, in float64."""
    parts = [column[begin : begin + CHUNK] for begin in range(0, len(column), CHUNK)]
    mean = np.sum([part.sum(0, np.float64) for part in parts], 0) / len(column)
    return mean, np.sum([np.square(part - mean).sum(0) for part in parts], 0) / len(column)


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
    ends = (columns.terminated | columns.truncated) if columns.ends is None else columns.ends.copy()
    ends[-1:] = True
    return Edges(ends, np.cumsum(ends, dtype=np.int32) - ends)


def join(episodes: Iterable[Sequence], short: bool = False) -> Columns:
    """Join episodes (tuples in the order of `Episode`); an episode that ends with neither flag counts as truncated.

    `short`: one may lack its last observation; it keeps all rows, and the next observation of its last is not known.
    Raises DataError on columns of unequal length or size, and where there are no data.
    """
    kept, lacking = [], []
    for number, columns in enumerate(episodes):
        episode = Episode(*(np.asarray(column) for column in columns))
        if len(episode.actions):
            lacks = short and episode.observations.ndim == 2 and len(episode.observations) == len(episode.actions)
            if lacks:
                episode = episode._replace(
                    observations=np.concatenate([episode.observations, episode.observations[-1:]])
                )
            _check_shapes(number, episode)
            cut = np.array(episode.truncated, bool)
            cut[-1] |= not episode.terminated[-1]
            kept.append(episode._replace(truncated=cut))
            lacking.append(lacks)
    if not kept:
        raise DataError("the dataset holds no transitions; collect it again, or choose another")
    for name in ("observations", "actions"):
        widths = sorted({getattr(episode, name).shape[1] for episode in kept})
        if len(widths) > 1:
            raise DataError(f"the episodes have {name} of different sizes {widths}, allowed one size")

    def joined(name: str, rows: slice = slice(None)) -> np.ndarray:
        return np.concatenate([getattr(episode, name)[rows] for episode in kept])

    first, after = (joined("observations", rows) for rows in (slice(None, -1), slice(1, None)))
    observations = compact(first)
    unknown = np.zeros(len(observations), bool)
    unknown[np.cumsum([len(episode.actions) for episode in kept]) - 1] = lacking
    return Columns(
        observations,
        joined("actions").astype(np.float32),
        compact(joined("rewards")),
        joined("terminated").astype(bool),
        joined("truncated").astype(bool),
        after.astype(observations.dtype),
        unknown=unknown if any(lacking) else None,
    )


def _check_shapes(number: int, episode: Episode) -> None:
    length = len(episode.actions)
    shapes = ((length + 1, "obs"), (length, "act"), (length,), (length,), (length,))
    for name, column, shape in zip(Episode._fields, episode, shapes, strict=True):
        wanted = tuple(column.shape[-1] if isinstance(size, str) and column.ndim == 2 else size for size in shape)
        if column.shape != wanted:
            raise DataError(
                f"episode {number}: {name} of shape {list(column.shape)} for {length} actions, allowed "
                f"[{', '.join(map(str, shape))}]"
            )


def outside(actions: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Rows whose actions lie outside finite bounds, further than `TOLERANCE`."""
    bottom, top = np.asarray(low, np.float64), np.asarray(high, np.float64)
    slack = TOLERANCE * (top - bottom) / 2
    return np.flatnonzero(((actions < bottom - slack) | (actions > top + slack)).any(1))


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
    found = edges(columns)

    def places(rows: np.ndarray) -> str:
        often = f"{len(rows):,} rows, first in " if len(rows) > 1 else ""
        return f"in {often}{found.place(int(rows[0]))}"

    for name in ("observations", "actions", "rewards", "next_observations"):
        column = getattr(columns, name)
        if column is None:
            continue
        finite = np.isfinite(column) & (np.abs(column) <= np.finfo(np.float32).max)
        rows = np.flatnonzero(~(finite if column.ndim == 1 else finite.all(1)))
        if len(rows):
            where = "" if column.ndim == 1 else f", column {int(np.flatnonzero(~finite[rows[0]])[0])}"
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
    if not usable(columns, found.ends, dropped).any():
        yield (
            "the dataset holds no transitions, since no row has a next observation: each ends its episode at a time "
            "limit, or is left out; mark time limits in the last rows of episodes alone, or state next_observations"
        )


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
    actions = _scale(columns.take("actions"), low, high)
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


def _scale(actions: np.ndarray, low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Actions scaled from [low, high] to [-1, 1] and clipped, in place."""
    bottom, top = np.asarray(low, np.float64), np.asarray(high, np.float64)
    for begin in range(0, len(actions), CHUNK):
        chunk = actions[begin : begin + CHUNK]
        chunk[:] = np.clip(2.0 * (chunk - bottom) / (top - bottom) - 1.0, -1.0, 1.0)
    return actions
