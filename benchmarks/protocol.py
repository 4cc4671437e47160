"""The side of a worker: pin the process, prepare what is asked for, run it, say how long it took; stdlib alone.

A worker imports this first. Orders come as lines of JSON on the standard input, answers go out likewise.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CORES = "BENCHMARK_CORES"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Run = Callable[[int], float]
"""Run so many updates; the seconds that they took."""


def pin() -> None:
    """Keep this process on the cores it was given; before any library counts them."""
    cores = os.environ.get(CORES)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


pin()


def serve(prepare: Callable[[dict[str, Any]], tuple[dict[str, Any], Run]]) -> None:
    """Answer orders until the input ends; `prepare` gives what is to be told of a task, and how to run it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    runs: dict[str, Run] = {}
    for line in sys.stdin:
        order = json.loads(line)
        if "task" in order:
            answer, runs[order["name"]] = prepare(order["task"])
        else:
            answer = {"seconds": runs[order["name"]](order["updates"])}
        print(json.dumps(answer), file=answers, flush=True)


@contextmanager
def clock() -> Iterator[list[float]]:
    """Seconds of what is inside, filled in at its end."""
    spent, begin = [0.0], time.perf_counter()
    yield spent
    spent[0] = time.perf_counter() - begin
