"""Normalising flows: inverse, volume, density, entropy and KL by other routes; fits, files, specs, known energies."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import functools
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import pogospec as command
from flowjax.bijections import RationalQuadraticSpline
from flowjax.utils import get_ravelled_pytree_constructor
from paramax import unwrap
from scipy import integrate, stats

import pogospec
from pogospec.geometries.base import Seen
from pogospec.geometries.kl import KL
from pogospec.policies.base import DiagonalNormal, normals, row_of
from pogospec.policies.invertible import moved
from pogospec.policies.normalizing_flow import NormalizingFlowPolicy
from pogospec.policies.splines import BOUND, numbers_of, spline
from pogospec.targets.base import log_volume
from pogospec.types import Space


def computed(function, *arguments):
    """What one program gives, on the host."""
    return jax.device_get(jax.jit(function)(*arguments))


def bent(size, rows=4, layers=3, seed=0, scale=0.5):
    """A family and the maps of some states, which are far from affine."""
    policy = NormalizingFlowPolicy(layers=layers, knots=5, hidden=(8,), conditioner=(8,), entropy_samples=2000)
    rng, space = np.random.default_rng(seed), Space(3, size, (-1.0,) * size, (1.0,) * size)
    network = computed(lambda key: policy.init(key, space), jax.random.key(seed))
    network = jax.tree.map(lambda leaf: leaf + scale * rng.normal(size=leaf.shape), network)
    return policy, policy.parameters(network, jnp.asarray(rng.normal(size=(rows, 3))))


@pytest.mark.parametrize("size", [1, 3])
def test_inverse_and_volume_are_those_of_the_map(size, float64):
    """In and outside of the splines: the noise comes back, and the volume is that of the Jacobian."""
    _, p = bent(size)
    z = 1.5 * np.random.default_rng(1).normal(size=(5, 4, size))
    z[0] = 7.0

    def asked(p, z):
        actions, volume = p.with_volume(z)
        own = [jax.vmap(jax.jacrev(row_of(p, i).at))(z[:, i]) for i in range(4)]
        return p.at(z), actions, volume, p._backward(actions), p.log_density(actions), jnp.stack(own, 1)

    at, actions, volume, (back, again), density, jacobians = computed(asked, p, z)
    np.testing.assert_array_equal(at, actions)
    np.testing.assert_allclose(back, z, atol=1e-6)
    np.testing.assert_allclose(again, volume, atol=1e-6)
    np.testing.assert_allclose(volume, np.linalg.slogdet(jacobians)[1], atol=1e-6)
    np.testing.assert_allclose(density, stats.norm.logpdf(z).sum(-1) - volume, atol=1e-5)
    assert np.abs(volume - volume.mean(0)).max() > 0.3
    if size == 3:  # dimensions hang together
        assert np.abs(jacobians[1:, :, 0, 1:]).max() > 0.01


@pytest.mark.parametrize(("knots", "interval"), [(8, 5), (1, 2)])
def test_splines_and_their_gradients_are_those_of_flowjax(knots, interval, float64):
    """Both ways, inside and outside of the interval; of parameters that the bound has bounded."""
    make, count = get_ravelled_pytree_constructor(
        RationalQuadraticSpline(knots=knots, interval=interval), eqx.is_inexact_array
    )
    assert count == numbers_of(knots)
    rng = np.random.default_rng(0)
    numbers, x = 6 * rng.normal(size=(count, 200)), rng.uniform(-interval - 1, interval + 1, size=200)
    pulls = rng.normal(size=(2, 200))

    def theirs(numbers, x, method):
        return getattr(unwrap(make(BOUND * jnp.tanh(numbers / BOUND))), method)(x)

    def asked(numbers, x):
        for backward, method in enumerate(("transform_and_log_det", "inverse_and_log_det")):
            each = jax.vmap(functools.partial(theirs, method=method), (1, 0))
            for function in (each, lambda n, x, way=bool(backward): spline(n, x, interval, way)):
                values, pull = jax.vjp(function, numbers, x)
                yield values, pull(tuple(pulls))

    found = computed(lambda *given: list(asked(*given)), numbers, x)
    for expected, own in zip(found[::2], found[1::2], strict=True):
        for one, other in zip(*map(jax.tree.leaves, (expected, own)), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def test_two_layers_in_a_row_move_each_dimension_once():
    assert moved(3, 1).all()
    for size in (2, 5, 6):
        found = moved(6, size)
        assert (found[::2] != found[1::2]).all()
        assert (found.sum(1) < size).all()
    assert (moved(4, 6)[0] != moved(4, 6)[2]).any()


def test_density_entropy_and_kl_are_those_of_quadrature(float64):
    """In one dimension, on a grid: the mass is 1; in two, the law of samples."""
    policy, p = bent(1, rows=1)
    _, q = bent(1, rows=1, seed=1)
    x = np.linspace(-30, 30, 100_001)[:, None, None]
    normal = DiagonalNormal(np.array([[0.2]]), np.array([[0.1]]))
    rows = 3000
    geometries = KL(samples=rows), KL(samples=rows, direction="reference_to_policy")

    def asked(p, q, x):
        seen = Seen(jnp.zeros((1, 3)), jax.random.key(0))
        own = p.distribution().log_prob(x)
        pairs = [(geometries[0], p, q), (geometries[0], p, normal), (geometries[1], p, normal)]
        values = [g.divergence(a, b, seen) for g, a, b in pairs]
        return p.log_density(x), own, q.log_density(x), policy.entropy(p, jax.random.key(1)), values

    log_p, own, log_q, entropy, values = computed(asked, p, q, x)
    log_p, log_q, x = log_p[:, 0], log_q[:, 0], x[:, 0, 0]
    np.testing.assert_allclose(own[:, 0], log_p, rtol=1e-12)
    mean = lambda log, values: integrate.trapezoid(np.exp(log) * values, x)  # noqa: E731
    assert mean(log_p, 1.0) == pytest.approx(1, abs=1e-3)
    log_n = stats.norm.logpdf(x, 0.2, np.exp(0.1))
    assert entropy[0] == pytest.approx(-mean(log_p, log_p), abs=0.1)
    wanted = [mean(log_p, log_p - log_q), mean(log_p, log_p - log_n), mean(log_n, log_n - log_p)]
    for found, expected, (first, second) in zip(
        values, wanted, [(log_p, log_q), (log_p, log_n), (log_n, log_p)], strict=True
    ):
        spread = np.sqrt(mean(first, (first - second) ** 2) / rows)
        assert abs(found[0] - expected) < 4.5 * spread + 2e-3


def test_a_placed_flow_is_the_gaussian_and_the_mean_action_its_centre():
    policy, space = NormalizingFlowPolicy(hidden=(), mean="linear"), Space(0, 2, (-1.0,) * 2, (1.0,) * 2)

    def asked(key, z):
        p = policy.parameters(policy.placed(policy.init(key, space), (0.5, -3.0), (0.2, 2.0)), jnp.zeros((1, 0)))
        return p.at(z), policy.mean_action(p), policy.entropy(p, key), log_volume(p, z[:, 0])

    z = np.random.default_rng(0).normal(size=(6, 1, 2)).astype(np.float32)
    actions, mean, entropy, volume = computed(asked, jax.random.key(0), z)
    np.testing.assert_allclose(actions, np.array([0.5, -3.0]) + z * np.array([0.2, 2.0]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, [[0.5, -3.0]], rtol=1e-5)
    np.testing.assert_allclose(volume, np.log(0.4), rtol=1e-4)
    np.testing.assert_allclose(entropy, np.log(0.4) + 1 + np.log(2 * np.pi), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_wild_weights_make_finite_numbers(dtype, float64):
    """Networks of any size: actions, densities, and gradients of both, far outside too."""
    policy, space = NormalizingFlowPolicy(layers=2, hidden=(8,), conditioner=(8,)), Space(3, 2, (-1.0,) * 2, (1.0,) * 2)

    def asked(key, z):
        network = jax.tree.map(lambda leaf: (30 * leaf).astype(dtype), policy.init(key, space))
        rows = jnp.ones((3, 3), dtype)
        total = lambda network: policy.parameters(network, rows).at(z).sum()  # noqa: E731
        density = lambda network: policy.parameters(network, rows).log_density(3 * z).mean()  # noqa: E731
        return policy.parameters(network, rows).at(z), jax.grad(total)(network), jax.grad(density)(network)

    z = np.random.default_rng(0).normal(size=(20, 3, 2)).astype(dtype)
    actions, *slopes = computed(asked, jax.random.key(0), z)
    assert actions.dtype == dtype
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves([actions, slopes]))


VALLEY = {"kind": "normalizing_flow", "layers": 2, "conditioner": [16]}


@pytest.mark.exhaustive("follows a flow of networks")
def test_a_flow_of_explicit_steps_bends_into_the_valley_where_a_gaussian_cannot():
    """KL to a banana, 0.65 nats for the best Gaussian (specs/flows/banana_full_gaussian)."""

    def valley(a):
        return -jnp.square(a[..., 0]) / 2 - jnp.square((a[..., 1] - jnp.square(a[..., 0]) + 1) / 0.4) / 2

    found = pogospec.flow(
        valley,
        dimensions=2,
        family=VALLEY,
        geometry="fisher_rao",
        tau=0.5,
        steps=8,
        updates=300,
        learning_rate=0.01,
        scheme={"kind": "explicit", "split": 0.5},
        actions={"sample": 128},
    )
    assert found.kl is not None
    assert found.kl[0] > 5
    assert found.kl[-1] < 0.15
    assert np.shape(found.distribution().sample(jax.random.key(0), (3,))) == (3, 2)


SPEC = """
data: {dataset: pocket/reacher-mixed}
policy: {kind: normalizing_flow, hidden: [8], layers: 2, conditioner: [8], knots: 4}
energy: {q: {actions: {sample: 2}}, entropy: {weight: 0.01}}
geometry: {kind: kl, samples: 2}
critic: {kind: clipped_double_q, hidden: [8]}
schedule:
  steps:
    - {learn: [critic, behavior], updates: 20}
    - {from: behavior, start: behavior, tau: 0.4, updates: 20, learn: [policy]}
evaluate: {every: 40, episodes: 1}
"""


@pytest.mark.exhaustive("compiles several programs of splines")
def test_a_run_starts_at_the_behaviour_and_saves_policies_that_act_as_before(tmp_path):
    (tmp_path / "flow.yaml").write_text(SPEC)
    command("run", tmp_path / "flow.yaml", "--out", tmp_path / "run")
    saved = pogospec.load_policy(tmp_path / "run")
    actions = saved.act(np.zeros((5, 11), np.float32))
    assert actions.shape == (5, 2)
    assert np.isfinite(actions).all()
    command("plot", tmp_path / "run", "--figure", "density")
    told = command("explain", tmp_path / "flow.yaml", "--to", "json")
    choices = {row["topic"]: row["text"] for row in json.loads(told.stdout)["choices"]}
    assert choices["mean action"].startswith("the image of z = 0")


def test_noise_of_a_type_and_a_row_of_a_batch():
    policy, p = bent(2)
    z = normals(p, 3, jax.random.key(0))
    assert z.shape == (3, 4, 2)
    whole, one = computed(lambda p, z: (p.log_density(p.at(z))[1, 2], row_of(p, 2).log_density(p.at(z)[1, 2])), p, z)
    assert whole == pytest.approx(one, rel=1e-4)
    assert policy.can_be_placed()

    def asked(p, z, key):
        actions, density = policy.scored(p, key, 3)
        return actions, p.at(z), density, p.log_density(actions)

    actions, own, density, inverted = computed(asked, p, z, jax.random.key(0))
    np.testing.assert_allclose(actions, own, rtol=1e-5)
    np.testing.assert_allclose(density, inverted, rtol=1e-4, atol=1e-4)
