"""What every registered target keeps to: densities, gradients, normalisers and moments."""

import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

sys.path.insert(0, str(Path(__file__).parent))
from examples import KNOWN, SIZES, TARGETS, kinds

from pogospec import registry
from pogospec.spec.build import build_node, to_plain
from pogospec.targets.banana import BananaTarget
from pogospec.targets.base import AbstractTarget, concrete
from pogospec.targets.quadratic import QuadraticTarget
from pogospec.targets.quadrature import find_box, integrate, on_host

TEMPERATURES = (0.3, 1.0, 2.5)
cubature: Any = scipy.integrate.cubature
norm: Any = scipy.stats.norm
multivariate_normal: Any = scipy.stats.multivariate_normal


def computed(function, *arguments):
    """What one program gives, on the host; outside of it each operation would be compiled alone."""
    return jax.device_get(jax.jit(function)(*arguments))


def points(name, count=7):
    return np.random.default_rng(4).normal(size=(count, SIZES[name]))


def split(target):
    """The numbers of a target as a compiled program has them, and the rest."""
    floats, skeleton = eqx.partition(target, lambda leaf: isinstance(leaf, float))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), floats), skeleton


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
    numbers, skeleton = split(target)
    traced = jax.vmap(lambda numbers, a: eqx.combine(numbers, skeleton).log_density(a), (None, 0))

    def ways(rows, numbers):
        density = target.log_density
        return density(rows), density(rows.reshape(7, 1, -1)), density(rows[0]), traced(numbers, rows)

    single, batched, alone, swept = computed(ways, np.float32(rows), numbers)
    assert single.dtype == np.float32
    assert single.shape == (7,)
    assert alone.shape == ()
    np.testing.assert_allclose(batched[:, 0], single, rtol=1e-6)
    np.testing.assert_allclose(alone, single[0], rtol=1e-6)
    np.testing.assert_allclose(swept, single, rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):
        double, again = computed(lambda *both: [target.log_density(a) for a in both], rows, np.float32(rows))
    assert double.dtype == np.float64
    assert again.dtype == np.float32
    np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TARGETS)
def test_gradient_matches_central_differences(float64, name):
    rows, h, density = points(name), 1e-5, TARGETS[name].log_density
    steps = h * np.eye(SIZES[name])[:, None]
    both = lambda rows, moved: (jax.grad(lambda a: density(a).sum())(rows), density(moved))  # noqa: E731
    found, (up, down) = computed(both, rows, np.stack([rows + steps, rows - steps]))
    np.testing.assert_allclose(found.T, (up - down) / (2 * h), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TARGETS)
def test_gradient_is_finite_far_away(name):
    far = np.full((2, SIZES[name]), [[-30.0], [30.0]], np.float32)
    assert np.isfinite(computed(jax.vmap(jax.grad(TARGETS[name].log_density)), far)).all()


def gaussians(rows, weights, means, stds):
    """Log density of a mixture of diagonal Gaussians, by SciPy."""
    parts = [
        w * multivariate_normal(m, np.diag(np.square(s))).pdf(rows)
        for w, m, s in zip(weights, means, stds, strict=True)
    ]
    with np.errstate(divide="ignore"):
        return np.log(sum(parts) / sum(weights))


def bent(rows, bend, along, across):
    """Log density of a banana, by SciPy."""
    first, second = rows.T
    return norm(0, along).logpdf(first) + norm(bend * (first**2 - along**2), across).logpdf(second)


def quadratic(rows, center, matrix):
    """-1/2 (a - m)^T A (a - m)."""
    gap = rows - np.array(center)
    return -0.5 * np.einsum("ni,ij,nj->n", gap, np.array(matrix), gap)


BENT = {"banana": (1.0, 1.0, 0.3), "banana bent": (-0.5, 0.7, 0.2)}
SCIPY = {
    "quadratic 1d": lambda a: quadratic(a, [0.7], [[3.0]]),
    "quadratic 2d": lambda a: quadratic(a, [1.0, 2.0], [[2.0, 0.0], [0.0, 0.5]]),
    "quadratic matrix": lambda a: quadratic(a, [1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]),
    "mixture 1d": lambda a: gaussians(a, [1, 1], [[-2.0], [1.5]], [[0.5], [1.0]]),
    "mixture narrow": lambda a: gaussians(a, [1, 3], [[-2.0], [2.0]], [[0.05], [0.1]]),
    "mixture": lambda a: gaussians(
        a, [1.0, 2.0, 0.5], [(-1.0, 0.0), (1.0, 1.0), (0.0, -2.0)], [(0.3, 0.3), (0.2, 0.6), (0.5, 0.5)]
    ),
    "banana": lambda a: bent(a, *BENT["banana"]),
    "banana bent": lambda a: bent(a, *BENT["banana bent"]),
}
"""The densities of the examples in one and two dimensions, written again without the package."""


@pytest.mark.parametrize("name", KNOWN)
def test_density_matches_scipy(float64, name):
    rows = points(name)
    np.testing.assert_allclose(computed(TARGETS[name].log_density, rows), SCIPY[name](rows), rtol=1e-10)


def test_quadratic_density_is_a_gaussian_in_any_dimension(float64):
    for name in ("quadratic", "quadratic 5d matrix"):
        logs = computed(TARGETS[name].log_density, points(name))
        for heat in TEMPERATURES:
            mean, covariance = TARGETS[name].optimum(heat)
            expected = multivariate_normal(mean, covariance).logpdf(points(name))
            np.testing.assert_allclose(logs / heat - TARGETS[name].log_normalizer(heat), expected, rtol=1e-10)


def by_scipy(name, heat):
    """Log Z, mean and covariance by SciPy's adaptive cubature."""
    (low, high, _), d, straight = TARGETS[name].box(heat), SIZES[name], lambda rows: rows
    if name in BENT:  # a shear keeps areas, and makes the ridge straight
        bend, *stds = BENT[name]
        high = 10 * np.sqrt(heat) * np.array(stds)
        low, straight = -high, lambda rows: rows + [0, bend] * (rows[:, :1] ** 2 - stds[0] ** 2)

    def moments(rows):
        rows = straight(rows)
        density = np.exp(SCIPY[name](rows) / heat)[:, None]
        squares = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
        return np.concatenate([density, density * rows, density * squares], 1)

    found = cubature(moments, low, high, rtol=1e-10, atol=1e-12, max_subdivisions=20_000)
    assert found.status == "converged"
    mass, mean = found.estimate[0], found.estimate[1 : d + 1] / found.estimate[0]
    return np.log(mass), mean, found.estimate[d + 1 :].reshape(d, d) / mass - np.outer(mean, mean)


@pytest.mark.parametrize("heat", TEMPERATURES)
@pytest.mark.parametrize("name", KNOWN)
def test_normaliser_and_moments_match_scipy(name, heat):
    log_z, mean, covariance = by_scipy(name, heat)
    target = TARGETS[name]
    assert target.log_normalizer(heat) == pytest.approx(log_z, abs=1e-8)
    found = target.optimum(heat)
    np.testing.assert_allclose(found[0], mean, atol=1e-7)
    np.testing.assert_allclose(found[1], covariance, atol=1e-7)


def test_many_targets_at_once_are_each_of_them(float64):
    numbers, skeleton = split(TARGETS["mixture"])
    factors, rows = np.array([1.0, 1.3]), points("mixture")
    scaled = lambda factor: jax.tree.map(lambda leaf: np.asarray(leaf) * factor, numbers)  # noqa: E731
    density = lambda numbers: eqx.combine(numbers, skeleton).log_density(rows)  # noqa: E731
    found, program = computed(jax.vmap(density), scaled(factors)), jax.jit(density)
    for factor, values in zip(factors, found, strict=True):
        np.testing.assert_allclose(values, program(scaled(factor)), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "mixture narrow"])
def test_quadrature_needs_no_hint(name):
    function = on_host(TARGETS[name].log_density, 1.0, True)
    found: Any = integrate(function, find_box(function, SIZES[name]), 1e-8)
    exact = TARGETS[name].optimum(1.0)
    assert found.log_normalizer == pytest.approx(TARGETS[name].log_normalizer(1.0), abs=1e-9)
    np.testing.assert_allclose(found.mean, exact[0], atol=1e-9)
    np.testing.assert_allclose(found.covariance, exact[1], atol=1e-8)


class Flat(AbstractTarget):
    """What has no integral: a constant in two dimensions."""

    @property
    def dimensions(self):
        return 2

    def log_density(self, actions):
        return 0.0 * actions.sum(-1)

    def formula(self):
        return "0", "0", "nothing"


class Shifted(Flat):
    """A narrow, tilted Gaussian far from the origin, which knows nothing of itself."""

    def log_density(self, actions):
        gap = actions - jnp.asarray((300.0, -40.0), actions.dtype)
        along, across = gap[..., 0] + gap[..., 1], gap[..., 0] - gap[..., 1]
        return -0.5 * (along**2 + (across / 0.1) ** 2)


def test_no_normaliser_where_there_is_none():
    assert Flat().log_normalizer(1.0) is None
    assert Flat().optimum(1.0) is None
    saddle = QuadraticTarget((0.0, 0.0), (1.0, -1.0))
    assert saddle.log_normalizer(1.0) is saddle.optimum(1.0) is saddle.box(1.0) is None
    assert TARGETS["mixture 3d"].log_normalizer(2.0) is TARGETS["mixture 3d"].optimum(2.0) is None


def test_a_kind_that_knows_nothing_of_itself_is_integrated():
    # along and across have unit and 0.1 std; the change of variables has |det| 2
    assert Shifted().log_normalizer(1.0) == pytest.approx(np.log(2 * np.pi * 0.1 / 2), abs=1e-9)
    target: Any = Shifted()
    mean, covariance = target.optimum(1.0)
    np.testing.assert_allclose(mean, (300.0, -40.0), rtol=1e-12)
    both, across = (1 + 0.01) / 4, (1 - 0.01) / 4
    np.testing.assert_allclose(covariance, [[both, across], [across, both]], rtol=1e-8)


def test_moments_of_a_mixture_in_three_dimensions(float64):
    mean, covariance = TARGETS["mixture 3d"].optimum(1.0)
    means, stds = np.array([(0.0, 0.0, 1.0), (1.0, -1.0, 0.5)]), np.array([(0.3, 0.5, 1.0), (0.4,) * 3])
    rng = np.random.default_rng(0)
    which = rng.integers(0, 2, 400_000)
    draws = means[which] + stds[which] * rng.normal(size=(400_000, 3))
    np.testing.assert_allclose(mean, draws.mean(0), atol=5 * draws.std(0).max() / 400_000**0.5)
    np.testing.assert_allclose(covariance, np.cov(draws.T), atol=0.01)


def test_limits_at_temperature_zero():
    mean, covariance = TARGETS["quadratic"].optimum(0.0)
    np.testing.assert_allclose(mean, (0.3, -1.2, 0.5))
    assert (covariance == 0).all()
    valley: Any = BananaTarget(1.0, (0.5, 0.2))
    mean, covariance = valley.optimum(0.0)
    np.testing.assert_allclose(mean, (0.0, -0.25))  # the bottom of the valley
    assert (covariance == 0).all()


@pytest.mark.parametrize("name", TARGETS)
def test_integrals_inside_a_trace_and_from_arrays(name):
    target = TARGETS[name]
    outside = target.log_normalizer(1.5)
    inside = []
    jax.eval_shape(lambda x: inside.append(target.log_normalizer(1.5)) or x, 0.0)
    numbers, skeleton = split(target)
    arrays = eqx.combine(numbers, skeleton)
    assert inside == [outside]
    assert type(concrete(arrays)) is type(target)
    if outside is not None:
        assert arrays.log_normalizer(1.5) == pytest.approx(outside, abs=1e-6)


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ({"kind": "quadratic", "center": [0, 0], "curvature": [1]}, "allowed 2 numbers or 2 rows of 2"),
        ({"kind": "quadratic", "center": [0, 0], "curvature": [1, [0, 1]]}, "allowed 2 numbers or 2 rows of 2"),
        ({"kind": "quadratic", "center": [0, 0], "curvature": [[1, 2], [3, 1]]}, "allowed a symmetric matrix"),
        ({"kind": "quadratic", "center": [], "curvature": []}, "allowed 1 or more"),
        ({"kind": "quadratic", "center": [0]}, "curvature: missing"),
        ({"kind": "mixture", "means": [0, 1], "stds": [1]}, "found 1 stds, allowed 2"),
        ({"kind": "mixture", "means": [0, 1], "stds": [1, 1], "weights": [1]}, "found 1 weights, allowed 2"),
        ({"kind": "mixture", "means": [0, [0, 1]], "stds": [1, 1]}, "points of one number of dimensions"),
        ({"kind": "mixture", "means": [[0, 1]], "stds": [[1, 1, 1]]}, "a number or a list of 2"),
        ({"kind": "mixture", "means": [0], "stds": [0]}, "allowed a number > 0"),
        ({"kind": "mixture", "means": [0], "stds": [1], "weights": [0]}, "allowed a number > 0"),
        ({"kind": "banana", "scale": [1]}, "allowed 2"),
        ({"kind": "banana", "scale": [1, -1]}, "allowed a number > 0"),
    ],
)
def test_bad_fields_are_refused(plain, words):
    with pytest.raises(ValueError, match=words):
        build_node("target", plain)
