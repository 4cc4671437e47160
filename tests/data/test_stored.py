"""Rows in a file: those that reading into memory makes, to the bit, whatever the pieces."""

import json
from typing import Any

import numpy as np
import pytest
from made import FILE, ID, write
from test_sources import MINARI, collect_minari

from pogospec.checking.at_hand import lacks
from pogospec.checking.check import load
from pogospec.data import arrays, columns, load_for, stored, tables, used
from pogospec.data.columns import Columns
from pogospec.data.logged import Logged
from pogospec.errors import DataError
from pogospec.spec.resolve import read_cells
from pogospec.spec.schema import RewardSpec
from pogospec.spec.shipped import spec_path
from pogospec.training.loop import _prepared

FACTS = ("id", "space", "environment", "sha256", "reference", "changes")


@pytest.fixture(params=[5, 1 << 16], ids=["pieces", "one piece"])
def chunk(request, monkeypatch):
    """Rows of a piece."""
    for module in (columns, stored, used, arrays, tables):
        monkeypatch.setattr(module, "CHUNK", request.param)
    return request.param


def made(seed: int, rows: int = 43) -> dict:
    """Columns as any logged data may have them; which of them depends on the seed."""
    draw = np.random.default_rng(seed)
    flag = lambda share: draw.random(rows) < share  # noqa: E731
    offset = 1e9 * (seed % 3 == 0)  # which float32 would blur
    seen, after = (draw.normal(size=(rows, 3)) * 0.1 + offset for _ in range(2))
    goes_on = flag(0.7)[1:]
    after[:-1][goes_on] = seen[1:][goes_on]
    kind = float if seed % 3 == 0 else np.float32
    found = {"observations": seen.astype(kind), "actions": draw.uniform(-2, 2, (rows, 2)).astype(np.float32)}
    found |= {"rewards": draw.normal(size=rows).astype(np.float32), "terminated": flag(0.1), "truncated": flag(0.15)}
    found |= {"next_observations": after.astype(kind)} if seed % 2 else {}
    found |= {"ends": flag(0.2)} if seed % 5 == 2 else {}
    return found | ({"unknown": flag(0.2)} if seed % 7 == 3 else {})


@pytest.mark.parametrize("seed", range(12))
def test_rows_are_those_in_memory(seed, chunk, tmp_path):
    dropped = np.random.default_rng(seed).random(43) < 0.1 if seed % 2 == 0 else None
    facts = (-2.0,) * 2, (2.0,) * 2, "given", None, "0", tmp_path, None, dropped
    known = [Logged("made", Columns(**made(seed)), *facts) for _ in range(2)]
    count = stored.write(known[0], tmp_path / "rows.npy")
    whole = known[1].dataset().transitions
    assert_same(stored.Stored(tmp_path / "rows.npy", count).transitions(), whole)
    assert count == len(np.unique(whole.episodes))
    asked = np.random.default_rng(seed).integers(0, len(whole.rewards), (4, 9))
    taken = stored.Stored(tmp_path / "rows.npy", count).take(asked)
    assert_same(taken, type(whole)(*(column[asked] for column in whole)))


def assert_same(found, wanted):
    for name, one, other in zip(wanted._fields, found, wanted, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype), name
        assert np.ascontiguousarray(one).tobytes() == other.tobytes(), name


@pytest.mark.parametrize(
    "name", ["own.hdf5", "own.safetensors", "follows.h5", "final.h5", ID, MINARI, "pocket/reacher-mixed"]
)
def test_sources_put_the_same_rows_there(name, chunk, places, tmp_path):
    dataset = name
    if name.startswith("pocket") and chunk == 5:
        pytest.skip("has many rows")
    if "." in name:
        timeouts = np.array([0, 0, 0, 0, 0, 1, 0, 1], bool)
        more = {"follows.h5": {"next_observations": np.arange(8.0)[:, None]}}
        more |= {"final.h5": {"final_observations": np.array([[3.0], [13.0], [22.0]]), "timeouts": timeouts}}
        more = more.get(name, {})
        dataset = f"file:{write(tmp_path / name, **more)}"
    elif name == ID:
        write(places / FILE)
    elif name == MINARI:
        collect_minari()
    given = [("data.dataset", dataset)]
    memory, disk = (load_for(load("td3_bc", [*given, ("data.rows", where)])) for where in ("memory", "disk"))
    assert memory.stored is None
    assert disk.stored.file.is_relative_to(places / "rows")
    assert_same(disk.transitions, memory.transitions)
    assert [getattr(disk, fact) for fact in FACTS] == [getattr(memory, fact) for fact in FACTS]
    assert not list((places / "rows").glob("part-*"))
    file, before = disk.stored.file, disk.stored.file.stat()
    played = [("data.max_episode_steps", "7")] if memory.environment else []
    again, other = (load_for(load("td3_bc", [*given, *played, ("data.rows", where)])) for where in ("disk", "memory"))
    assert (again.environment, again.reference) == (other.environment, other.reference)
    assert (again.stored.file, file.stat().st_mtime_ns) == (file, before.st_mtime_ns), "it is not written twice"


def test_other_data_under_the_same_name_are_written_anew(places, tmp_path):
    path, found = tmp_path / "own.hdf5", []
    for reward in (1.0, 2.0):
        write(path, rewards=np.full(8, reward, np.float32))
        found.append(load_for(load("td3_bc", [("data.dataset", f"file:{path}"), ("data.rows", "disk")])))
    assert [float(each.transitions.rewards[0]) for each in found] == [1.0, 2.0]
    assert found[0].stored.file != found[1].stored.file


@pytest.mark.parametrize("seed", [4, 9])
@pytest.mark.parametrize("holdout", ["0", "0.3"])
@pytest.mark.parametrize("normalized", ["true", "false"])
@pytest.mark.parametrize("reward", ["{}", "{scale: 3, shift: -1, return_range: 10}"])
def test_training_sees_the_same_rows_and_statistics(seed, holdout, normalized, reward, chunk, places, tmp_path):
    given = [("data.holdout", holdout), ("data.normalize_observations", normalized), ("data.reward", reward)]
    path = tmp_path / "own.safetensors"
    columns = made(seed, 400)
    columns |= {"terminals": columns.pop("terminated"), "timeouts": columns.pop("truncated")}
    columns["actions"] /= 2
    write(path, **columns)
    found = []
    for where in ("memory", "disk"):
        spec = load("td3_bc", [*given, ("data.dataset", f"file:{path}"), ("data.rows", where)])
        found.append(_prepared(spec, load_for(spec)))
    memory, disk = found
    assert disk.used.count == len(memory.used.rewards)
    rows = disk.used.take(np.arange(disk.used.count), np.float32)
    assert_same(rows, type(rows)(*map(np.asarray, memory.used)))
    assert_same(type(rows)(*map(np.asarray, disk.held)), type(rows)(*map(np.asarray, memory.held)))
    for one, other in zip(disk.normalizer, memory.normalizer, strict=True):
        assert (one.tobytes(), one.dtype) == (other.tobytes(), other.dtype)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rewards": np.array([1, np.nan] * 4, np.float32)}, "rewards holds NaN or infinity in 4 rows, first in row 1"),
        ({"actions": np.full((8, 1), 3, np.float32)}, "actions lie outside the bounds [-1.0] to [1.0] in 8 rows"),
    ],
)
def test_data_that_cannot_be_used_leave_nothing(changes, text, places, tmp_path):
    path = write(tmp_path / "own.hdf5", **changes)
    with pytest.raises(DataError) as told:
        load_for(load("td3_bc", [("data.dataset", f"file:{path}"), ("data.rows", "disk")]))
    assert text in str(told.value)
    assert not list((places / "rows").iterdir())


def test_rewards_too_large_are_told_alike(places, tmp_path):
    path, found = write(tmp_path / "own.hdf5", rewards=np.array([1, 2, 3, 4, 5, -6, 7, 1], np.float32)), []
    data: Any = load_for(load("td3_bc", [("data.dataset", f"file:{path}"), ("data.rows", "disk")]))
    reward = RewardSpec(scale=1e15)
    for check, given in ((arrays.check_rewards, data.transitions), (used.check_stored_rewards, data.stored)):
        with pytest.raises(DataError) as told:
            check(given, reward)
        found.append(str(told.value))
    assert found[0] == found[1]


@pytest.mark.parametrize("suffix", ["npz", "parquet"])
def test_check_refuses_what_is_read_as_a_whole(suffix, places, tmp_path):
    path = write(tmp_path / f"own.{suffix}")
    (document,) = read_cells(spec_path("td3_bc"), [("data.dataset", f"file:{path}"), ("data.rows", "disk")], [])
    (lack,) = lacks([document])
    wanted = f"found disk, but files .{suffix} are read as a whole, allowed memory"
    assert (lack.problem.path, lack.note) == ("data.rows", None)
    assert wanted in lack.problem.message


def test_a_file_that_is_half_written_counts_for_nothing(places, tmp_path):
    path = write(tmp_path / "own.hdf5")
    spec = load("td3_bc", [("data.dataset", f"file:{path}"), ("data.rows", "disk")])
    about = load_for(spec).stored.file.parent / stored.ABOUT
    wanted = json.loads(about.read_text())
    about.unlink()
    (about.parent / stored.ROWS).write_bytes(b"half")
    assert_same(load_for(spec).transitions, load_for(load("td3_bc", [("data.dataset", f"file:{path}")])).transitions)
    assert json.loads(about.read_text()) == wanted
    (about.parent / stored.ROWS).write_bytes(b"cut short")
    with pytest.raises(DataError, match=r"data.rows: .* is damaged .*; remove it, and it is written again"):
        load_for(spec)


def test_a_folder_that_cannot_be_written_is_told(places, tmp_path, monkeypatch):
    path = write(tmp_path / "own.hdf5")
    monkeypatch.setenv("POGOSPEC_DATA_DIR", str(path))
    with pytest.raises(DataError, match=r"data.rows: .*own.hdf5/rows/.* cannot be written .*; set POGOSPEC_DATA_DIR"):
        load_for(load("td3_bc", [("data.dataset", f"file:{path}"), ("data.rows", "disk")]))
