"""Sweeps that run: each cell is the run of its spec alone, whatever trains beside it, and whatever happens to it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import pogospec, started
from rich.console import Console

from pogospec.compiler.compile import compile_spec
from pogospec.data import load_for
from pogospec.errors import RunError
from pogospec.launch.one import execute
from pogospec.launch.record import new_run
from pogospec.launch.sweep import groups_of, jobs_of, reopen, run_sweep
from pogospec.report.figures.catalog import draw_figure
from pogospec.report.reading.find import open_runs
from pogospec.report.reading.sweeps import grids
from pogospec.report.tables import sweep as table
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read_cells, read_text
from pogospec.training import programs
from pogospec.training import rollout as evaluate
from pogospec.training.batching import Batching
from pogospec.training.chunk import chunk_function

SMALL = """\
seeds: 2
policy: {hidden: [8]}
behavior: {hidden: [8]}
critic: {hidden: [8]}
train: {batch_size: 16, log_every: 25, checkpoint_every: 25, batch_runs: %s}
evaluate: {every: 50, episodes: 2}
schedule: {steps: [{from: behavior, learn: [critic, behavior, policy], updates: 50, tau: 2.5, actor_every: 2},
                   {from: previous, learn: [policy], updates: 25, tau: 5.0}]}
"""
GRID = 'sweep: {"schedule.steps[*].tau": [0.5, 20], energy.entropy.weight: [0, 0.3]}\n'
FILES = ("metrics.csv", "returns.csv", "flow.csv")


def spec_of(how, more=GRID, base="pogo_w_two_step"):
    return f"extends: {base}\n{SMALL % how}{more}"


def jobs_in(folder, text):
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(text)
    return jobs_of(read_cells(file), folder)


def quiet():
    return Console(quiet=True)


def swept(folder, text):
    jobs = jobs_in(folder, text)
    failures = run_sweep(quiet(), jobs, "cpu")
    return jobs, failures


def alone(job, path):
    """The run of a cell's spec by itself."""
    data = load_for(job.spec)
    run = new_run(job.spec, data, path, "cpu")
    execute(quiet(), job.spec, data, run)
    return run


def rows(run, name):
    """Rows of a file without what a clock wrote."""
    clocks = ("seconds", "updates_per_second")
    return [{key: value for key, value in row.items() if key not in clocks} for row in run.read(name)]


def close(row, other):
    """Whether rows say the same, their numbers up to rounding."""
    return all(
        a == b or float(a) == pytest.approx(float(b), rel=1e-5, abs=1e-7) for a, b in zip(row, other, strict=True)
    )


def assert_same(first, second, measured_alike=True):
    """Bit for bit: files, policies and checkpoints; means over held-out states only where they are summed alike."""
    one, two = RunDirectory.open(first), RunDirectory.open(second)
    for name in FILES:
        a, b = rows(one, name), rows(two, name)
        if name == "flow.csv" and not measured_alike:
            assert all(close(x.values(), y.values()) for x, y in zip(a, b, strict=True))
        else:
            assert a == b, name
    assert one.policies() == two.policies()
    for label in one.policies():
        (a, about), (b, other) = one.load_policy(label), two.load_policy(label)
        assert about == other
        assert all(np.array_equal(a[name], b[name]) for name in a)
    assert one.checkpoints() == two.checkpoints()
    for total in one.checkpoints():
        (a, place), (b, other) = one.load_checkpoint_of(total), two.load_checkpoint_of(total)
        assert place == other
        assert all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "mapped"
    return folder, *swept(folder, spec_of("map"))


@pytest.fixture(scope="module")
def vmapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "vmapped"
    return folder, *swept(folder, spec_of("vmap"))


@pytest.mark.exhaustive("trains every cell twice")
def test_one_after_another_a_cell_is_its_own_run_bit_for_bit(mapped, tmp_path):
    _, jobs, failures = mapped
    assert not failures
    run = alone(jobs[3], tmp_path / "alone")
    assert_same(run.path, jobs[3].path, measured_alike=False)
    manifest = RunDirectory.open(jobs[3].path).manifest
    assert manifest["sweep"] == jobs[3].document.cell
    assert {**manifest, "started": 0} == {
        **run.manifest, "started": 0, "sweep": jobs[3].document.cell, "cell": 3
    }  # fmt: skip


@pytest.mark.exhaustive("one after another cells are asked for more, above")
def test_side_by_side_a_cell_is_its_own_run_up_to_rounding(vmapped, tmp_path):
    _, jobs, failures = vmapped
    assert not failures
    run, cell = alone(jobs[2], tmp_path / "alone"), RunDirectory.open(jobs[2].path)
    for label in ("behavior", "step 1"):  # after 50 updates
        (a, _), (b, _) = run.load_policy(label), cell.load_policy(label)
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5)


def test_cells_of_numbers_are_one_program_and_one_vector_environment(tmp_path, monkeypatch):
    chunks, rolled = [], []
    made, rollout = programs.chunk_function, evaluate.Evaluator.rollout
    monkeypatch.setattr(programs, "chunk_function", lambda *a, **k: chunks.append(a[0].label) or made(*a, **k))
    monkeypatch.setattr(evaluate.Evaluator, "rollout", lambda self, act, n: rolled.append(n) or rollout(self, act, n))
    jobs, failures = swept(tmp_path / "one", spec_of("vmap"))
    assert not failures
    assert len(groups_of(jobs)) == 1
    assert chunks == ["step 1", "step 2"]
    assert rolled == [8, 8, 8]


def test_kinds_shapes_and_steps_that_end_by_themselves_are_programs_of_their_own(tmp_path):
    grid = "sweep: {policy.hidden: [[8], [4]], energy.entropy.weight: [0, 0.3], geometry.weight: [1, 2]}\n"
    jobs = jobs_in(tmp_path / "shapes", spec_of("vmap", grid))
    assert [[job.method for job in group] for group in groups_of(jobs)] == [
        [job.method for job in jobs[:4]],
        [job.method for job in jobs[4:]],
    ]
    rule = '"schedule.steps[0].until": [critic_settled]'
    grid = f"data: {{holdout: 0.1}}\nsweep: {{{rule}, energy.entropy.weight: [0, 0.3]}}\n"
    assert [len(group) for group in groups_of(jobs_in(tmp_path / "until", spec_of("vmap", grid)))] == [1, 1]
    grid = "sweep: {data.reward.scale: [1, 2], train.batch_size: [8, 9]}\n"
    assert [len(group) for group in groups_of(jobs_in(tmp_path / "data", spec_of("vmap", grid)))] == [1] * 4


def test_a_cell_that_fails_stops_no_other(mapped, tmp_path):
    grid = GRID.replace("sweep: {", "sweep: {optimizer.behavior.learning_rate: [3.0e-4, 3.0e+38], ")
    jobs, failures = swept(tmp_path / "failing", spec_of("map", grid))
    bad = [job for job in jobs if job.spec.optimizer.behavior.learning_rate > 1]
    assert [failure.job for failure in failures] == bad
    assert all("is not finite" in failure.message for failure in failures)
    for good, same in zip([job for job in jobs if job not in bad], mapped[1], strict=True):
        assert RunDirectory.open(good.path).status() == {"state": "done", "message": "", "update": 75}
        assert rows(RunDirectory.open(good.path), "metrics.csv") == rows(RunDirectory.open(same.path), "metrics.csv")
    assert {RunDirectory.open(job.path).status()["state"] for job in bad} == {"failed"}


def test_where_all_cells_fail_each_says_why(tmp_path):
    grid = "sweep: {optimizer.critic.learning_rate: [2.0e+38, 3.0e+38]}\n"
    jobs, failures = swept(tmp_path / "all", spec_of("vmap", grid))
    assert [failure.job for failure in failures] == jobs
    assert all("is not finite" in RunDirectory.open(job.path).status()["message"] for job in jobs)


@pytest.mark.exhaustive("a storm of kills, as there are of sweeps")
def test_a_sweep_that_is_killed_goes_on_to_the_same_end(mapped, tmp_path):
    file, folder = tmp_path / "killed.yaml", tmp_path / "killed"
    file.write_text(spec_of("map"))
    process = started("run", file, "--out", folder)
    while len(list(folder.glob(f"*/checkpoints/{25:012d}.safetensors"))) < 2:
        time.sleep(0.005)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    printed = pogospec("resume", folder).stdout
    assert "4 cells in one program" in printed
    for job in mapped[1]:
        assert_same(job.path, folder / job.path.name)
    again = pogospec("run", file, "--out", folder).stdout
    assert "updates/s" not in again
    assert [job.method for job in reopen(folder)] == [job.method for job in mapped[1]]


@pytest.mark.exhaustive("real processes; that of a run is interrupted in the quick part")
def test_an_interrupted_sweep_says_how_to_go_on(tmp_path):
    file, folder = tmp_path / "stopped.yaml", tmp_path / "stopped"
    file.write_text(spec_of("vmap") + "name: stopped\n")
    process = started("run", file, "--out", folder, "--updates", "100000")
    while not list(folder.glob("*/checkpoints/*.safetensors")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors.strip()) == (130, f"interrupted; go on with: pogospec resume {folder}")
    assert {run.status()["state"] for run in open_runs([folder])[0]} == {"interrupted"}


def test_a_folder_of_another_sweep_is_refused(vmapped):
    folder = vmapped[0]
    done = pogospec("run", folder.with_suffix(".yaml"), "--seeds", "3", "--out", folder, check=False)
    assert done.returncode == 2
    assert "was run with other settings: seeds 2, now 3" in done.stderr


def test_tables_of_cells(vmapped):
    folder, jobs, _ = vmapped
    (grid,) = grids(open_runs([folder])[0])
    assert table.head(grid) == ["tau", "entropy.weight", "behavior", "step 1", "step 2"]
    assert [row[:2] for row in table.texts(grid)] == [["0.5", "0"], ["0.5", "0.3"], ["20", "0"], ["20", "0.3"]]
    means = [row.policies["step 2"].values.mean() for row in grid.rows]
    assert table.best(grid, "step 2") == int(np.argmax(means))
    text = table.to_markdown(open_runs([folder])[0])
    assert f"**{grid.rows[int(np.argmax(means))].policies['step 2']}**" in text
    shown = pogospec("compare", folder).stdout
    assert "entropy.weight" in shown
    found = json.loads(pogospec("compare", folder, "--to", "json").stdout)
    assert [run["title"] for run in found["runs"]] == [f"pogo-w-two-step {job.method}" for job in sorted_by_path(jobs)]


def sorted_by_path(jobs):
    return sorted(jobs, key=lambda job: job.path)


@pytest.mark.parametrize("paths", [1, 2, 3])
def test_pictures_of_one_two_and_three_paths(vmapped, paths, tmp_path):
    runs = open_runs([vmapped[0]])[0]
    for number, run in enumerate(runs):
        cell = dict([*run.manifest["sweep"].items(), ("train.batch_size", 8 + number // 2)][-paths:])
        copy = RunDirectory.create(tmp_path / str(number), "", run.manifest | {"sweep": cell})
        (copy.path / "returns.csv").write_bytes((run.path / "returns.csv").read_bytes())
        copy.status("done")
    members = open_runs([tmp_path])[0]
    (picture,) = draw_figure(members, "sweep", tmp_path / "sweep.png")
    assert picture.stat().st_size > 5000


@pytest.mark.exhaustive("asks of flows what is asked of data above")
def test_cells_of_a_known_energy(tmp_path):
    base = "extends: flows/quadratic_w2\nseeds: 2\ntrain: {batch_runs: map}\n"
    text = f"{base}sweep: {{energy.entropy.weight: [0.25, 1.0]}}\n"
    jobs, failures = swept(tmp_path / "flow", text)
    assert not failures
    run, cell = alone(jobs[0], tmp_path / "alone"), RunDirectory.open(jobs[0].path)
    for label in run.policies():
        (a, _), (b, _) = run.load_policy(label), cell.load_policy(label)
        assert all(np.array_equal(a[name], b[name]) for name in a)
    for one, two in zip(run.read("flow.csv"), cell.read("flow.csv"), strict=True):
        for name in ("kl_optimum", "w2_optimum", "energy", "objective"):
            assert float(one[name]) == pytest.approx(float(two[name]), rel=1e-12)


SHARDED = """
import sys, pathlib
sys.path.insert(0, {tests!r})
import jax, numpy as np
assert len(jax.devices()) == 8
from test_sweep_runs import gradients_apart, spec_of, swept, uneven_and_even_are_those_of_one_device
gradients_apart()
uneven_and_even_are_those_of_one_device()
folder = pathlib.Path({folder!r})
jobs, failures = swept(folder, spec_of("shard"))
assert not failures
"""


def gradients_apart():
    """Compare gradients of runs spread over devices with those side by side on one."""
    spec = read_text(spec_of("shard", "")).spec
    assert spec is not None
    data = load_for(spec)
    program, spread, near = compile_spec(spec, data.space), Batching("shard", 8), Batching("vmap", 8)
    keys = jax.vmap(jax.random.key)(jnp.arange(8))
    axes = (None, 0, None, 0)
    batch = jax.tree.map(lambda column: jnp.asarray(column[:64]), data.transitions)
    found = []
    for how in (spread, near):
        state = how.jit(program.init, (None, 0))(how.shared(program.numbers), how.own(keys))
        state = how.jit(program.stages[0].enter, axes)(program.numbers, state, how.shared(batch), how.own(keys))
        moved = state._replace(policy=jax.tree.map(lambda leaf: leaf + 0.1, state.policy))
        gradient, _ = how.jit(program.stages[0].actor_gradient, axes)(program.numbers, moved, batch, keys)
        found.append(gradient)
    leaves = jax.tree.leaves(found[0])
    assert all(len(leaf.sharding.device_set) == 8 for leaf in leaves)
    assert max(float(np.abs(leaf).max()) for leaf in leaves) > 1e-3
    for one, two in zip(leaves, jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(two), rtol=1e-6, atol=1e-6)


def uneven_and_even_are_those_of_one_device():
    """Chunks of 1 to 11 runs, over as many devices as there are runs, are those of one device bit for bit."""
    spec = read_text(spec_of("shard", "")).spec
    assert spec is not None
    data = load_for(spec)
    program = compile_spec(spec, data.space)
    stage = program.stages[0]
    batch = jax.tree.map(lambda column: jnp.asarray(column[:64]), data.transitions)
    for runs in (1, 3, 8, 11):
        keys, found = jax.vmap(jax.random.key)(jnp.arange(runs)), []
        for how in (Batching("shard", runs), Batching("map", runs)):
            numbers, own = how.shared(program.numbers_of(0)), how.own(keys)
            state = how.jit(program.init, (None, 0))(numbers, own)
            state = how.jit(stage.enter, (None, 0, None, 0))(numbers, state, how.shared(batch), own)
            chunk = chunk_function(stage, 16, None, how, donate=True)
            found.append(chunk(numbers, how.shared(batch), how.own(state), own, 0, 7))
        assert len(jax.tree.leaves(found[0])[0].sharding.device_set) == min(runs, 8)
        for one, two in zip(*map(jax.tree.leaves, found), strict=True):
            assert one.shape[0] == runs
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


@pytest.mark.exhaustive("compiles for eight devices in a process of its own")
def test_runs_spread_over_eight_devices_are_those_of_one(vmapped, tmp_path):
    folder = tmp_path / "sharded"
    code = SHARDED.format(tests=str(Path(__file__).parent), folder=str(folder))
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for job in vmapped[1]:
        one, two = RunDirectory.open(job.path), RunDirectory.open(folder / job.path.name)
        (a, _), (b, _) = one.load_policy("step 1"), two.load_policy("step 1")
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("runs", [1, 5])
def test_on_one_core_runs_are_computed_one_after_another(runs):
    assert len(Batching("shard", runs).devices) == 1  # one device here
    assert Batching.of("auto", runs).kind == "map"


def test_a_refused_number_is_told_before_anything_runs(tmp_path):
    done = pogospec("run", "td3_bc", "--sweep", "train.batch_size=[8,0]", "--out", tmp_path / "x", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("--sweep train.batch_size: train.batch_size: found 0, allowed a whole number >= 1")
    assert not (tmp_path / "x").exists()


def test_failed_cells_end_the_command_with_code_1(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text(spec_of("vmap", "sweep: {optimizer.critic.learning_rate: [3.0e-4, 3.0e+38]}\n"))
    done = pogospec("run", file, "--out", tmp_path / "bad", check=False)
    assert done.returncode == RunError.exit_code == 1
    assert "1 of 2 cells failed" in done.stderr
    assert "critic.learning_rate=3e+38 failed: step 1" in done.stdout
