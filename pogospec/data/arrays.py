"""Transitions for the training loop: from episodes, standardised, with transformed rewards, split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pogospec.data.columns import CHUNK, moments, oversized, to_transitions
from pogospec.data.episodes import join
from pogospec.errors import DataError
from pogospec.spec.schema import RewardSpec
from pogospec.types import Normalizer, Transitions


def from_episodes(episodes: Iterable[Sequence], low: Sequence[float], high: Sequence[float]) -> Transitions:
    """Join episodes (tuples in the order of `Episode`); actions are scaled from [low, high] to [-1, 1].

    An episode that ends with neither flag was cut, and counts as truncated. Raises DataError on numbers that
    cannot be used: NaN, infinity, actions outside their bounds, columns of unequal length, no data.
    """
    return to_transitions(join(episodes), low, high)


def transform_rewards(transitions: Transitions, reward: RewardSpec) -> Transitions:
    """Rewards scale * r * return_range / (max - min of the episodes' returns) + shift; raises DataError.

    Returns are undiscounted sums over an episode's rows, a last one that was cut included, as in IQL's released code.
    """
    if reward == RewardSpec():
        return transitions
    factor = reward_factor(transitions, reward)
    rewards = (factor * np.asarray(transitions.rewards, np.float64) + reward.shift).astype(np.float32)
    return transitions._replace(rewards=rewards)


def reward_factor(transitions: Transitions, reward: RewardSpec) -> float:
    """By what `transform_rewards` multiplies rewards; raises DataError."""
    factor = reward.scale
    if reward.return_range is not None:
        returns = _returns(transitions.episodes, transitions.rewards)
        spread = float(returns.max() - returns.min())
        if spread <= 0.0:
            raise DataError(
                f"data.reward.return_range: all {len(returns)} episodes have the return {returns[0]:g}, allowed "
                "different ones; leave return_range out, and set data.reward.scale"
            )
        factor *= reward.return_range / spread
    return factor


def _returns(episodes: np.ndarray, rewards: np.ndarray) -> np.ndarray:
    """Sums of rewards [episodes], in float64 and in order."""
    returns = np.zeros(int(episodes[-1]) + 1 if len(episodes) else 0)
    for begin in range(0, len(episodes), CHUNK):
        rows = slice(begin, begin + CHUNK)
        np.add.at(returns, episodes[rows], np.asarray(rewards[rows], np.float64))
    return returns


def identity_normalizer(obs_dim: int) -> Normalizer:
    """The normaliser that leaves observations alone."""
    return Normalizer(np.zeros(obs_dim, np.float32), np.ones(obs_dim, np.float32))


HELD_ROWS = 4096
"""Rows that policies are measured on, at most."""


def split(transitions: Transitions, share: float) -> tuple[Transitions, Transitions]:
    """Rows to train on, and rows to measure on in random order: of a share of the episodes, or of all where it is 0.

    Always the same episodes and the same order, so that runs of one dataset are measured alike.
    """
    draw = np.random.default_rng(0)
    apart, count = _apart(transitions, share, draw)
    held = draw.permutation(np.flatnonzero(apart) if count else len(apart))[:HELD_ROWS]
    kept = transitions if not count else Transitions(*(column[~apart] for column in transitions))
    return kept, Transitions(*(column[held] for column in transitions))


def held_out(transitions: Transitions, share: float) -> Transitions:
    """The episodes of a share that `split` keeps from training, whole and in order."""
    apart, _ = _apart(transitions, share, np.random.default_rng(0))
    return Transitions(*(column[apart] for column in transitions))


def _apart(transitions: Transitions, share: float, draw: np.random.Generator) -> tuple[np.ndarray, int]:
    """Which rows are of held-out episodes, and how many episodes these are."""
    apart = chosen(np.unique(transitions.episodes), share, draw)
    return np.isin(transitions.episodes, apart), len(apart)


def chosen(episodes: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """The episodes that are held out; raises DataError where there is one."""
    count = min(len(episodes) - 1, max(1, round(share * len(episodes)))) if share else 0
    if share and not count:
        raise DataError("data.holdout: the dataset has one episode, allowed 0")
    return draw.permutation(episodes)[:count]


def standardize(transitions: Transitions) -> tuple[Transitions, Normalizer]:
    """Standardised observations: (o - mean) / (std + 1e-3), statistics of the data's own observations.

    The normaliser is of the observations' type: what float32 would blur is float64 until its mean is taken off.
    """
    normalizer = normalizer_of(*moments(transitions.observations), transitions.observations.dtype)
    return normalized(transitions, normalizer), normalizer


def normalizer_of(mean: np.ndarray, variance: np.ndarray, kind: np.dtype) -> Normalizer:
    """That of observations of a type."""
    return Normalizer(mean.astype(kind), (np.sqrt(variance) + 1e-3).astype(kind))


def normalized(transitions: Transitions, normalizer: Normalizer) -> Transitions:
    """Transitions whose observations are those of a normaliser."""
    return transitions._replace(
        observations=(transitions.observations - normalizer.mean) / normalizer.scale,
        next_observations=(transitions.next_observations - normalizer.mean) / normalizer.scale,
    )


def check_rewards(transitions: Transitions, reward: RewardSpec) -> None:
    """Raise DataError for rewards that cannot be transformed, or are too large to be trained on then."""
    told = oversized(transform_rewards(transitions, reward).rewards)
    if told is not None:
        raise DataError(f"data.reward: {told}")
