"""Values and gradients of the geometries against closed forms written without the package."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parents[1]))
import closed_forms

from pogospec.geometries.fisher_rao import FisherRao, half_squared_angle
from pogospec.geometries.gaussian_fisher_rao import GaussianFisherRao
from pogospec.geometries.hellinger import Hellinger
from pogospec.geometries.kl import KL
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import DiagonalNormal, Point
from pogospec.steps.base import Proximal
from pogospec.steps.gradient import Natural

RNG = np.random.default_rng(0)
ROWS = 300


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


def pairs(count, dimension):
    mean = RNG.normal(size=(2, count, dimension))
    log_std = RNG.uniform(-2.0, 1.0, size=(2, count, dimension))
    return mean[0], log_std[0], mean[1], log_std[1]


def edges(dimension):
    rows = []
    for log_std in (-5.0, 0.0, 2.0):
        for gap in (0.0, 1e-6, 1e-5, 1e-4, 1e-3):
            for mean in (0.0, 1e-6, 1e-3, 1.0, 2.0):
                shift = mean * np.exp(log_std)
                rows.append((0.1, log_std, 0.1 + shift, log_std + gap))
    return tuple(np.repeat(np.array(column)[:, None], dimension, 1) for column in zip(*rows, strict=True))


def oracle(kind, m1, r1, m2, r2):
    arguments = (m1, np.exp(r1), m2, np.exp(r2))
    return {
        "fisher_rao": lambda: closed_forms.fisher_rao(*arguments) ** 2 / 2,
        "wasserstein2": lambda: closed_forms.w2_squared(*arguments) / 2,
        "gaussian_fisher_rao": lambda: closed_forms.rao(*arguments) ** 2 / 2,
        "kl": lambda: closed_forms.kl(*arguments),
        "kl reversed": lambda: closed_forms.kl(*arguments[2:], *arguments[:2]),
        "hellinger": lambda: -4 * np.expm1(-closed_forms.bhattacharyya(*arguments)),
    }[kind]()


FORMS = (np.asarray, np.exp, np.asarray, np.exp)  # means as they are, stds from log-stds
GEOMETRIES = {
    "fisher_rao": FisherRao(),
    "wasserstein2": Wasserstein2(),
    "gaussian_fisher_rao": GaussianFisherRao(),
    "kl": KL(),
    "kl reversed": KL(direction="reference_to_policy"),
    "hellinger": Hellinger(),
}


@functools.cache
def compiled(kind):
    """Values, and their gradients in mean and log std."""
    divergence = GEOMETRIES[kind].divergence

    def both(p, q):
        return divergence(p, q), jax.grad(lambda p: divergence(p, q).sum())(p)

    return jax.jit(both)


def found(kind, m1, r1, m2, r2):
    """Values and gradients on the host, by a program of ROWS rows."""
    m, r, n, s = (np.resize(column, (ROWS, column.shape[1])) for column in (m1, r1, m2, r2))
    value, gradient = jax.device_get(compiled(kind)(DiagonalNormal(m, r), DiagonalNormal(n, s)))
    return value[: len(m1)], *(part[: len(m1)] for part in gradient)


@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("dimension", [1, 3, 17])
@pytest.mark.parametrize("sample", [lambda d: pairs(ROWS, d), edges])
def test_value_matches_the_oracle(float64, kind, dimension, sample):
    given = sample(dimension)
    # the oracle of KL adds and takes away numbers of order one in each dimension
    rounding = 1e-15 * dimension if kind.startswith("kl") else 1e-15
    np.testing.assert_allclose(found(kind, *given)[0], oracle(kind, *given), rtol=2e-7, atol=rounding)


@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("dimension", [1, 3])
def test_gradient_matches_central_differences_of_the_oracle(float64, kind, dimension):
    m1, r1, m2, r2 = pairs(100, dimension)
    _, along_mean, along_std = found(kind, m1, r1, m2, r2)
    h = 1e-5
    for j in range(dimension):
        step = np.zeros(dimension)
        step[j] = h
        by_mean = (oracle(kind, m1 + step, r1, m2, r2) - oracle(kind, m1 - step, r1, m2, r2)) / (2 * h)
        by_std = (oracle(kind, m1, r1 + step, m2, r2) - oracle(kind, m1, r1 - step, m2, r2)) / (2 * h)
        np.testing.assert_allclose(along_mean[:, j], by_mean, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(along_std[:, j], by_std, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_float32_keeps_the_digits_of_its_inputs(kind):
    single = [np.asarray(a, np.float32) for a in (*map(np.concatenate, zip(pairs(200, 3), edges(3), strict=True)),)]
    low_digits = found(kind, *single)
    assert all(part.dtype == np.float32 for part in low_digits)
    with jax.enable_x64(True):
        expected = found(kind, *(np.float64(a) for a in single))
    # exp(-B) of a float32 B is uncertain by B units of rounding: only far in the saturation is that above 1e-5
    uncertainty = 2e-7 * closed_forms.bhattacharyya(*(f(np.float64(a)) for f, a in zip(FORMS, single, strict=True)))
    for low, high in zip(low_digits, expected, strict=True):
        high = high.reshape(len(uncertainty), -1)
        error = np.abs(np.asarray(low, np.float64).reshape(high.shape) - high).max(-1)
        assert (error <= np.maximum(1e-5, uncertainty) * np.abs(high).max(-1) + 1e-30).all()


def gradient_oracle(kind, m1, r1, m2, r2):
    """Gradient in (mean, log std), term by term; the angle as arctan, since tan^2 = 1/BC^2 - 1."""
    s1, s2 = np.exp(r1), np.exp(r2)
    total, gap, ratio = s1**2 + s2**2, m1 - m2, r1 - r2
    if kind == "wasserstein2":
        return gap, s1 * s2 * np.expm1(ratio)
    if kind == "kl":
        return gap / s2**2, np.expm1(2 * ratio)
    if kind == "kl reversed":
        return gap / s1**2, -np.expm1(-2 * ratio) - (gap / s1) ** 2
    if kind == "gaussian_fisher_rao":
        x = gap**2 / (4 * s1 * s2) + 2 * np.sinh(ratio / 2) ** 2
        root = np.sqrt(x * (x + 2))
        slope = np.where(root > 0, 2 * np.log1p(x + root) / np.where(root > 0, root, 1.0), 2.0)
        return slope * gap / (2 * s1 * s2), slope * (np.sinh(ratio) - gap**2 / (4 * s1 * s2))
    b = (gap**2 / (4 * total) + 0.5 * np.log1p((s1 - s2) ** 2 / (2 * s1 * s2))).sum(-1, keepdims=True)
    tangent = np.sqrt(np.expm1(2 * np.minimum(b, 300.0)))
    slope = np.where(b > 0, 4 * np.arctan(tangent) / np.where(b > 0, tangent, 1.0), 4.0)
    slope = 4 * np.exp(-b) if kind == "hellinger" else slope
    by_std = (s1 - s2) * (s1 + s2) / (2 * total) - (gap * s1 / total) ** 2 / 2
    return slope * gap / (2 * total), slope * by_std


@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("dimension", [1, 3, 17])
@pytest.mark.parametrize("sample", [lambda d: pairs(ROWS, d), edges])
def test_gradient_matches_the_formula_at_the_edges_too(float64, kind, dimension, sample):
    m1, r1, m2, r2 = sample(dimension)
    expected = gradient_oracle(kind, m1, r1, m2, r2)
    # a gap of 1e-6 between stds is known to 1e-10 of itself in float64
    for part, wanted in zip(found(kind, m1, r1, m2, r2)[1:], expected, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-8, atol=1e-13 * np.maximum(1.0, np.exp(2 * r1)).max())


def test_fisher_rao_matches_quadrature(float64):
    given = pairs(100, 1)
    m1, r1, m2, r2 = given
    # the trapezoidal rule, on steps of a fourteenth of the least std, is exact to rounding
    x, step = np.linspace(-25, 25, 5001, retstep=True)
    affinity = np.sqrt(norm.pdf(x, m1, np.exp(r1)) * norm.pdf(x, m2, np.exp(r2))).sum(1) * step
    expected = (2 * np.arccos(np.minimum(affinity, 1.0))) ** 2 / 2
    np.testing.assert_allclose(found("fisher_rao", *given)[0], expected, rtol=1e-7)


def test_fisher_rao_is_finite_at_equal_and_at_huge_distances():
    q = DiagonalNormal(np.array([[0.0] * 2, [2.0] * 2], np.float32), np.full((2, 2), -5.0, np.float32))
    value, *gradient = found("fisher_rao", *q, 0 * q.mean, q.log_std)
    assert np.isfinite(value).all()
    assert all(np.isfinite(leaf).all() for leaf in gradient)
    assert value == pytest.approx([0.0, np.pi**2 / 2])


def test_slope_at_coincidence_is_four(float64):
    assert computed(jax.grad(half_squared_angle), 0.0) == pytest.approx(4.0, rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_point_is_the_limit_of_small_stds(float64, reduction):
    divergence = Wasserstein2(reduction=reduction).divergence
    m1, r1, m2, _ = pairs(20, 3)
    thin = DiagonalNormal(m2, np.full_like(m2, -40.0))
    both = lambda policies: [(divergence(p, Point(m2)), divergence(p, thin)) for p in policies]  # noqa: E731
    for point, limit in computed(both, [DiagonalNormal(m1, r1), Point(m1)]):
        np.testing.assert_allclose(point, limit, rtol=1e-12)


def normal(v):
    """Means, then log-stds."""
    return DiagonalNormal(v[:3], v[3:])


def kl(p, q):
    """KL(p || q) of diagonal Gaussians, written out."""
    gap = q.log_std - p.log_std
    return (gap + (jnp.exp(2 * p.log_std) + (p.mean - q.mean) ** 2) / (2 * jnp.exp(2 * q.log_std)) - 0.5).sum()


def inverted(proximal, divergence):
    """Asserts that natural gradients solve the Hessian of a divergence at coincidence, in 20 random places."""
    places = np.concatenate([RNG.normal(size=(20, 3)), RNG.uniform(-2, 1, (20, 3))], 1)
    gradients = RNG.normal(size=(20, 6))

    def one(q, gradient):
        natural = Natural(clip=(1e-12, 1e12)).precondition(proximal, normal(q), normal(gradient))
        return jax.hessian(divergence)(q, q), jnp.concatenate(natural)

    metrics, natural = computed(jax.vmap(one), places, gradients)
    np.testing.assert_allclose(natural, np.linalg.solve(metrics, gradients[..., None])[..., 0], rtol=1e-8)


@pytest.mark.parametrize(
    ("geometry", "local"),
    [
        (FisherRao(), kl),
        (FisherRao(weight=3.0), lambda p, q: 3 * kl(p, q)),
        (GaussianFisherRao(), kl),
        (Hellinger(), kl),
        (KL(), kl),
        (
            Wasserstein2(),
            lambda p, q: ((p.mean - q.mean) ** 2 + (jnp.exp(p.log_std) - jnp.exp(q.log_std)) ** 2).sum() / 2,
        ),
        (
            Wasserstein2(reduction="mean"),
            lambda p, q: ((p.mean - q.mean) ** 2 + (jnp.exp(p.log_std) - jnp.exp(q.log_std)) ** 2).mean() / 2,
        ),
    ],
)
def test_natural_gradient_inverts_the_hessian_at_coincidence(float64, geometry, local):
    inverted((Proximal(geometry, "behavior", 1.0),), lambda v, q: local(normal(v), normal(q)))


def test_the_metric_of_a_weighted_sum_is_the_sum_of_metrics(float64):
    parts = ((FisherRao(weight=2.0), 0.5), (Wasserstein2(weight=0.3), 2.0))
    proximal = tuple(Proximal(geometry, "behavior", tau) for geometry, tau in parts)

    def total(v, q):
        p, q = normal(v), normal(q)
        w2 = ((p.mean - q.mean) ** 2 + (jnp.exp(p.log_std) - jnp.exp(q.log_std)) ** 2).sum() / 2
        return 2 * kl(p, q) + 0.5 / 2.0 * 0.3 * w2

    inverted(proximal, total)
