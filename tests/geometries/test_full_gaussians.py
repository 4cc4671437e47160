"""Geometries of Gaussians with full covariance: values, gradients and metrics against forms written without them."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import functools
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

sys.path.insert(0, str(Path(__file__).parent))
import full_forms

from pogospec.geometries.fisher_rao import FisherRao
from pogospec.geometries.gaussian_fisher_rao import GaussianFisherRao
from pogospec.geometries.hellinger import Hellinger
from pogospec.geometries.kl import KL
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import DiagonalNormal, FullNormal, Point
from pogospec.steps.base import Proximal
from pogospec.steps.gradient import Natural

GEOMETRIES = {
    "wasserstein2": Wasserstein2(),
    "fisher_rao": FisherRao(),
    "hellinger": Hellinger(),
    "kl": KL(),
    "kl reversed": KL(direction="reference_to_policy"),
}
ALL = GEOMETRIES | {"gaussian_fisher_rao": GaussianFisherRao()}
MORE = pytest.mark.exhaustive("a size more, for which all is compiled anew")
SIZES = (1, 3, pytest.param(2, marks=MORE), pytest.param(6, marks=MORE))
ROWS = 60


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


def by_row(gradient):
    """Parameters as rows of numbers."""
    return np.concatenate([np.asarray(leaf, float) for leaf in gradient], -1)


@functools.cache
def compiled(kind, ends=0):
    """Values, and gradients at an end or both."""

    def total(p, q):
        values = ALL[kind].divergence(p, q)
        return values.sum(), values

    return jax.jit(jax.value_and_grad(total, ends, has_aux=True))


def both(kind, p, q):
    """Values, and gradients at p, as rows; by a program of ROWS rows."""
    count = len(p.mean)
    whole = [jax.tree.map(lambda x: np.resize(x, (ROWS, x.shape[1])), side) for side in (p, q)]
    (_, values), gradient = compiled(kind)(*whole)
    return np.asarray(values, float)[:count], by_row(gradient)[:count]


def pairs(size, condition, count):
    rng = np.random.default_rng(size)
    draw = lambda: [full_forms.gaussian(rng, size, condition) for _ in range(count)]  # noqa: E731
    return draw(), draw()


def close(found, expected, tolerance):
    """Rows agree to a share of their largest entry."""
    scale = np.abs(expected).max(-1, keepdims=True) + 1e-300
    assert (np.abs(found - expected) <= tolerance * scale).all(), (np.abs(found - expected) / scale).max()


@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("condition", [10.0, 1e4, 1e8])
def test_values_and_gradients_are_the_closed_forms(float64, kind, size, condition):
    ps, qs = pairs(size, condition, ROWS)
    p, q = full_forms.parameters(ps), full_forms.parameters(qs)
    expected = [full_forms.FORMS[kind](a, b) for a, b in zip(ps, qs, strict=True)]
    values, gradients = both(kind, p, q)
    # the forms subtract numbers of order one, and invert matrices of this condition
    np.testing.assert_allclose(values, [value for value, _ in expected], rtol=1e-10 + 1e-15 * condition, atol=1e-13)
    pulled = np.array([full_forms.pulled_back(a, slope) for a, (_, slope) in zip(ps, expected, strict=True)])
    seen = np.abs(pulled).max(-1) > 1e-30  # far in its saturation Fisher-Rao has no slope left
    close(gradients[seen], pulled[seen], 1e-10 + 1e-14 * condition)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", [3])
def test_gradients_at_both_ends_are_central_differences(float64, kind, size):
    ps, qs = pairs(size, 10.0, 8)
    ends, h = [full_forms.parameters(ps), full_forms.parameters(qs)], 1e-5
    slopes = lambda p, q: jax.device_get(compiled(kind, (0, 1))(p, q))  # noqa: E731
    _, found = slopes(*ends)
    for end in (0, 1):
        for field, leaf in enumerate(ends[end]):
            for j in range(leaf.shape[-1]):
                moved = []
                for step in (h, -h):
                    changed = leaf + step * (np.arange(leaf.shape[-1]) == j)
                    other = ends[end]._replace(**{FullNormal._fields[field]: changed})
                    moved.append(slopes(*(other if k == end else ends[k] for k in (0, 1)))[0][1])
                slope = (moved[0] - moved[1]) / (2 * h)
                np.testing.assert_allclose(found[end][field][:, j], slope, rtol=1e-6, atol=1e-6)


def test_affinity_is_its_integral(float64):
    ps, qs = pairs(2, 10.0, 6)
    values, _ = both("hellinger", full_forms.parameters(ps), full_forms.parameters(qs))
    for found, p, q in zip(values, ps, qs, strict=True):
        reach = 9 * max(np.abs(f).sum() for _, f in (p, q))
        axis = np.linspace(-reach, reach, 401)
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
        logs = [multivariate_normal(m, f @ f.T).logpdf(grid) for m, f in (p, q)]
        affinity = np.exp((logs[0] + logs[1]) / 2).sum() * (axis[1] - axis[0]) ** 2
        assert found == pytest.approx(4 * (1 - affinity), rel=1e-9)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4])
def test_small_gaps_are_half_the_metric(float64, kind, size, condition):
    rng, gap = np.random.default_rng(size), 1e-7
    ps = [full_forms.gaussian(rng, size, condition) for _ in range(10)]
    qs = [full_forms.near(rng, p, gap) for p in ps]
    p, q = full_forms.parameters(ps), full_forms.parameters(qs)
    values, gradients = both(kind, p, q)
    step = by_row(p) - by_row(q)
    metrics = np.array([full_forms.metric(kind, a) for a in ps])
    slopes = np.einsum("nij,nj->ni", metrics, step)
    # a log-diagonal of order one carries a gap of 1e-7 to 1e-9 of itself
    np.testing.assert_allclose(values, np.einsum("ni,ni->n", slopes, step) / 2, rtol=1e-5 + 1e-9 * condition)
    close(gradients, slopes, 1e-5 + 1e-9 * condition)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", SIZES)
def test_float32_keeps_the_digits_of_its_inputs(kind, size):
    rng = np.random.default_rng(size)
    ps, qs = [], []
    for condition in (1.0, 10.0, 1e4):
        for gap in (None, 1e-2, 1e-4, 1e-6):
            for _ in range(5):
                p = full_forms.gaussian(rng, size, condition)
                ps.append(p)
                qs.append(full_forms.gaussian(rng, size, condition) if gap is None else full_forms.near(rng, p, gap))
    single = [full_forms.parameters(side, np.float32) for side in (ps, qs)]
    values, gradients = both(kind, *single)
    with jax.enable_x64(True):
        double = [jax.tree.map(np.float64, side) for side in single]
        exact, slopes = both(kind, *double)
        far = np.array([full_forms.bhattacharyya(p, q)[0] for p, q in zip(ps, qs, strict=True)])
    assert np.abs(values / exact - 1).max() < 1e-5
    # exp(-B) of a float32 B is uncertain by B units of rounding; a condition of 1e4 costs four digits more
    seen = far < 20 if kind in ("fisher_rao", "hellinger") else far < np.inf
    close(gradients[seen], slopes[seen], 2e-3)
    mild = seen & (np.arange(len(ps)) < 40)
    close(gradients[mild], slopes[mild], 2e-5)


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("condition", [1.0, 100.0])
def test_equal_gaussians_are_at_distance_zero_in_float32(kind, size, condition):
    rng = np.random.default_rng(size)
    p = full_forms.parameters([full_forms.gaussian(rng, size, condition) for _ in range(20)], np.float32)
    values, gradients = both(kind, p, p)
    assert (np.abs(values) < 1e-20).all()
    assert (np.abs(gradients) < 1e-10).all()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("size", [3])
def test_diagonal_covariances_are_those_of_the_diagonal_family(float64, kind, size):
    rng = np.random.default_rng(size)
    means, logs = rng.normal(size=(2, 40, size)), rng.uniform(-2, 1, (2, 40, size))
    if kind == "gaussian_fisher_rao":  # where several means differ the geodesic leaves the diagonal Gaussians
        means[1, :, 1:] = means[0, :, 1:]
    diagonal = [DiagonalNormal(*side) for side in zip(means, logs, strict=True)]
    zeros = np.zeros((40, full_forms.SHAPES[size]))
    whole = [FullNormal(side.mean, side.log_std, zeros) for side in diagonal]
    expected, slopes = both(kind, *diagonal)
    for p, q in (whole, (whole[0], diagonal[1])):
        values, gradients = both(kind, p, q)
        np.testing.assert_allclose(values, expected, rtol=1e-10)
        np.testing.assert_allclose(gradients[:, : 2 * size], slopes, rtol=1e-8, atol=1e-10)
    values, gradients = both(kind, diagonal[0], whole[1])
    np.testing.assert_allclose(values, expected, rtol=1e-10)
    np.testing.assert_allclose(gradients, slopes, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_point_is_the_limit_of_thin_gaussians(float64, reduction):
    rng, geometry = np.random.default_rng(0), Wasserstein2(reduction=reduction)
    ps, divergence = [full_forms.gaussian(rng, 3, 10.0) for _ in range(10)], geometry.divergence
    p = full_forms.parameters(ps)
    thin = FullNormal(p.mean + 0.1, np.full((10, 3), -40.0), np.zeros((10, 3)))

    def sides(p, thin):
        points = Point(thin.mean), Point(p.mean)
        return divergence(p, points[0]), divergence(points[0], p), divergence(p, thin), divergence(p, points[1])

    after, before, expected, spread = computed(sides, p, thin)
    np.testing.assert_allclose(after, expected, rtol=1e-12)
    np.testing.assert_allclose(before, expected, rtol=1e-12)
    squares = np.array([np.sum(factor**2) for _, factor in ps])
    np.testing.assert_allclose(spread, squares / (2 if reduction == "sum" else 6), rtol=1e-12)


def test_means_over_dimensions_are_a_third_of_sums(float64):
    ps, qs = pairs(3, 10.0, 5)
    p, q = full_forms.parameters(ps), full_forms.parameters(qs)
    by_mean = computed(Wasserstein2(reduction="mean").divergence, p, q)
    np.testing.assert_allclose(3 * by_mean, both("wasserstein2", p, q)[0], rtol=1e-12)


def test_second_derivatives_of_the_wasserstein_distance_at_coincidence_are_the_metric(float64):
    rng, hessian = np.random.default_rng(8), jax.jit(jax.hessian(Wasserstein2().divergence))
    for condition in (1.0, 10.0):
        p = full_forms.gaussian(rng, 3, condition)
        q = jax.tree.map(lambda x: x[0], full_forms.parameters([p]))
        blocks = hessian(q, q)
        found = np.block([[np.asarray(block) for block in row] for row in blocks])
        np.testing.assert_allclose(found, full_forms.metric("wasserstein2", p), rtol=1e-8, atol=1e-10)


@functools.cache
def natural(terms, clip):
    return jax.jit(lambda p, gradient: Natural(clip=clip).precondition(terms, p, gradient))


def preconditioned(terms, p, gradient, clip=(1e-12, 1e12)):
    return by_row(natural(terms, clip)(p, gradient))


@pytest.mark.parametrize(
    ("geometry", "kind", "factor"),
    [
        (FisherRao(), "fisher_rao", 1.0),
        (Hellinger(), "hellinger", 1.0),
        (KL(weight=3.0), "kl", 3.0),
        (GaussianFisherRao(), "gaussian_fisher_rao", 1.0),
        (Wasserstein2(), "wasserstein2", 1.0),
        (Wasserstein2(reduction="mean", weight=2.0), "wasserstein2", 2 / 3),
    ],
)
@pytest.mark.parametrize("condition", [1.0, 10.0, 1e4])
def test_natural_gradient_inverts_the_metric(float64, geometry, kind, factor, condition):
    rng = np.random.default_rng(3)
    ps = [full_forms.gaussian(rng, 3, condition) for _ in range(20)]
    p = full_forms.parameters(ps)
    gradient = FullNormal(*rng.normal(size=(3, 20, 3)))
    found = preconditioned((Proximal(geometry, "behavior", 1.0),), p, gradient)
    metrics = factor * np.array([full_forms.metric(kind, q) for q in ps])
    expected = np.linalg.solve(metrics, by_row(gradient)[..., None])[..., 0]
    close(found, expected, 1e-11 * condition)


def test_the_natural_gradient_is_the_one_of_means_and_covariances(float64):
    rng = np.random.default_rng(4)
    p = full_forms.gaussian(rng, 3, 10.0)
    s, slope = p[1] @ p[1].T, rng.normal(size=(3, 3))
    slope, by_mean = slope + slope.T, rng.normal(size=3)
    row = full_forms.pulled_back(p, (by_mean, slope))
    gradient = FullNormal(*row.reshape(3, 1, 3))
    expected = {
        "fisher_rao": (s @ by_mean, 2 * s @ slope @ s),
        "wasserstein2": (by_mean, 2 * (slope @ s + s @ slope)),
    }
    for kind, (mean, change) in expected.items():
        found = preconditioned((Proximal(ALL[kind], "behavior", 1.0),), full_forms.parameters([p]), gradient)[0]
        np.testing.assert_allclose(found[:3], mean, rtol=1e-9)
        moved = sum(step * along for step, along in zip(found[3:], full_forms.tangents(p), strict=True))
        np.testing.assert_allclose(moved, change, rtol=1e-9, atol=1e-12)


def test_the_metric_of_a_weighted_sum_is_the_sum_of_metrics(float64):
    rng = np.random.default_rng(5)
    ps = [full_forms.gaussian(rng, 3, 10.0) for _ in range(10)]
    gradient = FullNormal(*rng.normal(size=(3, 10, 3)))
    parts = ((FisherRao(weight=2.0), 0.5), (Wasserstein2(weight=0.3), 2.0))
    terms = tuple(Proximal(geometry, "behavior", tau) for geometry, tau in parts)
    found = preconditioned(terms, full_forms.parameters(ps), gradient)
    for row, g, p in zip(found, by_row(gradient), ps, strict=True):
        total = 2 * full_forms.metric("fisher_rao", p) + 0.5 / 2.0 * 0.3 * full_forms.metric("wasserstein2", p)
        np.testing.assert_allclose(row, np.linalg.solve(total, g), rtol=1e-8)


@pytest.mark.parametrize("geometry", [KL(), Wasserstein2(), Wasserstein2(reduction="mean")])
def test_the_default_clip_is_that_of_the_diagonal_family(float64, geometry):
    rng = np.random.default_rng(6)
    diagonal = DiagonalNormal(np.zeros((30, 3)), rng.uniform(-8, 4, (30, 3)))
    p = FullNormal(*diagonal, np.zeros((30, 3)))
    gradient = FullNormal(*rng.normal(size=(3, 30, 3)))
    term = (Proximal(geometry, "behavior", 1.0),)
    expected = preconditioned(term, diagonal, DiagonalNormal(*gradient[:2]), None)
    np.testing.assert_allclose(preconditioned(term, p, gradient, None)[:, :6], expected, rtol=1e-8, atol=1e-12)


def test_the_clip_bounds_the_eigenvalues(float64):
    rng = np.random.default_rng(7)
    (p,) = [full_forms.gaussian(rng, 3, 100.0)]
    values, axes = np.linalg.eigh(p[1] @ p[1].T)
    low, high = values[0] * 2, values[-1] / 2
    gradient = FullNormal(*rng.normal(size=(3, 1, 3)))
    found = preconditioned((Proximal(KL(), "behavior", 1.0),), full_forms.parameters([p]), gradient, (low, high))[0]
    clipped = (axes * np.clip(values, low, high)) @ axes.T
    np.testing.assert_allclose(found[:3], clipped @ gradient.mean[0], rtol=1e-9)
    np.testing.assert_allclose(
        found[3:], np.linalg.solve(full_forms.metric("kl", p), by_row(gradient)[0])[3:], rtol=1e-8
    )
