"""`pogospec.flow` against closed forms and known posteriors, and the flows that come with the package."""

import csv
import doctest
import subprocess
import sys
from typing import Any

import closed_forms as cf
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from commands import pogospec as command
from forks import NO_PICTURES

import pogospec
from pogospec.checking.check import checked, load
from pogospec.compiler.compile import compile_spec
from pogospec.errors import DataError, UsageError
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_text
from pogospec.spec.shipped import shipped_specs, spec_name
from pogospec.targets.mixture import MixtureTarget
from pogospec.targets.models import READINGS, eight_schools
from pogospec.targets.quadratic import QuadraticTarget
from pogospec.types import Space

A, M, HEAT, TAU = np.array([4.0, 0.5]), np.array([1.0, -0.5]), 0.5, 0.2
START = [-1.0, 1.0], [0.5, 2.0]
FLOWS = [path for path in shipped_specs() if spec_name(path).startswith("flows/")]
GRID = {"scheme": {"kind": "explicit", "clip": 1e30}, "actions": {"hermite": 48}}


def quadratic(a):
    gap = a - jnp.array([1.0, -0.5])
    return -0.5 * (jnp.array([4.0, 0.5]) * gap**2).sum()


def conjugate(readings, scale=2.0):
    mu = numpyro.sample("mu", dist.Normal(0.0, scale))
    with numpyro.plate("readings", len(readings)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=readings)


STEPS = [
    ("wasserstein2", {"actions": "quadrature"}, cf.jko_w2_quadratic, 1e-6),
    ("kl", {"actions": "quadrature"}, cf.kl_prox_quadratic, 1e-6),
    ("fisher_rao", GRID, cf.exponentiated_quadratic, 2e-5),
]


@pytest.mark.parametrize(("geometry", "options", "closed", "tolerance"), STEPS)
def test_the_path_is_that_of_closed_forms(geometry, options, closed, tolerance, float64):
    flow = pogospec.flow(
        quadratic,
        dimensions=2,
        geometry=geometry,
        tau=TAU,
        steps=4,
        temperature=HEAT,
        start=START,
        updates=1500,
        **options,
    )
    mean, std = np.array(START[0]), np.array(START[1])
    end = np.sqrt(HEAT / A)
    for k in range(5):
        np.testing.assert_allclose(flow.parameters.mean[k], mean, atol=tolerance)
        np.testing.assert_allclose(np.exp(flow.parameters.log_std[k]), std, atol=tolerance)
        energy = 0.5 * (A * ((mean - M) ** 2 + std**2)).sum() - HEAT * np.log(std * np.sqrt(2 * np.pi * np.e)).sum()
        assert flow.energies[k] == pytest.approx(energy, rel=1e-4)
        assert flow.kl is not None
        assert flow.kl[k] == pytest.approx(cf.kl(mean, std, M, end), rel=1e-4)
        mean, std = closed(mean, std, M, A, HEAT, TAU)
    assert len(flow) == 4
    said = f"4 steps, flow time 0.8, energy {flow.energies[0]:.4g} to {flow.energies[-1]:.4g}, KL to the optimum"
    assert said in repr(flow)
    assert repr(flow).startswith("Flow on givendensity in 2 dimensions: ")
    assert flow.energies[0] > flow.energies[-1]
    assert flow._repr_html_().count("<tr>") == (1 + 2) + (1 + 5)  # its dimensions, and its path
    np.testing.assert_allclose(flow.times, TAU * np.arange(5))
    assert flow.parameters.mean.dtype == jnp.float64


def test_a_target_is_the_same_as_its_log_density(float64):
    options = {"tau": TAU, "steps": 2, "temperature": HEAT, "updates": 200, "actions": "quadrature", "start": START}
    target = QuadraticTarget(center=tuple(M), curvature=tuple(A))
    one, other = pogospec.flow(target, **options), pogospec.flow(quadratic, dimensions=2, **options)
    np.testing.assert_allclose(one.parameters.mean, other.parameters.mean, rtol=1e-12)
    assert one.kl is not None
    assert other.kl is not None
    np.testing.assert_allclose(one.kl, other.kl, rtol=1e-6)


def test_a_flow_is_the_run_of_the_same_spec(tmp_path):
    overrides = [("schedule.steps[0].repeat", "3"), ("schedule.steps[0].updates", "50"), ("train.precision", "float32")]
    run = pogospec.run("mixture_w2", out=tmp_path / "run", overrides=[*overrides, ("seeds", "3")])
    target = MixtureTarget(means=(-2.0, 2.0), stds=(0.5, 0.8), weights=(1.0, 2.0))
    options = {"tau": 1.0, "steps": 3, "updates": 50, "actions": {"sample": 128}}
    ends = [pogospec.flow(target, seed=seed, **options).parameters for seed in range(3)]
    for seed in (0, 2):
        saved = pogospec.load_policy(run, seed=seed).parameters(np.zeros(0))
        np.testing.assert_allclose(ends[seed].mean[-1], saved.mean, rtol=1e-5)
        np.testing.assert_allclose(ends[seed].log_std[-1], saved.log_std, rtol=1e-4)
    assert not np.allclose(ends[0].mean[-1], ends[2].mean[-1], rtol=1e-4)


@pytest.mark.parametrize("family", ["gaussian", "full_gaussian"])
def test_a_conjugate_model_ends_at_its_posterior(family, float64):
    readings = jnp.array(READINGS)
    options = {"family": family, "tau": 5.0, "steps": 8, "actions": "quadrature"}  # its log density is quadratic
    flow = pogospec.flow(conjugate, readings, model_kwargs={"scale": 2.0}, **options)
    precision = len(READINGS) + 1 / 4
    end = flow.distribution()
    np.testing.assert_allclose(end.mean, [sum(READINGS) / precision], atol=1e-4)
    np.testing.assert_allclose(end.variance, [1 / precision], rtol=1e-3)
    assert flow.kl is not None
    assert flow.kl[-1] < 1e-6 < flow.kl[0]
    assert (np.diff(flow.energies) < 1e-12).all()
    # minus the energy at the posterior is the log evidence
    evidence = dist.MultivariateNormal(jnp.zeros(5), jnp.eye(5) + 4.0).log_prob(readings)
    assert flow.energies[-1] == pytest.approx(-float(evidence), abs=1e-6)
    samples = flow.posterior_samples(jax.random.key(0), 20_000)
    assert samples["mu"].shape == (20_000,)
    assert float(samples["mu"].mean()) == pytest.approx(sum(READINGS) / precision, abs=5 / np.sqrt(20_000 * precision))


@pytest.mark.exhaustive("follows the flow of a model, as the conjugate ones do")
def test_samples_are_of_the_sites_in_their_own_spaces():
    model, arguments, kwargs = eight_schools()
    flow = pogospec.flow(model, *arguments, model_kwargs=kwargs, steps=2, updates=100, tau=1.0)
    samples = flow.posterior_samples(jax.random.key(0), 6)
    assert {name: value.shape for name, value in samples.items()} == {
        "mu": (6,), "tau": (6,), "base": (6, 8), "theta": (6, 8),
    }  # fmt: skip
    assert (samples["tau"] > 0).all()
    np.testing.assert_allclose(
        samples["theta"], samples["mu"][:, None] + samples["tau"][:, None] * samples["base"], rtol=1e-5
    )
    first = flow.posterior_samples(jax.random.key(0), 6, step=0)
    assert not np.allclose(first["mu"], samples["mu"])
    assert flow.kl is None
    assert flow.energies[-1] < flow.energies[0]


def test_a_flow_ends_when_it_has_settled_and_follows_a_law_of_step_sizes(float64):
    law = {"kind": "geometric", "start": 0.5, "factor": 2.0}
    flow = pogospec.flow(
        quadratic,
        dimensions=2,
        tau=law,
        steps=30,
        temperature=HEAT,
        actions="quadrature",
        updates=400,
        until_settled=True,
    )
    assert 4 <= len(flow) < 20
    np.testing.assert_allclose(np.diff(flow.times), 0.5 * 2.0 ** np.arange(len(flow)))
    assert abs(flow.energies[-1] - flow.energies[-4]) <= 0.011 * abs(flow.energies[-1] - flow.energies[1])
    assert flow.kl is not None
    assert flow.kl[-1] < 1e-3


def test_without_entropy_a_dirac_goes_to_the_top():
    flow = pogospec.flow(
        lambda a, top: -((a - top) ** 2).sum(), 3.0, dimensions=1, family="dirac", temperature=0, tau=10.0, steps=4
    )
    assert float(flow.parameters.mean[-1, 0]) == pytest.approx(3.0, abs=1e-2)
    assert flow.kl is None
    assert (np.diff(flow.energies) < 1e-3).all()
    np.testing.assert_allclose(flow.energies[0], 9.0, rtol=1e-5)


def silent(a):
    return None


def vector(a):
    return a


def broken(a):
    return undefined_name(a)  # type: ignore[name-defined] # noqa: F821


WRONG = [
    ((3,), {}, "energy: found int, allowed a NumPyro model, a log density with dimensions, or a target"),
    ((quadratic,), {}, "for a log density of a vector give dimensions"),
    ((conjugate,), {"dimensions": 2}, "for a NumPyro model leave dimensions out"),
    ((silent,), {"dimensions": 2}, "silent returned None for a vector of 2 numbers"),
    ((vector,), {"dimensions": 2}, r"vector returned float32 of shape \(2,\)"),
    ((broken,), {"dimensions": 2}, "broken fails on a vector of 2 numbers: NameError"),
    ((lambda: None,), {}, "it has no latent sites"),
    ((quadratic,), {"dimensions": 0}, "dimensions: found 0, allowed a whole number >= 1"),
    ((quadratic,), {"dimensions": 2, "model_kwargs": {}}, "found dimensions and model_kwargs"),
    ((QuadraticTarget((0.0,), (1.0,)),), {"dimensions": 1}, "allowed the target alone"),
    ((quadratic,), {"dimensions": 2, "family": "gausian"}, "family: found 'gausian'.*did you mean gaussian"),
    ((quadratic,), {"dimensions": 2, "geometry": "l2"}, "geometry: found 'l2', allowed wasserstein2"),
    ((quadratic,), {"dimensions": 2, "tau": -1.0}, "tau: found -1.0, allowed a number > 0"),
    ((quadratic,), {"dimensions": 2, "tau": {"kind": "backtracking", "start": 1.0}}, "tau: found backtracking"),
    ((quadratic,), {"dimensions": 2, "steps": 0}, "steps: found 0"),
    ((quadratic,), {"dimensions": 2, "steps": True}, "steps: found true"),
    ((quadratic,), {"dimensions": 2, "updates": 0.5}, "updates: found 0.5"),
    ((quadratic,), {"dimensions": 2, "learning_rate": "big"}, "learning_rate: found 'big'"),
    ((quadratic,), {"dimensions": 2, "temperature": -1}, "temperature: found -1"),
    ((quadratic,), {"dimensions": 2, "family": "dirac"}, "temperature: needs a policy with a density"),
    ((quadratic,), {"dimensions": 2, "scheme": "leapfrog"}, "scheme: found 'leapfrog', allowed implicit, explicit"),
    ((quadratic,), {"dimensions": 2, "actions": "some"}, "actions: found 'some'"),
    (
        (lambda a: -(a**2).sum(),),
        {"dimensions": 10, "scheme": "explicit", "geometry": "kl", "tau": 0.1, "actions": {"hermite": 40}},
        r"actions: found a grid of 40\^10 nodes in 10 dimensions, allowed up to 1,000,000",
    ),
    ((quadratic,), {"dimensions": 2, "start": 0.0}, r"start: found 0.0, allowed a pair \(mean, std\)"),
    ((quadratic,), {"dimensions": 2, "start": ((1.0, 2.0, 3.0), 1.0)}, "start: found 3 entries, allowed 2"),
    ((quadratic,), {"dimensions": 2, "start": (0.0, -1.0)}, "start: found -1.0"),
    ((quadratic,), {"dimensions": 2, "seed": -1}, "seed: found -1"),
    ((quadratic,), {"dimensions": 2, "steps": 1, "until_settled": True}, "until_settled: ends repetitions"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), WRONG)
def test_wrong_arguments_are_named(arguments, options, message):
    with pytest.raises(UsageError, match=f"^flow: .*{message}"):
        pogospec.flow(*arguments, **options)


@pytest.mark.exhaustive("six flows")
def test_arguments_serve_both_float_types():
    """JAX remembers the float type that it once gave to an array of NumPy; arguments must not."""
    top, readings = np.array([3.0, 1.0]), np.array(READINGS)
    options: dict[str, Any] = {"steps": 1, "updates": 5}
    for wide in (True, False, True):
        with jax.enable_x64(wide):
            flow = pogospec.flow(lambda a, top: -((a - top) ** 2).sum(), top, dimensions=2, **options)
            assert flow.parameters.mean.dtype == (jnp.float64 if wide else jnp.float32)
            pogospec.flow(conjugate, readings, model_kwargs={"scale": np.array(2.0)}, **options)


def test_a_grid_that_is_too_large_for_the_actions_of_data_is_refused():
    text = """data: {dataset: pocket/hopper-mixed}
policy: {kind: gaussian, hidden: [4]}
energy: {q: {}}
geometry: fisher_rao
critic: {kind: clipped_double_q, hidden: [4]}
schedule:
  steps:
    - {from: behavior, updates: 6, tau: 0.1}
    - {from: previous, learn: [policy], updates: 6, tau: 0.1, scheme: {kind: explicit, actions: {hermite: 101}}}
"""
    spec = checked(read_text(text))
    compile_spec(spec, Space(11, 2, (-1.0,) * 2, (1.0,) * 2))
    with pytest.raises(DataError, match=r"schedule.steps\[1\].scheme.actions: found a grid of 101\^3 nodes"):
        compile_spec(spec, Space(11, 3, (-1.0,) * 3, (1.0,) * 3))


def test_what_a_flow_cannot_give():
    flow = pogospec.flow(quadratic, dimensions=2, steps=1, updates=1)
    with pytest.raises(UsageError, match="found step 2, allowed -2 to 1"):
        flow.distribution(2)
    with pytest.raises(UsageError, match="allowed for flows of NumPyro models"):
        flow.posterior_samples(jax.random.key(0))


def test_the_example_of_the_docstring_runs():
    import pogospec.flow  # noqa: F401 - the module, which must not hide the function

    examples = doctest.DocTestFinder().find(pogospec.flow, "flow", globs={})
    runner = doctest.DocTestRunner()
    found = [runner.run(example) for example in examples if example.examples]
    assert sum(result.attempted for result in found) >= 5
    assert not any(result.failed for result in found)


def test_public_names_stay_what_they_are():
    code = (
        "import pogospec, types; from pogospec.flow import Flow; import pogospec.compiler.compile; "
        "assert isinstance(pogospec.flow, types.FunctionType) and isinstance(pogospec.flow, types.FunctionType); "
        "assert isinstance(pogospec.compile, types.FunctionType); assert pogospec.Flow is Flow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def run_flow(name, out, env, updates=5):
    budget = ("--set", f"schedule.steps[0].updates={updates}", "--set", "schedule.steps[0].repeat=2")
    return command("run", name, "--quiet", "--out", out, *budget, check=False, env=env)


@pytest.mark.thinned(("quadratic_explicit_fr",), "their models take long to draw")
@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_shipped_flows_run_by_name_and_are_deterministic(path, tmp_path):
    tables = []
    # the picture of a model takes so many samples that compiling it well is worth it
    optimised = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"} if "numpyro" in path.read_text() else {}
    for name, more in ((spec_name(path), {}), (path.stem.replace("_", "-"), {NO_PICTURES: ""})):
        done = run_flow(
            name, tmp_path / f"run{len(tables)}", optimised | more, min(5, load(path).schedule.steps[0].updates)
        )
        assert done.returncode == 0, done.stderr
        tables.append((tmp_path / f"run{len(tables)}" / "flow.csv").read_text())
    assert tables[0] == tables[1]
    assert (tmp_path / "run0" / "path.png").exists()
    rows = list(csv.DictReader(tables[0].splitlines()))
    assert {row["stage"] for row in rows} == {"step 1", "step 2"}
    assert all(np.isfinite(float(row["energy"])) for row in rows)
    assert float(rows[-1]["energy"]) < float(rows[0]["energy"])


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_shipped_flows_say_what_they_are(path):
    spec = load(path)
    assert spec.name.replace("-", "_") == path.stem
    assert spec.about
    header = path.read_text().partition("\nname:")[0].splitlines()
    assert all(line.startswith("# ") for line in header)
    assert any(line.startswith("# Cost: ") for line in header)
    assert spec.train.precision == "float64"
    assert sum(step.spent * step.repeat for step in spec.schedule.steps) <= 20_000


@pytest.mark.exhaustive("the same closed forms as those of the path, at other lengths")
def test_the_claims_of_the_quadratic_flows(float64):
    """Contraction as the headers say: 1/(1 + tau A) of the mean, 1 - tau lambda of the precision."""
    target, options = QuadraticTarget(tuple(M), tuple(A)), {"tau": TAU, "temperature": HEAT, "start": START}
    flow = pogospec.flow(target, steps=3, **options)
    ratios = np.diff(np.log(np.abs(flow.parameters.mean - M)), axis=0)
    np.testing.assert_allclose(np.exp(ratios), np.broadcast_to(1 / (1 + TAU * A), (3, 2)), rtol=1e-5)
    flow = pogospec.flow(target, geometry="fisher_rao", steps=3, **options, **GRID)
    gaps = np.exp(-2 * np.asarray(flow.parameters.log_std)) - A / HEAT
    np.testing.assert_allclose(gaps[1:] / gaps[:-1], np.full((3, 2), 1 - TAU * HEAT), rtol=1e-4)


MODULE = """
import numpyro, numpyro.distributions as dist

def made():
    def model():
        numpyro.sample("x", dist.Normal(3.0, 0.5))
    return model
"""
SPEC = """
target: {kind: numpyro, model: "my_models:made"}
policy: gaussian
energy: {q: {actions: quadrature}, entropy: {}}
geometry: wasserstein2
schedule: {steps: [{tau: 5.0, updates: 20, repeat: 2}]}
optimizer: {kind: adam, learning_rate: 0.05}
"""


@pytest.mark.exhaustive("starts ten processes from nothing")
def test_modules_of_the_user_are_imported_where_they_are_allowed(tmp_path):
    (tmp_path / "my_models.py").write_text(MODULE)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def command(*words):
        code = "import sys; sys.path = [p for p in sys.path if p not in ('', sys.argv[1])]; sys.argv = sys.argv[2:]; "
        code += "from pogospec.cli import main; main()"  # as the installed command, which does not see the folder
        line = [sys.executable, "-c", code, str(tmp_path), "pogospec", *words]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)

    for words in (["check", "spec.yaml"], ["explain", "spec.yaml", "--no-measure"], ["run", "spec.yaml"]):
        refused = command(*words)
        assert refused.returncode == 2
        assert "run with --allow-module my_models" in refused.stderr
        assert "Traceback" not in refused.stderr
    allow = ["--allow-module", "my_models"]
    assert "fine (2 steps, 40 updates on target/numpyro)" in command("check", "spec.yaml", *allow).stdout
    explained = command("explain", "spec.yaml", "--no-measure", *allow)
    assert "the sites x of the model my_models:made" in " ".join(explained.stdout.split())
    ran = command("run", "spec.yaml", "--quiet", "--out", "run", *allow)
    assert ran.returncode == 0, ran.stderr
    directory = RunDirectory.open(tmp_path / "run")
    directory.status("interrupted", update=20)
    assert command("resume", "run", "--quiet").returncode == 2
    assert command("resume", "run", "--quiet", *allow).returncode == 0
    assert directory.status()["state"] == "done"
    for name in ("my_models.py", "../my_models"):
        wrong = command("check", "spec.yaml", "--allow-module", name)
        assert wrong.returncode == 2
        assert f"--allow-module: found '{name}', allowed the dotted name of a module" in wrong.stderr
