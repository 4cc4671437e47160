"""Importance sampling over logged episodes of a behaviour with a density: weighted, per decision, and doubly robust.

rho_t = prod_{k <= t} pi(a_k | s_k) / beta(a_k | s_k), divided in each t by its sum over episodes (per-decision weighted
importance sampling: Precup, Sutton and Singh, "Eligibility traces for off-policy policy evaluation", 2000). Doubly
robust: Jiang and Li, "Doubly robust off-policy value evaluation for reinforcement learning" (2016), with these weights
as in Thomas and Brunskill, "Data-efficient off-policy policy evaluation for reinforcement learning" (2016).

An episode that is over keeps its last weight, and has no rewards. Where a time limit cut it, its end is paid with the
critic's value of the last observation, since a time limit ends nothing: else rewards after it would be forgotten.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from pogospec.offline.episodes import Episodes


class Weighted(NamedTuple):
    """An estimate for each resample of the episodes, the first of which holds each once."""

    values: Float[np.ndarray, " B"]
    effective: float  # (sum rho)^2 / sum rho^2, as a mean over t by discount^t


def importance(
    log_ratio: Float[np.ndarray, " N"],
    rewards: Float[np.ndarray, " N"],
    q: Float[np.ndarray, " N"],
    after: Float[np.ndarray, " N"],
    terminated: Float[np.ndarray, " N"],
    initial: Float[np.ndarray, " E"],
    episodes: Episodes,
    discount: float,
    counts: Float[np.ndarray, "B E"],
) -> dict[str, Weighted]:
    """Per-decision weighted importance sampling (`wis`) and doubly robust (`dr`).

    `log_ratio`: log pi - log beta of each logged action; `q`: values of logged actions, `after`: of the next
    observations, 0 where terminated; `initial`: of the first observations; `counts`: how often each episode is drawn,
    whatever they sum up to, such as probabilities.
    """
    logs = np.cumsum(padded(log_ratio, episodes), 1)
    weights = np.exp(logs - logs.max(0))
    last = np.r_[np.diff(episodes.of) != 0, True]
    paid = rewards + discount * np.where(last & (np.asarray(terminated) == 0), after, 0.0)
    sampled = _weighted(weights, padded(paid, episodes), discount, counts)
    surprise = _weighted(weights, padded(rewards + discount * after - q, episodes), discount, counts)
    powers = discount ** np.arange(weights.shape[1])
    sizes = np.square(weights.sum(0)) / np.square(weights).sum(0)
    effective = float((powers * sizes).sum() / powers.sum())
    start = counts @ initial / counts.sum(1)
    return {"wis": Weighted(sampled, effective), "dr": Weighted(start + surprise, effective)}


def padded(values: Float[np.ndarray, " N"], episodes: Episodes) -> Float[np.ndarray, "E T"]:
    """A value a row as a row an episode, with zeros after its end."""
    found = np.zeros((episodes.size, int(np.max(episodes.time)) + 1))
    found[episodes.of, episodes.time] = values
    return found


def _weighted(weights: np.ndarray, values: np.ndarray, discount: float, counts: np.ndarray) -> np.ndarray:
    """sum_t discount^t sum_e c_e w_et x_et / sum_e c_e w_et, for each row of counts; t where no weight is left is 0."""
    totals = counts @ weights
    means = np.divide(counts @ (weights * values), totals, out=np.zeros_like(totals), where=totals > 0)
    return means @ discount ** np.arange(weights.shape[1])
