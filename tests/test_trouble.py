"""What a machine does to a command: pipes that close, terminals that end, names and links that lead nowhere, memory."""

import os
import signal
import subprocess
import sys
import time

import pytest
from commands import COMMAND, pogospec, sets, started
from test_belonging import FLOW, made

from pogospec.checking.check import checked
from pogospec.errors import RunDirectoryError, SpecError, TooLargeError
from pogospec.explain import require_memory
from pogospec.explain.costs import limits
from pogospec.runs import files
from pogospec.runs.directory import RunDirectory
from pogospec.spec.resolve import read, read_text
from pogospec.spec.yaml import read_file
from pogospec.training import stop
from pogospec.types import Space


@pytest.fixture
def flow(tmp_path):
    file = tmp_path / "flow.yaml"
    file.write_text(FLOW % "0.01")
    return file


@pytest.mark.exhaustive("a real process")
def test_a_closed_pipe_does_not_end_a_training(flow, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "run", str(flow), "--out", str(tmp_path / "run")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()
    assert process.wait() == 0
    assert RunDirectory.open(tmp_path / "run").status()["state"] == "done"


@pytest.mark.exhaustive("a real process; another is interrupted in the quick part")
def test_the_end_of_the_terminal_is_like_termination(flow, tmp_path):
    out = tmp_path / "run"
    process = started("run", flow, "--out", out, "--updates", "100000000", "--set", "train.checkpoint_every=1000")
    while not list(out.glob("checkpoints/*.safetensors")):
        time.sleep(0.01)
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate()
    assert (process.returncode, "pogospec resume" in errors) == (130, True)
    assert RunDirectory.open(out).status()["state"] == "interrupted"


def test_a_second_signal_waits_until_the_status_is_written():
    code = (
        "import os, signal\nfrom pogospec.training import stop\nstop.listen()\n"
        "with stop.held():\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('written')\nprint(stop.asked())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "written\nTrue\n"
    assert not stop.asked()


@pytest.mark.parametrize("how", ["pipe", "circle", "long", "folder", "device"])
def test_what_extends_names_is_a_file_or_refused_at_once(tmp_path, how):
    base = tmp_path / "base.yaml"
    if how == "pipe":
        os.mkfifo(base)
    elif how == "circle":
        base.symlink_to(base)
    elif how == "folder":
        base.mkdir()
    name = {"long": "a" * 300 + ".yaml", "device": "/dev/zero.yaml"}.get(how, "base.yaml")
    if how == "device":
        name = os.path.relpath("/dev/zero", tmp_path)
        (tmp_path / "zero.yaml").symlink_to("/dev/zero")
        name = "zero.yaml"
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: {name}\n")
    with pytest.raises(SpecError, match=r"mine\.yaml:1:10: extends: found .*cannot be read: "):
        read(file)


def test_a_spec_may_come_from_a_pipe_of_the_shell():
    reading, writing = os.pipe()
    os.write(writing, b"name: x\n")
    os.close(writing)
    assert read_file(f"/dev/fd/{reading}") == "name: x\n"


def test_names_that_are_too_long_are_one_line(flow):
    name = "n" * 300
    for command in (
        ("run", flow, "--out", name), ("run", name), ("check", f"{name}.yaml"), ("resume", name), ("compare", name),
        ("suite", name), ("plot", name), ("explain", name, "--no-measure"), ("list", "runs", "--folder", name),
        ("evaluate", name), ("run", flow, "--out", f"{flow}/below"), ("data", "inspect", f"file:{name}.npz"),
    ):  # fmt: skip
        done = pogospec(*command, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode in (1, 2), command
        assert len(done.stderr.splitlines()) == 1, command


def test_locks_that_are_none(tmp_path):
    run = made(tmp_path / "run")
    lock = run.path / ".lock"
    lock.unlink()
    os.mkfifo(lock)
    with run.lock():
        pass
    lock.unlink()
    lock.mkdir()
    with pytest.raises(RunDirectoryError, match=r"\.lock: Is a directory; whether"), run.lock():
        pass


def test_a_status_is_right_where_there_is_no_room(tmp_path, monkeypatch):
    run = made(tmp_path / "run")

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "publish", full)
    for state, message in (("failed", "a" * 9), ("running", "")):
        run.status(state, message, 7)
        assert run.status() == {"state": state, "message": message, "update": 7}


@pytest.mark.exhaustive("a real process")
def test_a_directory_that_is_removed_under_way_is_one_line(flow, tmp_path):
    out = tmp_path / "run"
    code = (
        "import shutil\nfrom pogospec.training.cells import Cells\nreal = Cells.write_metrics\n"
        f"def write(*a): shutil.rmtree({str(out)!r}); return real(*a)\nCells.write_metrics = write\n"
    )
    process = started("run", flow, "--out", out, "--quiet", code=code + COMMAND[2])
    _, errors = process.communicate()
    assert process.returncode in (1, 2)
    (line,) = errors.splitlines()
    assert f"{out}/metrics.csv" in line


SPACE = Space(11, 3, (-1.0,) * 3, (1.0,) * 3)


def checked_spec(**changes):
    return checked(
        read_text("extends: td3_bc\n", overrides=[(path.replace("__", "."), v) for path, v in changes.items()])
    )


def test_the_arithmetic_of_memory_is_that_by_hand(monkeypatch):
    """Three layers of h: obs h + h^2 + h act weights and h + h + act biases, 4 bytes each; batches of 256 rows."""
    monkeypatch.setattr(limits, "_of_host", lambda: 10**9)
    h = 20_000
    critic, policy = 2 * (14 * h + h * h + h + 2 * h + 1), 11 * h + h * h + 3 * h + 2 * h + 3
    with pytest.raises(TooLargeError) as caught:
        require_memory([checked_spec(policy__hidden=f"[{h},{h}]", critic__hidden=f"[{h},{h}]", seeds="3")], SPACE)
    needed = float(str(caught.value).partition("needs ")[2].split()[0]) * 1e9
    learners = 4 * (3 * critic + 3 * policy)  # weights and both moments of Adam
    assert 3 * 2 * learners < needed < 3 * 2 * learners * 2
    assert "for networks and optimisers of 3 seeds" in str(caught.value)
    require_memory([checked_spec()], SPACE)


@pytest.mark.parametrize(("changes", "named"), [
    ({"train__batch_size": "2000000000"}, "a minibatch of 2,000,000,000 rows"),
    ({"evaluate__episodes": "100000000"}, "environments, 100,000,000 episodes"),
    ({"seeds": "100000000"}, "networks and optimisers of 100,000,000 seeds"),
    ({"policy__hidden": "[2147483647,2147483647]"}, "networks and optimisers of 1 seed"),
])  # fmt: skip
def test_what_cannot_fit_is_named(changes, named):
    with pytest.raises(TooLargeError, match=named) as caught:
        require_memory([checked_spec(**changes)], SPACE)
    assert caught.value.exit_code == 2


def test_run_and_explain_refuse_before_anything_is_made(tmp_path):
    huge = sets("policy.hidden=[1000000,1000000]")
    for command in (("run", "td3_bc", "--out", tmp_path / "run"), ("explain", "td3_bc")):
        done = pogospec(*command, *huge, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith("the run needs ")
    assert not (tmp_path / "run").exists()
