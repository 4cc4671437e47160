"""A chain has one energy: its scale, its optimum, and what is told where a step breaks the proximal inequality."""

import csv

import closed_forms as cf
import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from again import interrupted_after
from commands import pogospec as command

import pogospec
from pogospec.checking.check import checked
from pogospec.compiler.optimum import least
from pogospec.errors import RunDirectoryError, RunError, SpecError, UsageError
from pogospec.report.reading import troubles
from pogospec.runs.columns import FLOW
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_text
from pogospec.steps.measure import standard_error
from pogospec.targets.mixture import MixtureTarget
from pogospec.targets.quadratic import QuadraticTarget
from pogospec.targets.tilted import tilted
from pogospec.training.decisions import violated

A, M, HEAT, TAU = 4.0, 1.0, 0.5, 0.5
KNOWN = """
target: {kind: quadratic, center: [1.0], curvature: [4.0]}
start: {mean: -1.0, std: 1.0}
policy: gaussian
energy: {q: {actions: quadrature}, entropy: {weight: 0.5}}
geometry: wasserstein2
train: {precision: float64}
optimizer: {kind: adam, learning_rate: 0.05, decay: cosine}
schedule: {steps: [{from: previous, tau: 0.5, repeat: 4, updates: 400}]}
"""
CHAIN = """
seeds: 2
data: {dataset: pocket/reacher-mixed, holdout: 0.1}
policy: {kind: gaussian, hidden: [8], mean: tanh}
critic: {kind: clipped_double_q, hidden: [8]}
energy: {q: {critics: first, scale: batch}, entropy: {weight: 0.01}}
geometry: wasserstein2
train: {batch_size: 16, checkpoint_every: 10}
evaluate: {episodes: 1}
schedule:
  steps:
    - {from: behavior, tau: 1, updates: 20, learn: [critic, behavior, policy]}
    - {from: previous, tau: 1, updates: 10, learn: [policy], repeat: 3}
    - {from: previous, tau: 2, updates: 10, learn: [policy], energy: {q: {scale: step}, entropy: {weight: 0.1}}}
"""


def ends(path):
    with (path / "flow.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["update"] != "0"]


def made(tmp_path, text, out="run"):
    (tmp_path / "spec.yaml").write_text(text)
    return RunDirectory.open(pogospec.run(tmp_path / "spec.yaml", out=tmp_path / out).path)


def test_a_known_energy_that_is_scaled_once_is_the_same_at_every_step(tmp_path):
    run = made(tmp_path, KNOWN.replace("quadrature}", "quadrature, scale: step}"))
    scale = 0.5 * A * ((-1 - M) ** 2 + 1)  # mean |Q| under the start
    mean, std = np.array([-1.0]), np.array([1.0])
    rows = ends(run.path)
    assert len(rows) == 4
    for row in rows:
        mean, std = cf.jko_w2_quadratic(mean, std, M, A / scale, HEAT, TAU)
        energy = 0.5 * A / scale * ((mean - M) ** 2 + std**2) - HEAT * np.log(std * np.sqrt(2 * np.pi * np.e))
        assert float(row["scale"]) == pytest.approx(scale, rel=1e-9)
        assert float(row["energy"]) == pytest.approx(energy.item(), abs=1e-5)
        assert row["violated"] == "0.0"
        assert row["kl_optimum"] == row["w2_optimum"] == ""  # lambda is not that of Q
    assert troubles(run) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of a chain."""
    return made(tmp_path_factory.mktemp("chain"), CHAIN).path


def test_a_chain_on_a_frozen_critic_keeps_its_scale(whole):
    frozen = [row for row in ends(whole) if row["stage"] != "step 1"]
    assert [row["stage"] for row in frozen[::2]] == ["step 2", "step 3", "step 4", "step 5"]
    for seed in "01":
        own = [row for row in frozen if row["seed"] == seed]
        assert len({row["scale"] for row in own}) == 1
        for before, after in zip(own[:2], own[1:3], strict=True):  # the last step weighs the entropy otherwise
            assert before["energy"] == after["reference_energy"]


@pytest.mark.exhaustive("two further runs")
def test_a_chain_resumes_with_its_scale(whole, tmp_path):
    (tmp_path / "spec.yaml").write_text(CHAIN)
    with interrupted_after(4):  # the end of step 3
        pogospec.run(tmp_path / "spec.yaml", out=tmp_path / "broken")
    command("resume", tmp_path / "broken", "--quiet", env={"JAX_NUM_CPU_DEVICES": "1"})
    assert (tmp_path / "broken" / "flow.csv").read_text() == (whole / "flow.csv").read_text()


def test_errors_are_those_of_whole_episodes():
    draw = np.random.default_rng(0)
    sizes = np.array([5, 40, 1, 17, 30])
    episodes = np.repeat([900, 3, 41, 7, 12], sizes)
    values = draw.normal(size=5).repeat(sizes) + 0.1 * draw.normal(size=sizes.sum())
    order = draw.permutation(len(values))
    sums = [(values - values.mean())[episodes == one].sum() for one in set(episodes.tolist())]
    expected = np.sqrt(5 / 4 * np.square(sums).sum()) / len(values)
    with jax.enable_x64(True):
        found = jax.jit(standard_error)(values[order], episodes[order])
        alone = standard_error(values, np.arange(len(values)))
    assert float(found) == pytest.approx(expected, rel=1e-10)
    assert float(alone) == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)), rel=1e-10)
    assert np.isnan(standard_error(values, np.zeros(len(values))))


def test_an_inequality_fails_beyond_error_and_rounding():
    gap, error = np.array([0.2, 0.1, -0.2, 1e-7, 0.1]), np.array([0.1, 0.1, 0.0, 0.0, np.nan])
    found = {"gap": gap, "gap_error": error, "objective": np.ones(5), "reference_energy": np.ones(5)}
    np.testing.assert_array_equal(violated(found, 1e-7)["violated"], [1, 0, 0, 0, np.nan])
    assert violated({}, 1e-7) == {}


@pytest.mark.exhaustive("a run of its own")
def test_a_step_that_is_not_solved_and_a_flow_that_rises_are_told(tmp_path):
    (tmp_path / "spec.yaml").write_text(KNOWN)
    wild = ["--set", "optimizer={kind: adam, learning_rate: 30.0}", "--set", "schedule.steps[0].updates=3"]
    done = command("run", tmp_path / "spec.yaml", *wild, "--out", tmp_path / "run")
    said = "step 1: the proximal inequality fails: E[π] + D/tau is above E[reference] by"
    assert said in done.stdout
    assert "the flow has diverged in 1 of 1 seeds: its energy is" in done.stdout
    assert ends(tmp_path / "run")[0]["violated"] == "1.0"
    explained = command("explain", tmp_path / "run", "--no-measure").stdout
    assert said in " ".join(explained.split())


def test_an_older_flow_is_written_on_in_its_own_columns(tmp_path):
    run = RunDirectory.create(tmp_path / "run", "", {})
    older = [name for name in FLOW if name != "violated"]
    (run.path / "flow.csv").write_text(",".join(older) + "\n")
    run.append_flow(0, "step 1", 1, 1, 1.0, "", {"gap": 0.5, "violated": 1.0, "w2_optimum": 3.0})
    (row,) = run.read("flow.csv")
    assert (row["gap"], row["w2_optimum"]) == ("0.5", "3.0")


def step_of(energy, policy="gaussian", scheme="implicit"):
    text = KNOWN.replace("{q: {actions: quadrature}, entropy: {weight: 0.5}}", energy).replace("gaussian", policy)
    spec = checked(read_text(text.replace("tau: 0.5,", f"tau: 0.5, scheme: {scheme},")))
    assert spec.target is not None
    return spec.target, spec.policy, spec.schedule.steps[0]


def optimum_of(target, temperature):
    found = target.optimum(temperature)
    assert found is not None
    return found


def test_the_optimum_has_all_terms_of_the_energy():
    target, family, step = step_of(
        "{q: {actions: quadrature, weight: 2}, entropy: {weight: 0.5}, action_norm: {actions: quadrature, weight: 3}}"
    )
    found = least(target, family, step)
    # 2 Q - 3 a^2 = -4 (a - 1)^2 - 3 a^2: curvature 8 + 6 around 8/14
    mean, covariance = optimum_of(found.target, found.temperature)
    assert mean.item() == pytest.approx(8 / 14)
    assert covariance.item() == pytest.approx(0.5 / 14)
    assert found.text == "exp((Q - 1.5 |a|^2)/lambda)/Z at lambda = 0.25"


@pytest.mark.parametrize(
    ("energy", "more", "word"),
    [
        ("{q: {}, entropy: {weight: 0.5}}", {}, "energy.q looks at the mean action alone"),
        ("{q: {}, action_norm: {}}", {}, ""),
        ("{q: {}, action_norm: {actions: quadrature}}", {}, "energy.q looks at the mean action alone"),
        ("{q: {}}", {"policy": "dirac"}, ""),
        ("{q: {scale: batch}}", {"policy": "dirac"}, ""),
        ("{q: {scale: step}, action_norm: {}}", {"policy": "dirac"}, "energy.q divides Q by a scale"),
        ("{q: {}, entropy: {weight: 0.5}, action_norm: {}}", {"scheme": "explicit"}, ""),
        ("{q: {actions: quadrature}, action_norm: {weight: 2}}", {}, "energy.action_norm looks at the mean action"),
        ("{q: {actions: quadrature, scale: step}, entropy: {}}", {}, "energy.q divides Q by a scale"),
        ("{entropy: {}}", {}, "the energy has no Q"),
    ],
)
def test_an_optimum_that_is_not_known_has_a_word_why(energy, more, word):
    why = least(*step_of(energy, **more)).why
    assert why.startswith(word)
    assert bool(why) == bool(word)


@pytest.mark.parametrize("matrix", [False, True])
def test_a_tilted_quadratic_is_the_product_of_densities(matrix):
    curvature = ((2.0, 0.5), (0.5, -0.1)) if matrix else (2.0, 1.0)
    target = tilted(QuadraticTarget((1.0, -2.0), curvature), 0.7)
    whole = (np.array(curvature) if matrix else np.diag(curvature)) + 1.4 * np.eye(2)
    center = np.linalg.solve(whole, (whole - 1.4 * np.eye(2)) @ [1.0, -2.0])
    mean, covariance = optimum_of(target, 0.3)
    np.testing.assert_allclose(mean, center, rtol=1e-12)
    np.testing.assert_allclose(covariance, 0.3 * np.linalg.inv(whole), rtol=1e-12)


def test_a_tilted_mixture_is_the_mixture_of_products():
    means, stds, length = np.array([-3.0, 2.0]), np.array([0.02, 0.5]), 1.5
    target = tilted(MixtureTarget((-3.0, 2.0), (0.02, 0.5)), length)
    # N(a; m, s^2) exp(-c a^2) = mass N(a; m v/s^2, v), 1/v = 1/s^2 + 2 c
    wide = stds**2 + 1 / (2 * length)
    masses = 0.5 * np.sqrt(1 / (2 * length) / wide) * np.exp(-(means**2) / (2 * wide))
    variance = 1 / (stds**-2 + 2 * length)
    centers = means * variance / stds**2
    assert target.log_normalizer(1.0) == pytest.approx(np.log(masses.sum()), abs=1e-7)
    mean, covariance = optimum_of(target, 1.0)
    shares = masses / masses.sum()
    assert mean.item() == pytest.approx(shares @ centers, rel=1e-7)
    assert covariance.item() == pytest.approx(shares @ (variance + (centers - mean.item()) ** 2), rel=1e-6)


def test_each_cell_of_a_sweep_is_measured_from_its_own_optimum(tmp_path):
    text = KNOWN.replace("repeat: 4, updates: 400", "updates: 2") + "sweep: {energy.entropy.weight: [0.5, 2.0]}\n"
    (tmp_path / "spec.yaml").write_text(text)
    command("run", tmp_path / "spec.yaml", "--out", tmp_path / "sweep", "--quiet")
    cells = sorted(path.parent for path in (tmp_path / "sweep").glob("*/manifest.json"))
    assert len(cells) == 2
    found = []
    for cell in cells:
        with (cell / "flow.csv").open(newline="") as file:
            found.append(float(next(csv.DictReader(file))["kl_optimum"]))
    start = np.array([-1.0]), np.array([1.0])
    expected = [cf.kl(*start, np.array([M]), np.sqrt(np.array([heat / A]))) for heat in (0.5, 2.0)]
    assert sorted(found) == pytest.approx(sorted(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("step", "geometry", "word"),
    [
        ("tau: 1.5", "{kind: kl, weight: 0.5}", "allowed at most weight/lambda, weight of the geometry, = 1"),
        ("tau: 3", "{kind: kl, weight: 2}", ""),
        (
            "tau: {kind: geometric, start: 1, factor: 1.5}, repeat: 3",
            "kl",
            "reaches 2.25, allowed at most 1/lambda",
        ),
        ("tau: {kind: geometric, start: 1, factor: 1.5}, repeat: 2", "kl", ""),
        (
            "tau: {kind: geometric, start: 3, factor: 0.1}, repeat: 3",
            "hellinger",
            "reaches 3, allowed at most",
        ),
        ("tau: {kind: backtracking, start: 2.5}", "fisher_rao", "reaches 2.5, allowed at most 1/lambda = 2"),
        ("tau: 2", "fisher_rao", ""),
    ],
)
def test_an_explicit_step_is_at_most_one_over_lambda_by_weights_and_laws(step, geometry, word):
    text = KNOWN.replace("tau: 0.5, repeat: 4", f"{step}, scheme: explicit").replace("wasserstein2", geometry)
    if not word:
        checked(read_text(text))
        return
    with pytest.raises(SpecError) as error:
        checked(read_text(text))
    assert word in str(error.value)


def outside(x):
    return jax.numpy.where((x[0] > 0) & (x[0] < 1), 0.0, -jax.numpy.inf)


def readings(y):
    numpyro.sample("y", dist.Normal(numpyro.sample("mu", dist.Normal(0.0, 3.0)), 1.0), obs=y)


def dropout():
    numpyro.sample("y", dist.Normal(numpyro.sample("w", dist.Normal(0.0, 1.0)), 1.0))
    numpyro.prng_key()


@pytest.mark.parametrize(
    ("energy", "arguments", "options", "kind", "word"),
    [
        (outside, (), {"dimensions": 1}, RunError, "the log density is -inf at"),
        (lambda x: jax.numpy.log(x).sum(), (), {"dimensions": 1}, RunError, "the log density is NaN at"),
        (readings, (np.array([1.0, np.nan]),), {}, RunError, "look for NaN in its data"),
        (dropout, (), {}, UsageError, r"asks for a random key \(numpyro.prng_key\)"),
    ],
)
def test_a_density_that_is_not_one_is_told_of_without_wrong_advice(energy, arguments, options, kind, word):
    with pytest.raises(kind, match=word) as error:
        pogospec.flow(energy, *arguments, tau=1.0, steps=1, updates=2, **options)
    assert "learning_rate" not in str(error.value)


def test_a_flow_from_python_that_rises_is_warned_of():
    target = QuadraticTarget((1.0,), (4.0,))
    with pytest.warns(RuntimeWarning, match="it has diverged: the energy is"):
        pogospec.flow(target, tau=1.0, steps=1, updates=3, learning_rate=30.0)


def test_a_removed_policy_is_missed(tmp_path):
    run = made(tmp_path, KNOWN.replace("updates: 400", "updates: 2"))
    (run.path / "policies" / "step_3.safetensors").unlink()
    lacks = r"lacks policies/step_3\.safetensors, which it saved"
    for asked in (run.policies, lambda: run.load_policy("step 3"), lambda: pogospec.load_policy(run.path)):
        with pytest.raises(RunDirectoryError, match=lacks):
            asked()
    assert pogospec.load_policy(run.path, "step 2").label == "step 2"
    done = command("plot", run.path, "--figure", "density", "--out", tmp_path / "a.png", check=False)
    assert (done.returncode, "lacks policies/step_3" in done.stderr) == (2, True)
    command("compare", run.path)
