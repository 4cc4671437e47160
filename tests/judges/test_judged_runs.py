"""Judged steps in whole runs: what is taken and taken back, the best that is kept, what is told, and resuming."""

import csv
import re
from typing import Any

import numpy as np
import pytest
from again import interrupted_after

import pogospec
from pogospec.cli.training import resume
from pogospec.errors import DataError, SpecError
from pogospec.judges.fqe import FQE
from pogospec.report.reading import read_flow, troubles
from pogospec.report.tables import warnings
from pogospec.runs.directory import RunDirectory

FITTED = "updates: 20, hidden: [8], batch_size: 32"
SPEC = """
seeds: 2
data: {dataset: pocket/reacher-mixed, holdout: 0.1}
policy: {kind: gaussian, hidden: [8], mean: tanh}
critic: {kind: clipped_double_q, hidden: [8]}
energy: {q: {critics: first, scale: batch}, entropy: {weight: 0.01}}
geometry: wasserstein2
train: {batch_size: 16, checkpoint_every: 25}
optimizer: {kind: adam, learning_rate: 0.01}
evaluate: {episodes: 1, every: 1000}
schedule:
  steps:
    - {from: behavior, tau: 1, updates: 20, learn: [critic, behavior, policy]}
"""


PLAIN = {"from": "previous", "tau": "1", "updates": "20", "learn": "[policy]"}


def written(folder, *steps: str, **more: Any):
    """A spec whose first step learns all, and others that follow; what they do not say is plain."""
    text = SPEC
    for step in steps:
        top = re.sub(r"\{[^{}]*\}", "", re.sub(r"\{[^{}]*\}", "", step))
        rest = [f"{key}: {value}" for key, value in PLAIN.items() if f"{key}:" not in top]
        text += f"    - {{{', '.join([*rest, step])}}}\n"
    (folder / "judged.yaml").write_text(text)
    return pogospec.load(folder / "judged.yaml", more)


def rows(run):
    with (run.path / "flow.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def network(run, label):
    return {name: array for name, array in run.load_policy(label)[0].items() if name.startswith("network")}


def same(run, first, second, seed=slice(None)):
    a, b = network(run, first), network(run, second)
    return all(np.array_equal(a[name][seed], b[name][seed]) for name in a)


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """A step that no gain is large enough for, and one with a margin that takes anything, which its judge ends."""
    folder = tmp_path_factory.mktemp("chain")
    spec = written(
        folder,
        "judge: {kind: second_critic, errors: 1000}",
        f"until: {{kind: judged, every: 5, window: 1}}, judge: {{kind: fqe, margin: 1000, {FITTED}}}",
    )
    pogospec.run(spec, folder / "run")
    return RunDirectory.open(folder / "run")


def test_a_step_that_is_not_taken_leaves_the_policy_as_it_was(chain):
    assert same(chain, "step 2", "step 1")
    assert not same(chain, "step 3", "step 2")
    ends = [row for row in rows(chain) if row["accepted"]]
    assert [(row["stage"], row["accepted"]) for row in ends] == [("step 2", "0")] * 2 + [("step 3", "1")] * 2
    for row in ends:
        gain, error, bound = (float(row[name]) for name in ("gain", "gain_error", "bound"))
        off = {"step 2": -1000 * error, "step 3": -error + 1000}[row["stage"]]
        assert bound == pytest.approx(gain + off)
    np.testing.assert_array_equal(read_flow(chain).columns["flow_time"], [[1, 1], [1, 1], [2, 2]])


def test_a_step_ends_with_the_best_policy_that_was_judged(chain):
    for seed in ("0", "1"):
        mine = [row for row in rows(chain) if row["stage"] == "step 3" and row["seed"] == seed]
        checks = [float(row["bound"]) for row in mine if row["bound"] and not row["accepted"]]
        (end,) = (row for row in mine if row["accepted"])
        assert float(end["bound"]) == max(checks)
        best = next(row for row in mine if row["bound"] == end["bound"])
        assert float(end["energy"]) == pytest.approx(float(best["energy"]), rel=1e-6)  # measured when it was put back


def test_what_was_not_taken_is_told(chain):
    told = troubles(chain)
    (text,) = (text for text in told if "not taken" in text)
    assert text.startswith("step 2: not taken in 2 of 2 seeds, so that the policy stays: its judge finds a gain of ")
    assert any(text in warning for warning in warnings([chain]))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("until: judged", "has none; add one, such as the cautious judge: fqe"),
        ("repeat: 2, repeat_until: judged", "has none; add one"),
        ("tau: {kind: choice, of: [1, 2]}", "has none; add one"),
        ("tau: {kind: choice, of: [2, 1]}, judge: fqe", "numbers that increase"),
        ("judge: {kind: second_critic}, energy: {q: {critics: min}}", "first critic alone drives, found min"),
        ("judge: ensemble_bound", "needs 3 critics or more, found 2"),
        ("judge: proximal, from: data", "the energy of the reference, which data has not"),
        ("tau: {kind: backtracking, start: 1, errors: 2}, judge: fqe", "the judge decides by its own"),
        ("learn: [critic, policy], until: judged, judge: second_critic", "by the step's own critic, which moves"),
        ("judge: hearsay", "fqe, cross_fitted, second_critic"),
        ("judge: {kind: fqe, updates: 1}", "found 1, allowed"),
    ],
)
def test_judges_that_cannot_be_are_refused(tmp_path, step, words):
    with pytest.raises(SpecError, match=words):
        written(tmp_path, step)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"data.holdout": 0}, "set data.holdout"),
        ({"schedule.mode": "concurrent"}, "one step back"),
        ({"schedule.steps[0].judge": "fqe"}, "which nothing has learned; put a step"),
    ],
)
def test_what_a_judge_needs_of_the_rest(tmp_path, overrides, words):
    with pytest.raises(SpecError, match=words):
        written(tmp_path, "judge: fqe", **overrides)


def test_a_judge_without_a_kind_is_the_cautious_one(tmp_path):
    spec = written(tmp_path, "judge: {errors: 2, margin: 0.5}")
    assert spec.schedule.steps[-1].judge == FQE(errors=2.0, margin=0.5)


def test_too_few_held_out_episodes_are_refused_with_what_to_do(tmp_path):
    spec = written(tmp_path, "judge: fqe", **{"data.holdout": 0.004})
    with pytest.raises(DataError, match=r"holds out 2 of 500 episodes, allowed shares of 4 episodes or more"):
        pogospec.run(spec, tmp_path / "run")


MIXED = (
    f"tau: {{kind: choice, of: [0.1, 1, 10]}}, judge: {{kind: cross_fitted, {FITTED}}}",
    "tau: {kind: backtracking, start: 100, factor: 0.1, tries: 3}, judge: second_critic",
    f"until: {{kind: judged, every: 8, window: 2}}, judge: {{kind: fqe, {FITTED}}}, updates: 60",
    "judge: {kind: second_critic, errors: 0}, repeat: 4, repeat_until: judged, "
    "optimizer: {policy: {learning_rate: 0.3}}",
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A chain in which a judge drives all that it may, with averaged weights, and the run of it."""
    folder = tmp_path_factory.mktemp("mixed")
    given: dict[str, Any] = {"optimizer.policy.average": {"window": 3}, "train.checkpoint_every": 12}
    spec = written(folder, *MIXED, **given)
    pogospec.run(spec, folder / "whole")
    return spec, RunDirectory.open(folder / "whole")


@pytest.mark.exhaustive("a run of every rule that asks a judge")
def test_every_rule_that_asks_a_judge(mixed):
    _, run = mixed
    found = rows(run)
    for seed in ("0", "1"):
        chosen = [row for row in found if row["stage"] == "step 2" and row["seed"] == seed and row["bound"]]
        tries, end = chosen[:-1], chosen[-1]
        np.testing.assert_allclose([float(row["tau"]) for row in tries], [0.1, 1, 10], rtol=1e-5)
        best = max(tries, key=lambda row: float(row["bound"]))
        assert (end["bound"], end["tau"]) == (best["bound"], best["tau"])
        assert end["accepted"] == str(int(float(best["bound"]) > 0))
        if end["accepted"] == "1":
            assert float(end["energy"]) == pytest.approx(float(best["energy"]), rel=1e-5)
        tried = [row for row in found if row["stage"] == "step 3" and row["seed"] == seed and row["accepted"]]
        assert [row["accepted"] for row in tried[:-1]] == ["0"] * (len(tried) - 1)
        for row in tried:
            assert row["accepted"] == str(int(float(row["gain"]) - float(row["gain_error"]) > 0))
    repeated = [row for row in found if row["accepted"] and row["stage"] in ("step 5", "step 6", "step 7", "step 8")]
    refused = [
        {row["seed"] for row in repeated if row["accepted"] == "0" and row["stage"] <= f"step {n}"} for n in (5, 6, 7)
    ]
    assert len({row["stage"] for row in repeated}) == 1 + sum(seeds != {"0", "1"} for seeds in refused)


@pytest.mark.exhaustive("a run for each place")
@pytest.mark.parametrize("stop_after", [3, 8])
def test_a_judged_run_resumes_as_if_it_had_not_stopped(mixed, tmp_path, stop_after):
    spec, whole = mixed
    with interrupted_after(stop_after):
        pogospec.run(spec, tmp_path / "broken")
    resume(tmp_path / "broken", quiet=True)
    broken = RunDirectory.open(tmp_path / "broken")
    assert rows(broken) == rows(whole)
    for label in whole.policies():
        for name, array in network(whole, label).items():
            np.testing.assert_array_equal(array, network(broken, label)[name])
