"""Flow matching in n Euler steps: how fast its law tends to that of the flow, where the flow is known in closed form.

The velocity of flow matching is E[a - z | (1 - t) z + t a = x] of independent z ~ N(0, 1) and a. For a ~ N(m, s^2) it
is m + (t s^2 - (1 - t)) (x - t m) / ((1 - t)^2 + t^2 s^2), for a mixture the mean of these by the shares of components
in the density of x; along it the law of z becomes that of a (Lipman et al. 2023, theorem 2), whatever the mixture.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from pogospec.policies.flow_matching import Flowed, FlowMatchingPolicy
from pogospec.types import Space

COUNTS = (8, 16, 32, 64, 128)
STATES = np.array([[-1.0], [0.3], [1.0]])


class Known(Flowed):
    """A flow whose velocity is written down: a mixture of two Gaussians that the state moves apart."""

    def velocity(self, x, t):
        """Velocity at x [..., batch, 1] and time t [1]."""
        weights, means, stds = (jnp.asarray(part) for part in mixture(self.observations[..., 0]))
        spread = jnp.sqrt(jnp.square(1 - t) + jnp.square(t * stds))
        logs = jnp.log(weights) - jnp.square((x - t * means) / spread) / 2 - jnp.log(spread)
        each = means + (t * jnp.square(stds) - (1 - t)) / jnp.square(spread) * (x - t * means)
        return (jax.nn.softmax(logs, -1) * each).sum(-1, keepdims=True)


def mixture(states):
    """Weights, means and stds [batch, 2]."""
    rows = jnp.ones_like(states)
    return (
        jnp.stack([0.35 * rows, 0.65 * rows], -1),
        jnp.stack([-0.6 + 0.2 * states, 0.5 + 0.3 * states], -1),
        jnp.stack([0.3 * rows, 0.2 + 0.05 * states], -1),
    )


def ends(steps, z):
    """Actions [n, batch] after so many steps from z [n], at all states."""
    policy, space = FlowMatchingPolicy(hidden=(), bound="none"), Space(1, 1, (-1.0,), (1.0,))
    network = policy.init(jax.random.key(0), space)
    flow = Known(network, jnp.asarray(STATES), jnp.asarray(1e-5), steps, "none")
    rows = jnp.broadcast_to(jnp.asarray(z)[:, None, None], (len(z), len(STATES), 1))
    return np.asarray(jax.jit(lambda z: flow.at(z))(rows))[..., 0]


@functools.cache
def levels():
    """Standard normal quantiles at the middles of equal shares."""
    return stats.norm.ppf((np.arange(4000) + 0.5) / 4000)


def quantiles(states):
    """The known actions [n, batch] at these levels, by halving intervals of the distribution function."""
    weights, means, stds = (np.asarray(part) for part in mixture(jnp.asarray(states)))
    low, high = (np.full((len(levels()), len(states)), bound) for bound in (-9.0, 9.0))
    for _ in range(60):
        middle = (low + high) / 2
        below = (weights * stats.norm.cdf((middle[..., None] - means) / stds)).sum(-1)
        short = below < stats.norm.cdf(levels())[:, None]
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return middle


def order(errors):
    """The power of 1/n at which errors fall."""
    return -np.polyfit(np.log(COUNTS), np.log(errors), 1)[0]


def w2(x, y):
    """In one dimension, of equal shares: the root mean square gap of what is sorted."""
    return np.sqrt(np.square(np.sort(x) - np.sort(y)).mean())


def energy_distance(x, y):
    """2 times the integral of the squared gap of distribution functions, of equal shares."""
    whole = np.sort(np.concatenate([x, y]))
    below = [np.searchsorted(np.sort(one), whole[:-1], side="right") / len(one) for one in (x, y)]
    return 2 * (np.square(below[0] - below[1]) * np.diff(whole)).sum()


def test_the_law_of_n_steps_tends_to_the_known_one_at_order_one(float64):
    """In each state W2 falls like 1/n, and so does the root of the energy distance; many steps are the known law."""
    found, many, known = [ends(count, levels()) for count in COUNTS], ends(2048, levels()), quantiles(STATES[:, 0])
    for state in range(len(STATES)):
        assert w2(many[:, state], known[:, state]) < 2e-3
        for truth in (many[:, state], known[:, state]):
            distances = [w2(one[:, state], truth) for one in found]
            roots = [np.sqrt(energy_distance(one[:, state], truth)) for one in found]
            assert order(distances) == pytest.approx(1, abs=0.1)
            assert order(roots) == pytest.approx(1, abs=0.15)
        assert 0.01 < distances[0] < 0.5
