"""Batch and match against the formulas and the objective of its paper in NumPy, in double precision."""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from commands import pogospec as command

import pogospec
from pogospec.checking.check import checked
from pogospec.errors import SpecError
from pogospec.explain.mathematics.blocks import blocks
from pogospec.explain.mathematics.latex import latex
from pogospec.explain.stages import stages
from pogospec.policies.base import DiagonalNormal, FullNormal, Sample, below
from pogospec.spec.resolve import read_text
from pogospec.steps.batch_and_match import BatchAndMatch
from pogospec.steps.points import Antithetic, Hermite, noise_at

HEAT = 0.7
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(3, 3))
MATRIX, CENTER = ROOT @ ROOT.T / 3 + 0.2 * np.eye(3), np.array([1.0, -2.0, 0.5])
BATCHES = [Sample(2), Sample(7), Antithetic(1), Antithetic(4), Hermite(2)]


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def full(means, covariances):
    factors = np.linalg.cholesky(covariances)
    return FullNormal(jnp.asarray(means), jnp.log(np.diagonal(factors, axis1=-2, axis2=-1)), below(factors))


def moments(p):
    """Means and covariances."""
    if isinstance(p, DiagonalNormal):
        return np.asarray(p.mean), np.exp(2 * np.asarray(p.log_std))[..., None] * np.eye(p.mean.shape[-1])
    factor = np.asarray(p.factor())
    return np.asarray(p.mean), factor @ np.swapaxes(factor, -1, -2)


def starts():
    """Gaussians of both kinds, three rows each, stds from 0.03 to 30."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(3, 3, 3)))[0]
    variances = np.exp(2 * rng.uniform(np.log(0.03), np.log(30), (3, 3)))
    means = 2 * rng.normal(size=(3, 3))
    return full(means, np.einsum("nij,nj,nkj->nik", axes, variances, axes)), DiagonalNormal(
        jnp.asarray(means), jnp.log(variances) / 2
    )


def bent(a):
    """The gradient of a Q that is no quadratic."""
    return -(a - CENTER) @ MATRIX - 0.3 * np.sin(a) + 0.1 * np.cos(a.sum(-1, keepdims=True))


def seen(start, scheme, key=0):
    """Actions and scores of a batch on the host, its shares, and what the step sees of it."""
    z, shares = noise_at(scheme.points(3), start, jax.random.key(key))
    actions = np.asarray(start.at(z))
    return actions, bent(actions) / HEAT, np.asarray(shares), scheme.look(bent, start, z, shares)


@pytest.mark.parametrize("points", BATCHES, ids=str)
def test_the_step_is_the_formula_of_the_paper(points):
    """By roots of matrices that are not symmetric, in the coordinates of the actions."""
    scheme = BatchAndMatch(points)
    for start, tau in itertools.product(starts(), (1e-3, 0.8, 1e3)):
        actions, scores, shares, found = seen(start, scheme)
        new = moments(scheme.moved(start, found, tau, HEAT))
        for row, (m, s) in enumerate(zip(*moments(start), strict=True)):
            a, v = actions[:, row], scores[:, row]
            a_bar, v_bar = shares @ a, shares @ v
            u = tau * (v - v_bar).T @ (shares[:, None] * (v - v_bar)) + tau / (1 + tau) * np.outer(v_bar, v_bar)
            hold = s + tau * (a - a_bar).T @ (shares[:, None] * (a - a_bar))
            hold = hold + tau / (1 + tau) * np.outer(m - a_bar, m - a_bar)
            if isinstance(start, DiagonalNormal):
                u, hold = np.diag(np.diag(u)), np.diag(np.diag(hold))
            wanted = 2 * hold @ np.linalg.inv(np.eye(3) + np.real(scipy.linalg.sqrtm(np.eye(3) + 4 * u @ hold)))
            np.testing.assert_allclose(new[1][row], wanted, atol=1e-5 * np.abs(wanted).max())
            left = new[1][row] @ u @ new[1][row] + new[1][row]
            np.testing.assert_allclose(left, hold, atol=1e-9 * np.abs(hold).max())
            mean = m / (1 + tau) + tau / (1 + tau) * (wanted @ v_bar + a_bar)
            np.testing.assert_allclose(new[0][row], mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("points", BATCHES[1:], ids=str)
def test_the_step_is_the_least_of_score_divergence_and_kl(points):
    """The gradient of the objective is 0 there in mean and root, and no Gaussian of the family beside it is lower."""
    scheme = BatchAndMatch(points)
    for start, tau in itertools.product(starts(), (0.05, 3.0)):
        actions, scores, shares, found = seen(start, scheme)
        new = scheme.moved(start, found, tau, HEAT)

        def objective(q, row, actions=actions, scores=scores, shares=shares, start=start, tau=tau):
            m, s = (x[row] for x in moments(start))
            root = jnp.diag(jnp.exp(q[1])) if len(q) == 2 else FullNormal(*q).factor()
            own = jax.scipy.linalg.cho_solve((root, True), (actions[:, row] - q[0]).T).T
            gaps = ((-own - scores[:, row]) @ root) ** 2
            inner = jax.scipy.linalg.solve_triangular(root, np.linalg.cholesky(s), lower=True)
            moved = jax.scipy.linalg.solve_triangular(root, m - q[0], lower=True)
            volume = jnp.log(jnp.diagonal(root)).sum() - np.linalg.slogdet(s)[1] / 2
            kl = ((inner**2).sum() + (moved**2).sum() - 3) / 2 + volume
            return shares @ gaps.sum(-1) / 2 + kl / tau

        for row in range(3):
            q = [leaf[row] for leaf in new]
            least, slope = jax.value_and_grad(objective)(q, row)
            np.testing.assert_allclose(np.concatenate(slope), 0, atol=1e-6 * max(1.0, abs(float(least))))
            for _ in range(5):
                beside = [leaf + 0.03 * RNG.normal(size=leaf.shape) for leaf in q]
                assert objective(beside, row) > least


def test_a_gaussian_whose_score_it_is_stays_where_it_is_at_any_length_and_batch():
    """E of points does not matter; the optimum of a quadratic energy at temperature lambda is one."""
    end = full(CENTER[None], HEAT * np.linalg.inv(MATRIX)[None])
    for points, tau in itertools.product(BATCHES, (0.1, 1e4)):
        scheme = BatchAndMatch(points)
        z, shares = noise_at(points, end, jax.random.key(3))
        found = scheme.look(lambda a: -(a - CENTER) @ MATRIX, end, z, shares)
        new = moments(scheme.moved(end, found, tau, HEAT))
        np.testing.assert_allclose(new[0], moments(end)[0], atol=1e-10)
        np.testing.assert_allclose(new[1], moments(end)[1], atol=1e-10)


def test_short_steps_follow_the_flow_of_the_divergence_at_order_two():
    """dm = S g, dS = S - S (Cov v + v v^T) S at exact moments of a quadratic: the gap to it falls with tau^2."""
    start, scheme = starts()[0], BatchAndMatch(Hermite(3))
    start = jax.tree.map(lambda leaf: leaf[:1] / 4, start)
    z, shares = noise_at(Hermite(3), start, jax.random.key(0))
    found = scheme.look(lambda a: -(a - CENTER) @ MATRIX, start, z, shares)
    (m,), (s,) = moments(start)
    g, p = -MATRIX @ (m - CENTER) / HEAT, MATRIX / HEAT
    taus, gaps = 1e-6 * np.array([8.0, 4.0, 2.0, 1.0]), []
    for tau in taus:
        (mean,), (covariance,) = moments(scheme.moved(start, found, tau, HEAT))
        moved = s + tau * (s - s @ (p @ s @ p + np.outer(g, g)) @ s)
        gaps.append(np.abs(mean - m - tau * s @ g).max() + np.abs(covariance - moved).max())
    assert np.polyfit(np.log(taus), np.log(gaps), 1)[0] == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("single", [False, True], ids=("double", "single"))
def test_huge_steps_on_wild_energies_stay_positive_definite(single):
    with jax.enable_x64(not single):
        for start, points in itertools.product(starts(), (Antithetic(1), Sample(2), Antithetic(8))):
            narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, np.float32 if single else float), start)
            z, shares = noise_at(points, narrow, jax.random.key(0))
            scheme = BatchAndMatch(points)
            found = scheme.look(lambda a: -450.0 * jnp.sin(9 * a) + 100 * a, narrow, z, shares)
            for tau in (10.0, 1e5):
                new = scheme.moved(narrow, found, jnp.full((3, 1), tau), 0.1)
                assert all(np.isfinite(leaf).all() for leaf in new)


def test_a_gaussian_of_forty_dimensions_is_found_from_sixteen_points_a_step():
    """Correlated, of condition 1e3, from far away: moments to 1e-6 though no batch spans the space."""
    rng = np.random.default_rng(2)
    axes = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    matrix = axes @ np.diag(np.geomspace(0.1, 100, 40)) @ axes.T
    center = rng.normal(size=40)
    q = lambda a: -0.5 * (a - center) @ matrix @ (a - center)  # noqa: E731
    options = {"family": "full_gaussian", "scheme": "batch_and_match", "actions": {"antithetic": 8}}
    found = pogospec.flow(q, dimensions=40, tau=640.0, steps=400, **options)
    (mean,), (covariance,) = moments(jax.tree.map(lambda leaf: leaf[-1:], found.parameters))
    np.testing.assert_allclose(mean, center, atol=1e-6)
    np.testing.assert_allclose(covariance @ matrix, np.eye(40), atol=1e-5)


KNOWN = """\
target: {kind: quadratic, center: [1, -0.5], curvature: [[2, 0.6], [0.6, 0.5]]}
policy: full_gaussian
energy: {q: {actions: quadrature}, entropy: {weight: 0.5}}
geometry: {kind: kl, direction: reference_to_policy}
schedule: {steps: [{tau: 4, repeat: 30, scheme: batch_and_match}]}
train: {precision: float64}
"""
REFUSED = [
    (", direction: reference_to_policy", "", "proximal step in KL(reference ‖ policy); allowed kl with direction"),
    (
        "{kind: kl, direction: reference_to_policy}",
        "wasserstein2",
        "allowed kl with direction: reference_to_policy",
    ),
    ("{kind: kl,", "{kind: kl, weight: 0,", "found 0, which leaves the step no length"),
    (", entropy: {weight: 0.5}", "", "found no entropy of positive weight, and batch_and_match matches the score"),
    ("weight: 0.5", "weight: 0", "found no entropy of positive weight"),
    ("full_gaussian", "tanh_gaussian", "found batch_and_match, whose step is a Gaussian in closed form"),
    ("repeat: 30,", "repeat: 30, updates: 9,", "schedule.steps[0].updates: found 9, but a closed step sets"),
    ("batch_and_match}", "{kind: batch_and_match, actions: {rotated: 1}}}", "schedule.steps[0].scheme.actions"),
    ("batch_and_match}", "{kind: batch_and_match, curvature: plane}}", "curvature"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_what_has_no_such_step_is_refused_where_it_stands(old, new, message):
    with pytest.raises(SpecError) as error:
        checked(read_text(KNOWN.replace(old, new, 1)))
    assert any(message in str(one) for one in error.value.problems), [str(one) for one in error.value.problems]


def test_explain_says_what_is_set():
    spec = checked(read_text(KNOWN))
    (block,) = blocks(spec, stages(spec), 2)
    said = "\n".join(text for _, text in block.rows)
    assert "set π to  N(m⁺, S⁺), a batch-and-match step" in said
    assert "S⁺ U S⁺ + S⁺ = V" in said
    assert "v(a) = ∇ₐ[1 · Q(a)]/0.5" in said
    assert r"S^+ U S^+ + S^+ = V" in latex(spec, stages(spec), 2)
    assert "sweeps of EM" not in said
    thin = checked(read_text(KNOWN.replace("full_gaussian", "low_rank_gaussian")))
    assert "S⁺ of the policy and of m⁺: the diag(ψ) + L Lᵀ nearest to that in KL" in str(blocks(thin, stages(thin), 2))


@pytest.mark.exhaustive(reason="runs a command")
def test_a_spec_runs_to_the_optimum(tmp_path):
    (tmp_path / "match.yaml").write_text(KNOWN)
    command("run", tmp_path / "match.yaml", "--out", tmp_path / "run")
    rows = (tmp_path / "run" / "flow.csv").read_text().splitlines()
    names, *lines = (row.split(",") for row in rows)
    assert float(lines[-1][names.index("kl_optimum")]) < 1e-6
