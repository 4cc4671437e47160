"""Geometries between samples: against linear programmes and duals solved by SciPy, and the Gaussians' closed forms."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_forms import w2_squared_full
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import logsumexp, softmax

from pogospec.geometries import sinkhorn
from pogospec.geometries.base import Seen
from pogospec.geometries.energy_distance import EnergyDistance
from pogospec.geometries.sinkhorn import Sinkhorn
from pogospec.geometries.sliced_wasserstein2 import SlicedWasserstein2
from pogospec.geometries.wasserstein2 import SharedNoise, Wasserstein2
from pogospec.policies.base import DiagonalNormal, FullNormal


class Given(NamedTuple):
    """A distribution whose samples are given, [rows, count, act]."""

    actions: Any

    @property
    def mean(self):
        return self.actions[:, 0]

    def at(self, z):
        assert z.shape == self.actions.shape[1:2] + self.mean.shape
        return jnp.moveaxis(self.actions, 1, 0)


def of_samples(geometry, x, y):
    """D of each row of given samples, and the gradient of their sum in both."""

    def rows(x, y):
        return geometry.divergence(Given(x), Given(y), Seen(jnp.zeros((len(x), 0)), jax.random.key(0)))

    both = jax.jit(lambda x, y: (rows(x, y), jax.grad(lambda *sides: rows(*sides).sum(), (0, 1))(x, y)))
    values, (by_x, by_y) = jax.device_get(both(x, y))
    assert values.dtype == x.dtype
    return values, by_x, by_y


def clouds(rows, count, size, seed=0, gap=0.5):
    """Samples of two distributions of other means and widths."""
    x, y = np.random.default_rng(seed).normal(size=(2, rows, count, size))
    return 0.4 * x, gap + y * np.linspace(0.1, 0.6, size)


def costs(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(-1)


def assigned(x, y):
    """W2^2 of two sets of as many samples, by a linear assignment."""
    c = costs(x, y)
    return c[linear_sum_assignment(c)].mean()


def entropic(x, y, eps):
    """OT_eps of two sets, by Newton's method on the dual of one side, and its gradient in x and y at a fixed eps.

    And the derivative in eps, which is KL(P | a x b).
    """
    c, n = costs(x, y), len(y)

    def dual(g):
        z = (g - c) / eps
        f = -eps * (np.asarray(logsumexp(z, 1)) - math.log(n))
        p = softmax(z, 1) / len(x)
        hess = (np.diag(p.sum(0)) - len(x) * p.T @ p) / eps
        return -(f.mean() + g.mean()), p.sum(0) - 1 / n, hess

    g, heats = np.zeros(n), [eps]
    while heats[0] < c.max():
        heats.insert(0, 2 * heats[0])
    target = eps
    for eps in heats:  # noqa: B020
        found = minimize(
            lambda g: dual(g)[:2], g, jac=True, hess=lambda g: dual(g)[2], method="trust-exact",
            options={"gtol": 1e-9 if eps == target else 1e-4},
        )  # fmt: skip
        g = found.x
    p = softmax((g - c) / eps, 1) / len(x)
    relative = (p * np.log(np.maximum(p * len(x) * n, 1e-300))).sum()
    by_x = 2 * (p.sum(1)[:, None] * x - p @ y)
    by_y = 2 * (p.sum(0)[:, None] * y - p.T @ x)
    return -dual(g)[0], by_x, by_y, relative


def spread(*sets):
    """The mean cost of pairs once means are matched: twice the mean over the sets of their summed variances."""
    return 2 * np.mean([s.var(0).sum() for s in sets])


def divergence_by_hand(x, y, epsilon, debiased):
    """D and its gradients, from the duals; the eps of all pairs is a part of the mean cost."""
    n = len(x) // 2 if debiased else len(x)
    sets = {"x": x[:n], "y": y[:n]} | ({"u": x[n:], "v": y[n:]} if debiased else {})
    eps = epsilon * spread(*sets.values())
    pairs = [("x", "y", 1.0)]
    if debiased:
        pairs = [("x", "y", 0.5), ("u", "v", 0.5), ("x", "u", -0.5), ("y", "v", -0.5)]
    total, by_eps, slopes = 0.0, 0.0, {name: np.zeros_like(one) for name, one in sets.items()}
    for first, second, share in pairs:
        value, by_first, by_second, relative = entropic(sets[first], sets[second], eps)
        total, by_eps = total + share * value, by_eps + share * relative
        slopes[first] += share * by_first
        slopes[second] += share * by_second
    for name, one in sets.items():
        slopes[name] += by_eps * epsilon * 2 / len(sets) * 2 * (one - one.mean(0)) / n
    sides = [np.concatenate([slopes[k] for k in keys if k in slopes]) / 2 for keys in ("xu", "yv")]
    return total / 2, *sides


@pytest.mark.thinned(2, "compiles a program for each size")
@pytest.mark.parametrize(("count", "size", "epsilon"), [(6, 1, 0.02), (5, 3, 0.1), (8, 8, 0.5), (3, 2, 20.0)])
def test_sinkhorn_is_the_dual_solved_by_newton_and_so_is_its_gradient(count, size, epsilon, float64):
    for debiased in (True, False):
        x, y = clouds(7, count * (1 + debiased), size)
        found = of_samples(Sinkhorn(samples=count, epsilon=epsilon, debiased=debiased), x, y)
        for row in range(len(x)):
            value, by_x, by_y = divergence_by_hand(x[row], y[row], epsilon, debiased)
            scale = spread(x[row], y[row])
            assert abs(found[0][row] - value) < 1e-4 * scale
            for side, expected in ((found[1][row], by_x), (found[2][row], by_y)):
                np.testing.assert_allclose(side, expected, atol=2e-3 * math.sqrt(scale))


def test_the_reference_of_these_tests_agrees_with_finite_differences():
    """The envelope theorem, and the part of eps, by differences of the value alone."""
    (x,), (y,) = clouds(1, 6, 2)
    for debiased in (True, False):
        _, by_x, by_y = divergence_by_hand(x, y, 0.1, debiased)
        for side, slopes in ((x, by_x), (y, by_y)):
            for place in ((0, 0), (4, 1)):
                ends = []
                for step in (1e-5, -1e-5):
                    side[place] += step
                    ends.append(divergence_by_hand(x, y, 0.1, debiased)[0])
                    side[place] -= step
                assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(slopes[place], rel=1e-5, abs=1e-8)


@pytest.mark.thinned(1, "compiles a program for each size")
@pytest.mark.parametrize(("count", "size"), [(4, 1), (8, 3), (16, 8)])
def test_sinkhorn_tends_to_the_linear_assignment(count, size, float64):
    """Between W2^2 and W2^2 plus eps log n, less what the iterations may be short of; in 40 pairs of each size."""
    x, y = clouds(40, count, size)
    found, *_ = of_samples(Sinkhorn(samples=count, epsilon=1e-9, unit="absolute", debiased=False), x, y)
    exact = np.array([assigned(*pair) for pair in zip(x, y, strict=True)])
    scale = np.array([spread(*pair) for pair in zip(x, y, strict=True)])
    excess = (2 * found - exact) / scale
    assert (excess > -sinkhorn.SHORTFALL).all()
    assert (excess < 1.0001 * sinkhorn.SHARPEST * math.log(count)).all()
    blurred, *_ = of_samples(Sinkhorn(samples=count, epsilon=0.3, debiased=False), x, y)
    assert (2 * blurred > exact + 0.05 * scale).all()


def test_sinkhorn_tends_to_the_gap_of_the_means(float64):
    """At eps -> infinity OT is the mean cost, and S the MMD with the kernel -|x - y|^2, by independent halves."""
    x, y = clouds(30, 8, 3)
    found, *_ = of_samples(Sinkhorn(samples=8, epsilon=1e9, debiased=False), x, y)
    mean_costs = [costs(*pair).mean() for pair in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, np.array(mean_costs) / 2, rtol=1e-5)
    found, slopes, _ = of_samples(Sinkhorn(samples=4, epsilon=1e9), x, y)
    (a, b), (c, d) = ((side[:, :4].mean(1), side[:, 4:].mean(1)) for side in (x, y))
    squares = [((p - q) ** 2).sum(-1) for p, q in ((a, c), (b, d), (a, b), (c, d))]
    np.testing.assert_allclose(found, (squares[0] + squares[1] - squares[2] - squares[3]) / 4, atol=1e-5)
    expected = np.repeat(np.stack([b - c, a - d], 1), 4, 1) / 8
    np.testing.assert_allclose(slopes, expected, atol=1e-5)


HARD = {
    "far apart": lambda x, y: (x, y + 1e3),
    "large": lambda x, y: (1e4 * x, 1e4 * y),
    "tiny": lambda x, y: (1e-10 * x, 1e-10 * y),
    "points": lambda x, y: (0 * x + 0.3, 0 * y - 0.2),
    "one point": lambda x, y: (0 * x, y),
    "the same point": lambda x, y: (0 * x, 0 * y),
    "coincident": lambda x, y: (np.repeat(x[:, ::2], 2, 1), np.repeat(x[:, ::2], 2, 1)),
    "thin": lambda x, y: (x * [1, 1e-5, 1e-2], y * [1e-5, 1, 1e-3]),
    "clusters": lambda x, y: (np.sign(x) + 1e-3 * y, np.sign(y) + 1e-3 * x),
    "at the bounds": lambda x, y: (np.tanh(40 * x), np.tanh(40 * y)),
    "an outlier": lambda x, y: (x * np.array([30] + [1] * (x.shape[1] - 1))[:, None], y),
}


def test_hard_samples_have_finite_values_and_gradients_in_float32():
    """All at once, since shapes are the same: no NaN, and no more is missing than is said."""
    x, y = clouds(12, 8, 3, gap=0.1)
    sides = [np.concatenate(side).astype(np.float32) for side in zip(*(f(x, y) for f in HARD.values()), strict=True)]
    exact = np.array([assigned(*pair) for pair in zip(*(side.astype(float) for side in sides), strict=True)])
    scale = np.array([spread(*pair) for pair in zip(*(side.astype(float) for side in sides), strict=True)])
    for epsilon, unit in ((1e-30, "absolute"), (1e30, "absolute"), (1e-6, "mean_cost"), (0.1, "mean_cost")):
        geometry = Sinkhorn(samples=8, epsilon=epsilon, unit=unit, debiased=False)
        found, *slopes = of_samples(geometry, *sides)
        assert all(np.isfinite(part).all() for part in (found, *slopes))
        rounding = 1e-6 * (exact + scale)
        assert (2 * found - exact >= -sinkhorn.SHORTFALL * scale - rounding).all()
        if epsilon < 1e-3:
            assert (2 * found - exact <= sinkhorn.SHARPEST * math.log(8) * scale + rounding).all()
    for geometry in (SlicedWasserstein2(samples=8, debiased=False), EnergyDistance(), SlicedWasserstein2(samples=4)):
        found, *slopes = of_samples(geometry, *sides)
        assert all(np.isfinite(part).all() for part in (found, *slopes))


def test_the_iterations_settle_over_a_wide_range(float64):
    """What the dual value is short of is bounded from the potentials, and the bound is kept, not only for the mean."""
    rng, n = np.random.default_rng(0), 16
    x, y = rng.normal(size=(2, 300, n, 2)) * rng.choice([1e-3, 1, 30], size=(2, 300, n, 1), p=[0.3, 0.6, 0.1])
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    cost = ((x[:, :, None] - y[:, None]) ** 2).sum(-1)
    cost = cost / cost.mean((1, 2), keepdims=True)
    eps = np.exp(rng.uniform(np.log(sinkhorn.SHARPEST), np.log(100), 300))
    f, g, short = jax.device_get(jax.jit(sinkhorn.potentials)(cost, eps))
    assert (short < sinkhorn.SHORTFALL).all()
    plan = np.exp((f[:, :, None] + g[:, None] - cost) / eps[:, None, None]) / n**2
    np.testing.assert_allclose(plan.sum(1), 1 / n, rtol=1e-9)
    missing = np.abs(plan.sum(2) - 1 / n).sum(1) * (cost.max(1) - cost.min(1)).max(1)
    np.testing.assert_allclose(short, missing, rtol=1e-6, atol=1e-12)


@pytest.mark.thinned(1, "compiles a program for each size")
@pytest.mark.parametrize("size", [1, 2, 5])
def test_sliced_w2_is_w2_for_shifts_and_stretches_and_never_more(size, float64):
    x, y = clouds(40, 6, size)
    geometry = SlicedWasserstein2(samples=6, bases=2, debiased=False)
    found, *_ = of_samples(geometry, x, 0.3 + 1.7 * x)
    np.testing.assert_allclose(2 * found, ((0.3 + 0.7 * x) ** 2).sum(-1).mean(1), rtol=1e-9)
    found, *_ = of_samples(geometry, x, y)
    exact = np.array([assigned(*pair) for pair in zip(x, y, strict=True)])
    assert (2 * found <= exact * (1 + 1e-9)).all()
    if size == 1:
        np.testing.assert_allclose(2 * found, exact, rtol=1e-9)
    else:
        assert (2 * found < 0.999 * exact).any()


def test_sliced_w2_of_samples_is_that_of_the_sphere(float64):
    """Along each basis an exact mean over directions, so many of them give the integral over the circle."""
    x, y = clouds(3, 5, 2)
    found, *_ = of_samples(SlicedWasserstein2(samples=5, bases=4000, debiased=False), x, y)
    turns = np.linspace(0, np.pi, 4001)[:-1]
    along = np.stack([np.cos(turns), np.sin(turns)])
    gaps = np.sort(x @ along, 1) - np.sort(y @ along, 1)
    np.testing.assert_allclose(found, (gaps**2).mean((1, 2)), rtol=0.02)


def test_energy_distance_is_its_sum_over_pairs(float64):
    x, y = clouds(9, 5, 3)
    x[0, 1], y[0, 2] = x[0, 0], x[0, 0]  # neither the same actions of one side nor of both have a slope that is none
    lengths = lambda a, b: np.sqrt([costs(*pair) for pair in zip(a, b, strict=True)]).sum((1, 2))  # noqa: E731
    for estimate, pairs in (("unbiased", 20), ("biased", 25)):
        expected = lengths(x, y) / 25 - (lengths(x, x) + lengths(y, y)) / (2 * pairs)
        found, by_x, by_y = of_samples(EnergyDistance(samples=5, estimate=estimate), x, y)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert np.isfinite(by_x).all()
        assert np.isfinite(by_y).all()
        if estimate == "biased":
            assert (found > 0).all()
            same, slopes, _ = of_samples(EnergyDistance(samples=5), 0 * x + x[:, :1], 0 * x + x[:, :1])
            assert not same.any()
            assert not slopes.any()


def normal(mean, std, rows):
    tiled = [np.broadcast_to(np.atleast_1d(np.asarray(side, float)), (rows, np.size(mean))) for side in (mean, std)]
    return DiagonalNormal(tiled[0], np.log(tiled[1]))


def estimates(geometry, p, q):
    """Values of all rows and the gradients in the parameters of the policy, which are those of independent draws."""

    @jax.jit
    def found(p, q):
        rows = lambda p: geometry.divergence(p, q, Seen(jnp.zeros((len(q[0]), 0)), jax.random.key(3)))  # noqa: E731
        return rows(p), jax.grad(lambda p: rows(p).sum())(p)

    return jax.device_get(found(p, q))


def sure(values, expected, most):
    """Whether a mean is what is expected: by its standard error, which is small enough to tell."""
    error = values.std(0) / math.sqrt(len(values))
    return (np.abs(values.mean(0) - expected) < 4.5 * error + 1e-12).all() and (error < most).all()


EQUAL = {
    "sinkhorn": (Sinkhorn(samples=3), Sinkhorn(samples=3, debiased=False)),
    "sliced": (SlicedWasserstein2(samples=3, bases=1), SlicedWasserstein2(samples=3, bases=1, debiased=False)),
    "energy distance": (EnergyDistance(samples=3), EnergyDistance(samples=3, estimate="biased")),
}


@pytest.mark.thinned(2, "draws many samples for each")
@pytest.mark.parametrize("name", EQUAL)
def test_at_equal_distributions_there_is_nothing_on_average_nor_any_pull(name, float64):
    """Debiased; else the estimate is too large, and narrows the policy."""
    p = normal([0.2, -0.1], [0.5, 0.3], 3000)
    without, biased = EQUAL[name]
    values, slopes = estimates(without, p, p)
    assert sure(values, 0.0, 0.01)
    assert sure(slopes.mean, 0.0, 0.01)
    assert sure(slopes.log_std, 0.0, 0.01)
    values, slopes = estimates(biased, p, p)
    assert values.mean() > 0.02
    assert (slopes.log_std.mean(0) > 0.01).all()
    assert sure(slopes.mean, 0.0, 0.01)


NORMAL_PAIR = ([0.3], [0.5]), ([-0.4], [0.2])
W2 = 0.7**2 + 0.3**2


def excess(make, counts, rows=4000):
    """What the mean estimate of half W2^2 of two Gaussians is above it, for so many samples; and standard errors."""
    p, q = (normal(*side, rows) for side in NORMAL_PAIR)
    values = [estimates(make(count), p, q)[0] for count in counts]
    return [v.mean() - W2 / 2 for v in values], [v.std() / math.sqrt(rows) for v in values]


def spacing(count):
    """(1/n) sum_i Var x_(i) = 1 - (1/n) sum_i (E x_(i))^2 of n sorted standard normals."""
    x = np.linspace(-9, 9, 20_001)
    density, below = (
        np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
        np.array([(1 + math.erf(t / math.sqrt(2))) / 2 for t in x]),
    )
    squares = 0.0
    for i in range(count):
        pick = count * math.comb(count - 1, i) * below**i * (1 - below) ** (count - 1 - i)
        squares += np.trapezoid(x * pick * density, x) ** 2
    return 1 - squares / count


def test_the_sample_bias_in_one_dimension_is_that_of_order_statistics(float64):
    """E sum (s x_(i) - t y_(i))^2 / n = (s^2 + t^2) v + (s - t)^2 (1 - v), v their mean variance, about 1/n.

    Debiased, what n samples are off by when both are alike, (s^2 + t^2) v, is taken off.
    """
    (_, (s,)), (_, (t,)) = NORMAL_PAIR
    variances = [spacing(count) for count in (4, 16)]
    assert 2.5 < variances[0] / variances[1] < 4
    expected = [v * (s**2 + t**2 - (s - t) ** 2) / 2 for v in variances]
    left = [-v * (s - t) ** 2 / 2 for v in variances]
    for debiased, by_hand in ((False, expected), (True, left)):
        make = lambda n: SlicedWasserstein2(samples=n, bases=1, debiased=debiased)  # noqa: B023, E731
        for found, error, bias in zip(*excess(make, (4, 16)), by_hand, strict=True):
            assert abs(found - bias) < 4.5 * error
            assert error < 0.006


@pytest.mark.exhaustive("iterates for thousands of states")
def test_sinkhorn_finds_the_closed_form_of_gaussians_as_one_over_n(float64):
    """Of N(0, s^2), N(0, t^2) it is s^2 + t^2 - r + eps/2 (1 - log eps + log(r + eps/2)), r^2 = 4 s^2 t^2 + eps^2/4.

    Janati et al., "Entropic optimal transport between unbalanced Gaussian measures has a closed form" (2020).
    """
    (_, (s,)), (_, (t,)) = NORMAL_PAIR
    eps = 0.4

    def plan(a, b):
        root = math.sqrt(4 * a * a * b * b + eps * eps / 4)
        return a * a + b * b - root + eps / 2 * (1 - math.log(eps)) + eps / 2 * math.log(root + eps / 2)

    p, q = normal(0, s, 1500), normal(0, t, 1500)
    for debiased, exact in ((False, plan(s, t)), (True, plan(s, t) - (plan(s, s) + plan(t, t)) / 2)):
        off = []
        for count in (3, 12):
            geometry = Sinkhorn(samples=count, epsilon=eps, unit="absolute", debiased=debiased)
            values, _ = estimates(geometry, p, q)
            off.append(values.mean() - exact / 2)
            assert values.std() / math.sqrt(len(values)) < 0.003
        assert off[0] * (-1 if debiased else 1) > 0.01
        assert 2 < off[0] / off[1] < 4.5


def mean_length(gap, std):
    """E|x| of x ~ N(gap, std^2)."""
    return math.sqrt(2 / math.pi) * std * math.exp(-((gap / std) ** 2) / 2) + gap * math.erf(gap / std / math.sqrt(2))


@pytest.mark.parametrize("estimate", ["unbiased", "biased"])
def test_energy_distance_of_gaussians(estimate, float64):
    (m, s), (n, t) = ((side[0][0], side[1][0]) for side in NORMAL_PAIR)
    within, count = mean_length(0, math.sqrt(2) * s) + mean_length(0, math.sqrt(2) * t), 3
    off = within / (2 * count) if estimate == "biased" else 0.0
    p, q = (normal(*side, 20_000) for side in NORMAL_PAIR)
    values, _ = estimates(EnergyDistance(samples=count, estimate=estimate, weight=2.0), p, q)
    assert sure(values, 2 * (mean_length(m - n, math.hypot(s, t)) - within / 2 + off), 0.01)


def test_shared_noise_is_w2_of_gaussians_of_independent_dimensions(float64):
    p, q = normal([0.3, -0.2], [0.5, 0.1], 8000), normal([-0.1, 0.4], [0.2, 0.6], 8000)
    exact = 0.4**2 + 0.6**2 + 0.3**2 + 0.5**2
    # of (gap + z (s - t))^2: 4 gap^2 (s - t)^2 + 2 (s - t)^4
    noise = math.sqrt(4 * (0.4**2 * 0.3**2 + 0.6**2 * 0.5**2) + 2 * (0.3**4 + 0.5**4)) / exact
    for geometry, factor in (
        (Wasserstein2(coupling="shared_noise", weight=2.0), 1.0),
        (Wasserstein2(coupling=SharedNoise(3), reduction="mean"), 0.25),
    ):
        assert geometry.estimated()
        values, slopes = estimates(geometry, p, q)
        assert sure(values, factor * exact, 0.01)
        assert sure(slopes.mean, factor * np.array([0.8, -1.2]), 0.02)
        errors = values.std() / exact / factor
        assert errors == pytest.approx(noise if factor == 1.0 else noise / math.sqrt(3), rel=0.05)
    many = Wasserstein2(coupling=SharedNoise(3))
    values, slopes = estimates(many, p, p)
    assert not values.any()
    assert not any(leaf.any() for leaf in slopes)


def test_shared_noise_bounds_w2_from_above(float64):
    """Of full Gaussians it is |m - m'|^2 + |L - L'|^2 (Frobenius), never less than with the optimal coupling."""
    rng, rows = np.random.default_rng(0), 8000
    for _ in range(3):
        sides, exact = [], []
        for _ in range(2):
            mean, log_diagonal, lower = rng.normal(size=(3, 2)) * 0.4
            factor = np.diag(np.exp(log_diagonal)) + np.array([[0, 0], [lower[0], 0]])
            exact.append((mean, factor))
            sides.append(FullNormal(*(np.broadcast_to(a, (rows, len(a))) for a in (mean, log_diagonal, lower[:1]))))
        (m, a), (n, b) = exact
        bound = ((m - n) ** 2).sum() + ((a - b) ** 2).sum()
        assert bound > w2_squared_full(m, a @ a.T, n, b @ b.T) + 1e-4
        values, _ = estimates(Wasserstein2(coupling="shared_noise"), *sides)
        assert sure(2 * values, bound, 0.05)
