"""The side that asks: processes pinned to cores, made one by one and timed in turns; environments of peers."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import protocol

HERE = Path(__file__).parent
PEERS = {
    "torch": [["torch==2.13.0+cpu", "numpy"], ["torch==2.13.0", "numpy"]],
    "d3rlpy": [["torch==2.13.0+cpu", "d3rlpy==2.8.1"], ["torch==2.13.0", "d3rlpy==2.8.1"]],
}
"""What goes into the environment of a peer: the first that the registry at hand can install."""


class Missing(Exception):
    """A peer that cannot be had here, or a worker that died; the message says why."""


@dataclass
class Options:
    """What a run of the benchmarks was asked for."""

    folder: Path  # environments of peers, and files that are made once
    cores: tuple[int, ...]
    rounds: int = 7
    slice: float = 1.0  # seconds that are timed at once
    quick: bool = False
    notes: list[str] = field(default_factory=list)
    peak: float | None = None  # TFLOP/s of the device; None: measured

    @property
    def one(self) -> tuple[int, ...]:
        """The core of whatever runs on one."""
        return self.cores[-1:]


@dataclass
class Part:
    """What one part of the benchmarks found."""

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    targets: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def target(self, what: str, found: float | None, wanted: float, most: bool = False) -> None:
        """Put a number beside what is wanted of it: at least, or at most."""
        met = None if found is None else bool(found <= wanted if most else found >= wanted)
        self.targets.append({"what": what, "found": found, "wanted": wanted, "most": most, "met": met})


def environment(cores: Sequence[int], **more: str) -> dict[str, str]:
    """Variables of a worker: its cores, a thread for each, no cache of compiled programs unless `more` names one."""
    threads = dict.fromkeys(protocol.THREADS, str(len(cores)))
    pinned = {protocol.CORES: ",".join(map(str, cores)), "POGOSPEC_COMPILE_CACHE": "off", **threads}
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return own | pinned | {"TF_CPP_MIN_LOG_LEVEL": "3", **more}


class Worker:
    """A process that prepares tasks and runs updates of them."""

    def __init__(self, script: str, cores: Sequence[int], python: str | Path = sys.executable, **more: str):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [str(python), str(HERE / f"{script}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment(cores, **more),
        )

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give an order, wait for the answer; raises Missing with the last line of what the process said."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(order), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines() or ["no word"]
            raise Missing(f"{Path(self.process.args[1]).name} ended: {lines[-1]}")  # type: ignore[index]
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Job:
    """Updates of one task in one worker."""

    name: str
    worker: Worker
    task: dict[str, Any]
    seeds: int = 1
    about: dict[str, Any] = field(default_factory=dict)
    updates: int = 0
    rates: list[float] = field(default_factory=list)  # updates a second, of all seeds together

    def prepare(self, seconds: float) -> None:
        """Compile, and find how many updates take so many seconds."""
        self.about = self.worker.ask(name=self.name, task=self.task)
        count, taken = 2, self._run(2)
        while (taken := self._run(count)) < seconds / 8 and count < 10**8:
            count *= 4
        self.updates = max(2, 2 * round(count * seconds / taken / 2))

    def time(self) -> None:
        """Run its updates once."""
        self.rates.append(self.seeds * self.updates / self._run(self.updates))

    def _run(self, updates: int) -> float:
        return self.worker.ask(name=self.name, updates=updates)["seconds"]

    @property
    def rate(self) -> float:
        """Median of the rates."""
        return statistics.median(self.rates)

    @property
    def flops(self) -> float | None:
        """Operations of matrix products a second, at the median rate."""
        each = self.about.get("operations")
        return None if each is None else each / self.seeds * self.rate

    def row(self, peak: float | None = None) -> dict[str, Any]:
        """What a table says of it."""
        found = {"name": self.name, "updates/s": summary(self.rates), "compile s": self.about["compile"]}
        if self.flops is not None:
            found["GFLOP/s"] = self.flops / 1e9
            if peak is not None:
                found["of the matrix rate"] = self.flops / peak
        return found


def interleave(jobs: Sequence[Job], options: Options) -> None:
    """Prepare all, then time them in turns: A, B, C, A, B, C."""
    for job in jobs:
        job.prepare(options.slice)
    for _ in range(options.rounds):
        for job in jobs:
            job.time()


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median and range."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "all": list(values)}


def ratio(above: Job, below: Job) -> float:
    """Median over rounds of the ratio of two rates in one round."""
    return statistics.median(a / b for a, b in zip(above.rates, below.rates, strict=True))


def python_of(peer: str, options: Options) -> Path:
    """The interpreter of a peer's environment, which is made where it is missing; raises Missing with the reason."""
    folder = options.folder / "peers" / peer
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if python.exists() and _runs([str(python), "-c", f"import {peer}"]) is None:
        return python
    print(f"making an environment for {peer} in {folder}", file=sys.stderr)
    why = _runs([sys.executable, "-m", "venv", "--clear", str(folder)])
    tried = []
    for wanted in PEERS[peer] if why is None else []:
        why = _runs([str(python), "-m", "pip", "install", "-q", *wanted])
        if why is None:
            return python
        tried.append(f"pip install {' '.join(wanted)}: {why}")
    raise Missing(f"{peer} cannot be installed here; tried {'; '.join(tried) or why}")


def _runs(command: list[str]) -> str | None:
    """None where a command succeeds, or the last line of its errors."""
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no word"])[-1]
