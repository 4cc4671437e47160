"""Episodes -> transitions, with their edges kept; and the standardisation of observations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pogospec.errors import DataError
from pogospec.types import Normalizer, Transitions

TOLERANCE = 1e-4
"""How far, in units of the scaled range, an action may lie outside its bounds and be clipped."""


class Episode(NamedTuple):
    """T steps of one episode; T + 1 observations; actions in the environment's bounds."""

    observations: np.ndarray  # [T + 1, obs]
    actions: np.ndarray  # [T, act]
    rewards: np.ndarray  # [T]
    terminated: np.ndarray  # [T]
    truncated: np.ndarray  # [T]


def from_episodes(episodes: Iterable[Sequence], low: Sequence[float], high: Sequence[float]) -> Transitions:
    """Join episodes (tuples in the order of `Episode`); actions are scaled from [low, high] to [-1, 1].

    An episode that ends with neither flag was cut, and counts as truncated. Raises DataError on numbers that
    cannot be used: NaN, infinity, actions outside their bounds, columns of unequal length, no data.
    """
    bottom, top = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not (np.isfinite(bottom).all() and np.isfinite(top).all() and (bottom < top).all()):
        raise DataError(f"the action bounds {list(low)} to {list(high)} span no finite range; allowed low < high")
    rows = []
    for number, columns in enumerate(episodes):
        episode = Episode(*(np.asarray(column) for column in columns))
        if len(episode.actions):
            rows.append(_rows(number, episode, bottom, top))
    if not rows:
        raise DataError("the dataset holds no transitions; collect it again, or choose another")
    widths = sorted({row.observations.shape[1] for row in rows})
    if len(widths) > 1:
        raise DataError(f"the episodes have observations of different sizes {widths}, allowed one size")
    return Transitions(*(np.concatenate(columns) for columns in zip(*rows, strict=True)))


def _rows(number: int, episode: Episode, low: np.ndarray, high: np.ndarray) -> Transitions:
    """The transitions of one episode, all checks done."""
    _check(number, episode, len(low))
    scaled = 2.0 * (episode.actions - low) / (high - low) - 1.0
    outside = np.argwhere(np.abs(scaled) > 1.0 + TOLERANCE)
    if len(outside):
        row = int(outside[0][0])
        raise DataError(
            f"episode {number}, row {row}: action {episode.actions[row].tolist()} lies outside the bounds "
            f"{low.tolist()} to {high.tolist()}; clip or rescale the actions"
        )
    length = len(scaled)
    actions = np.clip(scaled, -1.0, 1.0)
    truncated = np.array(episode.truncated, bool)
    truncated[-1] |= not episode.terminated[-1]
    single = Transitions(
        episode.observations[:-1],
        actions,
        episode.rewards,
        episode.observations[1:],
        episode.terminated,
        truncated,
        np.concatenate([actions[1:], np.zeros_like(actions[:1])]),
        np.arange(length) < length - 1,
        episodes=np.full(length, number),
    )
    columns = Transitions(*(np.asarray(column, np.float32) for column in single))
    return columns._replace(episodes=single.episodes.astype(np.int32))


def _check(number: int, episode: Episode, act_dim: int) -> None:
    """Raise DataError unless the columns fit together and hold finite numbers."""
    length = len(episode.actions)
    shapes = ((length + 1, "obs"), (length, act_dim), (length,), (length,), (length,))
    for name, column, shape in zip(Episode._fields, episode, shapes, strict=True):
        wanted = tuple(column.shape[1] if size == "obs" and column.ndim == 2 else size for size in shape)
        if column.shape != wanted:
            raise DataError(
                f"episode {number}: {name} of shape {list(column.shape)} for {length} actions, allowed "
                f"[{', '.join(map(str, shape))}]"
            )
        wrong = np.argwhere(~np.isfinite(column))
        if len(wrong):
            row, *entry = (int(index) for index in wrong[0])
            where = f" in column {entry[0]}" if entry else ""
            raise DataError(f"episode {number}, row {row}: {name} holds NaN or infinity{where}; remove the episode")


def identity_normalizer(obs_dim: int) -> Normalizer:
    """The normaliser that leaves observations alone."""
    return Normalizer(np.zeros(obs_dim, np.float32), np.ones(obs_dim, np.float32))


def standardize(transitions: Transitions) -> tuple[Transitions, Normalizer]:
    """Standardised observations: (o - mean) / (std + 1e-3), statistics of the data's own observations."""
    observations = np.asarray(transitions.observations, np.float64)
    mean = observations.mean(0).astype(np.float32)
    scale = (observations.std(0) + 1e-3).astype(np.float32)
    return (
        transitions._replace(
            observations=(transitions.observations - mean) / scale,
            next_observations=(transitions.next_observations - mean) / scale,
        ),
        Normalizer(mean, scale),
    )
