"""Storms: commands killed at any change of their files, disks that are full at any, and every file damaged."""

import functools
import json
import math
import os
import random
import shutil
import signal
from collections.abc import Mapping

import again
import pytest
from again import told
from commands import pogospec
from forks import BLANK, FILES, FULL, KILLED
from test_resume import RUN, assert_same

from pogospec.runs.directory import RunDirectory
from pogospec.training import loop

BLANKED = {BLANK: ""}
FLOW = """\
target: {kind: quadratic, center: [0.8], curvature: [2.0]}
policy: gaussian
energy: {q: {actions: quadrature}, entropy: {weight: 0.5}}
geometry: wasserstein2
train: {log_every: 10, checkpoint_every: 10}
schedule: {steps: [{from: previous, tau: 0.4, repeat: 3, updates: 30}]}
"""


def commands_of(kind, folder):
    """What begins a kind of run in a folder, and the file from which on `resume` takes it."""
    file = folder.parent / f"{kind}.yaml"
    if kind == "run":
        return [*RUN, "--out", folder], folder / "manifest.json"
    if kind == "flow":
        file.write_text(FLOW)
        return ["run", file, "--out", folder], folder / "manifest.json"
    if kind == "sweep":
        grid = "sweep: {geometry: [wasserstein2, kl], energy.entropy.weight: [0.5, 0.3]}\n"
        file.write_text(FLOW.replace("train: {", "train: {batch_runs: map, ") + grid)
        return ["run", file, "--out", folder], folder / "sweep.json"
    for tau in ("0.4", "0.8"):
        (folder.parent / f"{tau}.yaml").write_text(f"name: flow-{tau}\n{FLOW.replace('tau: 0.4', f'tau: {tau}')}")
    file.write_text("specs: [0.4.yaml, 0.8.yaml]\n")
    return ["suite", file, "--out", folder], None


def runs_in(folder):
    return [path.parent for path in folder.rglob("manifest.json")]


def assert_alike(whole, folder):
    assert {run.relative_to(folder) for run in runs_in(folder)} == {run.relative_to(whole) for run in runs_in(whole)}
    for run in runs_in(whole):
        assert_same(run, folder / run.relative_to(whole))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of each kind, what nothing stopped; `run`: what runs a command."""
    found = {}

    def get(kind, run=pogospec):
        if (kind, run) not in found:
            found[kind, run] = tmp_path_factory.mktemp(kind) / "whole"
            run(*commands_of(kind, found[kind, run])[0], "--quiet")
        return found[kind, run]

    return get


@pytest.fixture
def traced_once():
    with again.traced_once():
        yield


def storm(killed, run, kind, kills, whole, folder, seed=0, most=400):
    """Kill commands again and again, at changes of files drawn so that early ones are as likely as late ones.

    `killed`: runs a command and tells whether it was killed at a change of the folder, or ended well; `run`: runs one.
    """
    draw, done = random.Random(seed), 0
    begin, mark = commands_of(kind, folder)
    while done < kills:
        command, fresh = ["resume", folder] if mark is not None and mark.exists() else begin, not folder.exists()
        number = int(math.exp(draw.uniform(0, math.log(most))))
        if killed(draw, folder, number, *command, "--quiet"):
            done += 1
            continue
        assert_alike(whole, folder)
        shutil.rmtree(folder)
        most = min(most, number) if fresh else most  # a whole run changes files less often than that
    run(*(["resume", folder] if mark is not None and mark.exists() else begin), "--quiet")
    assert_alike(whole, folder)


def in_process(draw, folder, number, *command):
    return again.killed(folder, number, *command)


def by_signal(places=lambda folder: [folder], env: Mapping[str, str] = BLANKED):
    """Commands in processes of their own, killed at changes of one of the places."""

    def killed(draw, folder, number, *command):
        ended = pogospec(*command, check=False, env={**env, KILLED: f"{draw.choice(places(folder))}:{number}"})
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        return ended.returncode != 0

    return killed


@pytest.mark.parametrize("kind", ["run", "sweep", "suite", "flow"])
@pytest.mark.exhaustive("a storm of kills")
def test_whatever_is_killed_anywhere_ends_the_same(kind, whole, tmp_path, traced_once):
    storm(in_process, again.done, kind, 47, whole(kind, again.done), tmp_path / "killed")


@pytest.mark.parametrize("kind", ["run", "sweep", "suite"])
@pytest.mark.exhaustive("a storm of kills")
def test_processes_that_are_killed_end_the_same(kind, whole, tmp_path):
    storm(by_signal(), pogospec, kind, 3, whole(kind), tmp_path / "killed", seed=2, most=90)


@pytest.mark.exhaustive("compiles anew each time")
def test_killed_while_compiled_programs_are_kept_and_removed(whole, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    env = {**BLANKED, "POGOSPEC_COMPILE_CACHE": str(tmp_path / "cache")}
    killed = by_signal(lambda folder: [folder, folder, folder.parent], env)
    storm(killed, functools.partial(pogospec, env=env), "flow", 12, whole("flow"), tmp_path / "killed", most=20)


def test_a_few_kills_of_a_flow(whole, tmp_path):
    storm(by_signal(), pogospec, "flow", 2, whole("flow"), tmp_path / "killed", seed=1, most=90)


def in_a_process(folder, number, *command):
    full = pogospec(*command, check=False, env={FULL: f"{folder}:{number}"})
    return full.stderr, full.returncode


def fill(without_room, run, kind, numbers, whole, tmp_path):
    for number in numbers:
        folder = tmp_path / str(number)
        begin, mark = commands_of(kind, folder)
        assert mark is not None
        message, code = without_room(folder, number, *begin, "--quiet")
        assert code in (1, 2), message
        (line,) = message.splitlines()
        assert "No space left on device" in line
        begun = mark.exists()
        if begun:
            assert RunDirectory.open(folder).status()["state"] == "failed"
        run(*(["resume", folder] if begun else begin), "--quiet")
        assert_alike(whole, folder)


@pytest.mark.exhaustive("twenty runs")
def test_a_disk_that_is_full_loses_nothing(whole, tmp_path, traced_once):
    fill(
        again.without_room, again.done, "flow", [*range(1, 12), *range(14, 60, 5)], whole("flow", again.done), tmp_path
    )


@pytest.mark.exhaustive("ten full disks")
def test_a_disk_that_is_full_as_a_run_is_made(whole, tmp_path):
    fill(in_a_process, pogospec, "flow", [10], whole("flow"), tmp_path)


@pytest.mark.exhaustive("a command for each limit")
def test_a_limit_of_the_size_of_files_is_one_line(whole, tmp_path):
    folder = tmp_path / "run"
    begin, _ = commands_of("flow", folder)
    largest = max(file.stat().st_size for file in whole("flow").rglob("*.safetensors"))
    done = pogospec(*begin, "--quiet", check=False, env={FILES: str(largest - 1)})
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert "File too large" in line
    pogospec(*(["resume", folder] if (folder / "manifest.json").exists() else begin), "--quiet")
    assert_alike(whole("flow"), folder)


def replaced(file, by):
    file.unlink()
    by(file)


WAYS = {
    "removed": lambda file: file.unlink(),
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "flipped": lambda file: file.write_bytes(bytes([255 - file.read_bytes()[0]]) + file.read_bytes()[1:]),
    "noise": lambda file: file.write_bytes(random.Random(0).randbytes(500)),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "JSON of another type": lambda file: file.write_text('[{"a": 1e999}]\n'),
    "garbage behind": lambda file: file.write_bytes(file.read_bytes() + b"\xff,\x00\n\xff\n"),
    "words for numbers": lambda file: file.write_bytes(file.read_bytes().replace(b"0", b'"x"')),
    "a folder": lambda file: replaced(file, os.mkdir),
    "a pipe": lambda file: replaced(file, os.mkfifo),
    "a circle of links": lambda file: replaced(file, lambda path: path.symlink_to(path)),
}
FILES_OF_A_RUN = (
    "spec.yaml", "manifest.json", "status.json", "metrics.csv", "returns.csv", "flow.csv",
    "checkpoints/000000000080.safetensors", "policies/step_1.safetensors",
)  # fmt: skip
CASES = [(file, way) for file in FILES_OF_A_RUN for way in WAYS]


def damaged(source, target, file, way):
    shutil.copytree(source, target)
    RunDirectory.open(target).status("interrupted", update=80)
    WAYS[way](target / file)


def assert_told(run, file, way, monkeypatch):
    """Every command ends by itself, with one line where it does not do what it was asked."""
    monkeypatch.setattr(loop._Trainer, "go", lambda self, resume: self._restored())
    commands = [("compare", run), ("list", "runs", "--folder", run.parent)]
    commands += [("resume", run, "--quiet")] if file != "returns.csv" or way != "a pipe" else []
    if file.endswith(".csv"):
        commands.append(("plot", run, "--y", "energy", "--out", run.parent / "x.svg"))
    if file.startswith(("policies", "spec")):
        commands.append(("plot", run, "--figure", "density", "--out", run.parent / "x.svg"))
    if file == "spec.yaml":
        commands.append(("explain", run / file, "--no-measure"))
    for command in commands:
        message, code = told(*command)
        assert code in (0, 1, 2), (command, message)
        lines = message.strip().splitlines()
        assert len(lines) <= (1 if command[0] != "explain" else 40), (command, message)
        assert code == 0 or lines, command
        assert all(line.isprintable() for line in lines), message


@pytest.mark.thinned(1, "every file in every way")
@pytest.mark.parametrize(("file", "way"), CASES)
def test_every_command_says_in_a_line_what_is_damaged(whole, tmp_path, file, way, monkeypatch):
    damaged(whole("run"), tmp_path / "runs" / "run", file, way)
    assert_told(tmp_path / "runs" / "run", file, way, monkeypatch)


@pytest.mark.thinned(2, "a command for each")
@pytest.mark.parametrize("entry", [
    {"seeds": "2"}, {"seeds": 0}, {"versions": 3}, {"reference": {"low": 1}}, {"episodes": 1.5}, {"name": None},
    {"environment": 'Reacher-v4 {"a": '}, {"dataset": ["x"]}, {"sweep": 1}, {"format": "2"}, {"action": {}},
])  # fmt: skip
def test_wrong_types_in_a_manifest_are_named(whole, tmp_path, entry):
    run = tmp_path / "run"
    shutil.copytree(whole("run"), run)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | entry))
    for command in ("compare", "resume"):
        message, code = told(command, run)
        assert (code, message.partition(" is not ")[0]) == (2, f"{run}/manifest.json is damaged: {next(iter(entry))}")
