"""Step doubling in whole runs: its order, every geometry, data, averaged weights, and what is left of a stopped run."""

import math
from typing import Any

import closed_forms
import numpy as np
import pytest
from commands import pogospec as command
from commands import sets
from test_adaptive import HEAT, MEAN, STD, A, M, exact, flow_rows

import pogospec
from pogospec.report.figures.curves import figure
from pogospec.report.reading.flow import read_flow
from pogospec.runs.directory import RunDirectory
from pogospec.targets.quadratic import QuadraticTarget

TARGET = QuadraticTarget((1.0, -0.5), (4.0, 0.5))
SMALL = ["policy.hidden=[8]", "behavior.hidden=[8]", "critic.hidden=[8]", "evaluate.episodes=1", "data.holdout=0.2"]


def flowed(tolerance, start=0.5, **options):
    tau = {"kind": "doubling", "start": start, "time": 2.0, "tolerance": tolerance}
    given: dict[str, Any] = {"start": (MEAN, STD), "temperature": HEAT, "steps": 60} | options
    return pogospec.flow(TARGET, tau=tau, **given)


@pytest.mark.exhaustive("three flows of hundreds of solves")
def test_the_error_of_a_flow_falls_with_the_tolerance(float64):
    mean, std = closed_forms.w2_flow_quadratic(MEAN, STD, M, A, HEAT, np.array(2.0))
    errors, counts = [], []
    for tolerance in (0.04, 0.01, 0.0025):
        found = flowed(tolerance, updates=800)
        assert found.times[-1] == 2.0
        ends = found.parameters.mean[-1], np.exp(found.parameters.log_std[-1])
        errors.append(math.sqrt(closed_forms.w2_squared(*ends, mean, std)))
        counts.append(len(found))
        rows, *_ = exact(time=2.0, tolerance=tolerance)
        assert len(found) == sum(kept for *_, kept, _ in rows)
    # the local error is of order tau^2, the global one of order tau: a fourth of the tolerance halves both
    ratios, more = np.divide(errors[:-1], errors[1:]), np.divide(counts[1:], counts[:-1])
    assert np.all((ratios > 1.5) & (ratios < 2.2)), ratios
    assert np.all((more > 1.7) & (more < 2.2)), more


@pytest.mark.exhaustive("a flow for each geometry that is known in closed form")
@pytest.mark.parametrize(
    ("geometry", "options"),
    [
        ("fisher_rao", {}),
        ("gaussian_fisher_rao", {}),
        ("kl", {}),
        ("hellinger", {}),
        ("fisher_rao", {"scheme": "explicit", "longest": 0.9}),
    ],
)
def test_other_geometries_reach_the_flow_time(geometry, options, float64):
    tau = {"kind": "doubling", "start": 0.5, "time": 2.0, "tolerance": 0.2}
    tau |= {key: options[key] for key in ("longest",) if key in options}
    scheme = options.get("scheme", "implicit")
    about = {"start": (MEAN, STD), "temperature": HEAT, "steps": 40, "updates": 300}
    found = pogospec.flow(TARGET, tau=tau, geometry=geometry, scheme=scheme, **about)
    assert found.times[-1] == 2.0
    assert 2 <= len(found) <= 40
    assert found.energies[-1] < found.energies[0] - 1


KNOWN = """
name: stopped
target: {kind: quadratic, center: [1.0, -0.5], curvature: [4.0, 0.5]}
start: {mean: [-1.0, 1.0], std: [0.5, 2.0]}
policy: gaussian
energy: {q: {actions: {sample: 8}}, entropy: {weight: 0.5}}
geometry: wasserstein2
schedule:
  steps:
    - {tau: {kind: doubling, start: 0.2, time: 1.0, tolerance: 0.12}, updates: 60, repeat: 9}
optimizer: {kind: adam, learning_rate: 0.05, decay: cosine, average: {window: 5}}
train: {checkpoint_every: 25}
seeds: 2
"""
TIMED = ("seconds", "updates_per_second")


def untimed(path, name):
    return [{key: value for key, value in row.items() if key not in TIMED} for row in RunDirectory(path).read(name)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "spec.yaml").write_text(KNOWN)
    pogospec.run(folder / "spec.yaml", folder / "run")
    return folder


@pytest.mark.exhaustive("a run and its end for each phase")
@pytest.mark.parametrize(("stop_after", "phase"), [(1, 0), (3, 1), (6, 2), (8, 0)])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(whole, tmp_path, monkeypatch, stop_after, phase):
    save, places = RunDirectory.save_checkpoint, []

    def interrupted(self, total, own, meta, *more):
        save(self, total, own, meta, *more)
        places.append(meta["place"]["phase"])
        if len(places) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save_checkpoint", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pogospec.run(whole / "spec.yaml", tmp_path / "run")
    assert places[-1] == phase
    command("resume", tmp_path / "run", "--quiet", env={"JAX_NUM_CPU_DEVICES": "1"})
    for name in ("metrics.csv", "flow.csv"):
        assert untimed(tmp_path / "run", name) == untimed(whole / "run", name)
    first, second = RunDirectory.open(whole / "run"), RunDirectory.open(tmp_path / "run")
    assert first.policies() == second.policies()
    for label in first.policies():
        for name, array in first.load_policy(label)[0].items():
            np.testing.assert_array_equal(array, second.load_policy(label)[0][name])


@pytest.mark.exhaustive("needs a whole run")
def test_seeds_go_their_own_ways_to_one_flow_time(whole):
    ends = [row for row in flow_rows(whole / "run") if row["accepted"]]
    taus = {seed: [float(row["tau"]) for row in ends if row["seed"] == seed] for seed in "01"}
    assert taus["0"][1:] != taus["1"][1:]
    for row in ends:
        assert row["accepted"] == str(int(float(row["local_error"]) <= 0.12))
    flow = read_flow(RunDirectory.open(whole / "run"))
    np.testing.assert_array_equal(flow.columns["flow_time"][-1], [1.0, 1.0])
    assert (np.diff(flow.columns["flow_time"], axis=0) >= 0).all()


@pytest.mark.exhaustive("a whole run on data")
def test_attempts_on_data_keep_or_give_back_the_policy(tmp_path):
    step = "{from: previous, learn: [policy], updates: 60, repeat: 4, "
    step += "tau: {kind: doubling, start: 4, time: 20, tolerance: 0.04}, "
    step += "until: {kind: energy_settled, every: 20, window: 1, tolerance: 0.2}}"
    first = "{from: behavior, learn: [critic, behavior, policy], updates: 60, tau: 2.5}"
    given: list[Any] = [tuple(text.split("=", 1)) for text in SMALL]
    given += [("schedule.steps", f"[{first}, {step}]"), ("seeds", "2"), ("evaluate.every", "50")]
    given += [("optimizer", "{kind: adam, learning_rate: 0.02, average: {window: 4}}")]
    pogospec.run("pogo_w_two_step", tmp_path / "run", given)
    run = RunDirectory.open(tmp_path / "run")
    ends = [row for row in flow_rows(tmp_path / "run") if row["accepted"]]
    assert {row["accepted"] for row in ends} == {"0", "1"}
    labels = ["step 1", *dict.fromkeys(row["stage"] for row in ends)]
    saved = [run.load_policy(label)[0] for label in labels]
    for row in ends:
        place, seed = labels.index(row["stage"]), int(row["seed"])
        same = [np.array_equal(saved[place][name][seed], saved[place - 1][name][seed]) for name in saved[place]]
        assert all(same) == (row["accepted"] == "0")
        assert row["accepted"] == str(int(float(row["local_error"]) <= 0.04))
    picture = figure([run], "score", "flow_time")
    line = next(line for line in picture.axes[0].lines if not str(line.get_label()).endswith("behavior"))
    times = read_flow(run).columns["flow_time"]
    drawn = np.asarray(line.get_xdata())
    assert drawn[0] == times[0].max() == 2.5
    assert drawn[-1] == times[-1].min()


@pytest.mark.exhaustive("a run of a shipped spec")
def test_attempts_that_do_not_suffice_are_told(tmp_path):
    given = sets("schedule.steps[0].repeat=5", "schedule.steps[0].updates=300")
    done = command("run", "flows/quadratic_w2_adaptive", "--out", tmp_path / "run", *given)
    told = " ".join(done.stdout.split())
    assert "step 5, seed 0: 5 attempts reach flow time 0.1481 of 8; raise repeat, or tolerance of tau" in told
