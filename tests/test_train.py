"""Whole runs through the command line: what they leave, what reads them, what is refused before training."""

import io
import json
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from commands import pogospec, sets, started

from pogospec.compiler.program import Stage
from pogospec.console import Screen
from pogospec.launch.view import View
from pogospec.runs.directory import RunDirectory
from pogospec.training import events
from pogospec.training.chunk import chunk_function
from pogospec.types import Transitions

SPECS = Path(__file__).parents[1] / "specs"
SMALL = ["--seeds", "2", "--updates", "200", *sets("train.log_every=50", "train.checkpoint_every=100")]
SMALL += sets("evaluate.every=100", "evaluate.episodes=2", "train.batch_size=32")
SMALL += sets("policy.hidden=[8]", "critic.hidden=[8]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two steps, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    arguments = [*SMALL, *sets("behavior.hidden=[8]"), "--out", out]
    return out, pogospec("run", SPECS / "pogo_w_two_step.yaml", *arguments).stdout


@pytest.fixture
def whole(finished):
    return finished[0]


def test_the_run_directory_is_whole(whole):
    run = RunDirectory.open(whole)
    assert run.status() == {"state": "done", "message": "", "update": 400}
    assert run.policies() == ["behavior", "step 1", "step 2"]
    assert (whole / "learning_curve.png").stat().st_size > 5000
    assert len(run.read("metrics.csv")) == 2 * 2 * 4
    assert len(run.read("returns.csv")) == 2 * 2 * 5
    assert not list(whole.rglob("*.part"))


def test_the_screen_says_what_runs_what_came_out_and_what_is_next(finished):
    out, printed = finished
    assert "step 1  from behavior, learns critic, behavior, policy: 200 updates" in printed
    assert "step 2 - behavior" in printed
    assert "mean ± std over 2 seeds" in " ".join(printed.split())
    assert printed.rstrip().endswith(f"next            pogospec compare {out} …")
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= 110 + len(str(out))


def test_a_score_is_shown_beside_its_own_step_only(finished):
    _, printed = finished
    live = [line for line in printed.splitlines() if line.startswith("step 2  50/")]
    assert all("score" not in line for line in live)


def test_compare_evaluate_and_list_read_the_run(whole):
    table = json.loads(pogospec("compare", whole, "--to", "json").stdout)
    scores = table["runs"][0]["scores"]
    assert len(scores["step 2"]) == 2
    markdown = pogospec("compare", whole, "--to", "markdown").stdout
    assert f"{np.mean(scores['behavior']):.1f} ± {np.std(scores['behavior'], ddof=1):.1f}" in markdown
    rows = json.loads(pogospec("list", "runs", "--folder", whole.parent, "--json").stdout)
    assert [(row["run"], row["state"], row["updates"]) for row in rows] == [(str(whole), "done", 400)]


def test_evaluate_gives_the_returns_of_the_run_again(whole):
    returns = [row for row in RunDirectory.open(whole).read("returns.csv") if row["policy"] == "step 2"][-4:]
    seeds = [np.mean([float(row["return"]) for row in returns if row["seed"] == seed]) for seed in ("0", "1")]
    printed = pogospec("evaluate", whole).stdout
    assert f"step 2    return {np.mean(seeds):.1f} ± {np.std(seeds, ddof=1):.1f}" in printed
    one = pogospec("evaluate", whole, "--policy", "behavior", "--episodes", "1", "--seed", "7").stdout
    assert one.splitlines()[0].endswith("mean of 1 episodes, reset seeds from 7, mean ± std over seeds (ddof 1)")
    assert [line.split()[0] for line in one.splitlines()[1:]] == ["behavior"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--policy", "step 3"], "holds no policy 'step 3', allowed behavior, step 1, step 2"),
        (["--episodes", "0"], "should be greater than or equal to 1"),
        (["--seed", "-1"], "should be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_evaluated_is_said(whole, arguments, words):
    done = pogospec("evaluate", whole, *arguments, check=False)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def damaged(run: RunDirectory, how: str):
    manifest = dict(run.manifest)
    if how == "no environment":
        manifest["environment"] = None
    elif how == "another environment":
        manifest["environment"] = "Hopper-v4"
    elif how == "lacking":
        del manifest["seeds"]
    elif how == "no policies":
        shutil.rmtree(run.path / "policies")
    else:
        return (run.path / "manifest.json").write_text("[" if how == "torn" else "[1]")
    return (run.path / "manifest.json").write_text(json.dumps(manifest))


DAMAGED = {
    "no environment": "names no environment",
    "another environment": "has 11 observations and 3 actions, the data have 11 and 2",
    "lacking": "manifest.json is damaged: it lacks seeds",
    "no policies": "lacks policies/.*, which it saved; put it back, or name another policy, or run the spec again",
    "torn": "manifest.json is missing or damaged",
    "a list": "manifest.json is missing or damaged",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_runs_that_cannot_be_evaluated_are_said(whole, tmp_path, how, capsys):
    from pogospec.cli.training import evaluate
    from pogospec.errors import PogospecError

    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    damaged(RunDirectory.open(copy), how)
    with pytest.raises(PogospecError, match=DAMAGED[how]) as caught:
        evaluate(copy)
    assert caught.value.exit_code == 2


def test_a_policy_that_is_not_finite_ends_the_evaluation_with_code_1(whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    run = RunDirectory.open(copy)
    arrays, meta = run.load_policy("step 1")
    run.save_policy("step 1", {name: array * np.nan for name, array in arrays.items()}, meta)
    done = pogospec("evaluate", copy, check=False)
    assert (done.returncode, done.stderr) == (1, "step 1, seed 0, 1: its actions are not finite; train it again\n")
    assert "behavior" in done.stdout


def test_an_interrupted_evaluation_ends_with_code_130(whole):
    process = started("evaluate", whole, "--episodes", "3000")
    assert process.stdout is not None
    assert "mean of 3000 episodes" in process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


def test_an_existing_run_directory_is_kept(whole):
    done = pogospec("run", SPECS / "td3_bc.yaml", "--out", whole, check=False)
    assert done.returncode == 2
    assert "exists already" in done.stderr


def test_a_shipped_spec_runs_by_name(tmp_path):
    printed = pogospec("run", "td3_bc", *SMALL, "--out", tmp_path / "run", "--quiet").stdout
    assert printed == f"{tmp_path / 'run'}\n"


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
    assert not (tmp_path / "run").exists()


def test_a_batch_has_the_size_that_the_loop_asks_for():
    data = Transitions(*(np.zeros((40, 2), np.float32),) * 2, *(np.zeros(40, np.float32),) * 7)

    def update(numbers, state, batch, key, index):
        return state, {"q": jax.numpy.float32(batch.rewards.shape[0])}

    function: Any = update
    stage = Stage("step 1", 5, ("policy",), function, function, function, function, 0, None)
    keys = jax.vmap(jax.random.key)(np.arange(2))
    _, sums, *_ = chunk_function(stage, 7)((), data, np.zeros(2), keys, 0, 3)
    np.testing.assert_array_equal(sums["q"], [21.0, 21.0])


def test_the_live_line_says_when_a_score_was_measured():
    out, run = io.StringIO(), SimpleNamespace(status=lambda: {"update": 0}, notes=[])
    runs: Any = [run]
    with View(Screen(file=out, width=110), runs, []) as view:
        view(events.Started([("step 1", 800)], 1, 800))
        view(events.Progress(0, "step 1", 400, 800, 400, 50.0, {}))
        view(events.Scored("step 1", 400, np.array([[93.8]]), None))
        view(events.Progress(0, "step 1", 800, 800, 800, 50.0, {}))
    assert out.getvalue().splitlines()[-1] == "step 1  800/800  50 updates/s  return 93.8 after 400"
