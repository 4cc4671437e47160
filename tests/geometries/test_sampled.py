"""Geometries estimated by samples, against what they estimate."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pogospec.geometries.base import Seen
from pogospec.geometries.mmd import MMD
from pogospec.geometries.wasserstein1 import Wasserstein1
from pogospec.policies.base import DiagonalNormal, FullNormal, Point, TanhNormal
from pogospec.types import Space

WIDTH = 0.7


def normal(mean, std):
    return DiagonalNormal(jnp.asarray(mean, float), jnp.log(jnp.asarray(std, float)))


def mean_kernel(p, q):
    """E exp(-|x - y|^2 / (2 w^2)) of independent Gaussians: prod_j w/sqrt(v_j) exp(-gap_j^2/(2 v_j)), v = w^2 + sum."""
    v = WIDTH**2 + np.exp(2 * np.asarray(p.log_std)) + np.exp(2 * np.asarray(q.log_std))
    return np.prod(WIDTH / np.sqrt(v) * np.exp(-((np.asarray(p.mean) - np.asarray(q.mean)) ** 2) / (2 * v)), -1)


@pytest.mark.parametrize("estimate", ["unbiased", "biased"])
def test_mmd_of_gaussians_with_a_gaussian_kernel(estimate, float64):
    """The mean over many estimates is the closed form; the biased one sees k(x, x) = 1 in one pair of n."""
    p, q = normal([0.3, -0.4], [0.5, 0.2]), normal([-0.2, 0.1], [0.3, 0.6])
    same, count, runs = [mean_kernel(p, p), mean_kernel(q, q)], 3, 20_000
    if estimate == "biased":
        same = [(1 + (count - 1) * kernel) / count for kernel in same]
    expected = sum(same) / 2 - mean_kernel(p, q)
    geometry = MMD(kernel="gaussian", bandwidth=WIDTH, samples=count, estimate=estimate)
    first, second = (jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (runs, 2)), side) for side in (p, q))
    values = geometry.divergence(first, second, Seen(jnp.zeros((runs, 1)), jax.random.key(0)))
    assert values.shape == (runs,)
    assert abs(values.mean() - expected) < 4.5 * values.std() / np.sqrt(runs)
    assert values.std() / np.sqrt(runs) < 0.02 * expected
    if estimate == "biased":
        assert (values >= -1e-15).all()


@pytest.mark.parametrize("kernel", ["laplacian", "gaussian"])
def test_mmd_of_points_is_one_minus_the_kernel(kernel, float64):
    a, b = np.random.default_rng(0).normal(size=(2, 7, 3))
    seen = Seen(jnp.zeros((7, 1)), jax.random.key(0))
    geometry = MMD(kernel=kernel, bandwidth=WIDTH, weight=2.0)
    found = geometry.divergence(Point(jnp.asarray(a)), Point(jnp.asarray(b)), seen)
    gaps = np.abs(a - b).sum(1) / WIDTH if kernel == "laplacian" else ((a - b) ** 2).sum(1) / (2 * WIDTH**2)
    np.testing.assert_allclose(found, 2 * (1 - np.exp(-gaps)), rtol=1e-12)


def trained(geometry, p, q, updates=1500):
    """The dual critic after many updates beside two fixed distributions, and the gap by many samples."""
    rows = len(p.mean)
    space = Space(0, p.mean.shape[-1], (-1.0,) * p.mean.shape[-1], (1.0,) * p.mean.shape[-1])
    nothing = jnp.zeros((rows, 0))

    def body(index, dual):
        return geometry.update(p, q, Seen(nothing, jax.random.fold_in(jax.random.key(1), index), dual))[0]

    dual = jax.jit(lambda dual: jax.lax.fori_loop(0, updates, body, dual))(geometry.init(jax.random.key(0), space))
    keys = jax.random.split(jax.random.key(2), 50)
    return float(jax.vmap(lambda key: geometry.divergence(p, q, Seen(nothing, key, dual)).mean())(keys).mean())


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


@pytest.mark.parametrize(("penalty", "tolerance"), [(5.0, 0.04), (100.0, 0.04)])
@pytest.mark.parametrize("shift", [0.4, 1.0])
def test_the_trained_dual_finds_the_distance_of_shifted_gaussians(shift, penalty, tolerance):
    """|m1 - m2| for equal stds, as the penalty grows; with the published 5 the supremum that it allows."""
    p, q = normal(np.full((256, 1), shift), np.full((256, 1), 0.2)), normal(np.zeros((256, 1)), np.full((256, 1), 0.2))
    geometry = Wasserstein1(hidden=(32, 32), penalty=penalty, samples=2)
    found, expected = trained(geometry, p, q), penalised_gap(shift, 0.2, penalty)
    assert found == pytest.approx(expected, rel=tolerance)
    if penalty == 100.0:
        assert found == pytest.approx(shift, rel=tolerance)


def test_the_trained_dual_finds_the_distance_of_points_and_none_of_equals():
    a = Point(jnp.full((128, 2), 0.3))
    b = Point(jnp.asarray([[-0.3, -0.5]]) * jnp.ones((128, 1)))
    geometry = Wasserstein1(hidden=(32, 32), penalty=100.0)
    assert trained(geometry, a, b) == pytest.approx(1.0, rel=0.04)  # (0.6, 0.8)
    same = normal(np.zeros((256, 1)), np.full((256, 1), 0.3))
    assert abs(trained(geometry, same, same, 300)) < 0.05


FAMILIES = {
    Point: lambda m, r: Point(m),
    DiagonalNormal: DiagonalNormal,
    TanhNormal: TanhNormal,
    FullNormal: lambda m, r: FullNormal(m, r, m[..., :1]),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(FAMILIES, repeat=2)))
@pytest.mark.parametrize("kind", [MMD, Wasserstein1])
def test_every_pair_of_families_has_a_finite_divergence_and_gradient(kind, first, second, float64):
    rng = np.random.default_rng(0)
    p, q = (FAMILIES[f](*jnp.asarray(rng.normal(size=(2, 5, 2)) / 3)) for f in (first, second))
    geometry = kind()
    assert geometry.supports(first, second)
    space = Space(3, 2, (-1.0,) * 2, (1.0,) * 2)
    seen = Seen(jnp.asarray(rng.normal(size=(5, 3))), jax.random.key(0), geometry.init(jax.random.key(1), space))
    value, gradient = jax.value_and_grad(lambda p: geometry.divergence(p, q, seen).sum())(p)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))
