"""Runs shared among processes that meet by `jax.distributed`, by the real command, against those of one process."""

import signal
import socket
import time
from pathlib import Path

import pytest
from commands import pogospec, started
from safetensors.numpy import load_file

SPEC = """\
data: {dataset: pocket/reacher-mixed, holdout: 0.25}
policy: {kind: gaussian, hidden: [8]}
energy: {q: {}, entropy: {weight: 0.01}}
geometry: wasserstein2
critic: {kind: clipped_double_q, hidden: [8]}
schedule:
  steps:
    - {from: behavior, tau: 1, updates: 60, learn: [critic, behavior, policy]}
    - {from: previous, tau: TAU, learn: [policy], updates: 30}
seeds: 3
train: {batch_size: 8, log_every: 20, checkpoint_every: 20}
evaluate: {every: 30, episodes: 1}
"""
TRIED = "{kind: backtracking, start: 3.0, tries: 3}"


def written(folder: Path, tau: str = "0.5", more: str = "") -> Path:
    file = folder / "spec.yaml"
    file.write_text(SPEC.replace("TAU", tau) + more)
    return file


def meeting() -> str:
    """An address of this host with a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def together(count: int, *arguments):
    """So many processes of one command on this host, bound to it alone."""
    there = meeting()
    return [started(*arguments, "--hosts", f"{there},{count},{index}") for index in range(count)]


def ended(processes) -> list[tuple[int, str, str]]:
    """Exit codes and what was said; none may hang."""
    said = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


def finished(*arguments, count: int) -> list[tuple[int, str, str]]:
    found = ended(together(count, *arguments))
    assert [code for code, _, _ in found] == [0] * count, found
    return found


def apart(whole: Path, other: Path) -> list[str]:
    """Files of a run that differ: tables but for their times, checkpoints and policies bit for bit."""
    wrong = []
    for name in ("returns.csv", "metrics.csv", "flow.csv"):
        if timeless(whole / name) != timeless(other / name):
            wrong.append(name)
    files = sorted(path.relative_to(whole) for path in whole.glob("*/*.safetensors"))
    assert files
    assert files == sorted(path.relative_to(other) for path in other.glob("*/*.safetensors"))
    for file in files:
        own, theirs = load_file(whole / file), load_file(other / file)
        if own.keys() != theirs.keys() or any(own[key].tobytes() != theirs[key].tobytes() for key in own):
            wrong.append(str(file))
    return wrong


def timeless(path: Path) -> list[list[str]]:
    rows = [line.split(",") for line in path.read_text().splitlines()]
    left = [at for at, name in enumerate(rows[0]) if name not in ("seconds", "updates_per_second")]
    return [[row[at] for at in left] for row in rows]


def test_two_processes_share_three_runs_as_one_would_train_them(tmp_path):
    file = written(tmp_path)
    pogospec("run", file, "--out", tmp_path / "one")
    (first, second) = finished("run", file, "--out", tmp_path / "two", count=2)
    assert apart(tmp_path / "one", tmp_path / "two") == []
    assert "over 3 seeds" in first[1]
    assert "Gloo" not in first[1]
    assert second[1] == ""
    assert not list(tmp_path.glob("two*/two*"))


@pytest.mark.exhaustive("starts two commands of several processes")
def test_a_process_that_is_killed_ends_the_others_and_any_number_goes_on(tmp_path):
    """Steps on trial, whose decisions all must take alike; another number of processes takes over, then one."""
    file = written(tmp_path, TRIED)
    options = ["--set", "schedule.steps[0].updates=3000", "--set", "train.checkpoint_every=100"]
    pogospec("run", file, "--out", tmp_path / "each", *options)
    run = tmp_path / "many"
    processes = together(2, "run", file, "--out", run, *options)
    clock = time.monotonic()
    while not list(run.glob("checkpoints/*")):
        assert time.monotonic() - clock < 100
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGKILL)
    (code, _, said), (killed, _, _) = ended(processes)
    assert killed == -signal.SIGKILL
    assert code == 1, said
    assert "one of the other 1 processes is gone; see what it said, and go on with the command" in said
    assert "Traceback" not in said
    finished("resume", run, count=3)
    assert apart(tmp_path / "each", run) == []


@pytest.mark.exhaustive("starts a command of several processes")
def test_cells_of_a_sweep_are_shared_too(tmp_path):
    file = written(tmp_path, TRIED, "sweep: {energy.entropy.weight: [0.01, 0.1]}\n")
    options = ["--seeds", "2"]
    pogospec("run", file, *options, "--out", tmp_path / "one")
    finished("run", file, *options, "--out", tmp_path / "two", count=2)
    cells = sorted(path.name for path in (tmp_path / "one").iterdir() if (path / "manifest.json").is_file())
    assert len(cells) == 2
    for cell in cells:
        assert apart(tmp_path / "one" / cell, tmp_path / "two" / cell) == []


@pytest.mark.exhaustive("starts commands of several processes")
def test_what_one_process_lacks_or_has_otherwise_is_told_by_all(tmp_path):
    file = written(tmp_path)
    there = f"{meeting()},2,"
    wrong = ["run", file, "--out", tmp_path / "x", "--set", "data.dataset=mujoco/none/missing-v0"]
    found = ended(
        [started("run", file, "--out", tmp_path / "x", "--hosts", there + "0"), started(*wrong, "--hosts", there + "1")]
    )
    assert found[1][0] == 2
    assert found[0][0] != 0
    assert "Traceback" not in found[0][2] + found[1][2]
    other = ["run", file, "--out", tmp_path / "y", "--set", "train.batch_size=9"]
    there = f"{meeting()},2,"
    found = ended(
        [started("run", file, "--out", tmp_path / "y", "--hosts", there + "0"), started(*other, "--hosts", there + "1")]
    )
    assert [code for code, _, _ in found] == [2, 2]
    assert all("--hosts: the spec is " in said and "all of them need the same" in said for _, _, said in found)


@pytest.mark.parametrize("hosts", ["nowhere", "127.0.0.1:80,2", "127.0.0.1:99999,2,0", "127.0.0.1:80,2,2", "h:80,1,0"])
def test_what_is_no_way_to_meet_is_refused(hosts, tmp_path):
    done = pogospec("run", written(tmp_path), "--hosts", hosts, "--out", tmp_path / "x", check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"--hosts: found '{hosts}', allowed auto (Slurm, Open MPI or a TPU pod")


def test_an_engine_beside_it_is_refused(tmp_path):
    done = pogospec("run", written(tmp_path), "--hosts", "auto", "--on", "slurm", check=False)
    assert done.returncode == 2
    assert "--hosts: found it beside --on slurm, whose workers train by themselves" in done.stderr


@pytest.mark.exhaustive("starts commands of several processes")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--seeds", "1"], "--hosts: found 2 processes for 1 run, allowed as many as there are seeds and cells"),
        (["--set", "train.batch_runs=map"], "train.batch_runs: found map, which every process would compute whole"),
    ],
)
def test_runs_that_cannot_be_shared_are_refused(given, message, tmp_path):
    for code, _, said in ended(together(2, "run", written(tmp_path), *given, "--out", tmp_path / "x")):
        assert code == 2
        assert message in said
