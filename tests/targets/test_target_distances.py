"""Free energies and distances to the optimum against closed forms and against other routes."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import itertools
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import scipy

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


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


def policies(size, rows=6):
    rng = np.random.default_rng(size)
    return DiagonalNormal(rng.normal(size=(rows, size)), rng.uniform(-2, 0.5, (rows, size)))


def full(mean, covariance):
    factor = np.linalg.cholesky(covariance)
    return FullNormal(np.asarray(mean), np.log(np.diagonal(factor, axis1=-2, axis2=-1)), below(factor))


def distances(target, heats, *ps):
    """KL and W2 of Gaussians, one for each temperature or one for all, to the optima there, by one program."""
    both = lambda heat, p: (kl_to_optimum(target, heat, GAUSSIAN, p, KEY), w2_to_optimum(target, heat, p))  # noqa: E731
    each = lambda *ps: [both(heat, p) for heat, p in zip(heats, itertools.cycle(ps), strict=False)]  # noqa: E731
    return computed(each, *ps)


def kl_full(m1, c1, m2, c2):
    """KL of Gaussians with full covariances, nats."""
    gap, inverse = m2 - m1, np.linalg.inv(c2)
    logs = np.linalg.slogdet(c2)[1] - np.linalg.slogdet(c1)[1]
    return 0.5 * (np.trace(inverse @ c1) + gap @ inverse @ gap - len(gap) + logs)


@pytest.mark.parametrize("name", QUADRATICS)
def test_kl_and_w2_match_closed_forms_for_quadratics(float64, name):
    target, p = TARGETS[name], policies(SIZES[name])
    for heat, (kl, w2) in zip(TEMPERATURES, distances(target, TEMPERATURES, p), strict=True):
        mean, covariance = target.optimum(heat)
        assert kl.shape == w2.shape == (6,)
        for row in range(6):
            own, m = np.diag(np.exp(2 * p.log_std[row])), p.mean[row]
            assert kl[row] == pytest.approx(kl_full(m, own, mean, covariance), rel=1e-9)
            assert w2[row] ** 2 == pytest.approx(closed_forms.w2_squared_full(m, own, mean, covariance), rel=1e-7)


@pytest.mark.parametrize("name", [name for name in QUADRATICS if "matrix" not in name])
def test_distances_vanish_at_a_diagonal_optimum(name):
    target = TARGETS[name]
    optima = [target.optimum(heat) for heat in TEMPERATURES]
    columns = [(mean[None], np.log(np.diag(covariance))[None] / 2) for mean, covariance in optima]
    ps = [DiagonalNormal(*map(np.float32, column)) for column in columns]  # a row each: sums over rows round more
    for kl, w2 in distances(target, TEMPERATURES, *ps):
        assert kl.dtype == w2.dtype == np.float32
        assert np.abs(kl) < 3e-6
        assert w2 < 3e-6


@pytest.mark.parametrize("name", QUADRATICS)
def test_distances_of_full_gaussians(float64, name):
    target, size = TARGETS[name], SIZES[name]
    mean, covariance = target.optimum(1.3)
    root = np.random.default_rng(1).normal(size=(size, size))
    own, m = root @ root.T + 0.1 * np.eye(size), np.full(size, 0.4)
    ((kl, w2),) = distances(target, [1.3], full([mean, m], [covariance, own]))
    assert kl[0] == pytest.approx(0.0, abs=1e-9)
    assert w2[0] == pytest.approx(0.0, abs=1e-7)
    assert kl[1] == pytest.approx(kl_full(m, own, mean, covariance), rel=1e-9)
    assert w2[1] ** 2 == pytest.approx(closed_forms.w2_squared_full(m, own, mean, covariance), rel=1e-7)


@pytest.mark.parametrize("name", ["mixture 1d", "mixture narrow"])
def test_kl_in_one_dimension_is_its_integral(float64, name):
    target, heat = TARGETS[name], 0.7
    mean, std = 0.2, 1.5
    p = DiagonalNormal(np.array([mean]), np.log(np.array([std])))
    # Gauss-Legendre on short pieces: the narrow component has a std of 0.05, and a piece is as long
    marks, (nodes, weights) = np.linspace(mean - 9 * std, mean + 9 * std, 541), np.polynomial.legendre.leggauss(20)
    half = (marks[1] - marks[0]) / 2
    x = ((marks[1:] + marks[:-1])[:, None] / 2 + half * nodes).ravel()

    def found(p, rows):
        kl = kl_to_optimum(target, heat, GAUSSIAN, p, KEY)
        return free_energy(target, heat, p, KEY), kl, target.log_density(rows)

    value, kl, logs = computed(found, p, x[:, None])
    integrand = norm(mean, std).pdf(x) * (norm(mean, std).logpdf(x) - logs / heat)
    free = half * (integrand.reshape(-1, 20) @ weights).sum()
    assert value == pytest.approx(free, rel=1e-6)
    assert kl == pytest.approx(free + target.log_normalizer(heat), rel=1e-6)


@pytest.mark.parametrize("name", KNOWN)
def test_kl_matches_samples(float64, name):
    target, size = TARGETS[name], SIZES[name]
    mean, log_std = (part[0] for part in policies(size, 1))
    before = mean + np.exp(log_std) * np.random.default_rng(5).normal(size=(200_000, size))
    log_pi, cases = norm(mean, np.exp(log_std)).logpdf(before).sum(-1), [before, np.tanh(before)]
    squashed = log_pi - np.log1p(-np.square(cases[1])).sum(-1)
    families = {DiagonalNormal: GAUSSIAN, TanhNormal: TanhGaussianPolicy()}

    def both(mean, log_std, cases):
        found = [kl_to_optimum(target, 0.8, owner, p(mean, log_std), KEY) for p, owner in families.items()]
        return found, [target.log_density(actions) for actions in cases]

    for found, logs, own in zip(*computed(both, mean, log_std, cases), (log_pi, squashed), strict=True):
        values = own - logs / 0.8
        expected, error = values.mean() + target.log_normalizer(0.8), values.std() / len(values) ** 0.5
        assert found == pytest.approx(expected, abs=5 * error + 1e-9)
        assert found > 0


@pytest.mark.parametrize("name", ["mixture 3d", "eight_schools", "logistic_regression"])
def test_free_energy_in_many_dimensions_matches_samples(float64, name):
    target, size = TARGETS[name], SIZES[name]
    p = DiagonalNormal(np.full(size, 0.1), np.full(size, -1.0))
    actions = 0.1 + np.exp(-1.0) * np.random.default_rng(8).normal(size=(100_000, size))

    def both(p, actions):
        assert kl_to_optimum(target, 1.5, GAUSSIAN, p, KEY) is None
        return free_energy(target, 1.5, p, KEY), target.log_density(actions)

    found, logs = computed(both, p, actions)
    values = norm(0.1, np.exp(-1.0)).logpdf(actions).sum(-1) - logs / 1.5
    error = values.std() * (1 / len(actions) + 1 / 2**14) ** 0.5
    assert found == pytest.approx(values.mean(), abs=5 * error)


def test_free_energy_is_differentiable_and_compiles(float64):
    p, target = policies(5), TARGETS["quadratic 5d matrix"]
    gradient = computed(jax.grad(lambda p: free_energy(target, 2.0, p, KEY).sum()), p)
    gap = p.mean - np.array(target.center)
    np.testing.assert_allclose(gradient.mean, gap @ np.array(target.curvature) / 2.0, rtol=1e-9)
    diagonal = np.diag(np.array(target.curvature))
    np.testing.assert_allclose(gradient.log_std, diagonal * np.exp(2 * p.log_std) / 2.0 - 1, rtol=1e-9, atol=1e-9)


def test_volumes_agree_with_the_jacobian(float64):
    z, p = np.random.default_rng(0).normal(size=(5, 2)), policies(2, 3)
    covariance = np.array([[1.0, 0.4], [0.4, 0.5]]) * np.arange(1, 4)[:, None, None]
    general = log_volume.dispatch(object)
    cases = [p, TanhNormal(*p), full(p.mean, covariance)]
    for found, expected in computed(lambda cases, z: [(log_volume(c, z), general(c, z)) for c in cases], cases, z):
        assert expected.shape == (5, 3)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["quadratic 1d", "mixture 1d", "mixture narrow", "conjugate_normal"])
def test_w2_in_one_dimension_matches_sorted_samples(float64, name):
    target, heat = TARGETS[name], 1.0
    mean, log_std = np.array([0.3]), np.array([-0.4])
    # quantiles of the optimum by inverting a finely summed distribution function
    box = target.box(heat)
    x = np.linspace(box.low[0], box.high[0], 400_001)
    cases = [Point(mean), DiagonalNormal(mean, log_std), TanhNormal(mean, log_std)]
    program = lambda rows, cases: (target.log_density(rows), [w2_to_optimum(target, heat, p) for p in cases])  # noqa: E731
    logs, found = computed(program, x[:, None], cases)
    cumulative = np.cumsum(np.exp((logs - logs.max()) / heat))
    levels = (np.arange(200_000) + 0.5) / 200_000
    quantiles = np.interp(levels, cumulative / cumulative[-1], x)
    before = mean + np.exp(log_std) * norm.ppf(levels)
    for w2, own in zip(found, (mean, before, np.tanh(before)), strict=True):
        assert w2 == pytest.approx(np.sqrt(np.mean((own - quantiles) ** 2)), rel=1e-4)


def test_w2_by_quantiles_vanishes_at_a_gaussian_optimum(float64):
    target = TARGETS["conjugate_normal"]
    mean, covariance = target.optimum(2.0)
    std = np.sqrt(np.diag(covariance))
    p = DiagonalNormal(np.array([mean, mean + 0.5]), np.log(np.array([std, std])))
    found = computed(lambda p: w2_to_optimum(target, 2.0, p), p)
    assert found[0] == pytest.approx(0.0, abs=1e-4)
    assert found[1] == pytest.approx(0.5, rel=1e-6)


def test_w2_of_tanh_gaussians_to_a_diagonal_gaussian(float64):
    target, p = TARGETS["quadratic"], TanhNormal(*policies(3, 2))
    center, covariance = target.optimum(0.5)
    levels = (np.arange(400_000) + 0.5) / 400_000
    z = norm.ppf(levels)[:, None, None]
    own = np.tanh(p.mean + np.exp(p.log_std) * z)
    expected = np.sqrt(np.square(own - center - np.sqrt(np.diag(covariance)) * z).mean(0).sum(-1))
    np.testing.assert_allclose(computed(lambda p: w2_to_optimum(target, 0.5, p), p), expected, rtol=1e-4)


def test_w2_of_a_point_is_the_root_of_the_second_moment(float64):
    names = ("banana", "mixture", "mixture 3d")
    optima = {name: TARGETS[name].optimum(1.0) for name in names}

    def program(points, cold):
        found = {name: w2_to_optimum(TARGETS[name], 1.0, p) for name, p in points.items()}
        return found, w2_to_optimum(TARGETS["quadratic"], 0.0, cold)

    points = {name: Point(mean + 1.0) for name, (mean, _) in optima.items()}
    found, cold = computed(program, points, Point(np.array([0.3, -1.2, 3.5])))
    for name, (mean, covariance) in optima.items():
        assert found[name] == pytest.approx(np.sqrt(len(mean) + np.trace(covariance)), rel=1e-9)
    assert cold == pytest.approx(3.0)


def test_distances_that_are_not_known():
    p = jax.tree.map(np.float32, policies(2, 1))
    single = jax.tree.map(lambda x: x[:, :1], p)
    for distance in (
        lambda: w2_to_optimum(TARGETS["banana"], 1.0, p),
        lambda: w2_to_optimum(TARGETS["quadratic matrix"], 1.0, TanhNormal(*p)),
        lambda: w2_to_optimum(TARGETS["mixture 1d"], 0.0, single),
        lambda: kl_to_optimum(TARGETS["banana"], 0.0, GAUSSIAN, p, KEY),
        lambda: kl_to_optimum(TARGETS["banana"], 1.0, DiracPolicy(), Point(p.mean), KEY),
    ):
        assert jax.eval_shape(distance) is None  # traced: each operation alone is a program of its own
