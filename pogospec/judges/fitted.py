"""Judges that fit critics of their own on held-out episodes: their keys, and what policies would do there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.data.arrays import standardize
from pogospec.judges.base import AbstractJudge, Bench
from pogospec.nets import with_products
from pogospec.offline import Candidate, Episodes, Reading, Settings, episodes_of, fitted
from pogospec.offline.actions import ROWS, draw, padded
from pogospec.spec.fields import Within
from pogospec.types import Space, Transitions

FOLDS = 2
"""Halves of the episodes: each is read by critics of the other."""
POINTS = 8
"""Actions of a policy in each place, where it acts by samples."""


class FittedJudge(AbstractJudge):
    """Fits critics on half of the held-out episodes, and reads them in the other half, both ways."""

    unit: ClassVar[str] = "the discounted rewards"
    by_critic: ClassVar[bool] = False
    episodes: ClassVar[int] = 2 * FOLDS

    updates: Annotated[int, Within(ge=20), "minibatch updates of each critic"] = 5000
    hidden: Annotated[tuple[int, ...], Within(ge=1), "widths of the hidden layers of a critic"] = (128, 128)
    batch_size: Annotated[int, Within(ge=1), "transitions in a minibatch"] = 256
    learning_rate: Annotated[float, Within(gt=0.0), "step size of Adam, which falls to 0 over the updates"] = 1e-3

    def work(self, space: Space) -> float:
        """Those of its matrix products: of values, of their gradient, and of the slow copy."""
        sizes = (space.obs_dim + space.act_dim, *self.hidden, 1)
        return 8.0 * self.batch_size * sum(a * b for a, b in itertools.pairwise(sizes))

    def settings(self, bench: Bench) -> Settings:
        """How its critics are fitted."""
        own = {name: getattr(self, name) for name in ("updates", "hidden", "batch_size", "learning_rate")}
        return Settings(discount=bench.discount, folds=FOLDS, **own)

    def halves(self, bench: Bench) -> Episodes:
        """The held-out episodes, dealt to the halves always alike."""
        return bench.once("episodes", lambda: episodes_of(bench.held, FOLDS))

    def seen(self, bench: Bench) -> Transitions:
        """The held-out episodes with observations of unit size, as critics are fitted on; policies act on theirs."""
        return bench.once("seen", lambda: standardize(bench.held)[0])

    def read(self, bench: Bench, networks: Any) -> Reading:
        """Fitted Q evaluation of the policies of all runs, by the same draws whatever the policies are."""
        episodes = self.halves(bench)
        starts = np.asarray(bench.held.observations)[episodes.first]
        both = (acted(bench, networks, place) for place in (bench.held.next_observations, starts))
        return fitted(
            self.settings(bench), self.seen(bench), episodes, Candidate(*both), jax.random.key(0), bench.layout
        )

    def before(self, bench: Bench) -> Reading:
        """That of the policies that the step began with, fitted once in the step."""
        return bench.once("reference", lambda: self.read(bench, bench.reference))


def acted(bench: Bench, networks: Any, observations: Any) -> np.ndarray:
    """Actions [runs, N, points, act] of policies as they are evaluated; samples are the same for all of them."""
    whole = with_products(networks, rounded=False)  # as saved ones act
    return np.stack([_acted(bench, one, np.asarray(observations)) for one in each(whole)])


def each(networks: Any) -> Iterator[Any]:
    """The networks of each run by themselves, so that what is found of a run does not depend on the others."""
    for run in range(len(jax.tree.leaves(networks)[0])):
        yield jax.tree.map(lambda leaf, run=run: leaf[run], networks)


def _acted(bench: Bench, network: Any, observations: np.ndarray) -> np.ndarray:
    count, found, one = len(observations), [], jax.tree.map(lambda leaf: leaf[None], network)
    points = 1 if bench.action == "mean" else POINTS
    for number, begin in enumerate(range(0, count, ROWS)):
        rows = jnp.asarray(padded(observations[begin : begin + ROWS]))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(1), number), points)
        chosen = draw(bench.family, bench.action, one, rows, keys)[:, 0]
        found.append(np.asarray(jnp.clip(chosen, -1.0, 1.0) if bench.bounded else chosen))
    return np.moveaxis(np.concatenate(found, 1)[:, :count], 0, 1)
