"""Geometries estimated by samples, against what they estimate."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import itertools

import jax
import numpy as np
import pytest

from pogospec import registry
from pogospec.geometries.base import Seen
from pogospec.geometries.energy_distance import EnergyDistance
from pogospec.geometries.mmd import MMD
from pogospec.geometries.sinkhorn import Sinkhorn
from pogospec.geometries.sliced_wasserstein2 import SlicedWasserstein2
from pogospec.geometries.wasserstein1 import Wasserstein1
from pogospec.geometries.wasserstein2 import SharedNoise, Wasserstein2
from pogospec.nets import MLP, Linear
from pogospec.policies.base import DiagonalNormal, FullNormal, Point, TanhNormal
from pogospec.policies.flow_matching import Flowed
from pogospec.policies.mixtures import Mixture
from pogospec.policies.transport_map import Pushed
from pogospec.types import Space

WIDTH = 0.7


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


def normal(mean, std):
    return DiagonalNormal(np.asarray(mean, float), np.log(np.asarray(std, float)))


def mean_kernel(p, q):
    """E exp(-|x - y|^2 / (2 w^2)) of independent Gaussians: prod_j w/sqrt(v_j) exp(-gap_j^2/(2 v_j)), v = w^2 + sum."""
    v = WIDTH**2 + np.exp(2 * p.log_std) + np.exp(2 * q.log_std)
    return np.prod(WIDTH / np.sqrt(v) * np.exp(-((p.mean - q.mean) ** 2) / (2 * v)), -1)


@pytest.mark.parametrize("estimate", ["unbiased", "biased"])
def test_mmd_of_gaussians_with_a_gaussian_kernel(estimate, float64):
    """The mean over many estimates is the closed form; the biased one sees k(x, x) = 1 in one pair of n."""
    p, q = normal([0.3, -0.4], [0.5, 0.2]), normal([-0.2, 0.1], [0.3, 0.6])
    same, count, runs = [mean_kernel(p, p), mean_kernel(q, q)], 3, 20_000
    if estimate == "biased":
        same = [(1 + (count - 1) * kernel) / count for kernel in same]
    expected = sum(same) / 2 - mean_kernel(p, q)
    geometry = MMD(kernel="gaussian", bandwidth=WIDTH, samples=count, estimate=estimate)
    first, second = (jax.tree.map(lambda leaf: np.broadcast_to(leaf, (runs, 2)), side) for side in (p, q))
    values = computed(geometry.divergence, first, second, Seen(np.zeros((runs, 1)), jax.random.key(0)))
    assert values.shape == (runs,)
    assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(runs)
    assert values.std() / np.sqrt(runs) < 0.02 * expected
    if estimate == "biased":
        assert (values >= -1e-15).all()


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_mmd_of_points_is_one_minus_the_kernel(kernel, float64):
    a, b = np.random.default_rng(0).normal(size=(2, 7, 3))
    seen = Seen(np.zeros((7, 1)), jax.random.key(0))
    geometry = MMD(kernel=kernel, bandwidth=WIDTH, weight=2.0)
    found = computed(geometry.divergence, Point(a), Point(b), seen)
    gaps = np.abs(a - b).sum(1) / WIDTH if kernel == "laplacian" else ((a - b) ** 2).sum(1) / (2 * WIDTH**2)
    np.testing.assert_allclose(found, 2 * (1 - np.exp(-gaps)), rtol=1e-12)


def trained(geometry, p, q, updates=400):
    """By a dual critic after many updates beside two fixed distributions, the gap of many samples."""
    rows, size = p.mean.shape
    nothing = np.zeros((rows, 0))

    def gap(p, q, keys):
        def body(index, dual):
            return geometry.update(p, q, Seen(nothing, jax.random.fold_in(jax.random.key(1), index), dual))[0]

        dual = geometry.init(jax.random.key(0), Space(0, size, (-1.0,) * size, (1.0,) * size))
        dual = jax.lax.fori_loop(0, updates, body, dual)
        return jax.vmap(lambda key: geometry.divergence(p, q, Seen(nothing, key, dual)).mean())(keys).mean()

    return float(computed(gap, p, q, jax.random.split(jax.random.key(2), 50)))


def penalised_gap(shift, std, penalty):
    """The supremum for N(0, s^2) and N(shift, s^2) under the one-sided penalty: shift + int F^2/(2 penalty m) dx.

    F is the gap of the distribution functions, whose integral is the shift, and m the density of a + u (b - a): where
    the slope may exceed 1 at a cost, it is 1 + F/(2 penalty m).
    """
    x, u = np.linspace(-6 * std, shift + 6 * std, 4001), (np.arange(400) + 0.5) / 400
    density = lambda x, m, s: np.exp(-(((x - m) / s) ** 2) / 2) / (s * np.sqrt(2 * np.pi))  # noqa: E731
    between = np.mean([density(x, place * shift, std * np.hypot(1 - place, place)) for place in u], 0)
    f = np.cumsum(density(x, 0, std) - density(x, shift, std)) * (x[1] - x[0])
    return shift + float(np.sum(f**2 / between)) * (x[1] - x[0]) / (2 * penalty)


def dual(penalty, samples=1):
    """A dual critic that is small, and learns fast."""
    return Wasserstein1(hidden=(16, 16), penalty=penalty, samples=samples, learning_rate=3e-3)


@pytest.mark.thinned(("1.0-5.0",), "trains a dual critic")
@pytest.mark.parametrize("penalty", [5.0, 100.0])
@pytest.mark.parametrize("shift", [0.4, 1.0])
def test_the_trained_dual_finds_the_distance_of_shifted_gaussians(shift, penalty):
    """|m1 - m2| for equal stds, as the penalty grows; with the published 5 the supremum that it allows."""
    p, q = (normal(np.full((64, 1), mean), np.full((64, 1), 0.2)) for mean in (shift, 0.0))
    found = trained(dual(penalty, 2), p, q)
    assert found == pytest.approx(penalised_gap(shift, 0.2, penalty), rel=0.02)
    if penalty == 100.0:
        assert found == pytest.approx(shift, rel=0.02)


def test_the_trained_dual_finds_the_distance_of_points_and_none_of_equals():
    a, b = Point(np.full((64, 2), 0.3)), Point(np.tile([-0.3, -0.5], (64, 1)))
    assert trained(dual(100.0), a, b) == pytest.approx(1.0, rel=0.02)  # (0.6, 0.8)
    same = normal(np.zeros((64, 1)), np.full((64, 1), 0.3))
    assert abs(trained(dual(100.0), same, same, 100)) < 0.05


FAMILIES = {
    Point: lambda m, r: Point(m),
    DiagonalNormal: DiagonalNormal,
    TanhNormal: TanhNormal,
    FullNormal: lambda m, r: FullNormal(m, r, m[..., :1]),
    Mixture: lambda m, r: Mixture(m, np.stack([m, r], -2), np.stack([r, m], -2)),
    Pushed: lambda m, r: Pushed(network(m, 4), m, np.ones(()), "tanh"),
    Flowed: lambda m, r: Flowed(network(m, 5), m, np.ones(()), 2, "none"),
}

GAUSSIANS, OTHERS = list(FAMILIES)[:4], list(FAMILIES)[4:]
PAIRS = [*itertools.product(GAUSSIANS, repeat=2), *zip(OTHERS, OTHERS[1:] + OTHERS[:1], strict=True)]


def network(numbers, inputs):
    """A network of given inputs, 2 outputs and no hidden layer."""
    return MLP((Linear(np.resize(numbers, (inputs, 2)), numbers[0]),), (), "none")


SAMPLED = {
    "mmd": MMD(),
    "wasserstein1": Wasserstein1(),
    "sinkhorn": Sinkhorn(samples=3),
    "sliced_wasserstein2": SlicedWasserstein2(samples=3),
    "energy_distance": EnergyDistance(),
    "wasserstein2": Wasserstein2(coupling="shared_noise"),
}


def test_all_registered_geometries_by_samples_are_tried():
    kinds = {kind: registry.load("geometry", kind) for kind in registry.table("geometry")}
    assert {kind for kind, cls in kinds.items() if cls.by_samples or cls is Wasserstein2} == set(SAMPLED)
    assert all(geometry.estimated() and geometry.accuracy() for geometry in SAMPLED.values())
    assert not any(cls().estimated() or cls().accuracy() for kind, cls in kinds.items() if not cls.by_samples)


@pytest.mark.thinned(("mmd", "wasserstein2"), "a program of all pairs for each")
@pytest.mark.parametrize("kind", SAMPLED)
def test_every_pair_of_families_has_a_finite_divergence_and_gradient(kind, float64):
    rng, geometry, space = np.random.default_rng(0), SAMPLED[kind], Space(3, 2, (-1.0,) * 2, (1.0,) * 2)
    numbers, observations = rng.normal(size=(2, 2, 5, 2)) / 3, rng.normal(size=(5, 3))
    ps, qs = ({kind: family(*side) for kind, family in FAMILIES.items()} for side in numbers)
    assert all(geometry.supports(*pair) for pair in itertools.product(FAMILIES, repeat=2))

    def values_and_slopes(ps, qs):
        seen = Seen(observations, jax.random.key(0), geometry.init(jax.random.key(1), space))
        both = jax.value_and_grad(lambda p, q: geometry.divergence(p, q, seen).sum())
        return [both(ps[p], qs[q]) for p, q in PAIRS]  # one program, in which all have the same draws

    found = computed(lambda: values_and_slopes(ps, qs))
    for pair, (value, gradient) in zip(PAIRS, found, strict=True):
        assert np.isfinite(value), pair
        leaves = jax.tree.leaves(gradient if isinstance(gradient, tuple) else gradient.network)
        assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in leaves), pair


def test_noise_of_any_size_reaches_a_point(float64):
    observations, action = np.linspace(-1, 1, 10).reshape(5, 2), np.full((5, 2), 0.3)
    policy = Pushed(network(np.array([0.2, 0.1]), 7), observations, np.ones(()), "linear")
    seen = Seen(observations, jax.random.key(0))
    z = np.asarray(jax.random.normal(seen.key, (4, 5, 5)))
    inputs = np.concatenate([np.broadcast_to(observations, (4, 5, 2)), z], -1)
    expected = np.square(inputs @ np.resize([0.2, 0.1], (7, 2)) + 0.2 - action).sum(-1).mean(0) / 2
    found = Wasserstein2(coupling=SharedNoise(4)).divergence(policy, Point(action), seen)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
