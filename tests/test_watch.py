"""Rules that end a step, on histories made by hand and in whole runs."""

import csv
from typing import Any

import numpy as np
import pytest
from again import interrupted_after
from commands import pogospec as command

import pogospec
from pogospec.checking.check import load
from pogospec.runs.directory import RunDirectory
from pogospec.steps.until import CriticSettled, EnergySettled
from pogospec.training.decisions import judge
from pogospec.training.place import Place

SMALL = ["--set", "policy.hidden=[8]", "--set", "critic.hidden=[8]", "--set", "evaluate.episodes=1"]


def test_a_critic_settles_when_noise_is_level_and_q_rests():
    rule = CriticSettled(window=2, spread=0.1, drift=0.05)
    level, rest = np.full((4, 2), 3.0), np.full((4, 2), 0.01)
    assert rule.settled({"critic_noise": level, "q_drift": rest}).all()
    assert not rule.settled({"critic_noise": level[:3], "q_drift": rest[:3]}).any()
    falling, moving = level.copy(), rest.copy()
    falling[:, 1] = [6.0, 5.0, 3.0, 3.0]
    moving[-1, 0] = 0.2
    assert rule.settled({"critic_noise": falling, "q_drift": rest}).tolist() == [True, False]
    assert rule.settled({"critic_noise": level, "q_drift": moving}).tolist() == [False, True]


def test_a_critic_is_compared_with_the_window_just_before():
    rule, rest = CriticSettled(window=2, spread=0.1, drift=0.05), np.full((6, 2), 0.01)
    noise = np.array([[9.0, 3.0], [9.0, 3.0], [3.0, 6.0], [3.0, 6.0], [3.0, 3.0], [3.0, 3.0]])
    assert rule.settled({"critic_noise": noise, "q_drift": rest}).tolist() == [True, False]


def test_a_step_is_accepted_where_the_inequality_holds_beyond_its_error():
    rule = [("data.holdout", "0.2"), ("schedule.steps[1].tau", "{kind: backtracking, start: 2, errors: 2}")]
    place, step = Place.fresh(4), load("pogo_w_two_step", rule).schedule.steps[1]
    found = {name: np.array(of) for name, of in (("gap", [-3.0, -1.0, 1.0, 3.0]), ("gap_error", [1.0] * 4))}
    assert judge(step, place, found | {"tau": np.full(4, 2.0)}).holds.tolist() == [True, False, False, False]
    assert (place.accepted, place.tries, place.flow_time) == ([True, False, False, False], [0, 1, 1, 1], [2.0, 0, 0, 0])


def test_energy_settles_when_its_last_fall_is_a_small_part_of_the_whole():
    rule = EnergySettled(window=1, tolerance=0.01)
    assert rule.settled({"objective": np.array([[10.0, 10.0], [2.0, 5.0], [1.99, 2.0]])}).tolist() == [True, False]
    assert not rule.settled({"objective": np.array([[10.0, 10.0]])}).any()
    assert rule.settled({"objective": np.array([[1.0], [1.0]])}).all()


def run(tmp_path, *arguments, check=True):
    return command("run", *arguments, "--quiet", check=check)


def rows(path, name="flow.csv"):
    with (path / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_step_ends_when_the_critic_has_settled_and_another_follows(tmp_path):
    rule = "{kind: critic_settled, every: 20, window: 2, drift: 100, spread: 100}"
    overrides = ["data.holdout=0.2", f"schedule.steps[0].until={rule}", "behavior.hidden=[8]"]
    overrides += ["train.log_every=50", "evaluate.every=200"]
    out = tmp_path / "run"
    run(
        tmp_path,
        "pogo_w_two_step",
        "--updates",
        300,
        "--out",
        out,
        *SMALL,
        *(x for o in overrides for x in ("--set", o)),
    )
    ends = {row["stage"]: int(row["update"]) for row in rows(out, "metrics.csv")}
    assert ends == {"step 1": 80, "step 2": 300}
    checks = [row for row in rows(out) if row["critic_noise"]]
    assert [int(row["update"]) for row in checks] == [20, 40, 60, 80]
    assert all(float(row["critic_noise"]) > 0 and float(row["q_drift"]) > 0 for row in checks)


@pytest.mark.parametrize("seeds", [1, 2])
def test_backtracking_takes_back_what_the_held_out_states_refuse(tmp_path, seeds):
    tau = "{kind: backtracking, start: 1000, factor: 0.01, tries: 3}"
    overrides = ["data.holdout=0.2", f"schedule.steps[1].tau={tau}", "behavior.hidden=[8]", "evaluate.every=200"]
    overrides += ["optimizer.policy.learning_rate=3.0", "schedule.steps[0].optimizer.policy.learning_rate=1e-3"]
    out = tmp_path / "run"
    given = (x for o in overrides for x in ("--set", o))
    run(tmp_path, "pogo_w_two_step", "--updates", 40, "--seeds", seeds, "--out", out, *SMALL, *given)
    tried = [row for row in rows(out) if row["accepted"]]
    assert {row["stage"] for row in tried} == {"step 2"}
    for seed in range(seeds):
        own = [row for row in tried if row["seed"] == str(seed)]
        taus = [float(row["tau"]) for row in own]
        np.testing.assert_allclose(taus, [1000 * 0.01**k for k in range(len(own))], rtol=1e-5)
        for row in own:
            holds = float(row["gap"]) + 1.645 * float(row["gap_error"]) < 0
            assert row["accepted"] == str(int(holds))
        assert all(row["accepted"] == "0" for row in own[:-1])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("schedule.steps[0].until=critic_settled", "set data.holdout"),
        ("schedule.steps[1].until=critic_settled", "needs critic, which this step does not learn"),
        ("schedule.steps[1].tau={kind: backtracking, start: 1}", "set data.holdout"),
        ("schedule.steps[0].tau={kind: backtracking, start: 1}", "learns the policy alone"),
        ("schedule.steps[1].repeat_until=energy_settled", "repeat is 1"),
        ("schedule.steps[1].scheme={kind: explicit, actions: {hermit: 3}}", "unknown key 'hermit'"),
        (
            "schedule.steps[0].from=data",
            "explicit weights the logged actions from data; allowed fisher_rao, kl, hellinger",
        ),
    ],
)
def test_rules_that_cannot_be_are_refused(tmp_path, override, words):
    more = ["--set", "schedule.steps[0].scheme=explicit"] if "from=data" in override else []
    done = run(tmp_path, "pogo_w_two_step", "--set", override, *more, "--out", tmp_path / "run", check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


TRIED = [
    "data.holdout=0.2",
    "schedule.steps[0].until={kind: critic_settled, every: 20, window: 2, drift: 100, spread: 100}",
    "schedule.steps[1].tau={kind: backtracking, start: 1000, factor: 0.01, tries: 3}",
    "schedule.steps[1].repeat=3",
    "schedule.steps[1].repeat_until={kind: energy_settled, window: 1, tolerance: 1e-9}",
    "behavior.hidden=[8]",
    "optimizer.policy.learning_rate=0.1",
    "train.checkpoint_every=30",
    "evaluate.every=40",
]
TIMED = ("seconds", "updates_per_second")


def untimed(path, name):
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows(path, name)]


@pytest.mark.exhaustive("two whole runs for each place")
@pytest.mark.parametrize("stop_after", [1, 3, 5])
def test_a_run_of_rules_and_trials_resumes_as_if_it_had_not_stopped(tmp_path, stop_after):
    overrides: list[Any] = [tuple(text.split("=", 1)) for text in (*TRIED, *SMALL[1::2])]
    overrides += [("schedule.steps[*].updates", "90"), ("seeds", "2")]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pogospec.run("pogo_w_two_step", whole, overrides)
    with interrupted_after(stop_after):
        pogospec.run("pogo_w_two_step", broken, overrides)
    alone = {"JAX_NUM_CPU_DEVICES": "1"}  # as in this process: sums of many rows depend on the layout
    command("resume", broken, "--quiet", env=alone)
    for name in ("metrics.csv", "flow.csv", "returns.csv"):
        assert untimed(broken, name) == untimed(whole, name)
    first, second = RunDirectory.open(whole), RunDirectory.open(broken)
    assert first.policies() == second.policies()
    for label in first.policies():
        for name, array in first.load_policy(label)[0].items():
            np.testing.assert_array_equal(array, second.load_policy(label)[0][name])
