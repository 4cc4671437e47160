"""The Rao distance of full Gaussians: geodesics by their differential equation, and lengths of other paths."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import eigh
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
import closed_forms
import full_forms

from pogospec.geometries.full_rao import half_squared_rao_full
from pogospec.policies.base import FullNormal

ROWS = 12


@functools.cache
def compiled():
    def total(p, q):
        values = half_squared_rao_full(p, q)
        return values.sum(), values

    return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))


def half_square(p, q):
    """D of lists of Gaussians, and gradients at both ends."""
    whole = [full_forms.parameters([side[i % len(side)] for i in range(ROWS)]) for side in (p, q)]
    (_, values), gradients = compiled()(*whole)
    cut = lambda x: np.asarray(x)[: len(p)]  # noqa: E731
    return cut(values), [jax.tree.map(cut, gradient) for gradient in gradients]


def pairs(size, condition, far=1.0, count=ROWS):
    rng = np.random.default_rng(size)
    ps = [full_forms.gaussian(rng, size, condition) for _ in range(count)]
    qs = [full_forms.gaussian(rng, size, condition) for _ in range(count)]
    return ps, [(far * mean, factor) for mean, factor in qs]


def velocity(p, gradient):
    """Minus the gradient, raised by the inverse metric, as changes of mean and covariance."""
    step = -np.linalg.solve(full_forms.metric("fisher", p), np.concatenate(gradient))
    size = len(p[0])
    change = sum((s * x for s, x in zip(step[size:], full_forms.tangents(p), strict=True)), np.zeros((size, size)))
    return step[:size], change


def shoot(p, mean_dot, covariance_dot):
    """Where the geodesic with this initial velocity is at time 1: S'' = S' S^-1 S' - m' m'^T, m'' = S' S^-1 m'."""
    size = len(p[0])

    def flow(_, state):
        s, m_dot, s_dot = state[size : size + size**2], state[-size - size**2 : -(size**2)], state[-(size**2) :]
        s, s_dot = s.reshape(size, size), s_dot.reshape(size, size)
        turned = s_dot @ np.linalg.inv(s)
        return np.concatenate([m_dot, s_dot.ravel(), turned @ m_dot, (turned @ s_dot - np.outer(m_dot, m_dot)).ravel()])

    start = np.concatenate([p[0], (p[1] @ p[1].T).ravel(), mean_dot, covariance_dot.ravel()])
    end = solve_ivp(flow, (0, 1), start, rtol=1e-11, atol=1e-13, method="DOP853").y[:, -1]
    return end[:size], end[size : size + size**2].reshape(size, size)


@pytest.mark.thinned(4, "solves boundary problems")
@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("far", [1.0, 5.0])
def test_minus_the_gradient_is_the_velocity_of_a_geodesic_that_arrives(float64, size, far):
    ps, qs = pairs(size, 10.0, far)
    values, (slopes, back) = half_square(ps, qs)
    for index, (p, q) in enumerate(zip(ps, qs, strict=True)):
        for a, b, gradient in ((p, q, slopes), (q, p, back)):
            slope = jax.tree.map(lambda x, index=index: x[index], gradient)
            mean, covariance = shoot(a, *velocity(a, slope))
            inverse = np.linalg.inv(b[1])
            np.testing.assert_allclose(inverse @ (mean - b[0]), 0, atol=1e-5)
            np.testing.assert_allclose(inverse @ covariance @ inverse.T, np.eye(size), atol=1e-5)
            row = np.concatenate(slope)
            square = row @ np.linalg.solve(full_forms.metric("fisher", a), row)
            assert values[index] == pytest.approx(square / 2, rel=1e-7)


def test_no_path_between_is_shorter(float64):
    """The energy of a path of N pieces tends to d^2 from its minimum, with an error of order N^-2."""
    ps, qs = pairs(2, 4.0, 2.0, 3)
    values, _ = half_square(ps, qs)
    for value, p, q in zip(values, ps, qs, strict=True):
        energies = [_least_energy(p, q, pieces) for pieces in (8, 16)]
        assert (4 * energies[1] - energies[0]) / 3 == pytest.approx(2 * value, rel=2e-4)


def _least_energy(p, q, pieces):
    start, end = (np.concatenate(jax.tree.map(lambda x: np.asarray(x)[0], full_forms.parameters([g]))) for g in (p, q))

    def energy(inner):
        path = jnp.concatenate([start[None], inner.reshape(-1, 5), end[None]])
        middle, step = (path[1:] + path[:-1]) / 2, path[1:] - path[:-1]
        log, below = middle[:, 2:4], middle[:, 4]
        # L^-1 dL = [[dr_1, 0], [(dl - l dr_1) / L_22, dr_2]] and |L^-1 dm|^2, the metric in whitened coordinates
        first = step[:, 0] * jnp.exp(-log[:, 0])
        second = (step[:, 1] - below * first) * jnp.exp(-log[:, 1])
        shear = (step[:, 4] - below * step[:, 2]) * jnp.exp(-log[:, 1])
        whole = first**2 + second**2 + 2 * step[:, 2] ** 2 + 2 * step[:, 3] ** 2 + shear**2
        return pieces * whole.sum()

    shares = np.linspace(0, 1, pieces + 1)[1:-1, None]
    guess = (1 - shares) * start + shares * end
    slope = jax.jit(jax.value_and_grad(energy))
    found = minimize(lambda x: [np.asarray(y) for y in slope(x)], guess.ravel(), jac=True, method="BFGS")
    return found.fun


@pytest.mark.parametrize("size", [1, 3, 6])
def test_equal_means_have_the_distance_of_their_covariances(float64, size):
    ps, qs = pairs(size, 1e4)
    qs = [(p[0], factor) for p, (_, factor) in zip(ps, qs, strict=True)]
    values, _ = half_square(ps, qs)
    expected = [np.sum(np.log(eigh(q[1] @ q[1].T, p[1] @ p[1].T)[0]) ** 2) / 4 for p, q in zip(ps, qs, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=1e-8)  # what eigh keeps of two conditions of 1e4


def test_one_dimension_has_its_closed_form(float64):
    ps, qs = pairs(1, 1.0, 30.0)
    column = lambda side: (np.array([m for m, _ in side]), np.array([f[0] for _, f in side]))  # noqa: E731
    expected = closed_forms.rao(*column(ps), *column(qs)) ** 2 / 2
    np.testing.assert_allclose(half_square(ps, qs)[0], expected, rtol=1e-12)


@pytest.mark.thinned(4, "solves boundary problems")
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(("condition", "far"), [(10.0, 1.0), (10.0, 100.0), (1e4, 3.0), (1e8, 3.0), (1e4, 100.0)])
def test_distances_are_the_same_from_both_ends_and_after_a_change_of_axes(float64, size, condition, far):
    ps, qs = pairs(size, condition, far)
    values, (slopes, _) = half_square(ps, qs)
    again, (_, other) = half_square(qs, ps)
    np.testing.assert_allclose(values, again, rtol=1e-9)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5 * np.abs(a).max()), slopes, other)
    change = np.random.default_rng(0).normal(size=(size, size)) + 2 * np.eye(size)
    moved = [[(change @ m + 1, np.linalg.cholesky(change @ f @ f.T @ change.T)) for m, f in side] for side in (ps, qs)]
    np.testing.assert_allclose(half_square(*moved)[0], values, rtol=1e-7 + 1e-15 * condition)


@pytest.mark.parametrize("condition", [10.0, 1e4])
@pytest.mark.parametrize("far", [1.0, 10.0])
def test_distances_keep_to_their_bounds(float64, condition, far):
    ps, qs = pairs(3, condition, far)
    values, _ = half_square(ps, qs)
    for value, p, q in zip(values, ps, qs, strict=True):
        assert value >= full_forms.fisher_rao(p, q)[0] - 1e-12
        # by the covariances first and the mean afterwards, whichever end the mean moves at
        shapes = np.sqrt(np.sum(np.log(eigh(q[1] @ q[1].T, p[1] @ p[1].T)[0]) ** 2) / 2)
        slides = [np.linalg.norm(np.linalg.solve(f, p[0] - q[0])) for f in (p[1], q[1])]
        shortest = shapes + np.sqrt(2) * np.arccosh(1 + min(slides) ** 2 / 4)
        assert shapes - 1e-9 <= np.sqrt(2 * value) <= shortest + 1e-9


def test_where_several_means_differ_the_geodesic_leaves_the_diagonal_gaussians(float64):
    rng = np.random.default_rng(0)
    mean, log_std = rng.normal(size=(2, ROWS, 3)), rng.uniform(-1, 0, (2, ROWS, 3))
    sides = [[(m, np.diag(np.exp(r))) for m, r in zip(*side, strict=True)] for side in zip(mean, log_std, strict=True)]
    inside = closed_forms.rao(mean[0], np.exp(log_std[0]), mean[1], np.exp(log_std[1])) ** 2 / 2
    values, _ = half_square(*sides)
    assert (values < 0.999 * inside).any()
    assert (values <= inside + 1e-9).all()


def test_second_derivatives_are_refused(float64):
    (p,) = [jax.tree.map(lambda x: x[0], full_forms.parameters(pairs(2, 10.0, count=1)[0]))]
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        jax.hessian(half_squared_rao_full)(p, p)


def test_a_frozen_end_costs_no_second_log_map():
    p = FullNormal(jnp.zeros(2), jnp.zeros(2), jnp.zeros(1))
    one, two = (
        str(jax.make_jaxpr(jax.grad(half_squared_rao_full, ends))(p, p)).count("while[") for ends in (0, (0, 1))
    )
    assert two == 2 * one
