"""Step doubling: its attempts against a loop of exact steps, what it says, and what it cannot be combined with."""

import csv
import math
from typing import Any

import closed_forms
import numpy as np
import pytest
from commands import pogospec as command

import pogospec
from pogospec.checking.check import checked
from pogospec.errors import SpecError
from pogospec.spec.resolve import read_text
from pogospec.steps.schedule import Doubling
from pogospec.targets.quadratic import QuadraticTarget
from pogospec.training.doubling import begin, left_of, settle
from pogospec.training.place import Place

A, M, HEAT, MEAN, STD = np.array([4.0, 0.5]), np.array([1.0, -0.5]), 0.5, np.array([-1.0, 1.0]), np.array([0.5, 2.0])
KNOWN = """
name: adaptive
target: {{kind: quadratic, center: [1.0, -0.5], curvature: [4.0, 0.5]}}
start: {{mean: [-1.0, 1.0], std: [0.5, 2.0]}}
policy: gaussian
energy: {{q: {{actions: quadrature}}, entropy: {{weight: 0.5}}}}
geometry: {geometry}
schedule:
  steps:
    - {{{step}}}
optimizer: {{kind: adam, learning_rate: 0.05, decay: cosine}}
train: {{precision: float64}}
"""
STEP = "tau: {kind: doubling, start: 0.5, time: 4.0, tolerance: 0.05}, updates: 1200, repeat: 40"
DATA = """
data: {{dataset: pocket/reacher-mixed, holdout: 0.2}}
policy: gaussian
energy: {energy}
geometry: {geometry}
critic: clipped_double_q
schedule:
  steps:
    - {{from: behavior, learn: [critic, behavior, policy], updates: 30, tau: 2.5}}
    - {{{step}}}
"""
AFTER = "from: previous, learn: [policy], updates: 30, repeat: 4, "
TAU = "tau: {kind: doubling, start: 1, time: 4, tolerance: 0.1}"


def spec_text(step=STEP, geometry="wasserstein2"):
    return KNOWN.format(step=step, geometry=geometry)


def on_data(step=AFTER + TAU, geometry="wasserstein2", energy="{q: {}}"):
    return DATA.format(step=step, geometry=geometry, energy=energy)


def exact(start=0.5, time=4.0, tolerance=0.05, safety=0.9, least=0.2, most=5.0, attempts=1000):
    """The attempts with steps in closed form: (tau, error, kept, flow time after it), and where they end."""
    mean, std, now, tau, rows = MEAN, STD, 0.0, start, []
    while now < time and len(rows) < attempts:
        last = 2 * tau >= time - now
        tau = (time - now) / 2 if last else tau
        whole = closed_forms.jko_w2_quadratic(mean, std, M, A, HEAT, 2 * tau)
        half = closed_forms.jko_w2_quadratic(mean, std, M, A, HEAT, tau)
        two = closed_forms.jko_w2_quadratic(*half, M, A, HEAT, tau)
        error = math.sqrt(closed_forms.w2_squared(*two, *whole))
        kept = error <= tolerance
        if kept:
            (mean, std), now = two, time if last else now + 2 * tau
        rows.append((tau, error, kept, now))
        tau *= min(max(safety * math.sqrt(tolerance / error), least), most)
    return rows, mean, std


def flow_rows(path):
    with (path / "flow.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.exhaustive("a run of many attempts; those of a flow from Python are made in the quick part")
def test_a_run_makes_the_attempts_of_exact_steps(tmp_path):
    (tmp_path / "spec.yaml").write_text(spec_text())
    done = command("run", tmp_path / "spec.yaml", "--out", tmp_path / "run")
    wanted, mean, std = exact()
    ends = [row for row in flow_rows(tmp_path / "run") if row["accepted"]]
    found = np.array([[float(row[name]) for name in ("tau", "local_error", "accepted", "flow_time")] for row in ends])
    np.testing.assert_allclose(found, np.array(wanted, float), rtol=2e-6)
    assert float(ends[-1]["flow_time"]) == 4.0
    assert {kept for *_, kept, _ in wanted} == {True, False}
    optimum = M, np.sqrt(HEAT / A)
    np.testing.assert_allclose(float(ends[-1]["kl_optimum"]), closed_forms.kl(mean, std, *optimum), rtol=1e-5)
    told = " ".join(done.stdout.split())
    rejected = sum(not kept for *_, kept, _ in wanted)
    assert told.count("rejected (local error") == rejected
    assert f"the flow time is reached: no further repetition after step {len(wanted)}" in told
    assert "3 times in each of at most 40 attempts" in told
    picture = tmp_path / "run" / "kl.png"
    command("plot", tmp_path / "run", "--y", "kl_optimum", "--x", "flow_time", "--out", picture)
    assert picture.is_file()
    refused = command("plot", tmp_path / "run", "--figure", "proximal", check=False)
    assert (refused.returncode, "without tau: doubling" in " ".join(refused.stderr.split())) == (2, True)


def test_a_flow_from_python_makes_the_same_steps(float64):
    options = {"start": (MEAN, STD), "temperature": HEAT, "updates": 1200, "steps": 40}
    tau = {"kind": "doubling", "start": 0.5, "time": 4.0, "tolerance": 0.05}
    found = pogospec.flow(QuadraticTarget((1.0, -0.5), (4.0, 0.5)), tau=tau, **options)
    wanted, mean, std = exact()
    np.testing.assert_allclose(found.times, [0.0, *(now for _, _, kept, now in wanted if kept)], rtol=2e-6)
    assert found.times[-1] == 4.0
    np.testing.assert_allclose(found.parameters.mean[-1], mean, rtol=1e-5)
    np.testing.assert_allclose(np.exp(found.parameters.log_std[-1]), std, rtol=1e-5)
    fewer: dict[str, Any] = options | {"steps": 6}
    with pytest.warns(RuntimeWarning, match="6 attempts reach flow time 0.219.* of 4; more steps"):
        short = pogospec.flow(QuadraticTarget((1.0, -0.5), (4.0, 0.5)), tau=tau, **fewer)
    assert len(short) == 2


def test_seeds_have_step_sizes_of_their_own_and_rest_where_they_are_done():
    rule = Doubling(start=1.0, time=5.0, tolerance=0.1)
    text = spec_text("tau: {kind: doubling, start: 1, time: 5, tolerance: 0.1}, repeat: 9, updates: 1")
    step, place = checked(read_text(text)).schedule.steps[0], Place.fresh(2)
    place.flow_time = [0.25, 0.25]
    begin(step, place)
    assert (place.taus, place.accepted, place.began) == ([1.0, 1.0], [False, False], [0.25, 0.25])
    tried, holds = settle(rule, place, np.array([0.1 * 0.9**2 / 4, 0.2]))
    assert (tried.tolist(), holds.tolist()) == ([True, True], [True, False])
    assert place.flow_time == [2.25, 0.25]
    np.testing.assert_allclose(place.taus, [2.0, 0.9 * math.sqrt(0.5)])
    begin(step, place)  # the first has 3 left
    assert place.taus[0] == 1.5
    settle(rule, place, np.array([0.05, 0.0]))
    assert place.flow_time[0] == 5.25
    np.testing.assert_allclose(place.taus[1], 5 * 0.9 * math.sqrt(0.5))  # no error: the largest ratio
    begin(step, place)
    assert place.accepted == [True, False]
    assert left_of(rule, place)[0] == 0
    before = place.taus[0]
    tried, holds = settle(rule, place, np.array([9.0, 1e9]))
    assert (tried.tolist(), holds.tolist(), place.taus[0]) == ([False, True], [False, False], before)


@pytest.mark.parametrize("error", [0.0, 1e-300, 0.1, 1e300])
def test_ratios_of_step_sizes_are_bounded_and_the_end_is_met(error):
    rule = Doubling(start=1.0, time=4.0, tolerance=0.1, longest=1.5)
    ratio = rule.following(0.7, error) / 0.7
    assert rule.least * (1 - 1e-12) <= ratio <= rule.most * (1 + 1e-12)
    assert rule.tau(9.0, 4.0) == 1.5
    assert rule.tau(0.5, 1.0 + 1e-12) == (1.0 + 1e-12) / 2
    assert rule.tau(0.4, 1.0) == 0.4


REFUSED = [
    (spec_text(STEP.replace("repeat: 40", "repeat: 1")), "repeat", "found 1, but each repetition is an attempt"),
    (spec_text(STEP + ", repeat_until: energy_settled"), "repeat_until", "step doubling ends at tau.time"),
    (spec_text(STEP + ", from: behavior"), "from", "found 'behavior', but step doubling goes on from step to step"),
    (spec_text(STEP + ", optimizer_state: keep"), "tau", "doubling takes a step again with a fresh optimiser"),
    (spec_text(STEP.replace("start: 0.5", "start: 3")), "tau.start", "allowed at most half of time = 2"),
    (spec_text(STEP.replace("time:", "longest: 0.2, time:")), "tau.start", "allowed at most longest = 0.2"),
    (spec_text(STEP.replace("tolerance: 0.05", "tolerance: 0")), "tau.tolerance", "found 0, allowed a number > 0"),
    (spec_text(STEP.replace(", tolerance: 0.05", "")), "tau.tolerance", "missing"),
    (spec_text(STEP, "{kind: wasserstein2, weight: 0}"), "geometry", "leaves step doubling no distance"),
    (
        spec_text(STEP + ", scheme: {kind: explicit, actions: {hermite: 9}}", "fisher_rao"),
        "tau",
        "reaches 4, allowed at most 1/lambda = 2",
    ),
    (on_data(AFTER + TAU + ", judge: proximal"), "judge", "step doubling decides by its local error"),
    (on_data(AFTER + TAU + ", start: behavior"), "start", "allowed as_is"),
    (on_data(AFTER.replace("[policy]", "[critic, policy]") + TAU), "tau", "learns the policy alone"),
    (on_data(geometry="wasserstein1"), "geometry", "learns its distance from the step's reference"),
    (on_data().replace(", holdout: 0.2", ""), "tau", "set data.holdout"),
    (
        on_data(energy="{q: {}, entropy: {weight: 0.1, temperature: {start: 1}}}"),
        "energy.entropy.temperature",
        "so that the energy moves",
    ),
    (on_data() + "  mode: concurrent\n", "tau", "in concurrent mode all train at once"),
    (
        on_data() + "    - {from: previous, learn: [policy], updates: 30, tau: 1}\n  branch: {step: 1, at: [10]}\n",
        "tau",
        "doubling, which takes a step again",
    ),
]


@pytest.mark.parametrize(("text", "key", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_with_its_place(text, key, message):
    with pytest.raises(SpecError) as caught:
        checked(read_text(text))
    told = [(problem.path, problem.message) for problem in caught.value.problems]
    assert any(path.endswith(f"].{key}") and message in said for path, said in told), told


def test_explain_prints_the_rule_and_counts_three_solves(tmp_path):
    (tmp_path / "spec.yaml").write_text(spec_text())
    told = " ".join(command("explain", tmp_path / "spec.yaml").stdout.split())
    assert "An attempt takes one step of 2 tau, and two of tau from the same policy; error = √(2 D(two, one))" in told
    assert "tau times 0.9 √(0.05/error), within 0.2 and 5" in told
    assert "at most 40 attempts of 3 x 1,200 updates" in told
    assert "144,000 updates, 1 seed" in told
