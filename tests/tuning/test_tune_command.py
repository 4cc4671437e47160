"""`pogospec tune` as users run it: on a known energy, on an embedded set, stopped and started again, by two at once."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from commands import pogospec, started

import pogospec as package
from pogospec.checking.check import load
from pogospec.errors import SpecError, UsageError
from pogospec.report.reading.find import open_runs
from pogospec.runs.directory import RunDirectory

FLOW = """\
extends: flows/quadratic_w2
name: small
schedule: {steps: [{tau: 0.2, updates: %d}]}
train: {log_every: 4, checkpoint_every: 4}
tune:
  "schedule.steps[*].tau": {log: [0.01, 10], points: 2}
  optimizer.learning_rate: {choice: [1e-3, 0.1]}
"""
SMALL = """\
extends: pogo_w_two_step
name: small
seeds: 2
policy: {hidden: [8]}
behavior: {hidden: [8]}
critic: {hidden: [8]}
train: {batch_size: 16, log_every: 25, checkpoint_every: 25}
evaluate: {every: 25, episodes: 2}
schedule: {steps: [{from: behavior, learn: [critic, behavior, policy], updates: 75, tau: 2.5}]}
tune: {"schedule.steps[*].tau": {log: [0.1, 30]}}
"""


def written(folder, text):
    file = folder / "spec.yaml"
    file.write_text(text)
    return file


def found(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_search_on_a_known_energy(tmp_path):
    file, folder = written(tmp_path, FLOW % 8), tmp_path / "out"
    said = pogospec("tune", file, "--sampler", "grid", "--out", folder).stdout
    results = found(folder)
    energies = [trial["score"] for trial in results["trials"]]
    assert len(energies) == 4
    assert results["best"] == energies.index(min(energies))
    mean = sum(energies) / 4
    assert results["expected_best"][0]["mean"] == pytest.approx(mean)
    assert results["expected_best"][3]["mean"] == pytest.approx(min(energies))
    assert "4 trials done" in said
    runs, other = open_runs([folder])
    assert [run.path.name for run in runs] == [f"trial-{number:04d}" for number in range(4)]
    best = load(folder / "best.yaml")
    values = results["trials"][results["best"]]["values"]
    assert best.schedule.steps[0].tau == values["schedule.steps[*].tau"]
    assert (folder / "expected-best.png").stat().st_size > 1000
    before = {run.path: (run.path / "metrics.csv").stat().st_mtime_ns for run in runs}
    again = pogospec("tune", file, "--sampler", "grid", "--out", folder).stdout
    live = ("[", "comp", "step", "      energy")
    assert again.splitlines() == [line for line in said.splitlines() if not line.startswith(live)]
    assert before == {run.path: (run.path / "metrics.csv").stat().st_mtime_ns for run in runs}
    assert "0.1" in pogospec("compare", folder).stdout


WRONG = {
    "nothing": (["flows/quadratic_w2"], "declares nothing to search; give it ranges, such as 'tune:"),
    "by": (["spec.yaml", "--by", "fqe"], "--by: found fqe, but a flow on a known energy is scored by its energy"),
    "halving": (["spec.yaml", "--pruner", "halving"], "--pruner: found a search by energy, allowed one by returns"),
    "updates": (["spec.yaml", "--fqe-updates", "5"], "--fqe-updates: allowed with --by fqe"),
    "set": (["spec.yaml", "--set", "optimizer.learning_rate=1"], "found a value of what a search varies"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_searched(tmp_path, name):
    written(tmp_path, FLOW % 8)
    words, message = WRONG[name]
    done = pogospec("tune", *words, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_search_from_python_is_that_of_the_command(tmp_path):
    file, folder = written(tmp_path, FLOW % 8), tmp_path / "out"
    half = package.tune(file, trials=2, out=folder)
    whole = package.tune(file, trials=4, out=folder)
    assert [trial.number for trial in whole.trials] == [0, 1, 2, 3]
    assert whole.trials[:2] == half.trials
    assert whole.best == min(whole.trials, key=lambda trial: trial.scores)
    pogospec("tune", file, "--trials", 4, "--out", tmp_path / "command")
    assert found(folder) == found(tmp_path / "command") == json.loads(json.dumps(whole.plain()))
    assert package.load(folder / "best.yaml") == package.load(tmp_path / "command" / "best.yaml")


def test_what_python_cannot_search_is_refused(tmp_path):
    file = written(tmp_path, FLOW % 8)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"fqe_updates": 5}, "--fqe-updates: allowed with --by fqe"),
        ({"by": "returns"}, "--by: found returns"),
        ({"overrides": {"schedule.steps[0].tau": 1}}, "found a value of what a search varies"),
    ]
    for given, message in cases:
        with pytest.raises((UsageError, SpecError), match=message):
            package.tune(file, out=tmp_path / "out", **given)
    with pytest.raises(UsageError, match="pogo_w declares nothing to search"):
        package.tune("pogo_w", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_optuna_it_says_how_to_get_it(tmp_path, monkeypatch):
    from pogospec.cli import tuning
    from pogospec.extras import Needs
    from pogospec.tuning import engine

    monkeypatch.setattr(engine, "NEEDS", (Needs("no_such_optuna", "tune"),))
    with pytest.raises(UsageError, match=r'no_such_optuna not installed; pip install "pogospec\[tune\]"'):
        tuning.tune(str(written(tmp_path, FLOW % 8)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.exhaustive("starts three processes")
def test_stopped_and_started_again_it_loses_no_trial_and_trains_none_twice(tmp_path):
    file, folder = written(tmp_path, FLOW % 300), tmp_path / "out"
    words = ["tune", file, "--trials", "3", "--out", folder]
    process = started(*words)
    metrics = folder / "trial-0001" / "metrics.csv"
    while not metrics.is_file() or metrics.read_text().count("\n") < 6:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr is not None
    assert "interrupted; go on with: pogospec tune" in process.stderr.read()
    assert RunDirectory.open(folder / "trial-0001").status()["state"] == "interrupted"
    first = (folder / "trial-0000" / "metrics.csv").read_bytes()
    pogospec(*words)
    assert (folder / "trial-0000" / "metrics.csv").read_bytes() == first
    whole = tmp_path / "whole"
    pogospec("tune", file, "--trials", "3", "--out", whole)
    assert [trial["values"] for trial in found(folder)["trials"]] == [t["values"] for t in found(whole)["trials"]]
    assert [trial["scores"] for trial in found(folder)["trials"]] == [t["scores"] for t in found(whole)["trials"]]


@pytest.mark.exhaustive("starts two processes")
def test_two_processes_share_the_trials(tmp_path):
    file, folder = written(tmp_path, FLOW % 40), tmp_path / "out"
    processes = [started("tune", file, "--trials", "6", "--out", folder) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    taken = [[line.split("/")[0] for line in text.splitlines() if line.startswith("[")] for text in said]
    assert sorted(taken[0] + taken[1]) == [f"[{number}" for number in range(1, 7)]
    pogospec("tune", file, "--trials", "6", "--out", folder)
    trials = found(folder)["trials"]
    assert [trial["state"] for trial in trials] == ["done"] * 6
    assert len({json.dumps(trial["values"]) for trial in trials}) == 6


@pytest.mark.exhaustive("trains policies and critics")
def test_a_search_on_an_embedded_set_by_rollouts_and_by_the_data(tmp_path):
    file, folder = written(tmp_path, SMALL), tmp_path / "out"
    said = pogospec("tune", file, "--trials", "4", "--pruner", "halving", "--out", folder).stdout
    results = found(folder)
    rows = [len(Path(folder / f"trial-{n:04d}" / "returns.csv").read_text().splitlines()) - 1 for n in range(4)]
    assert results["online"]["episodes"] == sum(rows)
    assert {trial["state"] for trial in results["trials"]} == {"done", "stopped early"}
    assert f"in {sum(rows):,} episodes" in said
    assert "stopped early" in said
    other, quick = tmp_path / "fqe", ("--fqe-updates", "20", "--fqe-hidden", "8")
    said = pogospec("tune", file, "--trials", "2", "--by", "fqe", *quick, "--out", other).stdout
    trials = found(other)["trials"]
    assert [trial["unit"] for trial in trials] == ["value", "value"]
    assert all(trial["online"] for trial in trials)
    assert "none of them decided" in said
