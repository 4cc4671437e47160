"""Real engines: jobs by submitit and stand-ins of Slurm's commands, and tasks of Ray; workers and commands are lost."""

import contextlib
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import pogospec, started
from slurm import alive
from test_resume import assert_same

from pogospec.engines import lease
from pogospec.engines.slurm import Slurm, _asked
from pogospec.engines.unit import Resources
from pogospec.errors import UsageError

FLOWS = """\
name: flows
specs: [quadratic_w2, {spec: quadratic_w2, name: other, set: {target.curvature: [3.0, 0.5]}}]
seeds: 1
updates: 8000
set: {train.checkpoint_every: 50, train.log_every: 50, "schedule.steps[0].repeat": 1}
resources: {cores: 1, memory: 0.5, minutes: 30}
"""
COMMANDS = ("sbatch", "srun", "sacct", "scancel")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("suite") / "flows.yaml"
    path.write_text(FLOWS)
    return path


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine with Slurm's commands; the folder in which they keep their jobs."""
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    for name in COMMANDS:
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("slurm.py")} {name} "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield folder
    for pid in folder.glob("*.pid"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


def units(out):
    return {path.stem: found for path in (out / "units").glob("*.lease") if (found := lease.read(path)) is not None}


def wait_for(what, process, seconds=120):
    """Wait until something is there while a command goes on."""
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def trained(out):
    """Runs that wrote a checkpoint, and are not done."""
    states = {path.parent.name: json.loads(path.read_text())["state"] for path in out.glob("*/status.json")}
    return [run for run, word in states.items() if word != "done" and list((out / run / "checkpoints").iterdir())]


def same(whole, out):
    for run in ("quadratic-w2-target-quadratic", "other-target-quadratic"):
        assert_same(whole / run, out / run)


@pytest.mark.exhaustive("four workers and three commands, each a process from nothing")
def test_jobs_of_slurm_live_on_and_are_not_begun_twice(file, slurm, tmp_path):
    """The command is killed while both jobs train; the next one finds them; a job that is lost is submitted again."""
    pytest.importorskip("submitit")
    out, whole = tmp_path / "out", tmp_path / "whole"
    first = started("suite", file, "--out", out, "--on", "slurm:debug")
    wait_for(lambda: trained(out) and len(units(out)) == 2, first)
    first.kill()
    first.communicate()
    scripts = list((slurm / "scripts").iterdir())
    assert len(scripts) == 1, "units of one size are one array"
    text = scripts[0].read_text()
    for line in ("--partition=debug", "--array=0-1%", "--cpus-per-task=1", "--time=30", "--mem=", "--requeue"):
        assert f"#SBATCH {line}" in text
    second = started("suite", file, "--out", out, "--on", "slurm:debug")
    lost = trained(out)[:1]
    for run in lost:
        os.kill(units(out)[run].about["pid"], signal.SIGKILL)
    shown, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert "[2/2]" in shown or "[1/1]" in shown
    assert len(list((slurm / "scripts").iterdir())) == 1 + len(lost), "what was at work was submitted again"
    pogospec("suite", file, "--out", whole)
    same(whole, out)
    assert not any(alive(int(pid.read_text())) for pid in slurm.glob("*.pid"))


HERE = Path(__file__).with_name("here.py")


@pytest.mark.exhaustive("a command and two workers, each a process from nothing")
def test_a_job_whose_time_is_up_is_queued_again(file, tmp_path):
    """submitit warns the job; its worker writes down that it was stopped, and the same job goes on from there."""
    pytest.importorskip("submitit")
    out, whole = tmp_path / "out", tmp_path / "whole"
    code = f"import runpy\nrunpy.run_path({str(HERE)!r}, run_name='__main__')"
    command = started("suite", file, "--out", out, "--on", "here", "--only", "other", code=code)
    wait_for(lambda: trained(out), command)
    worker = units(out)["other-target-quadratic"].about["pid"]
    before = json.loads((out / "other-target-quadratic" / "status.json").read_text())["update"]
    os.kill(int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGUSR2)
    shown, errors = command.communicate(timeout=300)
    assert command.returncode == 0, errors
    assert "was lost" not in shown
    log = (out / "other-target-quadratic" / "log.txt").read_text()
    assert log.count("--- ") == 2, "one worker after the other"
    assert 0 < before < 8000
    pogospec("suite", file, "--out", whole, "--only", "other")
    assert_same(whole / "other-target-quadratic", out / "other-target-quadratic")


def test_without_slurm_it_is_said(file, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="--on slurm: found no `srun` here"):
        Slurm().open(tmp_path)


def test_what_slurm_is_asked_for():
    found = _asked(Resources(cores=4, gpus=2, memory=6.5, minutes=90))
    assert (found["cpus_per_task"], found["gpus_per_node"], found["mem_gb"], found["timeout_min"]) == (4, 2, 6.5, 90)
    with pytest.raises(UsageError, match=r"resources.gpus: found 0.5, allowed whole numbers on Slurm"):
        _asked(Resources(gpus=0.5))


RAY = """
import os, sys
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
from ray.cluster_utils import Cluster
mine = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **mine})
nodes = [cluster.add_node(num_cpus=1, memory=10**9, **mine) for _ in range(2)]
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("lost", flush=True)
cluster.shutdown()
"""


@pytest.fixture
def ray_cluster(monkeypatch):
    """A cluster of two nodes, heard of on this machine alone; a process to which a line says: lose a node."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    process = subprocess.Popen([sys.executable, "-c", RAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.communicate()


@pytest.mark.exhaustive("a cluster of three nodes")
def test_tasks_of_ray_go_on_elsewhere(file, ray_cluster, tmp_path):
    """A worker, the command, and a node with all on it are lost in turn."""
    cluster, address = ray_cluster
    out, whole = tmp_path / "out", tmp_path / "whole"
    first = started("suite", file, "--out", out, "--on", f"ray:{address}")
    wait_for(lambda: trained(out), first)
    os.kill(units(out)[trained(out)[0]].about["pid"], signal.SIGKILL)
    time.sleep(1)
    first.kill()
    first.communicate()
    second = started("suite", file, "--out", out, "--on", f"ray:{address}")
    wait_for(lambda: trained(out), second)
    cluster.stdin.write("\n")
    cluster.stdin.flush()
    shown, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert "[2/2]" in shown or "[1/1]" in shown
    pogospec("suite", file, "--out", whole)
    same(whole, out)


@pytest.mark.exhaustive("Ray waits some seconds for a cluster")
def test_a_cluster_that_is_not_there(file, tmp_path):
    pytest.importorskip("ray")
    done = pogospec("suite", file, "--out", tmp_path / "out", "--on", "ray:127.0.0.1:9", check=False)
    assert done.returncode == 2
    assert "--on ray:127.0.0.1:9: the cluster cannot be used (" in done.stderr
