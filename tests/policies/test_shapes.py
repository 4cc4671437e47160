"""Families that are no single Gaussian, fitted to conditional densities that are none, beside a fitted Gaussian."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pogospec.critics.clipped_double_q import ClippedDoubleQ
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import Sample
from pogospec.policies.carried import CarriedParticles
from pogospec.policies.flow_matching import FlowMatchingPolicy
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.policies.gaussian_mixture import GaussianMixturePolicy
from pogospec.policies.normalizing_flow import NormalizingFlowPolicy
from pogospec.policies.particles import Borrowed, ParticlesPolicy
from pogospec.policies.transport_map import TransportMapPolicy
from pogospec.steps.explicit import Explicit
from pogospec.types import Space

SPACE = Space(1, 2, (-1.0,) * 2, (1.0,) * 2)
STATES = np.array([-0.8, 0.1, 0.7], np.float32)
QUICK, LONG = (3.0, 800, (64, 64)), (4.0, 6000, (128, 128, 128))
"""By how much the energy distance of a Gaussian is larger, updates, and widths."""
OPTIMISED = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}
"""How programs of many updates are compiled, as users' are, whatever those of other tests."""
SLOW = ("transport_map",)
"""The energy score of a map takes minutes for each shape."""
MORE = {"flow_matching": 4}
"""How many times the quick updates a family takes: one of flow matching sees one noise and one time a row."""
FEWER = {"normalizing_flow": 1500}
"""Updates of a family that needs less than the others of the long fits."""
FAMILIES = {
    "gaussian_mixture": lambda hidden: GaussianMixturePolicy(components=12, hidden=hidden),
    "transport_map": lambda hidden: TransportMapPolicy(hidden=hidden, noise=4),
    "flow_matching": lambda hidden: FlowMatchingPolicy(
        hidden=hidden, activation="silu", initialization="lecun", steps=30
    ),
    "normalizing_flow": lambda hidden: NormalizingFlowPolicy(hidden=(16,), conditioner=(64, 64), activation="silu"),
}
TURN = np.pi / 4
"""How far a state of 1 turns the shapes."""


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
    points, turn = SHAPES[shape](rng, len(states)), TURN * states
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.stack([cos * points[:, 0] - sin * points[:, 1], sin * points[:, 0] + cos * points[:, 1]], 1)
    return np.clip(turned, -1, 1).astype(np.float32)


def energy_distance(x, y):
    """2 E|x - y| - E|x - x'| - E|y - y'| of samples, no sample with itself."""
    lengths = lambda a, b: np.sqrt(np.square(a[:, None] - b).sum(-1))  # noqa: E731
    within = sum(lengths(one, one).sum() / (len(one) * (len(one) - 1)) for one in (x, y))
    return 2 * lengths(x, y).mean() - within


@functools.cache
def fitted(family, shape, updates, hidden):
    """A family that was fitted to a shape, and its network."""
    policy = GaussianPolicy(hidden=hidden) if family == "gaussian" else FAMILIES[family](hidden)
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, size=20_000).astype(np.float32)
    rows, actions = states[:, None], conditional(shape, states, rng)
    adam = optax.adam(optax.cosine_decay_schedule(2e-3, updates))

    def fit(rows, actions, key):
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
        return network

    options: Any = OPTIMISED if updates > QUICK[1] * MORE.get(family, 1) else {}
    return policy, jax.jit(fit, compiler_options=options)(rows, actions, jax.random.key(1))


def from_data(policy, network, shape, options: Any = None):
    """Mean energy distance of samples from the data at three states; `options` of the compiler."""

    def draw(network, key):
        return policy.actions(Sample(1500), policy.parameters(network, jnp.asarray(STATES)[:, None]), key)

    drawn, rng = (
        np.asarray(jax.jit(draw, compiler_options=options)(network, jax.random.key(2))),
        np.random.default_rng(3),
    )
    data = [conditional(shape, np.full(1500, state), rng) for state in STATES]
    return np.mean([energy_distance(drawn[:, place], one) for place, one in enumerate(data)])


@functools.cache
def distance(family, shape, updates, hidden):
    """That of a fitted family."""
    return from_data(*fitted(family, shape, updates, hidden), shape)


@pytest.mark.thinned(("gaussian_mixture",), "fits a policy for each")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_of_any_shape_is_nearer_to_a_bent_density_than_a_gaussian(family):
    factor, updates, hidden = QUICK
    found = distance(family, "bent", MORE.get(family, 1) * updates, hidden)
    assert factor * found < distance("gaussian", "bent", updates, hidden)


@pytest.mark.exhaustive("fits networks for minutes")
@pytest.mark.parametrize(
    ("family", "shape"),
    [pair for pair in itertools.product(FAMILIES, SHAPES) if pair[0] not in SLOW or pair[1] == "ring"],
)
def test_a_family_of_any_shape_is_far_nearer_to_each_density_than_a_gaussian(family, shape):
    factor, updates, hidden = LONG
    found = distance(family, shape, FEWER.get(family, updates), hidden)
    assert factor * found < distance("gaussian", shape, updates, hidden)


class Bent(ClippedDoubleQ):
    """Critics that know the log density of the bent Gaussian."""

    def values(self, network, observations, actions, count=None):
        """The log density without its constant, twice."""
        turn = TURN * observations[..., 0]
        x, y = (actions[..., place] for place in range(2))
        x, y = jnp.cos(turn) * x + jnp.sin(turn) * y, jnp.cos(turn) * y - jnp.sin(turn) * x
        found = -jnp.square(x / 0.4) / 2 - jnp.square((y - 1.5 * x**2 + 0.4) / 0.04) / 2
        return jnp.stack([found, found])[:count]


@pytest.mark.exhaustive("fits two policies")
def test_particles_of_a_flow_that_follow_the_density_are_nearer_to_it_than_a_gaussian_and_than_the_flow():
    """Along Stein's velocity of a value that is the log density, entropy in full, their law tends to that density."""
    factor, updates, hidden = QUICK
    flow, network = fitted("flow_matching", "bent", updates // 4, hidden)
    energy = {"q": QTerm(critics="mean"), "entropy": EntropyTerm(weight=1.0)}
    scheme = Explicit(kernel="stein", moves=400, mover="adam")
    particles = CarriedParticles(
        ParticlesPolicy(count=50), flow, Bent(hidden=(4,)), energy, Wasserstein2(), scheme, 2.0
    )
    critic = particles.init(jax.random.key(0), SPACE).critic
    found = from_data(particles, Borrowed(network, critic), "bent", OPTIMISED)
    assert factor * found < distance("gaussian", "bent", updates, hidden)
    assert 2 * found < from_data(flow, network, "bent")


@pytest.mark.exhaustive("fits a policy")
def test_a_fitted_flow_in_n_steps_tends_to_that_of_many_at_the_rate_of_one_over_n():
    """At the same noise, action by action."""
    policy, network = fitted("flow_matching", "bent", MORE["flow_matching"] * QUICK[1], QUICK[2])
    counts = (16, 32, 64, 128, 2048)

    def ends(network, z):
        flows = (dataclasses.replace(policy, steps=count) for count in counts)
        return [flow.parameters(network, jnp.asarray(STATES)[:, None]).at(z) for flow in flows]

    z = np.random.default_rng(5).normal(size=(400, len(STATES), 2)).astype(np.float32)
    *few, many = map(np.asarray, jax.jit(ends)(network, z))
    errors = np.array([np.sqrt(np.square(one - many).mean()) for one in few])
    np.testing.assert_allclose(errors[:-1] / errors[1:], 2, atol=0.35)
