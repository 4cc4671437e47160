"""Engines: what is handed over ends as in one process, workers may be lost, and nothing is begun twice."""

import io
import json
import os
import socket
import subprocess
import sys
from contextlib import redirect_stdout

import pytest
from again import done, told, traced_once
from inline import registered
from test_resume import assert_same

from pogospec.cli import app
from pogospec.engines import lease, unit
from pogospec.engines.base import Size, engine_of
from pogospec.engines.lease import Keeper
from pogospec.engines.unit import Resources
from pogospec.errors import UsageError
from pogospec.launch import worker
from pogospec.launch.forecast import Forecast
from pogospec.launch.resources import asked
from pogospec.launch.suite import jobs_of
from pogospec.spec.suite import ResourcesSpec, read_suite

FLOWS = """\
name: flows
specs: [quadratic_w2, {spec: quadratic_w2, name: other, set: {target.curvature: [3.0, 0.5]}}]
seeds: 1
updates: 20
set: {train.checkpoint_every: 5, train.log_every: 5, "schedule.steps[0].repeat": 1}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "flows.yaml"
    path.write_text(FLOWS)
    return path


@pytest.fixture(scope="module")
def whole(file):
    """The suite in one process."""
    with traced_once():
        done("suite", file, "--out", file.parent / "whole", "--quiet")
    return file.parent / "whole"


@pytest.fixture
def inline():
    with registered() as engine, traced_once():
        yield engine


def shown(*arguments):
    """What a command that ends well prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        app([*map(str, arguments)], standalone_mode=False)
    return out.getvalue()


def same(whole, other):
    runs = sorted(path.parent.name for path in whole.glob("*/manifest.json"))
    assert len(runs) == 2
    for run in runs:
        assert_same(whole / run, other / run)


def test_it_ends_as_in_one_process_however_often_workers_are_lost(whole, file, inline, tmp_path):
    inline.fates.extend(["lost", 1, 2, "lost"])
    told = shown("suite", file, "--out", tmp_path / "out", "--on", "inline")
    same(whole, tmp_path / "out")
    assert len(inline.submitted) == 6
    assert "its worker was lost (ended by SIGKILL); goes on from 0 updates" in told
    assert "its worker was lost (exit code 130); goes on from 10 updates" in told
    assert "[2/2]" in told
    for run in ("other-target-quadratic", "quadratic-w2-target-quadratic"):
        assert os.readlink(tmp_path / "out" / run / "log.txt") == f"../units/{run}.log"
    done("suite", file, "--out", tmp_path / "out", "--on", "inline")
    assert len(inline.submitted) == 6, "what is done is handed over again"


def test_a_worker_that_never_gets_anywhere_is_given_up(file, inline, tmp_path):
    inline.fates.extend(["lost"] * 5)
    out = tmp_path / "out"
    message, code = told("suite", file, "--out", out, "--on", "inline", "--only", "other", "--quiet")
    assert code == 1
    assert "5 workers were lost without coming further than 0 updates (ended by SIGKILL)" in message
    assert len(inline.submitted) == 5


def test_what_fails_on_a_worker_is_told_with_its_place(inline, tmp_path):
    file = tmp_path / "failing.yaml"
    text = "specs: [{spec: td3_bc, name: lost, set: {data.environment: NoSuch-v0}}]\nseeds: 1\nupdates: 2\n"
    file.write_text(text + "set: {policy.hidden: [4], critic.hidden: [4]}\n")
    message, code = told("suite", file, "--out", tmp_path / "out", "--on", "inline", "--quiet")
    assert code == 1
    place = f"failing.yaml:1:{text.index('NoSuch') + 1}: data.environment: the environment 'NoSuch-v0' cannot be made"
    assert place in message
    assert not list((tmp_path / "out").glob("lost*"))


SWEEP = ["quadratic_w2", "--seeds", "1", "--set", "train.log_every=4", "--quiet"]


def both(folder, *more):
    """Run a sweep in one process and on the engine; how many runs it has, which are the same."""
    whole, spread = folder / "whole", folder / "spread"
    done("run", *SWEEP, *more, "--out", whole)
    done("run", *SWEEP, *more, "--out", spread, "--on", "inline")
    runs = [path.parent.name for path in whole.glob("*/manifest.json")]
    for run in runs:
        assert_same(whole / run, spread / run)
    return len(runs)


def test_cells_of_one_program_are_one_unit(inline, tmp_path):
    grid = ["--sweep", "schedule.steps[0].tau=[0.1,0.2]", "--updates", "8", "--set", "schedule.steps[0].repeat=1"]
    assert both(tmp_path, *grid) == 2
    assert len(inline.submitted) == 1


@pytest.mark.exhaustive("four programs, each traced anew")
def test_branches_begin_when_their_trunk_has_ended(tmp_path):
    more = ["--set", "schedule.branch={step: 0, at: [4, 8]}", "--set", "optimizer.decay=none"]
    more += ["--set", "schedule.steps=[{tau: 0.1, updates: 8}, {tau: 0.2, updates: 4}]"]
    with registered() as engine:
        assert both(tmp_path, *more) == 3
        assert [name[:6] for name in engine.submitted] == [".trunk", "update", "update"]


def test_other_versions_are_refused_once(file, inline, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "versions", lambda: {**dict.fromkeys(("pogospec", "jax"), "0.0.1")})
    message, code = told("suite", file, "--out", tmp_path / "out", "--on", "inline", "--quiet")
    assert code == 1
    assert message.startswith(
        f"nothing is trained: versions on {socket.gethostname()} are not those here: pogospec 0.0.1"
    )
    assert "jax 0.0.1 there, " in message
    assert message.endswith("; install the same on all machines")
    assert len(message.splitlines()) == 1


def test_what_another_worker_trains_is_left_to_it(whole, file, inline, tmp_path, monkeypatch):
    """The lease of one run is live until the other is handed over, when it goes stale."""
    out = tmp_path / "out"
    (out / "units").mkdir(parents=True)
    busy = out / "units" / "other-target-quadratic.lease"
    busy.write_text(json.dumps({"state": "running", "token": "x", "every": 60, "host": "elsewhere", "pid": 1}))
    submit = inline.submit

    def submitted(engine, units):
        if not inline.submitted:
            os.utime(busy, (0, busy.stat().st_mtime - 700))
        return submit(engine, units)

    monkeypatch.setattr(inline, "submit", submitted)
    told = shown("suite", file, "--out", out, "--on", "inline")
    assert told.count(": is trained already, on elsewhere") == 1
    assert inline.submitted == ["quadratic-w2-target-quadratic", "other-target-quadratic"]
    same(whole, out)


def test_status_says_who_trains_what(file, inline, tmp_path):
    out = tmp_path / "out"
    inline.fates.extend([1] + ["lost"] * 5)
    told("suite", file, "--out", out, "--on", "inline", "--only", "other", "--quiet")
    other = out / "units" / "other-target-quadratic.lease"
    about = {"state": "running", "every": 60, "host": "node-7", "engine": "slurm", "job": "12_3", "rate": 4.0}
    other.write_text(json.dumps({"token": "x", "pid": 1, "runs": [other.stem], **about}))
    table = " ".join(shown("suite", file, "--out", out, "--status").split())
    assert "other-target-quadratic at work 5 of 20 4 4 s node-7 slurm 12_3" in table
    assert "quadratic-w2-target-quadratic not begun 0 of 20" in table
    assert "0 of 2 runs are done, 1 at work; 35 updates are left, about 9 s at 4 updates/s" in table


def there(path):
    """The lease that is there."""
    found = lease.read(path)
    assert found is not None
    return found


def held(path):
    found = lease.read(path)
    assert found is not None
    return found


def test_leases(tmp_path):
    path, look = tmp_path / "one.lease", dict
    mine = {"host": socket.gethostname(), "pid": os.getpid()}
    first, second = (Keeper(path, mine, look, every=0.02) for _ in range(2))
    assert first.take()
    assert not second.take()
    assert there(path).live
    first.end("ended", failures={})
    found = there(path)
    assert (found.over, found.live, found.about["failures"]) == (True, False, {})
    assert second.take()
    second.end("stopped")
    assert not there(path).over
    path.write_text(json.dumps({"state": "running", "every": 100, **mine}))
    assert there(path).live
    os.utime(path, (0, os.stat(path).st_mtime - 700))
    assert not there(path).live, "nothing was heard for more than six times as long as it may take"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path.write_text(json.dumps({"state": "running", "every": 100, **mine, "pid": gone.pid}))
    assert not there(path).live, "its process is gone"
    path.write_text("{")
    assert lease.read(path) is None


def test_a_worker_whose_lease_was_taken_ends(tmp_path):
    code = "import sys, time, pathlib\nfrom pogospec.engines.lease import Keeper\n"
    code += "print(Keeper(pathlib.Path(sys.argv[1]), {'pid': 1, 'host': 'x'}, dict, every=0.05).take(), flush=True)\n"
    code += "time.sleep(30)"
    path = tmp_path / "one.lease"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    path.write_text(json.dumps({"state": "running", "token": "another's"}))
    assert process.wait(20) == lease.HELD


def test_resources_are_said_or_counted(tmp_path):
    text = (
        "specs: [td3_bc]\ndatasets: [d4rl/hopper-medium-v2]\nseeds: 5\nresources: {cores: 3, minutes: 7, gpus: 0.5}\n"
    )
    (tmp_path / "one.yaml").write_text(text)
    found = read_suite(tmp_path / "one.yaml")
    jobs = jobs_of(found, tmp_path)
    forecast = Forecast(tmp_path, jobs)
    size = Size(cores=8, gpus=2)
    said = asked(jobs, forecast, found.resources, size, None)
    assert (said.cores, said.gpus, said.minutes) == (3, 0.5, 7)
    counted = asked(jobs, forecast, None, size, None)
    left = forecast.left(jobs[0])
    assert left is not None
    assert (counted.cores, counted.gpus) == (5, 0)
    assert counted.minutes == pytest.approx(3 * left / 60 + 30, abs=1)
    assert counted.memory is not None
    assert 3 < counted.memory < 5, "3 GB, and twice some 10 MB a seed"
    assert asked(jobs, forecast, None, Size(cores=4), None).cores == 4
    on_gpu = asked(jobs, forecast, None, size, "gpu")
    assert (on_gpu.cores, on_gpu.gpus, on_gpu.memory) == (2, 1, 3)
    with pytest.raises(UsageError, match=r"resources.cores: found 3, allowed at most 2, what the largest machine has"):
        asked(jobs, forecast, ResourcesSpec(cores=3), Size(cores=2), None)


def test_variables_that_workers_need_travel(tmp_path, monkeypatch):
    monkeypatch.setenv("POGOSPEC_DATA_DIR", "/data")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("WANDB_API_KEY", "x")
    written = unit.write(tmp_path, "one", Resources(), {"runs": []})
    environment = json.loads(written.file.read_text())["environment"]
    assert environment["POGOSPEC_DATA_DIR"] == "/data"
    assert not {"SECRET_TOKEN", "WANDB_API_KEY", "PATH"} & set(environment)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rya", "--on: found 'rya', allowed local, ray, slurm; did you mean ray?"),
        ("local:2", "--on: found 'local:2', allowed local"),
        ("slurm:", "--on: found 'slurm:', allowed slurm, or slurm:PARTITION"),
    ],
)
def test_engines_that_there_are_not(text, message):
    with pytest.raises(UsageError) as caught:
        engine_of(text)
    assert str(caught.value) == message


def test_engines_that_are_not_installed(monkeypatch):
    monkeypatch.setattr("pogospec.extras.find_spec", lambda name: None)
    for kind, package in (("ray", "ray"), ("slurm", "submitit")):
        with pytest.raises(UsageError) as caught:
            engine_of(kind)
        hint = f'{package} not installed; pip install "pogospec[{kind}]"'
        assert str(caught.value) == f"--on {kind}: {hint}, or leave it out: runs are trained on this machine then"


def test_a_single_run_is_refused(inline, tmp_path):
    message, code = told("run", "quadratic_w2", "--on", "inline", "--out", tmp_path / "out")
    assert (code, message) == (
        2,
        "--on: quadratic_w2 is a single run, allowed a sweep; make a suite of several, or add --sweep",
    )
    assert not (tmp_path / "out").exists()
