"""Squashed Gaussians against quadrature over their densities, written without the package."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from pogospec.geometries.fisher_rao import FisherRao
from pogospec.geometries.gaussian_fisher_rao import GaussianFisherRao
from pogospec.geometries.hellinger import Hellinger
from pogospec.geometries.kl import KL
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import DiagonalNormal, Point, TanhNormal
from pogospec.policies.tanh_gaussian import TanhGaussianPolicy

RNG = np.random.default_rng(0)
SQUASH = {TanhNormal: np.tanh, DiagonalNormal: lambda x: x, Point: lambda x: x}
PAIRS = [(RNG.normal(size=2), RNG.uniform(-2, 0.5, 2)) for _ in range(12)]


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


def log_density(action, mean, log_std):
    """Log density of tanh(N(mean, std^2)) by the change of variables."""
    return norm.logpdf(np.arctanh(action), mean, np.exp(log_std)) - np.log1p(-(action**2))


def density(action, mean, log_std):
    """Density of tanh(N(mean, std^2))."""
    return np.exp(log_density(action, mean, log_std))


def of(family, mean, log_std) -> Any:
    """Parameters in one dimension, a row each."""
    columns = np.asarray(mean, float)[..., None], np.asarray(log_std, float)[..., None]
    return family(columns[0]) if family is Point else family(*columns)


def sides(family: Any, other: Any, count=None) -> list:
    """Two families at the pairs, a row each."""
    means, log_stds = np.swapaxes(PAIRS[:count], 0, 1)
    return [of(kind, means[:, side], log_stds[:, side]) for side, kind in enumerate((family, other))]


def over_actions(function):
    """Integral over (-1, 1), in the pre-activation, where it is smooth."""
    inner = lambda u: function(np.tanh(u)) / np.cosh(u) ** 2  # noqa: E731
    return quad(inner, -12, 12, limit=400, epsabs=1e-13)[0]


def test_log_density_is_the_change_of_variables_and_integrates_to_one(float64):
    p, _ = sides(TanhNormal, TanhNormal)
    # the trapezoidal rule before the tanh, where it is smooth, as far as actions are not kept off the bounds
    before, step = np.linspace(-np.arctanh(1 - 2e-6), np.arctanh(1 - 2e-6), 4001, retstep=True)
    actions, inner = np.linspace(-0.999, 0.999, 41), np.tanh(before)
    log_prob = lambda p, actions: p.distribution().log_prob(actions[:, None, None])  # noqa: E731
    found = computed(log_prob, p, np.concatenate([actions, inner]))
    expected = log_density(actions[:, None], p.mean[:, 0], p.log_std[:, 0])
    np.testing.assert_allclose(found[:41], expected, rtol=1e-9, atol=1e-9)
    total = (np.exp(found[41:]) / np.cosh(before[:, None]) ** 2).sum(0) * step
    np.testing.assert_allclose(total, 1.0, atol=2e-4)


def test_log_density_and_its_gradient_are_finite_at_the_bounds_in_float32():
    mean, log_std, action = np.array([*itertools.product([-9, 0, 3], [-5, 0, 2], [-1, -0.9999999, 0, 1])], np.float32).T
    log_prob = lambda m, r, action: TanhNormal(m[None], r[None]).distribution().log_prob(action[None])  # noqa: E731
    both = jax.vmap(jax.value_and_grad(log_prob, (0, 1)))
    value, gradient = computed(both, mean, log_std, action)
    assert value.dtype == np.float32
    assert np.isfinite(value).all()
    assert all(np.isfinite(leaf).all() for leaf in gradient)


def test_samples_keep_their_pre_activation():
    def drawn():
        p = TanhNormal(jnp.array([[8.0, -12.0]]), jnp.array([[1.0, 0.0]])).distribution()
        actions, kept = p.sample_with_intermediates(jax.random.key(0), (500,))
        return actions, kept[0], p.log_prob(actions, kept), p.sample(jax.random.key(0))

    actions, kept, found, alone = computed(drawn)
    assert (np.abs(actions) > 1 - 1e-6).mean() > 0.5  # nearer than actions are kept, where arctanh knows nothing
    inner = norm.logpdf(kept, [8.0, -12.0], np.exp([1.0, 0.0]))
    expected = (inner - 2 * (np.log(2) - np.abs(kept) - np.log1p(np.exp(-2 * np.abs(kept))))).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    assert alone.shape == (1, 2)


@pytest.mark.parametrize("geometry", [KL(), KL(direction="reference_to_policy"), FisherRao(), Hellinger()])
def test_density_geometries_equal_integrals_over_squashed_densities(float64, geometry):
    values = computed(geometry.divergence, *sides(TanhNormal, TanhNormal, 4))
    for found, (means, log_stds) in zip(values, PAIRS[:4], strict=True):
        p, q = (functools.partial(density, mean=m, log_std=r) for m, r in zip(means, log_stds, strict=True))
        if isinstance(geometry, KL):
            pair = list(zip(means, log_stds, strict=True))
            a, b = pair if geometry.direction == "policy_to_reference" else pair[::-1]
            expected = over_actions(lambda x, a=a, b=b: density(x, *a) * (log_density(x, *a) - log_density(x, *b)))
        else:
            affinity = min(1.0, over_actions(lambda x, p=p, q=q: np.sqrt(p(x) * q(x))))
            expected = 2 * np.arccos(affinity) ** 2 if isinstance(geometry, FisherRao) else 4 * (1 - affinity)
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("geometry", [KL(), FisherRao(), Hellinger(), GaussianFisherRao()])
def test_density_geometries_are_those_before_the_tanh(float64, geometry):
    mean, log_std = RNG.normal(size=(2, 2, 50, 3)) * 0.7
    pairs = [[family(m, r) for m, r in zip(mean, log_std, strict=True)] for family in (TanhNormal, DiagonalNormal)]
    squashed, plain = computed(lambda pairs: [geometry.divergence(*pair) for pair in pairs], pairs)
    np.testing.assert_array_equal(squashed, plain)


def test_wasserstein_distances_equal_the_quantile_integral(float64):
    z, step = np.linspace(-12, 12, 4801, retstep=True)  # the trapezoidal rule is exact to rounding
    quantile = lambda p: SQUASH[type(p)](p.mean if isinstance(p, Point) else p.mean + np.exp(p.log_std) * z)  # noqa: E731
    divergence = Wasserstein2().divergence
    for first, second in [(TanhNormal, TanhNormal), (TanhNormal, DiagonalNormal), (Point, TanhNormal)]:
        p, q = sides(first, second)
        expected = ((quantile(p) - quantile(q)) ** 2 * norm.pdf(z)).sum(1) * step / 2
        for found in computed(lambda p, q: (divergence(p, q), divergence(q, p)), p, q):
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-9)


def test_the_tanh_shrinks_the_wasserstein_distance_to_a_known_value(float64):
    pairs = [(of(f, 0.0, np.log(0.5)), of(f, 0.5, np.log(0.7))) for f in (DiagonalNormal, TanhNormal)]
    plain, squashed = computed(lambda pairs: [2 * Wasserstein2().divergence(*pair) for pair in pairs], pairs)
    assert plain == pytest.approx(0.25 + 0.04)
    assert squashed < 0.29


def test_wasserstein_gradient_is_finite_and_small_at_coincidence_in_float32():
    log_stds = np.array([[-5.0] * 2, [-20.0] * 2], np.float32)
    p = TanhNormal(np.tile(np.float32([0.3, 5.0]), (2, 1)), log_stds)

    def total(p, q):
        values = Wasserstein2().divergence(p, q)
        return values.sum(), values

    (_, values), gradient = computed(jax.value_and_grad(total, has_aux=True), p, p)
    assert (values == 0.0).all()
    assert all((np.abs(leaf) < 1e-6).all() for leaf in gradient)


def test_entropy_by_samples_tends_to_the_integral(float64):
    policy = TanhGaussianPolicy(entropy_samples=100_000)
    p, _ = sides(TanhNormal, TanhNormal, 4)
    values = computed(policy.entropy, p, jax.random.key(1))
    for found, (means, log_stds) in zip(values, PAIRS[:4], strict=True):
        p = lambda a, m=means[0], r=log_stds[0]: density(a, m, r)  # noqa: E731
        expected = -over_actions(lambda a, p=p: p(a) * np.log(p(a)) if p(a) > 0 else 0.0)
        assert found == pytest.approx(expected, abs=0.02)
