"""Families that are no single Gaussian, fitted to conditional densities that are none, beside a fitted Gaussian."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pogospec.policies.base import Sample
from pogospec.policies.flow_matching import FlowMatchingPolicy
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.policies.gaussian_mixture import GaussianMixturePolicy
from pogospec.policies.transport_map import TransportMapPolicy
from pogospec.types import Space

SPACE = Space(1, 2, (-1.0,) * 2, (1.0,) * 2)
STATES = np.array([-0.8, 0.1, 0.7], np.float32)
QUICK, LONG = (3.0, 800, (64, 64)), (4.0, 6000, (128, 128, 128))
"""By how much the energy distance of a Gaussian is larger, updates, and widths."""
MORE = {"flow_matching": 4}
"""How many times the quick updates a family takes: one of flow matching sees one noise and one time a row."""
FAMILIES = {
    "gaussian_mixture": lambda hidden: GaussianMixturePolicy(components=12, hidden=hidden),
    "transport_map": lambda hidden: TransportMapPolicy(hidden=hidden, noise=4),
    "flow_matching": lambda hidden: FlowMatchingPolicy(
        hidden=hidden, activation="silu", initialization="lecun", steps=30
    ),
}


def moons(rng, count):
    """Two half circles that reach into each other."""
    angle, upper = np.pi * rng.uniform(size=count), rng.random(count) < 0.5
    x, y = np.where(upper, np.cos(angle), 1 - np.cos(angle)), np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return 0.5 * np.stack([x - 0.5, y - 0.25], 1) + 0.03 * rng.normal(size=(count, 2))


def ring(rng, count):
    """Eight narrow Gaussians on a circle."""
    angle = np.pi / 4 * rng.integers(0, 8, count)
    return 0.7 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.04 * rng.normal(size=(count, 2))


def bent(rng, count):
    """A Gaussian along a parabola."""
    x = 0.4 * rng.normal(size=count)
    return np.stack([x, 1.5 * x**2 - 0.4 + 0.04 * rng.normal(size=count)], 1)


SHAPES = {"moons": moons, "ring": ring, "bent": bent}


def conditional(shape, states, rng):
    """Actions of a shape that the state turns by up to a quarter of a circle."""
    points, turn = SHAPES[shape](rng, len(states)), np.pi / 4 * states
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.stack([cos * points[:, 0] - sin * points[:, 1], sin * points[:, 0] + cos * points[:, 1]], 1)
    return np.clip(turned, -1, 1).astype(np.float32)


def energy_distance(x, y):
    """2 E|x - y| - E|x - x'| - E|y - y'| of samples, no sample with itself."""
    lengths = lambda a, b: np.sqrt(np.square(a[:, None] - b).sum(-1))  # noqa: E731
    within = sum(lengths(one, one).sum() / (len(one) * (len(one) - 1)) for one in (x, y))
    return 2 * lengths(x, y).mean() - within


@functools.cache
def distance(family, shape, updates, hidden):
    """Mean energy distance from the data at three states, of a family that was fitted to them."""
    policy = GaussianPolicy(hidden=hidden) if family == "gaussian" else FAMILIES[family](hidden)
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, size=20_000).astype(np.float32)
    rows, actions = states[:, None], conditional(shape, states, rng)
    adam = optax.adam(optax.cosine_decay_schedule(2e-3, updates))

    def fitted(rows, actions, key):
        def loss(network, chosen, key):
            return policy.fit_loss(policy.parameters(network, rows[chosen]), actions[chosen], key).mean()

        def step(carry, key):
            network, state = carry
            batch_key, key = jax.random.split(key)
            chosen = jax.random.randint(batch_key, (256,), 0, len(rows))
            updated, state = adam.update(jax.grad(loss)(network, chosen, key), state)
            return (optax.apply_updates(network, updated), state), None

        network = policy.init(key, SPACE)
        (network, _), _ = jax.lax.scan(step, (network, adam.init(network)), jax.random.split(key, updates))
        parameters = policy.parameters(network, jnp.asarray(STATES)[:, None])
        return policy.actions(Sample(1500), parameters, key)

    drawn = np.asarray(jax.jit(fitted)(rows, actions, jax.random.key(1)))
    data = [conditional(shape, np.full(1500, state), rng) for state in STATES]
    return np.mean([energy_distance(drawn[:, place], one) for place, one in enumerate(data)])


@pytest.mark.thinned(1, "fits a policy for each")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_any_shape_is_nearer_to_a_bent_density_than_a_gaussian(family):
    factor, updates, hidden = QUICK
    found = distance(family, "bent", MORE.get(family, 1) * updates, hidden)
    assert factor * found < distance("gaussian", "bent", updates, hidden)


@pytest.mark.exhaustive("fits networks for minutes")
@pytest.mark.parametrize(
    ("family", "shape"),
    [pair for pair in itertools.product(FAMILIES, SHAPES) if pair[0] != "transport_map" or pair[1] == "ring"],
)  # the energy score of a map takes minutes for each
def test_a_family_of_any_shape_is_far_nearer_to_each_density_than_a_gaussian(family, shape):
    factor, *size = LONG
    assert factor * distance(family, shape, *size) < distance("gaussian", shape, *size)
