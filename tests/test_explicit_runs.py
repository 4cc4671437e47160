"""What runs, `check` and `explain` say of explicit steps whose weights, lengths or rules do not carry them."""

import csv

import jax
import numpy as np
import pytest
from commands import pogospec as command

from pogospec.checking.check import checked
from pogospec.errors import SpecError
from pogospec.explain.cautions.known_energy import counting
from pogospec.explain.cautions.rules import cautions
from pogospec.explain.stages import stages
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.report.reading import unhealthy
from pogospec.runs.directory import RunDirectory
from pogospec.runs.saved import SavedPolicy
from pogospec.spec.resolve import read_text
from pogospec.training.rollout import Evaluator
from pogospec.types import Normalizer, Space

HARD = """
name: hard
target: {kind: quadratic, center: [2, 2, 2, 2, 2, 2], curvature: [1, 1, 1, 1, 1, 1]}
policy: gaussian
energy: {q: {}, entropy: {weight: 0.1}}
geometry: fisher_rao
schedule:
  defaults: {tau: 1, scheme: explicit}
  steps:
    - {updates: 30}
optimizer: {kind: adam, learning_rate: 0.1}
"""


def ends(directory):
    rows = list(csv.DictReader((directory / "flow.csv").read_text().splitlines()))
    return {
        name: float(value) for name, value in rows[-1].items() if name in ("effective_samples", "clipped") and value
    }


@pytest.mark.exhaustive("a run of its own; the warning is seen in tests/methods")
def test_a_run_warns_of_weights_that_few_points_carry(tmp_path):
    (tmp_path / "hard.yaml").write_text(HARD.replace("explicit", "{kind: explicit, clip: 4}"))
    done = command("run", tmp_path / "hard.yaml", "--out", tmp_path / "few")
    count = ends(tmp_path / "few")["effective_samples"]
    assert f"warning: step 1: the weights of the explicit step rest on {count:.2g} points" in done.stdout
    assert "warning: step 1: clip bears on" in done.stdout
    metrics = list(csv.DictReader((tmp_path / "few" / "metrics.csv").read_text().splitlines()))
    for name, value in ends(tmp_path / "few").items():
        assert float(metrics[-1][name]) == pytest.approx(value, rel=0.3)
    run, table = RunDirectory.open(tmp_path / "few"), tmp_path / "few" / "flow.csv"
    healthy = table.read_text().replace(str(count), "15.0").replace(str(ends(run.path)["clipped"]), "0.0")
    table.write_text(healthy)
    assert ends(run.path) == {"effective_samples": 15.0, "clipped": 0.0}
    assert unhealthy(run) == []


def test_explain_counts_the_points_of_the_first_step():
    """Of N(0, 1) with r = exp(2 a - .45 a^2), in each dimension (E r)^2/E r^2 = .415."""
    spec = checked(read_text(HARD.replace("[2, 2, 2, 2, 2, 2]", "[2, 2]").replace("[1, 1, 1, 1, 1, 1]", "[1, 1]")))
    one = np.exp(4 / 3.8) / 1.9**0.5, np.exp(16 / 5.6) / 2.8**0.5
    assert counting(spec, 1.0, stages(spec)[0]) == pytest.approx((one[0] ** 2 / one[1]) ** 2, rel=0.1)
    found = {one.name: one.text for one in cautions(spec, stages(spec), 2)}
    assert "of 16 points count at the start" in found["few points"]


@pytest.mark.parametrize(
    ("step", "where", "text"),
    [
        (
            "tau: 8, geometry: {kind: kl, weight: 0.5}",
            "tau",
            "found 8, allowed at most weight/lambda, weight of the geometry, = 5",
        ),
        ("tau: {kind: geometric, start: 2, factor: 3}, repeat: 4", "tau", "reaches 54, allowed at most 1/lambda = 10"),
        ("tau: {kind: backtracking, start: 11}", "tau", "reaches 11, allowed at most 1/lambda = 10"),
        (
            "geometry: wasserstein2, scheme: {split: 0.5}",
            "scheme.split",
            "of fisher_rao, kl, hellinger",
        ),
    ],
)
def test_lengths_and_splits_that_make_no_sense_are_refused(step, where, text):
    with pytest.raises(SpecError) as error:
        checked(read_text(HARD.replace("updates: 30", f"updates: 30, {step}")))
    (problem,) = error.value.problems
    assert problem.path == f"schedule.steps[0].{where}"
    assert text in problem.message
    falling = "tau: {kind: geometric, start: 9, factor: 0.5}, repeat: 4"
    for fine in ("tau: 12, geometry: {kind: kl, weight: 2}", falling):
        checked(read_text(HARD.replace("updates: 30", f"updates: 30, {fine}")))


def test_cubature_of_a_neural_critic_deserves_a_word():
    text = """
data: {dataset: pocket/hopper-mixed}
policy: {kind: %s, hidden: [4]}
energy: {q: {actions: %s}}
geometry: kl
critic: {kind: clipped_double_q, hidden: [4]}
schedule: {steps: [{from: behavior, updates: 6, tau: 0.1}]}
"""
    for family, actions, there in (("gaussian", "quadrature", True), ("gaussian", "{sample: 4}", False)):
        spec = checked(read_text(text % (family, actions)))
        assert ("cubature" in {one.name for one in cautions(spec, stages(spec), 4)}) == there
    squashed = HARD.replace("gaussian", "tanh_gaussian").replace("explicit", "implicit")
    spec = checked(read_text(squashed.replace("q: {}", "q: {actions: quadrature}")))
    assert "cubature" in {one.name for one in cautions(spec, stages(spec), 6)}


def test_policies_of_double_precision_see_observations_of_double_precision(float64):
    family, space = GaussianPolicy(hidden=(), mean="linear"), Space(1, 1, (-9.0,), (9.0,))
    network = jax.vmap(lambda key: family.init(key, space))(jax.random.split(jax.random.key(0), 1))
    saved = SavedPolicy(family, network, Normalizer(np.zeros(1, np.float32), np.ones(1, np.float32)), space)
    act = saved.batched("mean")
    near = act(np.full((1, 1, 1), 0.1 + 1e-12), 0) - act(np.full((1, 1, 1), 0.1), 0)
    slope = act(np.full((1, 1, 1), 0.6), 0) - act(np.full((1, 1, 1), 0.1), 0)
    assert near[0, 0, 0] == pytest.approx(2e-12 * slope[0, 0, 0], rel=1e-3)
    seen, evaluator = [], Evaluator("Pendulum-v1", 1, 0)
    evaluator.rollout(lambda o, t: seen.append(o.dtype) or np.full((1, 1, 1), np.nan), 1)
    evaluator.close()
    assert seen == [np.float64]
