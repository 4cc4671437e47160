"""The advantage of a policy over its reference in held-out states, by critics of the other half of the episodes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pogospec.judges.base import Bench, Finding, over_episodes
from pogospec.judges.fitted import FittedJudge, acted, each
from pogospec.offline import critic
from pogospec.offline.actions import ROWS, padded

Rows = Float[np.ndarray, "runs folds N"]


class CrossFitted(FittedJudge):
    """The mean over held-out states of Q(s, pi) - Q(s, reference), Q: of the reference, by the other half's critic.

    Q is fitted to the reference once, so that nothing seeks its errors, and a check costs no fit. It is no gain in
    value, of which it lacks 1/(1 - discount) and the states where the policy itself would be. The error joins that
    over episodes and the difference of the two critics.
    """

    def finding(self, bench: Bench) -> Finding:
        """The mean of the advantages, each by the critic that has not seen its episode."""
        reading, episodes = self.before(bench), self.halves(bench)
        observations = np.asarray(bench.held.observations)
        before = bench.once("actions", lambda: acted(bench, bench.reference, observations))
        seen = np.asarray(self.seen(bench).observations)
        found = advantages(reading.networks, seen, acted(bench, bench.policy, observations), before)
        return combined(found * float(reading.unit), np.asarray(episodes.fold)[episodes.of], bench.held.episodes)

    def words(self) -> str:
        """What is estimated, and how."""
        how = f"Q: of the reference, fitted in {self.updates:,} updates to the other half of the held-out episodes"
        return f"Q(s, π) − Q(s, reference), mean over held-out states s ({how})"

    def updates_of_critics(self, checks: int) -> int:
        """Two critics of the reference."""
        return 2 * self.updates


def combined(found: Rows, fold: np.ndarray, episodes: Any) -> Finding:
    """The mean of each run's advantages by the critics of the other fold, and its error.

    The critics of the two halves are independent: half their difference, over all rows, is an error of their mean.
    """
    own = np.where(fold == 0, found[:, 0], found[:, 1])
    gain, error = jax.vmap(over_episodes, (0, None))(jnp.asarray(own), jnp.asarray(episodes))
    apart = (found[:, 0] - found[:, 1]).mean(-1) / 2
    return Finding(np.asarray(gain, np.float64), np.sqrt(np.square(np.asarray(error, np.float64)) + np.square(apart)))


def advantages(networks: Any, observations: np.ndarray, now: np.ndarray, before: np.ndarray) -> Rows:
    """Q of actions `now` less that of `before`, means over their points, by each critic [runs, folds] in its units."""
    found = []
    for run, several in enumerate(each(networks)):
        parts = []
        for begin in range(0, len(observations), ROWS):
            at = slice(begin, begin + ROWS)
            rows = (padded(column[at]) for column in (observations, now[run], before[run]))
            parts.append(np.asarray(_advantages(several, *rows)))
        found.append(np.concatenate(parts, 1)[:, : len(observations)])
    return np.stack(found)


@jax.jit
def _advantages(several: Any, observations: Array, now: Array, before: Array) -> Array:
    def value(network: Any, actions: Array) -> Array:
        return critic.value(network, observations, jnp.swapaxes(actions, 0, 1)).mean(0)

    return jax.vmap(lambda network: value(network, now) - value(network, before))(several)
