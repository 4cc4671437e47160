"""Episodes -> transitions, with their edges kept; and the standardisation of observations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pogospec.errors import DataError
from pogospec.types import Normalizer, Transitions


class Episode(NamedTuple):
    """T steps of one episode; T + 1 observations; actions in the environment's bounds."""

    observations: np.ndarray  # [T + 1, obs]
    actions: np.ndarray  # [T, act]
    rewards: np.ndarray  # [T]
    terminated: np.ndarray  # [T]
    truncated: np.ndarray  # [T]


def from_episodes(episodes: Iterable[Episode], low: Sequence[float], high: Sequence[float]) -> Transitions:
    """Join episodes; actions are scaled from [low, high] to [-1, 1]; raises DataError on unusable numbers."""
    low_array, high_array = np.asarray(low, np.float64), np.asarray(high, np.float64)
    rows: list[Transitions] = []
    for number, episode in enumerate(episodes):
        length = len(episode.actions)
        if length == 0:
            continue
        if len(episode.observations) != length + 1:
            raise DataError(
                f"episode {number}: found {len(episode.observations)} observations for {length} actions, "
                f"allowed {length + 1} (the last one follows the last action)"
            )
        for name, column in episode._asdict().items():
            if not np.isfinite(column).all():
                first = int(np.argwhere(~np.isfinite(column))[0][0])
                raise DataError(f"episode {number}, row {first}: {name} holds NaN or infinity; remove the episode")
        scaled = 2 * (episode.actions - low_array) / (high_array - low_array) - 1
        if np.abs(scaled).max() > 1 + 1e-4:
            row = int(np.argwhere(np.abs(scaled) > 1 + 1e-4)[0][0])
            raise DataError(
                f"episode {number}, row {row}: action {episode.actions[row].tolist()} lies outside the bounds "
                f"{list(low)} to {list(high)}; clip or rescale the actions"
            )
        actions = np.clip(scaled, -1.0, 1.0)
        following = np.concatenate([actions[1:], np.zeros_like(actions[:1])])
        valid = np.ones(length)
        valid[-1] = 0.0
        columns = (
            episode.observations[:-1],
            actions,
            episode.rewards,
            episode.observations[1:],
            episode.terminated,
            episode.truncated,
            following,
            valid,
        )
        rows.append(
            Transitions._make([*(np.asarray(c, np.float32) for c in columns), np.full(length, number, np.int32)])
        )
    if not rows:
        raise DataError("the dataset holds no transitions")
    return Transitions(*(np.concatenate(columns) for columns in zip(*rows, strict=True)))


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
