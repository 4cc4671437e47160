"""Branches of a run: each is the run whose step takes so many updates; resumed, compared, drawn and refused."""

import shutil

import numpy as np
import pytest
from commands import pogospec
from rich.console import Console
from test_averaged_runs import assert_same

import pogospec as package
from pogospec.checking.check import checked
from pogospec.data import load_for
from pogospec.errors import SpecError, UsageError
from pogospec.launch.branches import trunks_of, updates_saved
from pogospec.launch.one import execute
from pogospec.launch.record import new_run
from pogospec.launch.states import states
from pogospec.launch.sweep import jobs_of, reopen, run_sweep
from pogospec.report.figures.catalog import draw_all
from pogospec.report.figures.switching import curves
from pogospec.report.reading import final, open_runs
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_cells, read_text
from pogospec.training import loop

SMALL = """\
extends: pogo_w_two_step
policy: {hidden: [5]}
behavior: {hidden: [5]}
critic: {hidden: [5]}
train: {batch_size: 16, log_every: 10, checkpoint_every: 15, batch_runs: map}
evaluate: {every: 20, episodes: 1}
seeds: 2
optimizer: {policy: {average: {window: 6}}}
"""
STEPS = """
schedule:
  branch: {step: 1, at: [20, 40]}
  steps: [{learn: [critic, behavior], updates: 20},
          {from: behavior, learn: [critic, policy], updates: 50, tau: 2.5, actor_every: 2},
          {from: previous, learn: [policy], updates: 20, tau: 5.0}]
"""


def swept(folder, text=SMALL + STEPS):
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(text)
    jobs = jobs_of(read_cells(file), folder)
    assert not run_sweep(Console(quiet=True), jobs, "cpu")
    return jobs


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    folder = tmp_path_factory.mktemp("branches") / "grown"
    return folder, swept(folder)


@pytest.mark.exhaustive("a trunk, its branches and the runs that they equal")
def test_a_branch_is_bit_for_bit_the_run_whose_step_ends_there(grown, tmp_path):
    _, jobs = grown
    for job in jobs[:1]:
        alone = tmp_path / job.path.name
        spec = checked(
            read_text(
                SMALL
                + STEPS.replace("50", str(job.document.trunk.at))
                .replace("step: 1, at", "at")
                .replace("  branch: {at: [20, 40]}\n", "")
            )
        )
        assert spec == job.spec
        data = load_for(spec)
        execute(Console(quiet=True), spec, data, new_run(spec, data, alone, "cpu"))
        assert_same(RunDirectory.open(alone), RunDirectory.open(job.path))
    assert [job.document.cell for job in jobs] == [{"schedule.steps[1].updates": at} for at in (20, 40)]
    assert updates_saved(jobs) == (20 + 40 + 2 * 20, 2 * 20 + 20 + 40 + 2 * 20)
    (trunk,) = (RunDirectory.open(path) for path in trunks_of(jobs))
    assert trunk.checkpoints() == [40, 50, 60]
    assert {row["stage"] for row in trunk.read("metrics.csv")} == {"warm-up", "step 1"}
    assert RunDirectory.open(jobs[0].path).manifest["branch"] == {
        "trunk": trunk.path.name, "step": 1, "label": "step 1", "at": 20,
    }  # fmt: skip


@pytest.mark.exhaustive("every command that reports, of branches")
def test_commands_know_branches(grown):
    folder, jobs = grown
    table = pogospec("compare", folder).stdout
    assert "updates" in table
    assert "different numbers of updates" not in table
    firsts = [line.split()[0] for line in table.splitlines() if line.strip()]
    assert [word for word in firsts if word.isdigit()] == ["20", "40"]
    done = pogospec("resume", folder).stdout
    assert "what comes before runs once: 100 updates in all, in the place of 140" in done
    assert pogospec("plot", folder, "--figure", "switching").stdout.strip() == str(folder / "switching.png")
    runs, _ = open_runs([folder])
    assert [run.path for run in runs] == [job.path for job in jobs]
    drawn = curves(runs)
    assert list(drawn) == ["step 1, at the switch", "step 1 (last), at the switch", "step 2", "step 2 (last)"]
    assert [at for at, _ in drawn["step 2"]] == [20, 40]
    assert all(
        (cell.values == final(run)["step 2"].values).all() for (_, cell), run in zip(drawn["step 2"], runs, strict=True)
    )
    assert {path.stem for path in draw_all(runs, folder / "all").paths} >= {"curves", "sweep", "switching"}


@pytest.mark.exhaustive("a folder of runs again")
def test_a_folder_that_is_stopped_goes_on_with_trunk_and_branches(grown, tmp_path):
    _, jobs = grown
    folder, stops, real = tmp_path / "stopped", [35, 55, 75], loop._Trainer._guard
    file = tmp_path / "spec.yaml"
    file.write_text(SMALL + STEPS)

    def stopping(trainer, stage, ran, stop):
        if stops and trainer.place.total >= stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt
        real(trainer, stage, ran, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Trainer, "_guard", stopping)
        for number in range(3):
            again = reopen(folder) if number else jobs_of(read_cells(file), folder)
            with pytest.raises(KeyboardInterrupt):
                run_sweep(Console(quiet=True), again, "cpu")
    again = reopen(folder)
    assert [job.spec for job in again] == [job.spec for job in jobs]
    assert not run_sweep(Console(quiet=True), again, "cpu")
    for job, other in zip(jobs, again, strict=True):
        assert_same(RunDirectory.open(job.path), RunDirectory.open(other.path))


@pytest.mark.exhaustive("four runs and a trunk")
def test_cells_that_differ_in_later_steps_share_their_trunk(tmp_path):
    grid = 'sweep: {"schedule.steps[2].tau": [0.5, 5.0]}\n'
    folder = tmp_path / "both"
    jobs = swept(folder, SMALL + STEPS.replace("[20, 40]", "[20, 30]") + grid)
    assert len(jobs) == 4
    assert len(trunks_of(jobs)) == 1
    policies = [RunDirectory.open(job.path).load_policy("step 1")[0] for job in jobs]
    name = next(name for name in policies[0] if name.endswith("weight"))
    assert np.array_equal(policies[0][name], policies[2][name])
    assert not np.array_equal(policies[0][name], policies[1][name])
    assert list(curves(open_runs([folder])[0])) == [
        "step 1, at the switch", "step 1 (last), at the switch", "step 2  tau=0.5", "step 2  tau=5",
    ]  # fmt: skip
    more = jobs_of(read_cells(folder.parent / "both.yaml", (), [("schedule.steps[2].tau", "[2.0]")]), folder)
    assert [state.word for state in states([*trunks_of(more).values()])] == ["done"]


def test_what_cannot_branch_is_told(tmp_path):
    branch = "schedule.branch.at"
    cases = {
        ("at: [20, 40]", "at: [20, 60]"): (branch, "found 60, but schedule.steps[1].updates is 50"),
        ("at: [20, 40]", "at: [30, 20]"): (branch, "allowed numbers that increase"),
        ("at: [20, 40]", "at: [4]"): (branch, "by when the policy has updated 2 times"),
        ("step: 1,", "step: 2,"): ("schedule.branch.step", "found 2, allowed 0 to 1"),
        ("tau: 2.5", "repeat: 2, tau: 2.5"): ("schedule.steps[1].repeat", "found 2"),
        ("tau: 2.5", "until: critic_settled, tau: 2.5"): ("schedule.steps[1].until", "may end the step before"),
        ("tau: 2.5", "optimizer: {decay: cosine}, tau: 2.5"): (
            "schedule.steps[1].optimizer.critic.decay",
            "falls over",
        ),
        ("  branch", "  mode: concurrent\n  branch"): ("schedule.branch", "allowed mode: sequential"),
    }
    for (old, new), (path, message) in cases.items():
        with pytest.raises(SpecError) as caught:
            checked(read_text(SMALL + STEPS.replace(old, new)))
        assert any(p.path == path and message in p.message for p in caught.value.problems), str(caught.value)
    file = tmp_path / "spec.yaml"
    file.write_text(SMALL + STEPS)
    with pytest.raises(UsageError, match="run the file with pogospec.sweep"):
        package.run(file, out=tmp_path / "run")
    done = pogospec("run", file, "--sweep", "schedule.branch.step=[0, 1]", "--out", tmp_path / "run", check=False)
    assert "whose moments are cells already" in done.stderr
    suite = tmp_path / "suite.yaml"
    suite.write_text("specs: [spec.yaml]\n")
    done = pogospec("suite", suite, "--dry-run", check=False)
    assert "found a spec that branches" in done.stderr
    assert "Traceback" not in done.stderr
    text = pogospec("explain", file, "--no-measure").stdout
    assert "2 runs, from step 1 after 20, 40 of its updates" in " ".join(text.split())
    assert "one by one" in text


def test_a_trunk_without_its_checkpoint_is_told(grown, tmp_path):
    folder, jobs = grown
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / jobs[0].path.name)
    trunk = copy / jobs[0].document.trunk.run
    next(trunk.glob("checkpoints/*40.safetensors")).unlink()
    done = pogospec("resume", copy, check=False)
    assert done.returncode
    assert "holds no checkpoint after 40 updates; remove it, and resume" in done.stderr
