"""A storm on an engine: workers, nodes and the command itself are killed, and the suite ends as in one process.

`python benchmarks/engines.py ray` makes a Ray cluster of several nodes on this machine, `… submitit` starts a process a
job by submitit's local executor. A suite of small runs is trained in one process, then on the engine while a worker is
killed every few seconds and the command twice, and then both are compared, bit for bit. Told are also how many updates
each kill cost, whether two workers were ever seen on one run, and, by `--calm`, what the engine costs a run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
HERE = str(ROOT / "tests" / "engines" / "here.py")
QUICK = {
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # or Ray takes 127.0.0.1 for an address that other machines see
}
"""Programs as tests compile them, and workers that share this machine evenly with whatever else runs."""
EVERY = 1000
"""Updates between checkpoints."""


def suite(folder: Path, runs: int, updates: int, at_once: int) -> Path:
    """A suite of small runs that differ in numbers."""
    rates = ", ".join(
        f"{{spec: td3_bc, name: rate-{i}, set: {{optimizer.learning_rate: {1e-4 * (i + 1):.1e}}}}}"
        for i in range(runs // 2)
    )
    small = "policy.hidden: [8], behavior.hidden: [8], critic.hidden: [8], train.batch_size: 16"
    every = f"train.log_every: 100, train.checkpoint_every: {EVERY}, evaluate.every: {updates}, evaluate.episodes: 1"
    text = f"specs: [{rates}]\ndatasets: [pocket/reacher-mixed, pocket/hopper-mixed]\nseeds: 1\nupdates: {updates}\n"
    text += f"set: {{{every}, {small}}}\nresources: {{cores: 1, memory: 0.5, at_once: {at_once}}}\n"
    file = folder / "storm.yaml"
    file.write_text(text)
    return file


@contextlib.contextmanager
def nothing() -> Iterator[tuple[str, Callable[[], str | None]]]:
    """The engine that needs no cluster."""
    yield "here", lambda: None


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """A cluster of this machine alone, what `--on` calls it, and how a node of it is lost and another one comes."""
    from ray.cluster_utils import Cluster

    mine = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **mine})
    there = [cluster.add_node(num_cpus=1, memory=2 * 10**9, **mine) for _ in range(nodes)]

    def lose() -> str:
        cluster.remove_node(there.pop(0), allow_graceful=False)
        there.append(cluster.add_node(num_cpus=1, memory=2 * 10**9, **mine))
        return "node"

    try:
        yield f"ray:{cluster.address}", lose
    finally:
        cluster.shutdown()


def start(file: Path, out: Path, on: str) -> subprocess.Popen[bytes]:
    """The command that trains the suite."""
    log = (out.parent / f"{out.name}.log").open("ab")
    command = [sys.executable, HERE, "suite", str(file), "--out", str(out), "--on", on]
    return subprocess.Popen(command, stdout=log, stderr=log)


def workers() -> dict[str, list[int]]:
    """Processes that train units, by the file of each."""
    found: dict[str, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().decode(errors="replace").split("\0")
            if "pogospec.launch.worker" in words:
                found.setdefault(words[-2], []).append(int(entry.parent.name))
    return found


def newest(run: Path) -> int:
    """Updates of the newest checkpoint."""
    return max((int(file.stem) for file in run.glob("checkpoints/*.safetensors")), default=0)


def reached(run: Path) -> int:
    """Updates of a run so far."""
    with contextlib.suppress(OSError, ValueError):
        return int(json.loads((run / "status.json").read_text())["update"])
    return 0


def done(folder: Path) -> int:
    """Runs that are done."""
    states = []
    for file in folder.glob("*/status.json"):
        with contextlib.suppress(OSError, ValueError):
            states.append(json.loads(file.read_text())["state"])
    return states.count("done")


class Storm:
    """Kills workers, nodes and the command, and counts what that costs."""

    def __init__(self, folder: Path, draw: random.Random):
        self.folder, self.draw = folder, draw
        self.kills: dict[str, int] = {}
        self.lost: list[int] = []
        self.spared: dict[Path, int] = {}
        self.twice = 0

    def look(self) -> dict[str, list[int]]:
        """Workers that train now; of two on one run it is noted when both have its lock."""
        there = workers()
        self.twice += sum(len([pid for pid in pids if locks(pid)]) > 1 for pids in there.values())
        return there

    def kill(self, lose: Callable[[], str | None]) -> bool:
        """Kill a worker, the process that started it, or a node, of a run that went on since its last kill, if any."""
        there = [(run_of(file), pid) for file, pids in self.look().items() for pid in pids if locks(pid)]
        there = [(run, pid) for run, pid in there if reached(run) > self.spared.get(run, 0)]
        if not there:
            return False
        (run, victim), what = self.draw.choice(there), self.draw.choice(("worker", "worker", "starter", "node"))
        self.spared[run] = reached(run) + EVERY
        before = {run: reached(run) for run in self.running()}
        if what == "node":
            what = lose() or "worker"
        if what != "node":
            pid = victim if what == "worker" else parent(victim)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kills[what] = self.kills.get(what, 0) + 1
        self.count(before)
        return True

    def running(self) -> list[Path]:
        """Directories of the runs that train now."""
        return [run_of(file) for file in workers()]

    def count(self, before: dict[Path, int]) -> None:
        """Note what runs lost whose workers are gone."""
        time.sleep(0.3)
        still = self.running()
        for run in before:
            if run not in still and newest(run):
                self.lost.append(max(reached(run) - newest(run), 0))


def run_of(file: str) -> Path:
    """The directory of the run of a unit."""
    return Path(file).parents[1] / Path(file).stem


def locks(pid: int) -> bool:
    """Whether a process has the lock of a run open."""
    with contextlib.suppress(OSError):
        return any(os.readlink(entry).endswith("/.lock") for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def parent(pid: int) -> int:
    """The process that started another."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def compare(whole: Path, other: Path) -> list[str]:
    """Files of the runs that differ between two folders: tables but for their times, checkpoints and policies."""
    from safetensors.numpy import load_file

    wrong = []
    for run in sorted(path.parent for path in whole.glob("*/manifest.json")):
        for name in ("returns.csv", "metrics.csv", "flow.csv"):
            if timeless(run / name) != timeless(other / run.name / name):
                wrong.append(f"{run.name}/{name}")
        for file in sorted(run.glob("*/*.safetensors")):
            own, theirs = (load_file(path / file.relative_to(whole)) for path in (whole, other))
            if own.keys() != theirs.keys() or any(own[key].tobytes() != theirs[key].tobytes() for key in own):
                wrong.append(str(file.relative_to(whole)))
    return wrong


def timeless(path: Path) -> list[str]:
    """Rows of a table without times."""
    rows = [line.split(",") for line in path.read_text().splitlines()]
    left = [at for at, name in enumerate(rows[0]) if name not in ("seconds", "updates_per_second")]
    return [",".join(row[at] for at in left) for row in rows]


def stormy(file: Path, out: Path, on: str, lose: Callable[[], str | None], runs: int, every: float, seed: int) -> None:
    """Train a suite on an engine through a storm, and say what came of it."""
    draw, clock = random.Random(seed), time.monotonic()
    storm, due = Storm(out, draw), [runs // 3, 2 * runs // 3]
    process, next_kill = start(file, out, on), time.monotonic() + every
    while process.poll() is None:
        time.sleep(0.2)
        storm.look()
        if due and done(out) >= due[0]:
            due.pop(0)
            before = {run: reached(run) for run in storm.running()}
            process.send_signal(signal.SIGKILL)
            process.wait()
            storm.kills["command"] = storm.kills.get("command", 0) + 1
            storm.count(before)
            process = start(file, out, on)
        elif time.monotonic() > next_kill and storm.kill(lose):
            next_kill = time.monotonic() + every * draw.uniform(0.5, 1.5)
    told = ", ".join(f"{what} {count}" for what, count in sorted(storm.kills.items()))
    print(
        f"{on.partition(':')[0]}: exit code {process.returncode} after {time.monotonic() - clock:.0f} s; killed: {told}"
    )
    most = max(storm.lost, default=0)
    print(
        f"  updates lost by a kill: at most {most}, {sum(storm.lost)} in {len(storm.lost)}; a checkpoint each {EVERY}"
    )
    print(f"  two workers on one run: seen {storm.twice} times")


def main() -> None:
    """Parse, train, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=("ray", "submitit"))
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--nodes", type=int, default=3, help="at work at a time")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between kills, about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--calm", action="store_true", help="kill nothing, and say what the engine costs a run")
    parser.add_argument("--folder", type=Path, help="where to leave what was made")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= QUICK | {"POGOSPEC_COMPILE_CACHE": str(folder / "compiled")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    file = suite(folder, given.runs, given.updates, given.nodes)
    clock = time.monotonic()
    code = start(file, folder / "whole", "local").wait()
    alone = time.monotonic() - clock
    print(f"one process: exit code {code} after {alone:.0f} s", flush=True)
    with ray_cluster(given.nodes) if given.engine == "ray" else nothing() as (on, lose):
        out = folder / given.engine
        if given.calm:
            clock = time.monotonic()
            code = start(file, out, on).wait()
            wall = time.monotonic() - clock
            print(f"{given.engine}: exit code {code} after {wall:.0f} s, {(wall - alone) / given.runs:+.1f} s a run")
        else:
            stormy(file, out, on, lose, given.runs, given.every, given.seed)
    wrong = compare(folder / "whole", out)
    print(f"  runs that are done: {done(out)} of {given.runs}; files that differ: {len(wrong)} {wrong[:5] or ''}")


if __name__ == "__main__":
    main()
