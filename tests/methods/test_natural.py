"""Natural steps and the closed steps of known energies against closed forms in NumPy, in double precision.

Q(a) = -1/2 (a - m)^T A (a - m), so that E grad Q = -A (mean - m) and E Hess Q = -A under every Gaussian.
"""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import csv
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import yaml
from closed_forms import exponentiated_quadratic, kl_prox_quadratic
from commands import pogospec as command

import pogospec
from pogospec.checking.check import checked
from pogospec.energies.base import Context
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.errors import SpecError, UsageError
from pogospec.explain.cautions.rules import cautions
from pogospec.explain.mathematics.blocks import blocks
from pogospec.explain.mathematics.latex import latex
from pogospec.explain.stages import stages
from pogospec.geometries.kl import KL
from pogospec.policies.base import DiagonalNormal, FullNormal, Sample, below
from pogospec.policies.full_gaussian import FullGaussianPolicy
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.spec.resolve import read_text
from pogospec.steps.base import Problem, Proximal
from pogospec.steps.closed import derivatives, factor_of, plane
from pogospec.steps.gradient import Euclidean
from pogospec.steps.natural import Natural
from pogospec.steps.points import Antithetic, Hermite, Rotated, noise_at
from pogospec.steps.schedule import Geometric

FAMILIES = {DiagonalNormal: GaussianPolicy(), FullNormal: FullGaussianPolicy()}
CENTER, HEAT = np.array([1.0, -2.0, 0.5]), 0.7
ROOT = np.random.default_rng(0).normal(size=(3, 3))
MATRIX = ROOT @ ROOT.T / 3 + 0.2 * np.eye(3)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def quadratic(matrix, center):
    """Q as a function of actions."""

    def q(a):
        gap = a - jnp.asarray(center, a.dtype)
        return -0.5 * jnp.einsum("...i,ij,...j->...", gap, jnp.asarray(matrix, a.dtype), gap)

    return q


@functools.cache
def walk(scheme, q, count, single):
    """A compiled function of length and references [rows, d]: where each of so many steps ends; `single`: floats."""
    energy = {"q": QTerm(critics="first"), "entropy": EntropyTerm(weight=HEAT)}

    def go(tau, reference, key):
        rows, family = jnp.zeros((len(reference.mean), 0)), FAMILIES[type(reference)]
        seen = Context(rows, jnp.zeros_like(reference.mean), family, lambda a, count=None, slow=False: q(a)[None], {})
        problem = Problem(energy, (Proximal(KL(), "previous", tau),), Euclidean())
        return (scheme.target(problem, reference, seen, key),) * 2

    def steps(tau, start):
        keys = jax.random.split(jax.random.key(0), count)
        return jax.lax.scan(lambda reference, key: go(tau, reference, key), start, keys)[1]

    return jax.jit(steps)


def path(scheme, tau, reference, q, count):
    """Where each of so many steps from references [rows, d] ends, on the host."""
    dtype = reference.mean.dtype
    return jax.device_get(walk(scheme, q, count, dtype == np.float32)(jnp.asarray(tau, dtype), reference))


def step(scheme, tau, reference, q):
    """Where one step ends."""
    return jax.tree.map(lambda leaf: leaf[0], path(scheme, tau, reference, q, 1))


def full(means, covariances):
    factors = np.linalg.cholesky(covariances)
    diagonal = np.diagonal(factors, axis1=1, axis2=2)
    return FullNormal(jnp.asarray(means), jnp.log(diagonal), below(jnp.asarray(factors)))


def covariance(p):
    factor = np.asarray(FullNormal(*map(jnp.asarray, p)).factor())
    return factor @ np.swapaxes(factor, -1, -2)


def scattered(rows=6, size=3):
    """Gaussians from narrow to wide, stds from 1e-2 to 1e2, correlated."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(rows, size, size)))[0]
    variances = np.exp(2 * rng.uniform(np.log(1e-2), np.log(1e2), (rows, size)))
    return 3 * rng.normal(size=(rows, size)), np.einsum("nij,nj,nkj->nik", axes, variances, axes)


BENT = quadratic(MATRIX, CENTER)


class Bold(Natural):
    """A natural step of its whole length, wherever that leads."""

    def taken(self, move, length, rise, heat, reference):
        return move(length)


SCHEMES = [Bold(), Bold(Sample(5), "plane"), Bold(Antithetic(3), "plane"), Bold(Hermite(2)), Bold(Rotated(2), "exact")]


def bent(x):
    return 1 + x if x >= -0.5 else (1 + np.exp(4 * x + 2)) / 4


@pytest.mark.thinned(2, "compiles a step for each")
@pytest.mark.parametrize("scheme", SCHEMES, ids=("rotated", "samples", "pairs", "grid", "exact"))
def test_the_step_of_a_full_gaussian_is_the_formula(scheme):
    """At any points, since derivatives and plane are exact here; precision and mean by inverses of matrices."""
    means, covariances = scattered()
    for tau in (1e-3, 0.3, 20.0):
        found = step(scheme, tau, full(means, covariances), BENT)
        for row, (mean, s) in enumerate(zip(means, covariances, strict=True)):
            p = np.linalg.inv(s)
            values, axes = scipy.linalg.eigh(MATRIX, p)  # axes^T P axes = I
            f = np.array([bent(-tau * (HEAT - value)) for value in values])
            new = np.linalg.inv(p @ (axes * f) @ axes.T @ p)
            np.testing.assert_allclose(covariance(found)[row], new, rtol=1e-6, atol=1e-7 * np.abs(new).max())
            moved = mean - tau * new @ MATRIX @ (mean - CENTER)
            np.testing.assert_allclose(found.mean[row], moved, rtol=1e-6, atol=1e-6)


def test_the_step_of_a_diagonal_gaussian_has_the_diagonal_of_the_curvature():
    """And its mean moves by the covariance that a full Gaussian would have, so that correlations do not swing it."""
    means, stds = scattered()[0], np.exp(np.random.default_rng(2).uniform(-4, 4, (6, 3)))
    for scheme in (Bold(), Bold(Antithetic(3)), Bold(Sample(6), "plane")):
        found = step(scheme, 0.3, DiagonalNormal(means, np.log(stds)), BENT)
        p = stds**-2.0
        precision = p - 0.3 * (HEAT * p - np.diag(MATRIX))
        np.testing.assert_allclose(np.exp(-2 * found.log_std), precision, rtol=1e-9)
        for row, mean in enumerate(means):
            stiff = (1 - 0.3 * HEAT) * np.diag(p[row]) + 0.3 * MATRIX
            moved = mean - 0.3 * np.linalg.solve(stiff, MATRIX @ (mean - CENTER))
            np.testing.assert_allclose(found.mean[row], moved, rtol=1e-8, atol=1e-8)


def test_a_diagonal_gaussian_follows_a_ridge_that_its_own_covariance_does_not_see():
    """Ten dimensions that share one gap of strength 1e3: steps by the diagonal alone swing, at tau > 2/10 apart."""
    matrix = np.eye(10) + 1e3 * np.ones((10, 10))
    start = DiagonalNormal(jnp.ones((1, 10)), jnp.zeros((1, 10)))
    found = path(Natural(), 0.9 / HEAT, start, quadratic(matrix, np.zeros(10)), 12)
    np.testing.assert_allclose(found.mean[-1], 0.0, atol=1e-3)
    np.testing.assert_allclose(np.exp(-2 * found.log_std[-1]) * HEAT, 1001.0, rtol=1e-6)


def test_the_optimum_of_a_quadratic_is_a_fixed_point():
    end = HEAT * np.linalg.inv(MATRIX)
    for tau in (0.1, 2.5):
        found = step(Natural(), tau, full(CENTER[None], end[None]), BENT)
        np.testing.assert_allclose(found.mean[0], CENTER, atol=1e-10)
        np.testing.assert_allclose(covariance(found)[0], end, atol=1e-10)


def test_steps_converge_at_the_rate_that_no_curvature_changes():
    """Gaps of mean and precision shrink by 1 - tau lambda in the end, at a condition of 1e4 too."""
    matrix, tau = np.diag([1e4, 1.0]), 0.4
    start = full(np.array([[3.0, -2.0]]), np.array([[[9.0, 1.0], [1.0, 0.3]]]))
    found = path(Natural(), tau, start, quadratic(matrix, CENTER[:2]), 120)
    end = HEAT * np.linalg.inv(matrix)
    np.testing.assert_allclose(covariance(found)[-1, 0], end, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.mean[-1, 0], CENTER[:2], atol=1e-9)
    precisions = np.linalg.inv(covariance(found)[:, 0])
    gaps = [np.linalg.norm(p - np.linalg.inv(end)) for p in precisions]
    assert gaps[41] / gaps[40] == pytest.approx(1 - tau * HEAT, rel=5e-3)
    means = np.linalg.norm(found.mean[:, 0] - CENTER[:2], axis=-1)
    assert means[81] / means[80] == pytest.approx(1 - tau * HEAT, rel=5e-3)


def test_steps_are_the_exponentiated_ones_of_a_quadratic_and_tend_to_the_implicit_ones_at_order_two():
    a, center = np.array([4.0, 0.5]), np.array([1.0, -0.5])
    mean, std = np.array([[0.2, 0.4]]), np.array([[0.8, 0.6]])
    taus = np.array([0.02, 0.01, 0.005, 0.0025])
    q = quadratic(np.diag(a), center)
    gaps = []
    for tau in taus:
        found = step(Natural(), tau, DiagonalNormal(mean, np.log(std)), q)
        other, same = (f(mean, std, center, a, HEAT, tau) for f in (kl_prox_quadratic, exponentiated_quadratic))
        gaps.append(np.abs(found.mean - other[0]).max() + np.abs(np.exp(found.log_std) - other[1]).max())
        np.testing.assert_allclose(found.mean, same[0], atol=1e-12)
        np.testing.assert_allclose(np.exp(found.log_std), same[1], atol=1e-12)
    assert np.polyfit(np.log(taus), np.log(gaps), 1)[0] == pytest.approx(2, abs=0.1)


@pytest.mark.thinned(1, "compiles four steps for each")
@pytest.mark.parametrize("single", [False, True], ids=("double", "single"))
def test_ten_times_too_long_steps_stay_positive_definite(single):
    """Of concave, convex and wild energies; the precision is never less than a quarter of the one before."""
    with jax.enable_x64(not single):
        means, covariances = (x.astype(np.float32 if single else float) for x in scattered())
        for q in (quadratic(-MATRIX, CENTER), lambda a: jnp.cos(9 * a).sum(-1) * 50):
            for tau in (10 / HEAT, 1e4):
                for start in (full(means, covariances), DiagonalNormal(means, np.zeros_like(means))):
                    found = step(Natural(), tau, start, q)
                    assert all(np.isfinite(leaf).all() for leaf in found)
                    if isinstance(start, FullNormal) and not single:
                        ratio = [
                            np.linalg.eigvals(np.linalg.solve(s, new)).real.max()
                            for s, new in zip(covariances, covariance(found), strict=True)
                        ]
                        assert max(ratio) <= 4 * (1 + 1e-6)


def test_derivatives_are_those_of_the_mean_in_blocks_too():
    """E[Hess Q] L of Q(a) = sum a^4 - (sum a)^3 by hand, in 20 dimensions, which are more than one block."""
    rng, size = np.random.default_rng(3), 20
    root = rng.normal(size=(size, size)) / size
    start = full(rng.normal(size=(2, size)), np.stack([np.eye(size), root @ root.T + 0.1 * np.eye(size)]))
    z, shares = noise_at(Antithetic(4), start, jax.random.key(0))
    actions = np.asarray(start.at(z))
    slope = lambda a: 4 * a**3 - 3 * (a.sum(-1, keepdims=True)) ** 2  # noqa: E731
    level, slopes = jax.jit(lambda points: derivatives(slope, points, shares, start))(actions)
    np.testing.assert_allclose(level, slope(actions).mean(0), rtol=1e-9, atol=1e-9)
    hessian = np.einsum("nbi,ij->nbij", 12 * actions**2, np.eye(size)) - 6 * actions.sum(-1)[..., None, None]
    np.testing.assert_allclose(slopes, hessian.mean(0) @ np.asarray(start.factor()), rtol=1e-8, atol=1e-8)


def test_pairs_are_on_both_sides_of_the_mean():
    z, shares = noise_at(Antithetic(5), DiagonalNormal(jnp.zeros((2, 3)), jnp.zeros((2, 3))), jax.random.key(0))
    assert z.shape == (10, 2, 3)
    np.testing.assert_array_equal(z[:5], -z[5:])
    np.testing.assert_allclose(shares, 0.1)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_rotated_axes_are_exact_to_degree_three_in_every_draw(size):
    like = DiagonalNormal(jnp.zeros((4, size)), jnp.zeros((4, size)))
    for seed in range(3):
        z, shares = (np.asarray(x) for x in noise_at(Rotated(2), like, jax.random.key(seed)))
        assert z.shape == (4 * size + 1, 4, size)
        assert shares.sum() == pytest.approx(1)
        for row in range(4):
            np.testing.assert_allclose(shares @ z[:, row], 0, atol=1e-12)
            np.testing.assert_allclose(np.einsum("n,ni,nj->ij", shares, z[:, row], z[:, row]), np.eye(size), atol=1e-12)
            np.testing.assert_allclose(np.einsum("n,ni,nj,nk->ijk", shares, *[z[:, row]] * 3), 0, atol=1e-12)
    assert size == 1 or np.abs(z[:, 0] - z[:, 1]).max() > 1e-3  # rows have rotations of their own


def test_rotated_axes_have_no_bias_in_level_and_slopes_of_what_is_not_linear():
    """E[v] and E[dv/dz] of v = exp(0.8 z_1 - 0.5 z_2) in closed form, within four standard errors."""
    b = np.array([0.8, -0.5, 0.0])

    def one(key):
        z, shares = noise_at(Rotated(1), DiagonalNormal(jnp.zeros(3), jnp.zeros(3)), key)
        return plane(jnp.exp(z @ b)[:, None] * jnp.ones(3), z, shares)

    level, slopes = (np.asarray(x) for x in jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 20_000)))
    true = np.exp(b @ b / 2)
    errors = np.abs(level[:, 0].mean() - true), np.abs(slopes[:, 0].mean(0) - true * b)
    assert errors[0] < 4 * level[:, 0].std() / np.sqrt(20_000)
    assert (errors[1] < 4 * slopes[:, 0].std(0) / np.sqrt(20_000)).all()
    assert level[:, 0].std() < 0.5 * true  # of seven points; a single sample has a standard deviation of 1.2 true


def test_a_step_that_raises_the_energy_is_quartered_until_it_does_not():
    """E of a Gaussian in a double well by moments: at the first length that is not 1 nat times lambda up, or less."""
    q = lambda a: -((a**2 - 1) ** 2).sum(-1) * 20  # noqa: E731
    start = DiagonalNormal(jnp.array([[3.0], [0.577], [1.0]]), jnp.log(jnp.array([[0.05], [0.1], [0.1]])))
    bold, kept = (step(scheme(Hermite(8), "exact"), 1.0 / HEAT, start, q) for scheme in (Bold, Natural))

    def energy(p):
        m, v = np.asarray(p.mean)[:, 0], np.exp(2 * np.asarray(p.log_std)[:, 0])
        fourth = m**4 + 6 * m**2 * v + 3 * v**2
        return 20 * (fourth - 2 * (m**2 + v) + 1) - HEAT * np.asarray(p.log_std)[:, 0]

    rises = energy(bold) - energy(start), energy(kept) - energy(start)
    lost = rises[0] > HEAT
    assert lost.any()
    assert not lost.all()
    np.testing.assert_allclose(np.asarray(kept.mean)[~lost], np.asarray(bold.mean)[~lost])
    assert (rises[1] <= HEAT).all()


def test_the_floor_of_step_sizes():
    law = Geometric(0.5, 0.5, 0.1)
    assert [law.at(k) for k in range(4)] == [0.5, 0.25, 0.125, 0.1]
    assert law.at(10_000) == 0.1
    assert law.words() == "0.5 · 0.5^k at repetition k = 0, 1, …, not below 0.1"


KNOWN = """\
target: {kind: quadratic, center: [1, -0.5], curvature: [[2, 0.6], [0.6, 0.5]]}
policy: full_gaussian
energy: {q: {actions: quadrature}, entropy: {weight: 0.5}}
geometry: kl
schedule: {steps: [{tau: 0.4, repeat: 3, scheme: natural}]}
train: {precision: float64}
"""
REFUSED = [
    ("full_gaussian", "tanh_gaussian", "found natural, whose step is a Gaussian in closed form, which tanh_gaussian"),
    ("geometry: kl", "geometry: wasserstein2", "natural is a step in the Fisher metric; allowed kl, fisher_rao, gauss"),
    ("geometry: kl", "geometry: {kind: kl, weight: 0}", "found 0, which leaves a natural step no length"),
    ("tau: 0.4,", "tau: 0.4, updates: 300,", "schedule.steps[0].updates: found 300, but a closed step sets the policy"),
    ("tau: 0.4,", "tau: 0.4, gradient: natural,", "schedule.steps[0].gradient: found natural, but a closed step sets"),
    ("tau: 0.4,", "tau: 0.4, until: energy_settled,", "schedule.steps[0].until: found a rule that ends updates, but"),
    ("tau: 0.4,", "tau: 0.4, optimizer_state: keep,", "optimizer_state: found 'keep', but a closed step sets"),
    ("train:", "optimizer: {kind: adam, learning_rate: 0.1}\ntrain:", "optimizer.policy: found an optimiser, but a cl"),
    ("full_gaussian", "{kind: full_gaussian, mean: tanh}", "policy.mean: found 'tanh', but a closed step sets"),
    ("tau: 0.4,", "proximal: [{reference: previous, tau: 0.4}],", "natural moves one reference; allowed with from"),
    (
        "natural}",
        "{kind: natural, curvature: plane, actions: {antithetic: 1}}}",
        "found 1 pairs in 2 dimensions, which leave the curvature of Q open; allowed 2 or more",
    ),
    (
        "tau: 0.4,",
        "tau: {kind: geometric, start: 0.5, factor: 0.9, least: 0.6},",
        "found least 0.6 beside start 0.5 and factor 0.9, which never fall to it; allowed less than start",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_what_has_no_such_step_or_does_nothing_is_refused_where_it_stands(old, new, message):
    with pytest.raises(SpecError) as error:
        checked(read_text(KNOWN.replace(old, new, 1)))
    assert any(message in str(one) for one in error.value.problems), [str(one) for one in error.value.problems]


def test_a_key_of_a_step_alone_is_laid_over_the_scheme_of_the_defaults():
    text = KNOWN.replace("steps: [{", "defaults: {scheme: natural}, steps: [{").replace(
        "scheme: natural}]", "scheme: {curvature: plane}}]"
    )
    (step,) = checked(read_text(text)).schedule.steps
    assert (step.scheme, step.updates) == (Natural(curvature="plane"), 1)


LOGGED = """\
data: {dataset: pocket/reacher-mixed}
policy: gaussian
energy: {q: {}, entropy: {weight: 0.1}}
geometry: kl
critic: clipped_double_q
schedule: {steps: [{from: behavior, tau: 1, updates: 9, scheme: natural}]}
"""


def test_what_it_cannot_take_from_data_is_refused():
    checked(read_text(LOGGED))
    for old, new, message in (
        ("natural", "{kind: natural, curvature: exact}", "found 'exact', but critics have kinks"),
        ("from: behavior", "from: data", "found 'data', where the reference is a point without a width to move"),
        ("kl", "wasserstein2", "natural is a step in the Fisher metric; allowed kl, fisher_rao"),
        ("geometry:", "behavior: full_gaussian\ngeometry:", "natural needs a policy of the same family"),
    ):
        with pytest.raises(SpecError, match=message):
            checked(read_text(LOGGED.replace(old, new, 1)))


@pytest.mark.parametrize("family", [DiagonalNormal, FullNormal])
def test_on_data_a_network_is_led_to_the_next_gaussian_of_each_state(family):
    """KL(heads, N(m+, S+)) and its gradient in the mean, P+ (mean - m+), by NumPy; each state has its own peak of Q."""
    rng, tau, rows = np.random.default_rng(3), 0.6, 5
    peaks, start, now = (rng.normal(size=(rows, 3)) for _ in range(3))
    diagonal = family is DiagonalNormal
    matrix = np.diag([2.0, 0.7, 0.3]) if diagonal else MATRIX
    gaussian = lambda mean, std: (  # noqa: E731
        DiagonalNormal(jnp.asarray(mean), jnp.full((rows, 3), np.log(std)))
        if diagonal
        else full(mean, np.tile(std**2 * np.eye(3), (rows, 1, 1)))
    )
    energy = {"q": QTerm(critics="first"), "entropy": EntropyTerm(weight=HEAT)}
    problem = Problem(energy, (Proximal(KL(), "behavior", tau),), Euclidean())
    reference, heads = gaussian(start, 0.8), gaussian(now, 1.3)
    q = lambda a, count=None, slow=False: quadratic(matrix, 0.0)(a - jnp.asarray(peaks))[None]  # noqa: E731
    seen = Context(jnp.zeros((rows, 0)), jnp.zeros((rows, 3)), FAMILIES[family], q, {})
    key = jax.random.key(0)
    gradient, info = Natural().gradient(problem, lambda network: network, heads, (reference,), seen, key)
    precision = np.eye(3) / 0.8**2 - tau * (HEAT * np.eye(3) / 0.8**2 - matrix)
    aims = start - tau * np.linalg.solve(precision, matrix @ (start - peaks).T).T
    gaps = now - aims
    trace = 1.3**2 * np.trace(precision) - 3 - np.linalg.slogdet(1.3**2 * precision)[1]
    value = (trace + np.einsum("ni,ij,nj->n", gaps, precision, gaps)) / 2
    assert float(info["objective"]) == pytest.approx(value.mean(), rel=1e-8)
    np.testing.assert_allclose(gradient.mean, gaps @ precision / rows, rtol=1e-7, atol=1e-10)


def test_explain_says_what_a_step_is_set_to():
    spec = checked(read_text(KNOWN))
    (block,) = blocks(spec, stages(spec), 2)
    said = "\n".join(text for _, text in block.rows)
    assert block.heading.startswith("set at once, without an optimiser")
    assert "set π to  N(m⁺, S⁺), a natural step" in said
    assert "(S⁺)⁻¹ = S⁻¹ − 0.4 · G; eigenvalues below S⁻¹/2 are bent" in said
    assert "0.4 is quartered while the energy at a_k would rise by more than 0.5" in said
    assert "G = 0.5 · S⁻¹ + H" in said
    assert "the mean of π₀ and points on both sides of it along 2 axes in random directions, anew" in said
    assert "Adam" not in said
    assert r"(S^+)^{-1} = S^{-1} - 0.4\, G \;\succ\;" in latex(spec, stages(spec), 2)


@pytest.mark.parametrize(("tau", "name"), [(0.4, None), (3.0, "swinging"), (5.0, "overshoot")])
def test_explain_warns_of_steps_that_are_longer_than_the_temperature_allows(tau, name):
    spec = checked(read_text(KNOWN.replace("tau: 0.4", f"tau: {tau}")))
    found = {one.name for one in cautions(spec, stages(spec), 2)}
    assert found & {"swinging", "overshoot", "unfinished step"} == ({name} if name else set())


@pytest.mark.exhaustive(reason="runs a command")
def test_a_spec_runs_as_python_computes_it(tmp_path):
    """The command, the flow and the formula agree on each step."""
    file = tmp_path / "natural.yaml"
    file.write_text(KNOWN)
    command("run", file, "--out", tmp_path / "run")
    spec = yaml.safe_load(KNOWN)
    matrix, center = np.array(spec["target"]["curvature"]), np.array(spec["target"]["center"])
    mean, s = np.zeros(2), np.eye(2)
    found = pogospec.flow(
        quadratic(matrix, center),
        dimensions=2,
        family="full_gaussian",
        temperature=0.5,
        tau=0.4,
        steps=3,
        scheme="natural",
    )
    for number in range(1, 4):
        p = np.linalg.inv(s)
        g = 0.5 * p - matrix
        s = np.linalg.inv(p - 0.4 * g)
        mean = mean - 0.4 * s @ matrix @ (mean - center)
        policy = jax.tree.map(lambda leaf, number=number: leaf[number][None], found.parameters)
        np.testing.assert_allclose(policy.mean[0], mean, atol=1e-10)
        np.testing.assert_allclose(covariance(policy)[0], s, atol=1e-10)
    with (tmp_path / "run" / "flow.csv").open() as rows:
        energies = [float(row["energy"]) for row in csv.DictReader(rows) if int(row["update"]) == 1]
    np.testing.assert_allclose(energies, found.energies[1:], rtol=1e-6)


def test_the_closed_forward_backward_step_needs_no_optimiser():
    """A flow takes the steps of Diao et al. to rounding, by planes and by second derivatives."""
    matrix, center, heat, tau = np.array([[2.0, 0.6], [0.6, 0.5]]), np.array([1.0, -0.5]), 0.5, 0.4
    for scheme in (
        "forward_backward",
        {"kind": "forward_backward", "curvature": "exact", "actions": {"antithetic": 1}},
    ):
        found = pogospec.flow(
            quadratic(matrix, center), dimensions=2, temperature=heat, tau=tau, steps=2, scheme=scheme
        )
        mean, std = np.zeros(2), np.ones(2)
        for number in (1, 2):
            mean, moved = mean - tau * matrix @ (mean - center), np.abs(1 - tau * np.diag(matrix)) * std
            std = (moved + np.sqrt(moved**2 + 4 * tau * heat)) / 2
            np.testing.assert_allclose(found.parameters.mean[number], mean, atol=1e-10)
            np.testing.assert_allclose(np.exp(found.parameters.log_std[number]), std, atol=1e-10)


def test_arguments_of_an_optimiser_are_refused_in_closed_steps():
    q = quadratic(np.eye(2), np.zeros(2))
    for given, name in (({"updates": 9}, "updates: found 9"), ({"learning_rate": 0.1}, "learning_rate: found an opt")):
        with pytest.raises(UsageError, match=f"flow: {name}.*, but a closed step sets the policy"):
            pogospec.flow(q, dimensions=2, scheme="natural", **given)


def test_energies_of_a_flow_are_taken_when_asked_for():
    q = quadratic(np.eye(2), np.zeros(2))
    found = pogospec.flow(q, dimensions=2, scheme="natural", family="full_gaussian", steps=3, start=(2.0, 0.5))
    assert "_looked" not in vars(found)
    exact = (np.square(found.parameters.mean).sum(-1) + np.trace(covariance(found.parameters), axis1=1, axis2=2)) / 2
    exact -= 1 + np.log(2 * np.pi) + np.asarray(found.parameters.log_diagonal).sum(-1)
    np.testing.assert_allclose(found.energies, exact, atol=1e-8)
    assert found.kl is not None
    np.testing.assert_allclose(found.kl, exact + np.log(2 * np.pi), atol=1e-6)


@pytest.mark.exhaustive(reason="compiles two models twice")
@pytest.mark.parametrize("model", ["eight_schools", "logistic_regression"])
def test_natural_flows_need_no_tuning(model):
    """The last 50 steps are within 0.02 nats of the best of all, and below all of the first ten."""
    found = pogospec.flow(pogospec.targets.numpyro.NumpyroTarget(model), scheme="natural", family="full_gaussian")
    assert len(found) == 150
    late = found.energies[100:]
    assert late.max() - found.energies.min() < 0.02
    assert late.max() < found.energies[:10].min()


def walled(scale, steep):
    """x_0 ~ N(0, scale^2) but for a wall exp(exp(steep x_0)), others standard normal."""

    def log_density(x):
        return -((x[0] / scale) ** 2) / 2 - jnp.exp(jnp.exp(steep * x[0])) - (x[1:] ** 2).sum() / 2

    return log_density


@pytest.mark.parametrize("family", ["gaussian", "full_gaussian"])
def test_a_density_that_is_huge_in_its_tail_is_fitted(family, float64):
    """Values of 1e80 at the points of the start, whose curvature says nothing of the scale at the end."""
    for seed in range(3):
        q = walled(1 / 200, 1.5)
        found = pogospec.flow(q, dimensions=41, family=family, scheme="natural", seed=seed)
        std = np.linalg.norm(factor_of(jax.tree.map(lambda leaf: leaf[-1], found.parameters)), axis=-1)
        np.testing.assert_allclose(std, [1 / 200, *[1.0] * 40], rtol=0.03)


@pytest.mark.parametrize("curvature", ["plane", "exact"])
def test_points_without_numbers_are_taken_from_nearer(curvature, float64):
    """The outermost nodes of the grid lie where the density overflows, as long as the Gaussian is wide."""
    scheme = {"kind": "natural", "actions": {"hermite": 20}, "curvature": curvature}
    found = pogospec.flow(walled(1 / 20, 1.5), dimensions=1, scheme=scheme)
    x, width = np.linspace(-0.4, 0.4, 100_001), np.exp(found.parameters.log_std[-1, 0])
    shares = np.exp(-(((x - found.parameters.mean[-1, 0]) / width) ** 2) / 2)
    y = np.exp(1.5 * x)
    bend = (shares * (400 + 2.25 * (y + y**2) * np.exp(y))).sum() / shares.sum()
    assert width == pytest.approx(bend**-0.5, rel=1e-4)
