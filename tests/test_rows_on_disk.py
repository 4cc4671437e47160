"""Runs whose rows lie in a file: the batches, and so the bits, of those whose rows lie in memory."""

import threading

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
