"""Squashed Gaussians against quadrature over their densities, written without the package."""

import functools
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
SQUASH = {TanhNormal: np.tanh, DiagonalNormal: lambda x: x}
PAIRS = [(RNG.normal(size=2), RNG.uniform(-2, 0.5, 2)) for _ in range(12)]


def log_density(action, mean, log_std):
    """Log density of tanh(N(mean, std^2)) by the change of variables."""
    return norm.logpdf(np.arctanh(action), mean, np.exp(log_std)) - np.log1p(-(action**2))


def density(action, mean, log_std):
    """Density of tanh(N(mean, std^2))."""
    return np.exp(log_density(action, mean, log_std))


def one(mean, log_std, family: Any = TanhNormal) -> Any:
    return family(jnp.full((1,), mean), jnp.full((1,), log_std))


def over_actions(function):
    """Integral over (-1, 1), in the pre-activation, where it is smooth."""
    inner = lambda u: function(np.tanh(u)) / np.cosh(u) ** 2  # noqa: E731
    return quad(inner, -12, 12, limit=400, epsabs=1e-13)[0]


def test_log_density_is_the_change_of_variables_and_integrates_to_one(float64):
    for means, log_stds in PAIRS:
        p = one(means[0], log_stds[0]).distribution()
        actions = np.linspace(-0.999, 0.999, 41)
        found = p.log_prob(jnp.asarray(actions)[:, None])
        np.testing.assert_allclose(found, np.log(density(actions, means[0], log_stds[0])), rtol=1e-9, atol=1e-9)
        total = over_actions(lambda a, p=p: float(jnp.exp(p.log_prob(jnp.asarray([a])))) if abs(a) < 1 - 2e-6 else 0.0)
        assert total == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("log_std", [-5.0, 0.0, 2.0])
@pytest.mark.parametrize("mean", [-9.0, 0.0, 3.0])
def test_log_density_and_its_gradient_are_finite_at_the_bounds_in_float32(mean, log_std):
    for action in (-1.0, -0.9999999, 0.0, 1.0):
        value, gradient = jax.value_and_grad(lambda p, a=action: p.distribution().log_prob(jnp.full((1,), a)))(
            one(mean, log_std)
        )
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in gradient)


def test_samples_keep_their_pre_activation():
    p = TanhNormal(jnp.array([[8.0, -12.0]]), jnp.array([[1.0, 0.0]])).distribution()
    actions, kept = p.sample_with_intermediates(jax.random.key(0), (500,))
    assert (np.abs(actions) == 1.0).mean() > 0.5  # where arctanh knows nothing any more
    inner = norm.logpdf(np.asarray(kept[0]), [8.0, -12.0], np.exp([1.0, 0.0]))
    expected = (inner - 2 * (np.log(2) - np.abs(kept[0]) - np.log1p(np.exp(-2 * np.abs(kept[0]))))).sum(-1)
    np.testing.assert_allclose(p.log_prob(actions, kept), expected, rtol=2e-5)
    assert np.shape(p.sample(jax.random.key(0))) == (1, 2)


@pytest.mark.parametrize("geometry", [KL(), KL(direction="reference_to_policy"), FisherRao(), Hellinger()])
def test_density_geometries_equal_integrals_over_squashed_densities(float64, geometry):
    for means, log_stds in PAIRS[:4]:
        p, q = (functools.partial(density, mean=m, log_std=r) for m, r in zip(means, log_stds, strict=True))
        if isinstance(geometry, KL):
            pair = list(zip(means, log_stds, strict=True))
            a, b = pair if geometry.direction == "policy_to_reference" else pair[::-1]
            expected = over_actions(lambda x, a=a, b=b: density(x, *a) * (log_density(x, *a) - log_density(x, *b)))
        else:
            affinity = min(1.0, over_actions(lambda x, p=p, q=q: np.sqrt(p(x) * q(x))))
            expected = 2 * np.arccos(affinity) ** 2 if isinstance(geometry, FisherRao) else 4 * (1 - affinity)
        found = geometry.divergence(one(means[0], log_stds[0]), one(means[1], log_stds[1]))
        assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("geometry", [KL(), FisherRao(), Hellinger(), GaussianFisherRao()])
def test_density_geometries_are_those_before_the_tanh(float64, geometry):
    mean, log_std = RNG.normal(size=(2, 2, 50, 3)) * 0.7
    pairs = [[family(m, r) for m, r in zip(mean, log_std, strict=True)] for family in (TanhNormal, DiagonalNormal)]
    np.testing.assert_array_equal(geometry.divergence(*pairs[0]), geometry.divergence(*pairs[1]))


def test_wasserstein_distances_equal_the_quantile_integral(float64):
    for first, second in [(TanhNormal, TanhNormal), (TanhNormal, DiagonalNormal), (Point, TanhNormal)]:
        for means, log_stds in PAIRS:

            def quantile(family, mean, log_std, z):
                return mean if family is Point else SQUASH[family](mean + np.exp(log_std) * z)

            def gap(z, first=first, second=second, m=means, r=log_stds, quantile=quantile):
                return (quantile(first, m[0], r[0], z) - quantile(second, m[1], r[1], z)) ** 2 * norm.pdf(z)

            expected = quad(gap, -12, 12, limit=400, epsabs=1e-13)[0] / 2
            p, q = (
                Point(jnp.full((1,), m)) if family is Point else one(m, r, family)
                for family, m, r in zip((first, second), means, log_stds, strict=True)
            )
            assert Wasserstein2().divergence(p, q) == pytest.approx(expected, rel=2e-5, abs=1e-9)
            assert Wasserstein2().divergence(q, p) == pytest.approx(expected, rel=2e-5, abs=1e-9)


def test_the_tanh_shrinks_the_wasserstein_distance_to_a_known_value(float64):
    before = [one(0.0, np.log(0.5), f) for f in (DiagonalNormal, TanhNormal)]
    after = [one(0.5, np.log(0.7), f) for f in (DiagonalNormal, TanhNormal)]
    assert 2 * Wasserstein2().divergence(before[0], after[0]) == pytest.approx(0.25 + 0.04)
    assert 2 * Wasserstein2().divergence(before[1], after[1]) < 0.29


@pytest.mark.parametrize("log_std", [-5.0, -20.0])
def test_wasserstein_gradient_is_finite_and_small_at_coincidence_in_float32(log_std):
    p = TanhNormal(jnp.array([[0.3, 5.0]]), jnp.full((1, 2), log_std))
    value, gradient = jax.value_and_grad(lambda p, q: Wasserstein2().divergence(p, q).sum())(p, p)
    assert value == 0.0
    assert all((np.abs(leaf) < 1e-6).all() for leaf in gradient)


def test_entropy_by_samples_tends_to_the_integral(float64):
    policy = TanhGaussianPolicy(entropy_samples=20_000)
    for means, log_stds in PAIRS[:4]:
        p = lambda a, m=means[0], r=log_stds[0]: density(a, m, r)  # noqa: E731
        expected = -over_actions(lambda a, p=p: p(a) * np.log(p(a)) if p(a) > 0 else 0.0)
        found = policy.entropy(one(means[0], log_stds[0]), jax.random.key(1))
        assert found == pytest.approx(expected, abs=0.02)
