"""Whole runs: resumed bit for bit after a kill, stopped at the first value that is not finite, through the CLI."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from pogospec.errors import RunDirectoryError
from pogospec.runs import RunDirectory

SPECS = Path(__file__).parents[1] / "specs"
SMALL = [
    "--seeds", "2", "--updates", "400", "--set", "train.log_every=50", "--set", "train.checkpoint_every=100",
    "--set", "evaluate.every=200", "--set", "evaluate.episodes=2", "--set", "train.batch_size=32",
    "--set", "policy.hidden=[16]", "--set", "behavior.hidden=[16]", "--set", "critic.hidden=[16, 16]",
]  # fmt: skip
COMMAND = [sys.executable, "-c", "from pogospec.cli import main; main()"]


def pogospec(*arguments, check=True):
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = pogospec("run", SPECS / "pogo_fr_two_step.yaml", *SMALL, "--out", out)
    assert "step 2 - behavior" in done.stdout
    return out


def same(a, b):
    for name in ("behavior", "step_1", "step_2"):
        first, second = (load_file(run / "policies" / f"{name}.safetensors") for run in (a, b))
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])
    assert (a / "returns.csv").read_text() == (b / "returns.csv").read_text()


def test_the_run_directory_is_whole(whole):
    run = RunDirectory.open(whole)
    assert run.status()["state"] == "done"
    assert run.policies() == ["behavior", "step 1", "step 2"]
    assert (whole / "learning_curve.png").stat().st_size > 5000
    first, second = (load_file(whole / "policies" / f"step_{i}.safetensors") for i in (1, 2))
    assert any((first[key] != second[key]).any() for key in first)
    assert len(run.read("metrics.csv")) == 2 * 2 * 8


@pytest.mark.parametrize("kill_at", [100, 400, 500])
def test_resume_after_a_kill_equals_the_uninterrupted_run(whole, tmp_path, kill_at):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [*COMMAND, "run", str(SPECS / "pogo_fr_two_step.yaml"), *SMALL, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180
    while not (out / "checkpoints" / f"{kill_at:012d}.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    pogospec("resume", out)
    same(whole, out)


def test_an_interrupted_run_says_how_to_go_on(whole, tmp_path):
    out = tmp_path / "interrupted"
    process = subprocess.Popen(
        [*COMMAND, "run", str(SPECS / "pogo_fr_two_step.yaml"), *SMALL, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(out.glob("checkpoints/*.safetensors")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.strip().endswith(f"pogospec resume {out}")
    assert RunDirectory.open(out).status()["state"] == "interrupted"
    pogospec("resume", out)
    same(whole, out)


def test_resume_after_a_kill_while_a_checkpoint_is_written(whole, tmp_path):
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [*COMMAND, "run", str(SPECS / "pogo_fr_two_step.yaml"), *SMALL, "--out", str(out)]
        + ["--set", "train.checkpoint_every=5"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoints, half_written = out / "checkpoints", []
    deadline = time.monotonic() + 180
    while process.poll() is None and not half_written and time.monotonic() < deadline:
        half_written = [part for part in checkpoints.glob("*.part") if part.name > f"{30:012d}"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert half_written
    pogospec("resume", out)
    same(whole, out)


def test_a_checkpoint_cut_short_falls_back_and_all_cut_short_is_said(whole, tmp_path):
    copy = RunDirectory.create(tmp_path / "copy", "", {}, [])
    for total in (1, 2):
        copy.save_checkpoint(total, {"x": np.full(3, total)}, {"total_update": total})
    newest = sorted((copy.path / "checkpoints").iterdir())
    newest[1].write_bytes(newest[1].read_bytes()[:-4])
    loaded = copy.load_checkpoint()
    assert loaded is not None
    assert loaded[1]["total_update"] == 1
    newest[0].write_bytes(newest[0].read_bytes()[:40])
    with pytest.raises(RunDirectoryError, match="cut short"):
        copy.load_checkpoint()


@pytest.mark.parametrize("step", [0, 1])
def test_a_value_that_is_not_finite_stops_the_run(tmp_path, step):
    out = tmp_path / "run"
    huge = f"schedule.steps[{step}].optimizer.policy.learning_rate=1e30"
    done = pogospec("run", SPECS / "pogo_fr_two_step.yaml", *SMALL, "--set", huge, "--out", out, check=False)
    assert done.returncode == 1
    assert f"step {step + 1}, update" in done.stderr
    assert "is not finite" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((out / "status.json").read_text())["state"] == "failed"
    if step == 1:
        loaded = RunDirectory.open(out).load_checkpoint()
        assert loaded is not None
        assert all(np.isfinite(array).all() for array in loaded[0].values())


def test_compare_evaluate_and_list_read_the_run(whole):
    table = json.loads(pogospec("compare", whole, "--to", "json").stdout)
    scores = table["runs"][0]["scores"]
    assert len(scores["step 2"]) == 2
    assert "step 2" in pogospec("evaluate", whole, "--episodes", "2").stdout
    markdown = pogospec("compare", whole, "--to", "markdown").stdout
    assert f"{np.mean(scores['behavior']):.1f} ± {np.std(scores['behavior'], ddof=1):.1f}" in markdown
    assert "fisher_rao" in pogospec("list", "kinds").stdout


def test_an_existing_run_directory_is_kept(whole):
    done = pogospec("run", SPECS / "td3_bc.yaml", "--out", whole, check=False)
    assert done.returncode == 2
    assert "exists already" in done.stderr


@pytest.mark.parametrize("name", ["td3_bc", "pogo_w_two_step"])
def test_other_shipped_specs_run_by_name(tmp_path, name):
    arguments = [a for a in SMALL if a != "behavior.hidden=[16]"] if name == "td3_bc" else SMALL
    arguments = [a for i, a in enumerate(arguments) if not (a == "--set" and arguments[i + 1] == "--set")]
    pogospec("run", name, *arguments, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "data.environment=Nowhere-v0"], "Nowhere"),
        (["--set", "data.environment=Hopper-v4"], "set data.environment"),
        (["--dataset", "nobody/nothing-v0"], "pogospec data fetch nobody/nothing-v0"),
        (["--dataset", "pocket/reacher-mixd"], "did you mean pocket/reacher-mixed"),
        (["--device", "tpu"], "JAX sees no such device"),
        (["--device", "gpu"], "JAX sees no such device"),
        (["--set", "nonsense"], "allowed path=value"),
    ],
)
def test_what_cannot_run_is_said_before_training(tmp_path, arguments, words):
    if arguments[0] == "--device" and any(device.platform == arguments[1] for device in jax.devices()):
        pytest.skip("this machine has the device")
    done = pogospec("run", "td3_bc", *arguments, "--out", tmp_path / "run", check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_checkpoints_cut_short_are_said_by_resume(whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    (copy / "status.json").write_text(json.dumps({"state": "interrupted", "message": "", "update": 800}))
    for file in (copy / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:-100])
    done = pogospec("resume", copy, check=False)
    assert done.returncode == 2
    assert "cut short" in done.stderr
    assert "Traceback" not in done.stderr
