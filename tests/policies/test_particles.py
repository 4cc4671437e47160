"""Particles keep to what policy families keep to, once a step carries them; clouds, stacked networks, rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pogospec import registry
from pogospec.critics.clipped_double_q import ClippedDoubleQ
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import Sample, normals, row_of
from pogospec.policies.carried import CarriedParticles
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.policies.particles import Cloud, ParticlesPolicy
from pogospec.spec.build import build_node, to_plain
from pogospec.steps.explicit import Explicit
from pogospec.types import Space

SPACE = Space(5, 3, (-1.0,) * 3, (1.0,) * 3)
FAMILIES = [kind for kind in registry.table("policy") if "sample" in registry.load("policy", kind).looks]
SOURCES = [registry.load("policy", kind) for kind in FAMILIES if not registry.load("policy", kind).borrows]


def carried(source=GaussianPolicy, particles=None, **options):
    scheme = {"kernel": "stein", "moves": 3, "mover": "adam", "bound": "clip"} | options
    own = ParticlesPolicy(count=4) if particles is None else particles
    energy = {"q": QTerm(critics="mean"), "entropy": EntropyTerm(weight=0.3)}
    step = energy, Wasserstein2(), Explicit(**scheme), 0.3
    return CarriedParticles(own, source(hidden=(8,)), ClippedDoubleQ(hidden=(8,)), *step)


def observations(rows):
    return jnp.asarray(np.random.default_rng(1).normal(size=(rows, 5)).astype(np.float32))


@pytest.mark.thinned(2, "compiles particles of each")
@pytest.mark.parametrize("source", SOURCES)
def test_particles_of_every_family_have_the_shapes_of_a_family(source):
    policy = carried(source)

    def asked(key):
        parameters = policy.parameters(policy.init(key, SPACE), observations(7))
        assert isinstance(parameters, Cloud)
        one = policy.mean_action(parameters), policy.sample(parameters, key)
        return one, [policy.actions(choice, parameters, key) for choice in ("mean", Sample(1), Sample(4), Sample(10))]

    one, many = jax.eval_shape(asked, jax.random.key(0))
    assert [leaf.shape for leaf in one] == [(7, 3)] * 2
    assert [leaf.shape for leaf in many] == [(n, 7, 3) for n in (1, 1, 4, 10)]
    assert np.isfinite(jax.jit(lambda key: asked(key)[0][1])(jax.random.key(1))).all()


def test_clouds_are_apart_and_stacked_networks_act_as_each_alone():
    policy = carried()
    rows = jnp.stack([observations(6), 1 - observations(6)])

    def both(key):
        networks = jax.vmap(lambda key: policy.init(key, SPACE))(jax.random.split(key))
        parameters = jax.vmap(policy.parameters)(networks, rows)
        z = normals(parameters, 10, key)
        alone = policy.parameters(jax.tree.map(lambda leaf: leaf[1], networks), rows[1])
        parts = [alone.at(part) for part in (z[:4, 1], z[4:8, 1], z[8:, 1], z[3, 1])]
        row = row_of(alone, 2).at(z[:4, 1, 2])
        acts = policy.sample(parameters, key), policy.sample(alone, key), policy.particles.moves
        return parameters.at(z), jnp.concatenate(parts[:3]), row, parts[3], acts[0], normals(alone, 4, key)

    together, parts, row, lone, acts, _ = jax.jit(both)(jax.random.key(0))
    assert together.shape == (10, 2, 6, 3)
    np.testing.assert_allclose(together[:, 1], parts, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together[:4, 1, 2], row, rtol=1e-4, atol=1e-5)
    assert np.abs(together[3, 1] - lone).max() > 1e-3  # a particle alone has none to push it
    assert acts.shape == (2, 6, 3)


def test_no_move_leaves_the_behaviour_and_the_best_is_the_best():
    still = carried(particles=ParticlesPolicy(count=6, moves=0))
    mean = carried(particles=ParticlesPolicy(count=6, moves=0, action="mean"))

    def asked(key):
        network = still.init(key, SPACE)
        parameters = still.parameters(network, observations(5))
        z = jax.random.normal(key, (6, 5, 3))
        points = still.behavior.parameters(network.behavior, observations(5)).at(z)
        values = still.critic.values(network.critic, observations(5), jnp.clip(points, -1, 1)).min(0)
        return points, values, still.sample(parameters, key), mean.sample(parameters, key)

    points, values, best, middle = (np.asarray(x) for x in jax.jit(asked)(jax.random.key(0)))
    np.testing.assert_allclose(best, points[values.argmax(0), np.arange(5)], rtol=1e-5)
    np.testing.assert_allclose(middle, points.mean(0), rtol=1e-5, atol=1e-6)


def test_whole_particles_are_plain_data_and_back():
    policy = carried(kernel="none", mover="euler")
    plain = to_plain(policy)
    assert plain["kind"] == "particles"
    assert build_node("carried", plain) == policy
    assert hash(build_node("carried", plain)) == hash(policy)
