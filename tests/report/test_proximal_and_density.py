"""The numbers behind the pictures of proximal energies and densities; pictures that cannot be drawn."""

import json

import closed_forms
import flows
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows import HEAT, MEAN, STD, TAU, A, M, apart, curves, exact_steps, legend, placed, saved
from scipy.stats import norm

from pogospec.checking.check import load
from pogospec.data import load_for
from pogospec.errors import UsageError
from pogospec.nets import MLP, Linear
from pogospec.policies.base import DiagonalNormal, FullNormal, TanhNormal
from pogospec.policies.mixtures import Mixture
from pogospec.policies.transport_map import Pushed
from pogospec.report.figures import density, energy, path, proximal
from pogospec.report.reading.known_energy import Known, moments
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import dump
from pogospec.types import Normalizer


def test_recentring_moves_the_minimum_of_the_proximal_energy(ran):
    run, _ = ran
    found = proximal.slices(Known.open(run))
    assert found.labels == ("start", "step 1", "step 2")
    at = {place: int(np.flatnonzero(np.isclose(found.place, place, atol=1e-9))[0]) for place in (0, 1)}
    assert (found.before.argmin(0) == at[0]).all()
    assert (found.after.argmin(0) == at[1]).all()
    means, stds = exact_steps(2)
    mean = means[1] + found.place * (means[2] - means[1])
    std = np.exp(np.log(stds[1]) + found.place * (np.log(stds[2]) - np.log(stds[1])))
    e = A * ((mean - M) ** 2 + std**2) / 2 - HEAT * np.log(std * np.sqrt(2 * np.pi * np.e))
    before = e + ((mean - means[0]) ** 2 + (std - stds[0]) ** 2) / (2 * TAU)
    after = e + ((mean - means[1]) ** 2 + (std - stds[1]) ** 2) / (2 * TAU)
    for values, expected in ((found.energy, e), (found.before, before), (found.after, after)):
        np.testing.assert_allclose(values, np.stack([expected, expected], 1), atol=1e-3)
    picture = proximal.figure(run)
    drawn = curves(picture.axes[0])
    np.testing.assert_allclose(drawn["E + D/τ after re-centring, reference: step 1"][1], found.after.mean(1))
    assert apart(picture)


def test_proximal_terms_of_several_references_and_of_samples(flow):
    terms = "{reference: previous, geometry: kl, tau: 0.2}, {reference: behavior, geometry: wasserstein2, tau: 3}"
    run = flow(
        seeds=2, rows=flows.steps(2, *[[1.0, 1.0]] * 3), energy="{q: {actions: {sample: 2}}, entropy: {weight: 0.5}}",
        schedule=f"{{steps: [{{proximal: [{terms}], updates: 2, repeat: 2}}]}}",
    )  # fmt: skip
    placed(run, "step 1", [-0.2], [0.4])
    placed(run, "step 2", [0.1], [0.5])
    found = proximal.slices(Known.open(run))
    end = int(np.flatnonzero(np.isclose(found.place, 1, atol=1e-9))[0])
    d = closed_forms.kl(*np.array([[0.1], [0.5], [-0.2], [0.4]])) / 0.2
    d += closed_forms.w2_squared(*np.array([[0.1], [0.5], [MEAN], [STD]])) / 2 / 3
    np.testing.assert_allclose(found.after[end] - found.energy[end], d, rtol=1e-6)
    e = A * ((0.1 - M) ** 2 + 0.5**2) / 2 - HEAT * np.log(0.5 * np.sqrt(2 * np.pi * np.e))
    error = 5 * A * np.sqrt(0.5**2 * 0.7**2 + 0.5**4 / 2) / np.sqrt(proximal.SAMPLES)
    np.testing.assert_allclose(found.energy[end], e, atol=error)


def test_marginals():
    x = np.linspace(-0.999, 0.999, 4001)
    p = DiagonalNormal(jnp.array([[0.1, 5.0], [0.3, 5.0]]), jnp.log(jnp.array([[0.2, 9.0], [0.4, 9.0]])))
    np.testing.assert_allclose(density.marginal(p, 0, x), norm.pdf(x[:, None], [0.1, 0.3], [0.2, 0.4]), rtol=1e-5)
    full = FullNormal(jnp.zeros((1, 2)), jnp.log(jnp.full((1, 2), 0.5)), jnp.array([[2.0]]))
    np.testing.assert_allclose(density.marginal(full, 1, x)[:, 0], norm.pdf(x, 0, np.sqrt(4.25)), rtol=1e-6)
    tanh = TanhNormal(jnp.array([[0.2]]), jnp.log(jnp.array([[0.5]])))
    values = density.marginal(tanh, 0, x)
    np.testing.assert_allclose(np.trapezoid(values[:, 0], x), 1, rtol=1e-4)
    expected = np.asarray(tanh.distribution().log_prob(x[2000:3000, None]))
    np.testing.assert_allclose(np.log(values[2000:3000, 0]), expected, atol=1e-4)
    np.testing.assert_allclose(moments(tanh).mean[0], np.trapezoid(values[:, 0] * x, x), atol=1e-4)


def test_marginals_of_mixtures_are_exact_and_those_of_maps_by_samples():
    x, means, stds = np.linspace(-3, 3, 2001), np.array([[[-1.0, 0.0], [0.5, 2.0]]]), np.array([[[0.2, 1], [0.5, 1]]])
    mixture = Mixture(jnp.log(jnp.array([[0.3, 0.7]])), jnp.asarray(means), jnp.log(jnp.asarray(stds)))
    expected = 0.3 * norm.pdf(x, -1, 0.2) + 0.7 * norm.pdf(x, 0.5, 0.5)
    np.testing.assert_allclose(density.marginal(mixture, 0, x)[:, 0], expected, rtol=1e-5)
    found, centre = moments(mixture), 0.3 * -1 + 0.7 * 0.5
    np.testing.assert_allclose(found.mean[0], [centre, 1.4], rtol=1e-6)
    variance = np.trapezoid(expected * (x - centre) ** 2, x)
    np.testing.assert_allclose(found.covariance[0, 0], np.array([variance, 0.3 * 0.7 * 1.5 * 2.0]), rtol=1e-4)
    layer = Linear(jnp.array([[[0.5, 0.0], [0.4, 0.3]]]), jnp.array([[0.2, -0.1]]))
    linear = Pushed(MLP((layer,), (), "none"), jnp.zeros((1, 0)), jnp.full(1, 1e-5), "linear")
    found = moments(linear)
    np.testing.assert_allclose(found.mean[0], [0.2, -0.1], atol=0.05)
    np.testing.assert_allclose(found.covariance[0], [[0.41, 0.12], [0.12, 0.09]], atol=0.05)
    np.testing.assert_allclose(density.marginal(linear, 0, x)[:, 0], norm.pdf(x, 0.2, np.sqrt(0.41)), atol=0.05)


@pytest.mark.parametrize(
    ("target", "which", "expected"),
    [
        ("{kind: quadratic, center: [1, 0], curvature: [[2, 0.5], [0.5, 1]]}", 1,
         lambda x: norm.pdf(x, 0, np.sqrt(2 / 1.75))),
        ("{kind: mixture, means: [0, 3], stds: [1, 0.5], weights: [1, 3]}", 0,
         lambda x: 0.25 * norm.pdf(x) + 0.75 * norm.pdf(x, 3, 0.5)),
        ("{kind: banana, bend: 0.5, scale: [1.5, 0.3]}", 0, lambda x: norm.pdf(x, 0, 1.5)),
        ("{kind: banana, bend: 0, scale: [1.5, 0.3]}", 1, lambda x: norm.pdf(x, 0, 0.3)),
    ],
)  # fmt: skip
def test_the_marginals_of_an_optimum(flow, target, which, expected):
    known = Known.open(flow(target=target, energy="{q: {actions: {sample: 1}}, entropy: {weight: 1}}"))
    x = np.linspace(-4, 5, 201)
    found = density.optimum_marginal(known, which, x)
    assert found is not None
    np.testing.assert_allclose(found, expected(x), atol=1e-8)


def test_densities_of_a_flow(ran):
    run, _ = ran
    picture = density.figure(run)
    drawn = curves(picture.axes[0])
    means, stds = exact_steps(3)
    for label, mean, std in zip(("start", "step 1", "step 2", "step 3"), means, stds, strict=True):
        x, y = drawn[label]
        np.testing.assert_allclose(y, norm.pdf(x, mean, std), atol=1e-3)
    assert legend(picture) == ["optimum", "start", "step 1", "step 2", "step 3"]
    assert apart(picture)


@pytest.fixture
def on_data(make):
    """A run on embedded data with a behaviour and a step, of untrained networks."""
    spec = load("pogo_w_two_step", [("policy.hidden", "[4]"), ("behavior.hidden", "[4]")])
    data = load_for(spec)
    run = make(seeds=2, spec=dump(spec), dataset=spec.data.dataset, data_sha256=data.sha256)
    normalizer = Normalizer(np.full(data.space.obs_dim, 0.5, np.float32), np.full(data.space.obs_dim, 2.0, np.float32))
    for seed, label in enumerate(("behavior", "step 1")):
        network = spec.policy.init(jax.random.key(seed), data.space)
        saved(run, label, network, spec.policy, data.space, normalizer)
    return run, spec, data


def test_densities_in_a_state_of_the_data(on_data):
    run, spec, data = on_data
    for state in (None, 7):
        found = density.densities(run, state)
        seen = (np.asarray(data.transitions.observations)[state or 0] - 0.5) / 2.0
        network = spec.policy.init(jax.random.key(1), data.space)
        expected = spec.policy.parameters(network, seen)
        np.testing.assert_allclose(found.policies["step 1"].mean, np.stack([expected.mean] * 2), rtol=1e-5)
    picture = density.figure(run, 7)
    assert legend(picture) == ["fitted behavior", "step 1"]
    assert "state 7" in picture.get_suptitle()
    with pytest.raises(UsageError, match=f"--state: found {len(data.transitions.rewards)}, allowed 0 to"):
        density.figure(run, len(data.transitions.rewards))
    manifest = run.manifest
    (run.path / "manifest.json").write_text(json.dumps(manifest | {"data_sha256": "0" * 64}))
    with pytest.raises(UsageError, match="changed since the run"):
        density.figure(RunDirectory.open(run.path))
    (run.path / "manifest.json").write_text(json.dumps(manifest))


def test_what_cannot_be_drawn(ran, make, flow, on_data):
    run, _ = ran
    data = make("data")
    with pytest.raises(UsageError, match="found runs on known energies and runs on data"):
        energy.figure([run, data])
    with pytest.raises(UsageError, match="nothing was measured"):
        energy.figure([data])
    with pytest.raises(UsageError, match="allowed one dataset"):
        energy.figure([data, make("other", dataset="pocket/y")])
    for draw in (lambda: path.figure([run, data]), lambda: proximal.figure(data)):
        with pytest.raises(UsageError, match="allowed runs on known energies"):
            draw()
    point = flow("point", seeds=2, policy="dirac", energy="{q: {}}")
    placed(point, "step 1", [0.0], [1.0])
    with pytest.raises(UsageError, match="points of one dimension; needed is a std"):
        path.figure([point])
    with pytest.raises(UsageError, match="no two finished implicit steps in a row"):
        proximal.figure(flow("one", schedule="{steps: [{tau: 1, updates: 2}]}"))
    with pytest.raises(UsageError, match="whose known energy has no states"):
        density.figure(run, 3)
    with pytest.raises(UsageError, match="holds no policies yet"):
        density.figure(data)
    with pytest.raises(UsageError, match="no flow on a known energy; its spec has no target"):
        Known.open(on_data[0])
