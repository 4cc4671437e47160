"""What every registered target keeps to: densities, gradients, normalisers and moments."""

import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.stats import multivariate_normal, norm

sys.path.insert(0, str(Path(__file__).parent))
from examples import KNOWN, OTHERS, SIZES, TARGETS, kinds

from pogospec import registry
from pogospec.spec.build import build_node, to_plain
from pogospec.targets.banana import BananaTarget
from pogospec.targets.base import AbstractTarget, concrete
from pogospec.targets.mixture import MixtureTarget
from pogospec.targets.quadratic import QuadraticTarget
from pogospec.targets.quadrature import find_box, integrate, on_host

TEMPERATURES = (0.3, 1.0, 2.5)


def points(name, count=7):
    return np.random.default_rng(4).normal(size=(count, SIZES[name]))


def with_arrays(target):
    """The target as a compiled program has it: every float an array."""
    floats, skeleton = eqx.partition(target, lambda leaf: isinstance(leaf, float))
    return eqx.combine(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), floats), skeleton)


def test_the_examples_hold_every_registered_kind():
    assert kinds() == set(registry.table("target"))


@pytest.mark.parametrize("name", TARGETS)
def test_contract(name):
    target = TARGETS[name]
    assert isinstance(target, AbstractTarget)
    assert target.dimensions == SIZES[name]
    text, latex, meaning = target.formula()
    assert text
    assert latex
    assert meaning
    assert build_node("target", to_plain(target)) == target
    assert target.log_normalizer(0.0) is None


@pytest.mark.parametrize("name", TARGETS)
def test_density_under_transformations_and_float_types(name):
    target, rows = TARGETS[name], points(name)
    single = target.log_density(jnp.asarray(rows, jnp.float32))
    assert single.dtype == jnp.float32
    assert single.shape == (7,)
    batched = target.log_density(jnp.asarray(rows, jnp.float32).reshape(7, 1, -1))
    np.testing.assert_allclose(batched[:, 0], single, rtol=1e-6)
    assert target.log_density(jnp.asarray(rows[0], jnp.float32)).shape == ()
    arrays = with_arrays(target)
    np.testing.assert_allclose(jax.jit(arrays.log_density)(rows), single, rtol=2e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda t, a: t.log_density(a), (None, 0)))(arrays, rows), single, 2e-6)
    with jax.enable_x64(True):
        double = target.log_density(jnp.asarray(rows, jnp.float64))
        assert double.dtype == jnp.float64
        assert target.log_density(jnp.asarray(rows, jnp.float32)).dtype == jnp.float32
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_gradient_matches_central_differences(float64, name):
    target, rows, h = TARGETS[name], points(name), 1e-5
    found = jax.grad(lambda a: target.log_density(a).sum())(jnp.asarray(rows))
    for j in range(SIZES[name]):
        step = h * np.eye(SIZES[name])[j]
        expected = (target.log_density(rows + step) - target.log_density(rows - step)) / (2 * h)
        np.testing.assert_allclose(found[:, j], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TARGETS)
def test_gradient_is_finite_far_away(name):
    target = TARGETS[name]
    for far in (-30.0, 30.0):
        gradient = jax.grad(target.log_density)(jnp.full(SIZES[name], far, jnp.float32))
        assert np.isfinite(gradient).all()


def test_quadratic_density_is_the_gaussian_log_density_at_temperature_one(float64):
    for name in ("quadratic", "quadratic matrix", "quadratic 5d matrix"):
        target: QuadraticTarget = TARGETS[name]
        for heat in TEMPERATURES:
            mean, covariance = target.optimum(heat)
            expected = multivariate_normal(mean, covariance).logpdf(points(name))
            found = target.log_density(points(name)) / heat - target.log_normalizer(heat)
            np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_mixture_density_matches_scipy(float64):
    rows = points("mixture")
    parts = [
        (1.0, (-1.0, 0.0), (0.3, 0.3)),
        (2.0, (1.0, 1.0), (0.2, 0.6)),
        (0.5, (0.0, -2.0), (0.5, 0.5)),
    ]
    density = sum(w * multivariate_normal(m, np.square(s)).pdf(rows) for w, m, s in parts) / 3.5
    np.testing.assert_allclose(TARGETS["mixture"].log_density(rows), np.log(density), rtol=1e-10)


def test_banana_density_matches_scipy(float64):
    rows = points("banana bent")
    first, second = rows.T
    expected = norm(0, 0.7).logpdf(first) + norm(-0.5 * (first**2 - 0.49), 0.2).logpdf(second)
    np.testing.assert_allclose(TARGETS["banana bent"].log_density(rows), expected, rtol=1e-10)


def by_scipy(target, heat, box):
    """Log Z, mean and covariance by SciPy's adaptive rules, one dimension inside the other."""
    density = on_host(target.log_density, heat)
    top = max(density(np.linspace(box.low, box.high, 4001)).max(), 0.0)
    moments = []
    if target.dimensions == 1:
        at = lambda x: np.exp(density(np.array([[x]]))[0] - top)  # noqa: E731
        marks = np.linspace(box.low[0], box.high[0], 60)
        for power in range(3):
            f = lambda x, k=power: x**k * at(x)  # noqa: E731
            moments.append(sum(quad(f, a, b, epsrel=1e-10)[0] for a, b in zip(marks, marks[1:], strict=False)))
        mass, first, second = moments
        return np.log(mass) + top, np.array([first / mass]), np.array([[second / mass - (first / mass) ** 2]])
    at = lambda y, x: np.exp(density(np.array([[x, y]]))[0] - top)  # noqa: E731
    mass = dblquad(at, box.low[0], box.high[0], box.low[1], box.high[1], epsrel=1e-7)[0]
    return np.log(mass) + top, None, None


@pytest.mark.parametrize("heat", TEMPERATURES)
@pytest.mark.parametrize("name", [name for name in KNOWN if SIZES[name] == 1])
def test_normaliser_and_moments_in_one_dimension_match_scipy(name, heat):
    target = TARGETS[name]
    log_z, mean, covariance = by_scipy(target, heat, target.box(heat))
    assert target.log_normalizer(heat) == pytest.approx(log_z, abs=1e-8)
    found = target.optimum(heat)
    np.testing.assert_allclose(found[0], mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found[1], covariance, rtol=1e-8)
