"""Runs whose rows lie in a file: the batches, and so the bits, of those whose rows lie in memory."""

import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import pogospec, sets
from rich.console import Console
from test_averaged_runs import SMALL, STEPS, TRIES, assert_same, ran

from pogospec.checking.check import checked
from pogospec.compiler import stage
from pogospec.data import load_for
from pogospec.errors import SpecError
from pogospec.launch.sweep import jobs_of, run_sweep
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import digest
from pogospec.spec.resolve import read_cells, read_text
from pogospec.training import loop, programs, stream

ONCE = pytest.mark.exhaustive("two more runs, of another layout or family")
OTHERS = {
    "side by side": (SMALL.replace("map", "vmap"), STEPS % "5"),
    "tried sizes": (SMALL, STEPS % TRIES),
    "float64": (SMALL.replace("train: {", "train: {precision: float64, "), STEPS % "5"),
    "bfloat16": (SMALL.replace("train: {", "train: {precision: bfloat16_matmul, "), STEPS % "5"),
    "raw": (SMALL.replace("holdout: 0.2", "normalize_observations: false, reward: {scale: 3, shift: -1}"), STEPS % "5"),
    "concurrent": (
        SMALL,
        "schedule: {mode: concurrent, steps: [{from: behavior, learn: [critic, behavior, policy], updates: 25, tau: 2}"
        ", {from: previous, learn: [policy], updates: 25, tau: 2, repeat: 2}]}\n",
    ),
    "iql": (SMALL.replace("pogo_w_two_step", "iql"), ""),
    "rebrac": (SMALL.replace("pogo_w_two_step", "rebrac"), ""),
    "cql": (SMALL.replace("pogo_w_two_step", "cql"), ""),
    "flow matching": (SMALL.replace("pogo_w_two_step", "fql"), ""),
    "map": (SMALL.replace("pogo_w_two_step", "pogo_map"), ""),
}


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Pieces of a few updates, and fewer rows at the beginning of a step than there are."""
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(stream, "PIECE", 30_000)
    for module in (stage, programs):
        monkeypatch.setattr(module, "BEGIN_ROWS", 300)


def on_disk(text, given=()):
    spec = checked(read_text(text, overrides=[*given, ("data.rows", "disk")]))
    assert load_for(spec).stored is not None
    return spec


def test_a_run_is_that_of_rows_in_memory_however_often_it_is_stopped(tmp_path, monkeypatch):
    text = SMALL + STEPS.replace("actor_every: 2", "actor_every: 2, behavior_batch: own") % "5"
    whole = ran(checked(read_text(text)), tmp_path / "memory")
    spec, out, stops, pieces = on_disk(text), tmp_path / "disk", [25, 52], []
    piece, guard = stream.Stream.piece, loop._Trainer._guard

    def seen(self, name, roots, batches, begin, count):
        pieces.append((*name, begin, count))
        return piece(self, name, roots, batches, begin, count)

    def stopping(trainer, of, done, stop):
        if stops and trainer.place.total >= stops[0]:
            del stops[0]
            raise KeyboardInterrupt
        guard(trainer, of, done, stop)

    monkeypatch.setattr(stream.Stream, "piece", seen)
    monkeypatch.setattr(loop._Trainer, "_guard", stopping)
    for again in (False, True):
        with pytest.raises(KeyboardInterrupt):
            ran(spec, out, again)
    assert_same(whole, ran(spec, out, True))
    assert len({begin for number, _, begin, _ in pieces if number == 0}) > 2, "a stage takes several pieces"
    assert all(begin % count == 0 for *_, begin, count in pieces)
    assert whole.manifest["digest"] == RunDirectory.open(out).manifest["digest"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=ONCE) for name in OTHERS])
def test_other_runs_are_too(name, tmp_path):
    head, steps = OTHERS[name]
    text = head + steps
    given = () if steps else [("schedule.steps[*].updates", "25")]
    whole = ran(checked(read_text(text, overrides=given)), tmp_path / "memory")
    assert_same(whole, ran(on_disk(text, given), tmp_path / "disk"))


@pytest.mark.exhaustive("two sweeps of two cells, with a step that is branched off from")
@pytest.mark.parametrize("how", ["seeds", "branch"])
def test_cells_and_branches_are_too(how, tmp_path):
    grid = 'sweep: {"schedule.steps[1].tau": [1.0, 3.0]}\n' if how == "seeds" else ""
    steps = STEPS % "5"
    if how == "branch":
        steps = steps.replace("schedule: {", "schedule: {branch: {at: [20, 30]}, ").replace(
            "updates: 40", "updates: 30"
        )
    found = []
    for where in ("memory", "disk"):
        (tmp_path / "spec.yaml").write_text(SMALL + steps + grid)
        documents = read_cells(tmp_path / "spec.yaml", [("data.rows", where)], [])
        for document in documents:
            checked(document)
        jobs = jobs_of(documents, tmp_path / where)
        assert run_sweep(Console(quiet=True), jobs, "cpu") == []
        found.append([RunDirectory.open(job.path) for job in jobs])
    for one, other in zip(*found, strict=True):
        assert_same(one, other)


@pytest.mark.exhaustive("two commands, with seeds over the cores of this machine")
@pytest.mark.parametrize("seeds", [2, 3])
def test_seeds_over_devices_are_too(seeds, tmp_path):
    given = [f"seeds={seeds}", "schedule.steps[*].updates=25", "train.batch_size=16", "train.batch_runs=shard"]
    given += ["policy.hidden=[8]", "behavior.hidden=[8]", "critic.hidden=[8]", "evaluate.episodes=1"]
    for where in ("memory", "disk"):
        pogospec("run", "pogo_w_two_step", *sets(*given, f"data.rows={where}"), "--quiet", "--out", tmp_path / where)
    assert_same(*(RunDirectory.open(tmp_path / where) for where in ("memory", "disk")))


def test_what_wants_rows_in_memory_is_refused():
    given = [("data.holdout", "0.2"), ("schedule.steps[1].judge", "{kind: proximal}"), ("data.rows", "disk")]
    with pytest.raises(SpecError) as told:
        checked(read_text("extends: pogo_w_two_step\n", overrides=given))
    assert "data.rows: found disk, but schedule.steps[1].judge asks for held-out episodes whole" in str(told.value)


def test_where_rows_lie_is_told_and_changes_no_identity(tmp_path):
    specs = [checked(read_text(SMALL, overrides=[("data.rows", where)])) for where in ("memory", "disk")]
    assert digest(specs[0]) == digest(specs[1])
    told = pogospec("explain", "td3_bc", "--set", "data.rows=disk", "--no-measure").stdout
    assert "rows read ahead" in told
    assert str(tmp_path / "data" / "rows") in "".join(told.split())
    assert "rows read ahead" not in pogospec("explain", "td3_bc", "--no-measure").stdout


def test_an_error_of_the_file_ends_the_run(tmp_path, monkeypatch):
    spec = on_disk(SMALL + STEPS % "5")
    take = stream.Stream.take

    def broken(self, rows):
        if threading.current_thread().name.startswith("rows"):
            raise OSError(5, "Input/output error")
        return take(self, rows)

    monkeypatch.setattr(stream.Stream, "take", broken)
    with pytest.raises(Exception, match="Input/output error"):
        ran(spec, tmp_path / "run")


ALLOWED = 480 * 2**20
"""Bytes of memory of its own that a process may have: what Python, JAX and a small program need, and little more."""
MINARI = Path(os.environ.get("MINARI_DATASETS_PATH", "")) / "pogobench"
SETS = ("halfcheetah/medium-v0", "halfcheetah/medium-expert-v0", "walker2d/medium-v0", "walker2d/medium-replay-v0")
LOGGED = {"actions": "actions", "rewards": "rewards", "terminals": "terminations", "timeouts": "truncations"}


def logged():
    """Columns of sets of as many observations and actions, one after another, as D4RL has them."""
    found = {name: [] for name in ("observations", "next_observations", *LOGGED)}
    for name in SETS:
        with h5py.File(MINARI / name / "data" / "main_data.hdf5") as file:
            for episode in file.values():
                own = {column: episode[source][()] for column, source in LOGGED.items()}
                own["timeouts"][-1] |= not own["terminals"][-1]
                own |= {"observations": episode["observations"][:-1], "next_observations": episode["observations"][1:]}
                for column, part in own.items():
                    found[column].append(part.astype(np.float32) if part.dtype.kind == "f" else part)
    whole = {name: np.concatenate(column) for name, column in found.items()}
    return whole | {"actions": np.clip(whole["actions"], -1, 1)}


def again_and_again(columns, times, path):
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            rows = len(column)
            written = file.create_dataset(name, (rows * times, *column.shape[1:]), column.dtype)
            for number in range(times):
                written[number * rows : (number + 1) * rows] = column
    return path


@pytest.mark.exhaustive("writes 12 GB, and reads 4 GB into memory for comparison: minutes")
def test_a_set_eight_times_the_memory_that_a_process_may_have(tmp_path, monkeypatch):
    if not all((MINARI / name).is_dir() for name in SETS):
        pytest.skip("MINARI_DATASETS_PATH names no folder with pogobench's halfcheetah and walker2d")
    if shutil.disk_usage(tmp_path).free < 16e9 or os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 12e9:
        pytest.skip("needs 16 GB of disk, and 12 GB of memory for the run to compare with")
    columns = logged()
    size = 4 * (2 * columns["observations"].shape[1] + 2 * columns["actions"].shape[1] + 5)
    times = math.ceil(8 * ALLOWED / (size * (len(columns["rewards"]) - 2000)))
    small, large = (again_and_again(columns, n, tmp_path / f"{n}.hdf5") for n in (1, times))
    given = [f"{network}.hidden=[32]" for network in ("policy", "critic", "behavior")]
    given += ["train.batch_size=64", "schedule.steps[*].updates=300"]
    code = "import sys; from pogospec.cli import app; app(sys.argv[1:])"

    def trained(data, rows, out, limit=""):
        more = sets(*given, f"data.dataset=file:{data}", f"data.rows={rows}")
        command = [sys.executable, "-c", code, "run", "td3_bc", *more, "--quiet", "--out", str(tmp_path / out)]
        limited = ["sh", "-c", f'{limit} exec "$@"', "sh", *command]
        return subprocess.run(limited, capture_output=True, text=True, check=False)

    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    limit = f"ulimit -s 1024; ulimit -d {ALLOWED // 1024};"
    assert trained(small, "disk", "small").returncode == 0  # what compiling takes is not what is asked for
    done = trained(large, "disk", "disk", limit)
    assert done.returncode == 0, done.stderr[-2000:]
    (file,) = (file for file in (tmp_path / "data" / "rows").glob("*/rows.npy") if file.stat().st_size > 1e9)
    assert file.stat().st_size >= 8 * ALLOWED
    assert trained(large, "memory", "refused", limit).returncode != 0
    assert trained(large, "memory", "memory").returncode == 0
    assert_same(*(RunDirectory.open(tmp_path / out) for out in ("memory", "disk")))
