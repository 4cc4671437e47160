"""Free energies and distances to the optimum against closed forms and against other routes."""

import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from scipy.integrate import quad

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import closed_forms
from examples import KNOWN, QUADRATICS, SIZES, TARGETS

from pogospec.policies.base import DiagonalNormal, FullNormal, Point, TanhNormal, below
from pogospec.policies.dirac import DiracPolicy
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.policies.tanh_gaussian import TanhGaussianPolicy
from pogospec.targets import base
from pogospec.targets.base import free_energy, log_volume

KEY = jax.random.key(3)
GAUSSIAN = GaussianPolicy()
kl_to_optimum: Any = base.kl_to_optimum
w2_to_optimum: Any = base.w2_to_optimum
norm: Any = scipy.stats.norm
TEMPERATURES = (0.3, 2.5)


def policies(size, rows=6):
    rng = np.random.default_rng(size)
    return DiagonalNormal(jnp.asarray(rng.normal(size=(rows, size))), jnp.asarray(rng.uniform(-2, 0.5, (rows, size))))


def full(mean, covariance):
    factor = jnp.asarray(np.linalg.cholesky(covariance))
    return FullNormal(jnp.asarray(mean), jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), below(factor))


def kl_full(m1, c1, m2, c2):
    """KL of Gaussians with full covariances, nats."""
    gap, inverse = m2 - m1, np.linalg.inv(c2)
    logs = np.linalg.slogdet(c2)[1] - np.linalg.slogdet(c1)[1]
    return 0.5 * (np.trace(inverse @ c1) + gap @ inverse @ gap - len(gap) + logs)


@pytest.mark.parametrize("heat", TEMPERATURES)
@pytest.mark.parametrize("name", QUADRATICS)
def test_kl_and_w2_match_closed_forms_for_quadratics(float64, name, heat):
    target, p = TARGETS[name], policies(SIZES[name])
    mean, covariance = target.optimum(heat)
    kl = kl_to_optimum(target, heat, GAUSSIAN, p, KEY)
    w2 = w2_to_optimum(target, heat, p)
    assert kl.shape == w2.shape == (6,)
    for row in range(6):
        own = np.diag(np.exp(2 * p.log_std[row]))
        m = np.asarray(p.mean[row])
        assert kl[row] == pytest.approx(kl_full(m, own, mean, covariance), rel=1e-9)
        assert w2[row] ** 2 == pytest.approx(closed_forms.w2_squared_full(m, own, mean, covariance), rel=1e-7)


@pytest.mark.parametrize("name", [name for name in QUADRATICS if "matrix" not in name])
def test_distances_vanish_at_a_diagonal_optimum(name):
    for heat in TEMPERATURES:
        mean, covariance = TARGETS[name].optimum(heat)
        single = DiagonalNormal(
            jnp.asarray(mean[None], jnp.float32), jnp.asarray(np.log(np.diag(covariance)) / 2, jnp.float32)[None]
        )
        assert np.abs(kl_to_optimum(TARGETS[name], heat, GAUSSIAN, single, KEY)) < 3e-6
        assert w2_to_optimum(TARGETS[name], heat, single) < 3e-6


@pytest.mark.parametrize("name", QUADRATICS)
def test_distances_of_full_gaussians(float64, name):
    target, size = TARGETS[name], SIZES[name]
    mean, covariance = target.optimum(1.3)
    at_optimum = full(mean, covariance)
    assert kl_to_optimum(target, 1.3, GAUSSIAN, at_optimum, KEY) == pytest.approx(0.0, abs=1e-9)
    assert w2_to_optimum(target, 1.3, at_optimum) == pytest.approx(0.0, abs=1e-7)
    root = np.random.default_rng(1).normal(size=(size, size))
    own, m = root @ root.T + 0.1 * np.eye(size), np.full(size, 0.4)
    p = full(m, own)
    assert kl_to_optimum(target, 1.3, GAUSSIAN, p, KEY) == pytest.approx(kl_full(m, own, mean, covariance), rel=1e-9)
    w2 = closed_forms.w2_squared_full(m, own, mean, covariance)
    assert w2_to_optimum(target, 1.3, p) ** 2 == pytest.approx(w2, rel=1e-7)


@pytest.mark.parametrize("name", ["mixture 1d", "mixture narrow"])
def test_kl_in_one_dimension_matches_scipy(float64, name):
    target, heat = TARGETS[name], 0.7
    mean, std = 0.2, 1.5
    p = DiagonalNormal(jnp.array([mean]), jnp.log(jnp.array([std])))
    density = jax.jit(target.log_density)
    value = lambda x: norm(mean, std).pdf(x) * (norm(mean, std).logpdf(x) - density(np.array([x])) / heat)  # noqa: E731
    marks = np.linspace(mean - 9 * std, mean + 9 * std, 120)
    free = sum(quad(value, a, b, epsrel=1e-9)[0] for a, b in zip(marks, marks[1:], strict=False))
    assert free_energy(target, heat, p, KEY) == pytest.approx(free, rel=1e-6)
    kl = kl_to_optimum(target, heat, GAUSSIAN, p, KEY)
    assert kl == pytest.approx(free + target.log_normalizer(heat), rel=1e-6)


@pytest.mark.parametrize("family", [DiagonalNormal, TanhNormal])
@pytest.mark.parametrize("name", KNOWN)
def test_kl_matches_samples(float64, name, family):
    target, size = TARGETS[name], SIZES[name]
    p = family(*(part[0] for part in policies(size, 1)))
    z = np.random.default_rng(5).normal(size=(200_000, size))
    before = p.mean + jnp.exp(p.log_std) * z
    log_pi = norm(p.mean, np.exp(p.log_std)).logpdf(before).sum(-1)
    log_pi = log_pi if family is DiagonalNormal else log_pi - np.log1p(-np.square(np.tanh(before))).sum(-1)
    values = np.asarray(log_pi - target.log_density(p.at(z)) / 0.8)
    owner = GAUSSIAN if family is DiagonalNormal else TanhGaussianPolicy()
    found = kl_to_optimum(target, 0.8, owner, p, KEY)
    expected, error = values.mean() + target.log_normalizer(0.8), values.std() / len(values) ** 0.5
    assert found == pytest.approx(expected, abs=5 * error + 1e-9)
    assert found > 0


@pytest.mark.parametrize("name", ["mixture 3d", "eight_schools", "logistic_regression"])
def test_free_energy_in_many_dimensions_matches_samples(float64, name):
    target, size = TARGETS[name], SIZES[name]
    p = DiagonalNormal(jnp.full(size, 0.1), jnp.full(size, -1.0))
    actions = p.at(jax.random.normal(jax.random.key(8), (100_000, size)))
    values = np.asarray(p.distribution().log_prob(actions) - jax.jit(target.log_density)(actions) / 1.5)
    error = values.std() * (1 / len(actions) + 1 / 2**14) ** 0.5
    assert jax.jit(lambda p: free_energy(target, 1.5, p, KEY))(p) == pytest.approx(values.mean(), abs=5 * error)
    assert kl_to_optimum(target, 1.5, GAUSSIAN, p, KEY) is None


def test_free_energy_is_differentiable_and_compiles(float64):
    p, target = policies(5), TARGETS["quadratic 5d matrix"]
    gradient = jax.jit(jax.grad(lambda p: free_energy(target, 2.0, p, KEY).sum()))(p)
    gap = np.asarray(p.mean) - np.array(target.center)
    np.testing.assert_allclose(gradient.mean, gap @ np.array(target.curvature) / 2.0, rtol=1e-9)
    diagonal = np.diag(np.array(target.curvature))
    np.testing.assert_allclose(gradient.log_std, diagonal * np.exp(2 * p.log_std) / 2.0 - 1, rtol=1e-9, atol=1e-9)


def test_volumes_agree_with_the_jacobian(float64):
    z = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))
    p = policies(2, 3)
    covariance = np.array([[1.0, 0.4], [0.4, 0.5]]) * np.arange(1, 4)[:, None, None]
    for parameters in (p, TanhNormal(*p), full(p.mean, covariance)):
        general = log_volume.dispatch(object)(parameters, z)
        assert general.shape == (5, 3)
        np.testing.assert_allclose(log_volume(parameters, z), general, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", [DiagonalNormal, TanhNormal, Point])
@pytest.mark.parametrize("name", ["quadratic 1d", "mixture 1d", "mixture narrow", "conjugate_normal"])
def test_w2_in_one_dimension_matches_sorted_samples(float64, name, family):
    target, heat = TARGETS[name], 1.0
    mean, log_std = jnp.array([0.3]), jnp.array([-0.4])
    p = Point(mean) if family is Point else family(mean, log_std)
    # quantiles of the optimum by inverting a finely summed distribution function
    box = target.box(heat)
    x = np.linspace(box.low[0], box.high[0], 400_001)
    logs = np.asarray(target.log_density(x[:, None])) / heat
    cumulative = np.cumsum(np.exp(logs - logs.max()))
    levels = (np.arange(200_000) + 0.5) / 200_000
    quantiles = np.interp(levels, cumulative / cumulative[-1], x)
    own = np.asarray(p.at(jnp.asarray(norm.ppf(levels))[:, None]))[:, 0]
    expected = np.sqrt(np.mean((own - quantiles) ** 2))
    assert w2_to_optimum(target, heat, p) == pytest.approx(expected, rel=1e-4)


def test_w2_by_quantiles_vanishes_at_a_gaussian_optimum(float64):
    target = TARGETS["conjugate_normal"]
    mean, covariance = target.optimum(2.0)
    p = DiagonalNormal(jnp.asarray(mean)[None], jnp.log(jnp.sqrt(jnp.asarray(np.diag(covariance))))[None])
    assert w2_to_optimum(target, 2.0, p) == pytest.approx(0.0, abs=1e-4)
    assert w2_to_optimum(target, 2.0, p._replace(mean=p.mean + 0.5)) == pytest.approx(0.5, rel=1e-6)


def test_w2_of_tanh_gaussians_to_a_diagonal_gaussian(float64):
    target, p = TARGETS["quadratic"], TanhNormal(*policies(3, 2))
    center, covariance = target.optimum(0.5)
    levels = (np.arange(400_000) + 0.5) / 400_000
    z = norm.ppf(levels)[:, None, None]
    expected = np.sqrt(np.square(p.at(jnp.asarray(z)) - center - np.sqrt(np.diag(covariance)) * z).mean(0).sum(-1))
    np.testing.assert_allclose(w2_to_optimum(target, 0.5, p), expected, rtol=1e-4)


def test_w2_of_a_point_is_the_root_of_the_second_moment(float64):
    for name in ("banana", "mixture", "mixture 3d"):
        mean, covariance = TARGETS[name].optimum(1.0)
        p = Point(jnp.asarray(mean + 1.0))
        found = w2_to_optimum(TARGETS[name], 1.0, p)
        assert found == pytest.approx(np.sqrt(len(mean) + np.trace(covariance)), rel=1e-9)
    cold = w2_to_optimum(TARGETS["quadratic"], 0.0, Point(jnp.array([0.3, -1.2, 3.5])))
    assert cold == pytest.approx(3.0)


def test_distances_that_are_not_known():
    p = policies(2, 1)
    assert w2_to_optimum(TARGETS["banana"], 1.0, p) is None
    assert w2_to_optimum(TARGETS["quadratic matrix"], 1.0, TanhNormal(*p)) is None
    assert w2_to_optimum(TARGETS["mixture 1d"], 0.0, policies(1, 1)) is None
    assert kl_to_optimum(TARGETS["banana"], 0.0, GAUSSIAN, p, KEY) is None
    assert kl_to_optimum(TARGETS["banana"], 1.0, DiracPolicy(), Point(p.mean), KEY) is None
