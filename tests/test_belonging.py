"""What belongs to a run: its spec, its data, its checkpoints; other formats of its directory; grids that are whole."""

import json
import os
import shutil

import pytest
from rich.console import Console

from pogospec.checking.check import checked
from pogospec.checking.recorded import identity, reread
from pogospec.cli.training import resume
from pogospec.data import load_for
from pogospec.errors import ForeignError, RunDirectoryError, UsageError
from pogospec.launch.record import new_run
from pogospec.launch.sweep import jobs_of, reopen, run_sweep
from pogospec.runs.directory import RunDirectory, run_name
from pogospec.runs.manifest import FORMAT
from pogospec.spec.resolve import read_cells, read_text
from pogospec.training import loop

FLOW = """\
target: {kind: quadratic, center: [0.8], curvature: [2.0]}
policy: gaussian
energy: {q: {actions: quadrature}, entropy: {weight: 0.5}}
geometry: wasserstein2
optimizer: {kind: adam, learning_rate: %s}
schedule: {steps: [{from: previous, tau: 0.4, updates: 20}]}
"""


def made(path, rate="0.01"):
    spec = checked(read_text(FLOW % rate))
    run = new_run(spec, load_for(spec), path, "cpu")
    run.save_checkpoint(10, {}, {"total_update": 10})
    run.status("interrupted", update=10)
    return run


@pytest.fixture
def run(tmp_path):
    return made(tmp_path / "run")


def manifest(run, **changes):
    file = run.path / "manifest.json"
    about = {name: value for name, value in (json.loads(file.read_text()) | changes).items() if value is not None}
    file.write_text(json.dumps(about))


def test_an_edited_spec_is_refused_with_what_to_do(run):
    file = run.path / "spec.yaml"
    text = file.read_text()
    file.write_text(text.replace("0.01", "0.02"))
    with pytest.raises(RunDirectoryError, match=rf"edited.* restore it, .*pogospec run {file} --out OTHER"):
        resume(run.path)
    file.write_text(text[: len(text) // 2])
    with pytest.raises(RunDirectoryError, match="edited or damaged"):
        reread(run)
    file.write_text(f"# a comment changes nothing\n{text}")
    assert reread(run)[1].optimizer.policy.learning_rate == 0.01


def test_where_the_data_lie_may_change():
    one, two = (checked(read_text(f"extends: td3_bc\ndata: {{dataset: 'file:{name}.npz'}}\n")) for name in "ab")
    assert identity(one, "x") == identity(two, "x") != identity(one, "y")


def test_a_checkpoint_of_another_run_or_name_is_refused(run, tmp_path):
    other = made(tmp_path / "other", "0.02")
    other.save_checkpoint(15, {}, {"total_update": 15})
    name = "checkpoints/000000000015.safetensors"
    shutil.copy(other.path / name, run.path / name)
    with pytest.raises(ForeignError, match="of another run.*; remove it"):
        run.load_checkpoint()
    (run.path / name).unlink()
    shutil.copy(run.path / "checkpoints/000000000010.safetensors", run.path / name)
    with pytest.raises(ForeignError, match="after 10 updates, under another name; remove it"):
        run.load_checkpoint()
    (run.path / name).unlink()
    assert run.load_checkpoint() == ({}, {"total_update": 10})
    other.save_policy("step 1", {}, {})
    shutil.copy(other.path / "policies/step_1.safetensors", run.path / "policies")
    with pytest.raises(ForeignError):
        run.load_policy("step 1")


def test_formats_are_told_apart(run):
    manifest(run, format=FORMAT + 1, versions={"pogospec": "9.1"})
    with pytest.raises(RunDirectoryError, match=rf"format {FORMAT + 1}, made by pogospec 9.1; .*use a newer pogospec"):
        RunDirectory.open(run.path)
    manifest(run, format="old")
    with pytest.raises(RunDirectoryError, match="is damaged: format"):
        RunDirectory.open(run.path)
    manifest(run, format=None, identity=None, spec_sha256=None)  # as directories were before they had a format
    older = RunDirectory.open(run.path)
    older.save_checkpoint(10, {}, {"total_update": 10})
    assert older.load_checkpoint() == ({}, {"total_update": 10})
    reread(older)
    assert not older.notes
    (run.path / "spec.yaml").write_text((run.path / "spec.yaml").read_text().replace("0.01", "0.02"))
    reread(older)
    assert "is not the spec that the run began with" in older.notes[0]


@pytest.mark.parametrize("left", [[".lock"], ["checkpoints"], ["checkpoints", "policies", "spec.yaml", "metrics.csv"]])
def test_the_beginning_of_a_run_gives_way(tmp_path, left):
    path = tmp_path / "run"
    path.mkdir()
    for name in left:
        (path / name).mkdir() if "." not in name else (path / name).write_text("half")
    if left != [".lock"]:
        with pytest.raises(RunDirectoryError, match=f"stopped as it was made; begin it again with: .* --out {path}"):
            RunDirectory.open(path)
    assert made(path).manifest["format"] == FORMAT


@pytest.mark.parametrize(
    ("name", "text"), [("notes.txt", ""), ("checkpoints/1.safetensors", ""), ("flow.csv", "a\nb\n")]
)
def test_anything_else_does_not(tmp_path, name, text):
    path = tmp_path / "run"
    (path / name).parent.mkdir(parents=True)
    (path / name).write_text(text)
    with pytest.raises(RunDirectoryError, match="exists already"):
        made(path)
    assert (path / name).read_text() == text


def swept(folder):
    file = folder.parent / "swept.yaml"
    file.write_text(FLOW % "0.01" + "sweep: {policy: [gaussian, full_gaussian], energy.entropy.weight: [0.5, 1]}\n")
    return jobs_of(read_cells(file), folder)


class Stopped(BaseException):
    pass


@pytest.mark.exhaustive("a sweep of several programs, as storms of them are")
def test_a_sweep_that_stops_before_its_later_programs_goes_on_with_all_cells(tmp_path, monkeypatch):
    jobs = swept(tmp_path / "sweep")
    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "go", lambda *_: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            run_sweep(Console(quiet=True), jobs, "cpu")
    assert [job.begun for job in jobs] == [True, True, False, False]
    again = reopen(tmp_path / "sweep")
    assert [(job.path, job.spec, job.document.cell) for job in again] == [
        (job.path, job.spec, job.document.cell) for job in jobs
    ]
    assert run_sweep(Console(quiet=True), again, "cpu") == []
    assert {RunDirectory.open(job.path).status()["state"] for job in jobs} == {"done"}
    (tmp_path / "sweep" / "sweep.json").unlink()  # as folders were before grids were written
    assert [job.path for job in reopen(tmp_path / "sweep")] == [job.path for job in jobs]
    (tmp_path / "sweep" / "sweep.json").write_text('{"cells": [{"run": 1}]}')
    with pytest.raises(RunDirectoryError, match="sweep.json is damaged; remove it"):
        reopen(tmp_path / "sweep")


def test_resume_of_a_suite_says_how(tmp_path):
    (tmp_path / "suite.json").write_text('{"name": "mine", "runs": []}')
    with pytest.raises(UsageError, match=f"holds the suite 'mine'; go on with: pogospec suite FILE --out {tmp_path}"):
        resume(tmp_path)


def test_names_of_directories_fit_into_their_bytes():
    assert run_name("a" * 300) != run_name("a" * 301)
    assert len(os.fsencode(run_name("\N{CJK UNIFIED IDEOGRAPH-4E00}" * 90))) <= 255
