"""A run that was stopped, however and wherever, ends as the one that was not: the same bits."""

import csv
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import COMMAND, pogospec, sets, started
from rich.console import Console
from safetensors.numpy import load_file

import pogospec as package
from pogospec.data import load_for
from pogospec.launch.one import execute
from pogospec.launch.record import new_run
from pogospec.runs import files as runs
from pogospec.runs.directory import RunDirectory
from pogospec.training import loop as train
from pogospec.training.evaluation import Evaluation

SMALL = ["seeds=2", "schedule.steps[*].updates=40", "train.log_every=5", "train.checkpoint_every=10"]
SMALL += ["evaluate.every=20", "evaluate.episodes=1", "train.batch_size=16"]
SMALL += ["policy.hidden=[8]", "behavior.hidden=[8]", "critic.hidden=[8]"]
SPEC = "pogo_fr_two_step"
RUN = ["run", SPEC, *sets(*SMALL), "--quiet"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    pogospec(*RUN, "--out", out)
    return out


def rows(path: Path, name: str):
    """A file of rows, without how long things took."""
    with (path / name).open(newline="") as file:
        return [
            {k: v for k, v in row.items() if k not in ("seconds", "updates_per_second")} for row in csv.DictReader(file)
        ]


def assert_same(whole: Path, other: Path):
    for name in ("metrics.csv", "returns.csv", "flow.csv"):
        assert rows(whole, name) == rows(other, name), name
    for folder in ("policies", "checkpoints"):
        files = sorted(path.name for path in (whole / folder).iterdir())
        assert files == sorted(path.name for path in (other / folder).iterdir())
        for name in files:
            first, second = load_file(whole / folder / name), load_file(other / folder / name)
            assert first.keys() == second.keys()
            assert all(first[key].tobytes() == second[key].tobytes() for key in first), name
    assert json.loads((other / "status.json").read_text())["state"] == "done"


def test_the_uninterrupted_run_is_two_steps_and_two_seeds(whole):
    assert RunDirectory.open(whole).policies() == ["behavior", "step 1", "step 2"]
    first, second = (load_file(whole / "policies" / f"step_{i}.safetensors") for i in (1, 2))
    assert any((first[key] != second[key]).any() for key in first)
    assert all((first[key][0] != first[key][1]).any() for key in first if "weight" in key)
    assert {row["seed"] for row in rows(whole, "metrics.csv")} == {"0", "1"}


class Stopped(BaseException):
    """What no code of the package may catch: the process is gone."""


def before(patch, owner, name, due):
    """Stop before a function does its work, the first time that its arguments are due."""
    real = getattr(owner, name)

    def stopping(*arguments, **options):
        if due(*arguments, **options):
            raise Stopped
        return real(*arguments, **options)

    patch.setattr(owner, name, stopping)


def half_written(patch, due):
    """Stop in the middle of writing a file that is due."""
    real = runs.publish

    def stopping(path, content):
        if not due(path):
            return real(path, content)
        path.with_name(path.name + ".part").write_bytes(content[: len(content) // 2])
        raise Stopped

    patch.setattr(runs, "publish", stopping)


def torn_row(patch, total):
    """Stop in the middle of writing a row of metrics."""
    real = RunDirectory._append

    def stopping(self, name, rows):
        if name == "metrics.csv" and rows[0][3] == total:
            with (self.path / name).open("a", newline="") as file:
                file.write(f"{rows[0][0]},{rows[0][1]},{str(rows[0][2])[:1]}")
            raise Stopped
        real(self, name, rows)

    patch.setattr(RunDirectory, "_append", stopping)


TRAINER = train._Trainer
STOPS = {
    "before the first update": lambda p: before(p, TRAINER, "_advance", lambda t, *_: True),
    "after the first chunk, before its row": lambda p: before(p, TRAINER, "_log", lambda t, *_: True),
    "inside a row": lambda p: torn_row(p, 15),
    "while a checkpoint is written": lambda p: half_written(p, lambda path: path.name.endswith("20.safetensors")),
    "before a checkpoint has its name": lambda p: before(p, os, "replace", lambda _, to: "0030.safe" in str(to)),
    "before the policies of step 1": lambda p: before(p, Evaluation, "finish", lambda *_: True),
    "while a policy is written": lambda p: half_written(p, lambda path: path.name == "step_1.safetensors"),
    "before the checkpoint between the steps": lambda p: before(p, TRAINER, "_checkpoint", lambda t, _: t.place.ended),
    "after the checkpoint between the steps": lambda p: before(p, TRAINER, "_leave", lambda *_: True),
    "as step 2 begins": lambda p: before(p, TRAINER, "_enter", lambda t, *_: t.place.number == 1),
    "in the first chunk of step 2": lambda p: before(p, TRAINER, "_guard", lambda t, *_: t.place.number == 1),
    "in a later chunk of step 2": lambda p: before(p, TRAINER, "_guard", lambda t, *_: t.place.total == 55),
    "while the status is written": lambda p: half_written(p, lambda path: path.name == "status.json"),
}


QUICK = ("inside a row", "while a checkpoint is written", "before the policies of step 1", "as step 2 begins")


@pytest.mark.thinned(("few",), "begins thirteen times")
@pytest.mark.parametrize("names", [QUICK, tuple(STOPS)], ids=["few", "all"])
def test_a_run_that_is_stopped_again_and_again_ends_the_same(tmp_path, names):
    pairs: Any = [tuple(pair.split("=", 1)) for pair in SMALL]
    spec = package.load(SPEC, pairs)
    data, whole, out, stopped = load_for(spec), tmp_path / "whole", tmp_path / "run", []
    for folder in (whole, out):
        new_run(spec, data, folder, "cpu:0")
    execute(Console(quiet=True), spec, data, RunDirectory.open(whole))
    for name in names:
        with pytest.MonkeyPatch.context() as patch:
            STOPS[name](patch)
            with pytest.raises(Stopped):
                execute(Console(quiet=True), spec, data, RunDirectory.open(out), resume=True)
        stopped.append(name)
    execute(Console(quiet=True), spec, data, RunDirectory.open(out), resume=True)
    assert stopped == list(names)
    assert_same(whole, out)


@pytest.mark.exhaustive("three whole runs, whose checkpoints are those of all")
def test_what_geometry_and_step_size_learn_is_resumed(tmp_path):
    """Stopped in the midst of the last step, whose dual critic and multiplier are older than its beginning."""
    tau = "{kind: multiplier, start: 0.1, divergence: 0.05, learning_rate: 0.1}"
    small = {"schedule.defaults.tau": tau, "geometry.hidden": "[8]", "optimizer.policy.learning_rate": "0.01"}
    pairs: Any = [tuple(pair.split("=", 1)) for pair in SMALL if not pair.startswith("evaluate.every")]
    spec = package.load("w_brac", [*pairs, *small.items()])
    data, folders = load_for(spec), (tmp_path / "whole", tmp_path / "stopped")
    for out in folders:
        new_run(spec, data, out, "cpu:0")
    execute(Console(quiet=True), spec, data, RunDirectory.open(folders[0]))
    with pytest.MonkeyPatch.context() as patch:
        before(patch, TRAINER, "_guard", lambda t, *_: t.place.total == 105)
        with pytest.raises(Stopped):
            execute(Console(quiet=True), spec, data, RunDirectory.open(folders[1]))
    execute(Console(quiet=True), spec, data, RunDirectory.open(folders[1]), resume=True)
    assert_same(*folders)
    taus = [float(row["tau"]) for row in rows(folders[0], "flow.csv")]
    assert len(set(taus)) == len(taus) > 2
    assert all(row["dual_loss"] for row in rows(folders[0], "metrics.csv") if row["stage"] != "cloning")


@pytest.mark.exhaustive("as what geometries learn")
@pytest.mark.parametrize("name", ["sac_n", "cql"])
def test_temperatures_and_what_a_critic_learns_beside_are_resumed(name, tmp_path):
    small = ["train.batch_size=16", "train.log_every=5", "train.checkpoint_every=5", "evaluate.episodes=1"]
    small += ["policy.hidden=[8]", "critic.hidden=[8]", "schedule.steps[*].updates=20"]
    small += ["energy.entropy.temperature.learning_rate=0.1"]
    small += ["critic.lagrange={gap: 0.8}"] if name == "cql" else ["critic.members=3"]
    spec = package.load(name, [tuple(pair.split("=", 1)) for pair in small])  # type: ignore[misc]
    data, folders = load_for(spec), (tmp_path / "whole", tmp_path / "stopped")
    for out in folders:
        new_run(spec, data, out, "cpu:0")
    execute(Console(quiet=True), spec, data, RunDirectory.open(folders[0]))
    with pytest.MonkeyPatch.context() as patch:
        before(patch, TRAINER, "_guard", lambda t, *_: t.place.total == 15)
        with pytest.raises(Stopped):
            execute(Console(quiet=True), spec, data, RunDirectory.open(folders[1]))
    execute(Console(quiet=True), spec, data, RunDirectory.open(folders[1]), resume=True)
    assert_same(*folders)
    found = [row["multiplier" if name == "cql" else "temperature"] for row in rows(folders[0], "metrics.csv")]
    assert len(set(found)) == len(found) == 4


@pytest.mark.exhaustive("a storm of kills")
@pytest.mark.parametrize("seen", [10, 50])
def test_resume_after_kill_9_in_the_midst_of_updates(whole, tmp_path, seen):
    out = tmp_path / "killed"
    process = started(*RUN, "--out", out)
    while not (out / "checkpoints" / f"{seen:012d}.safetensors").exists():
        time.sleep(0.002)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert RunDirectory.open(out).status()["state"] == "running"
    assert "step 2" in pogospec("resume", out).stdout
    assert_same(whole, out)


@pytest.mark.exhaustive("stops in a half-written checkpoint are tried above")
def test_resume_after_kill_9_while_a_checkpoint_is_written(whole, tmp_path):
    code = (
        "import os, signal\n"
        "from pogospec.runs import files as runs\n"
        "real = runs.publish\n"
        "def publish(path, content):\n"
        "    if not path.name.endswith('0030.safetensors'): return real(path, content)\n"
        "    with open(str(path) + '.part', 'wb') as file:\n"
        "        file.write(content[: len(content) // 2]); file.flush()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "runs.publish = publish\n"
    )
    out = tmp_path / "killed"
    process = started(*RUN, "--out", out, code=code + COMMAND[2])
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (out / "checkpoints" / f"{30:012d}.safetensors.part").is_file()
    pogospec("resume", out, "--quiet")
    assert_same(whole, out)


@pytest.mark.thinned(1, "a storm of kills")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(whole, tmp_path, sent):
    out = tmp_path / "interrupted"
    process = started(*RUN, "--out", out)
    while not list(out.glob("checkpoints/*.safetensors")):
        time.sleep(0.002)
        assert process.poll() is None
    process.send_signal(sent)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.strip() == f"interrupted; go on from the newest checkpoint with: pogospec resume {out}"
    assert RunDirectory.open(out).status()["state"] == "interrupted"
    pogospec("resume", out, "--quiet")
    assert_same(whole, out)


def interrupted(whole: Path, out: Path) -> list[Path]:
    """A copy of a finished run that stopped right after its newest checkpoint; its checkpoints."""
    shutil.copytree(whole, out)
    RunDirectory.open(out).status("interrupted", update=80)
    (out / "policies" / "step_2.safetensors").unlink()
    return sorted((out / "checkpoints").iterdir())


def test_a_checkpoint_cut_short_falls_back_to_the_one_before_with_a_note(whole, tmp_path):
    out = tmp_path / "run"
    older, newest = interrupted(whole, out)
    newest.write_bytes(newest.read_bytes()[:-100])
    done = pogospec("resume", out)
    assert f"note: {newest} is damaged or cut short; going on from {older}" in done.stdout
    assert_same(whole, out)


def test_when_all_checkpoints_are_cut_short_it_is_said(whole, tmp_path):
    out = tmp_path / "run"
    for file in interrupted(whole, out):
        file.write_bytes(file.read_bytes()[:-100])
    done = pogospec("resume", out, check=False)
    assert done.returncode == 2
    assert "no whole checkpoint is left, run the spec again" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_in_use_is_refused(whole, tmp_path):
    out = tmp_path / "run"
    interrupted(whole, out)
    with RunDirectory.open(out).lock():
        done = pogospec("resume", out, check=False)
    assert (done.returncode, done.stderr) == (2, f"{out} is in use by another process; wait for it or stop it\n")
    assert RunDirectory.open(out).status()["state"] == "interrupted"


def test_a_finished_run_is_shown_and_not_changed(whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")}
    done = pogospec("resume", whole)
    assert "step 2" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.safetensors")} == before


@pytest.mark.thinned(("2",), "a whole run for each")
@pytest.mark.parametrize("step", [1, 2])
def test_a_value_that_is_not_finite_stops_the_run(whole, tmp_path, step):
    out, huge = tmp_path / "run", f"schedule.steps[{step - 1}].optimizer.policy.learning_rate=3e38"
    done = pogospec(*RUN, *sets(huge), "--out", out, check=False)
    assert done.returncode == 1
    where = rf"step {step}, update [2-5], seed [01]: [a-z_ ]+ is not finite\."
    kept = rf" The state after update 40 is kept in {out}/checkpoints\." if step == 2 else ""
    assert re.fullmatch(where + kept + " Run the spec again with a smaller learning rate, .*\n", done.stderr)
    status, begin = {"state": "failed", "message": done.stderr.strip(), "update": 40 * (step - 1)}, 40 * (step - 1)
    assert RunDirectory.open(out).status() == status
    assert RunDirectory.open(out).policies() == ["behavior", "step 1"][:begin]
    files = sorted((out / "checkpoints").iterdir())
    assert [int(file.stem) for file in files] == [30, 40][:begin]
    assert all(np.isfinite(array).all() for file in files for array in load_file(file).values())
    again = pogospec("resume", out, check=False)
    assert (again.returncode, again.stderr) == (1, done.stderr)
    assert f"note: the run failed before: {done.stderr.strip()}" in again.stdout
    assert RunDirectory.open(out).status() == status
