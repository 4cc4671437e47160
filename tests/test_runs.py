"""Run directories: refused, torn, damaged, cut back."""

import subprocess
import sys

import numpy as np
import pytest

from pogospec.errors import RunDirectoryError
from pogospec.runs.columns import HEAD, METRICS, RETURNS
from pogospec.runs.directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", "name: x\n", {"name": "x", "seeds": 2}, ["q", "entropy"])


def row(run, total, stage="step 1"):
    for seed in range(2):
        run.append_metrics(seed, stage, total, total, 1.0, 100.0, {"energy.q": 0.1 + seed, "critic_loss": 1e-9})


def checkpoint(run, n):
    run.save_checkpoint(n, {"a": np.full((2, 3), n, np.float32), "n": np.array(n)}, {"total_update": n})


def files(run):
    return sorted(path.name for path in (run.path / "checkpoints").iterdir())


def test_files_and_their_columns(run):
    row(run, 10)
    run.append_returns("behavior", 10, np.array([[1.5, -2.0], [0.1, 3.0]]), "step 1")
    metrics, returns = run.read("metrics.csv"), run.read("returns.csv")
    assert list(metrics[0]) == [*HEAD, "energy.q", "energy.entropy"]
    assert set(HEAD) | {"energy.*"} == set(METRICS)
    assert list(returns[0]) == list(RETURNS)
    assert [float(r["return"]) for r in returns] == [1.5, -2.0, 0.1, 3.0]
    assert returns[2] == {
        "policy": "behavior", "stage": "step 1", "total_update": "10", "seed": "1", "episode": "0", "return": "0.1"
    }  # fmt: skip
    assert metrics[1]["energy.q"] == "1.1"
    assert metrics[1]["energy.entropy"] == ""


def test_an_existing_directory_is_refused_and_an_empty_one_taken(run, tmp_path):
    with pytest.raises(RunDirectoryError, match=r"--out.*pogospec resume") as caught:
        RunDirectory.create(run.path, "", {})
    assert caught.value.exit_code == 2
    (tmp_path / "empty").mkdir()
    RunDirectory.create(tmp_path / "empty", "", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError, match="exists"):
        RunDirectory.create(tmp_path / "file", "", {})
    with pytest.raises(RunDirectoryError, match="no run directory"):
        RunDirectory.open(tmp_path / "nowhere")


def test_status(run):
    assert run.status()["state"] == "running"
    run.status("failed", "why", 7)
    assert run.status() == {"state": "failed", "message": "why", "update": 7}
    with pytest.raises(ValueError, match="allowed"):
        run.status("finished")
    (run.path / "status.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="damaged"):
        run.status()


def test_checkpoints_keep_the_newest_two_and_ignore_leftovers(run):
    assert run.load_checkpoint() is None
    (run.path / "checkpoints" / "000000000900.safetensors.part").write_bytes(b"half")
    assert run.load_checkpoint() is None
    for n in (1, 2, 3):
        checkpoint(run, n)
    assert files(run) == ["000000000002.safetensors", "000000000003.safetensors"]
    (run.path / "checkpoints" / "000000000900.safetensors.part").write_bytes(b"half")
    arrays, meta = run.load_checkpoint()
    assert meta == {"total_update": 3}
    np.testing.assert_array_equal(arrays["a"], np.full((2, 3), 3))
    assert arrays["a"].dtype == np.float32
    assert arrays["n"].shape == ()
    checkpoint(run, 3)
    assert run.load_checkpoint()[1] == meta
    assert run.notes == []


@pytest.mark.parametrize("cut", [0, 4, 40, -1])
def test_a_truncated_checkpoint_falls_back_with_a_note(run, cut):
    checkpoint(run, 1)
    checkpoint(run, 2)
    newest = run.path / "checkpoints" / "000000000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:cut])
    assert run.load_checkpoint()[1] == {"total_update": 1}
    assert "cut short" in run.notes[0]
    oldest = run.path / "checkpoints" / "000000000001.safetensors"
    oldest.write_bytes(b"")
    with pytest.raises(RunDirectoryError, match="run the spec again"):
        run.load_checkpoint()


@pytest.mark.parametrize("place", ["data", "meta"])
def test_a_flipped_bit_is_found(run, place):
    checkpoint(run, 1)
    checkpoint(run, 12)
    newest = run.path / "checkpoints" / "000000000012.safetensors"
    raw = bytearray(newest.read_bytes())
    at = len(raw) - 2 if place == "data" else raw.index(b"12", raw.index(b"total_update"))
    raw[at] ^= 1
    newest.write_bytes(bytes(raw))
    assert run.load_checkpoint()[1] == {"total_update": 1}
    assert "checksum" in run.notes[0]


def test_cutting_back_gives_the_files_of_an_uninterrupted_run(run):
    row(run, 10)
    run.append_returns("step 1", 10, np.ones((2, 2)), "step 1")
    checkpoint(run, 10)
    before = [(run.path / name).read_bytes() for name in ("metrics.csv", "returns.csv")]
    row(run, 20)
    run.append_returns("step 1", 20, np.ones((2, 2)), "step 1")
    checkpoint(run, 20)
    with (run.path / "returns.csv").open("a") as file:
        file.write("step 1,step 1,3")
    assert len(run.read("returns.csv")) == 8
    run.truncate_after(10)
    assert [(run.path / name).read_bytes() for name in ("metrics.csv", "returns.csv")] == before
    assert files(run) == ["000000000010.safetensors"]


def test_policies(run):
    for label in ("step 10", "step 2", "behavior"):
        run.save_policy(label, {"w": np.arange(3)}, {"label": label})
    assert run.policies() == ["behavior", "step 2", "step 10"]
    arrays, meta = run.load_policy("step 2")
    assert meta == {"label": "step 2"}
    np.testing.assert_array_equal(arrays["w"], np.arange(3))
    with pytest.raises(RunDirectoryError, match="allowed behavior, step 2, step 10"):
        run.load_policy("step 3")


def test_a_run_in_use_is_refused(run):
    code = f"""
from pogospec.runs.directory import RunDirectory
from pogospec.errors import RunDirectoryError
try:
    with RunDirectory({str(run.path)!r}).lock(): print("free")
except RunDirectoryError as error: print(error)
"""

    def other():
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with run.lock():
        assert "in use" in other()
    assert other() == "free\n"
