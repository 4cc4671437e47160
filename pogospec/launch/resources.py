"""What a unit of an engine asks for: what a suite says, else what its operations and its memory come to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pogospec.engines.base import Size
from pogospec.engines.unit import Resources
from pogospec.errors import UsageError
from pogospec.explain import memory
from pogospec.launch.forecast import Forecast
from pogospec.launch.job import Job
from pogospec.spec.suite import ResourcesSpec

MOST_CORES = 16
"""Of a unit whose engine does not tell what its machines have."""
BASE = 3.0
"""GB that Python, JAX, its compiler, the data and rollouts take beside what is counted."""
SLACK, STARTING = 3.0, 30
"""Times the estimated time, and minutes for compiling and rollouts: an unknown machine may be that much slower."""


def asked(
    jobs: Sequence[Job], forecast: Forecast, given: ResourcesSpec | None, size: Size, device: str | None
) -> Resources:
    """What jobs that train in one program ask for; raises UsageError where no machine of the engine has it."""
    said = ResourcesSpec() if given is None else given
    runs = sum(job.spec.seed_count for job in jobs)
    gpus = said.gpus if said.gpus is not None else float(device == "gpu")
    cores = said.cores
    if cores is None:
        most = MOST_CORES if size.cores is None else max(int(size.cores), 1)
        cores = min(2 if gpus else runs, most)
    for name, wanted, there in (("cores", cores, size.cores), ("gpus", gpus, size.gpus)):
        if there is not None and wanted > there:
            raise UsageError(
                f"resources.{name}: found {wanted:g}, allowed at most {there:g}, what the largest machine has"
            )
    return Resources(
        cores, gpus, said.memory or _memory(jobs, forecast, bool(gpus)), said.minutes or _minutes(jobs, forecast)
    )


def _memory(jobs: Sequence[Job], forecast: Forecast, on_gpu: bool) -> float:
    """GB of the machine; on a GPU what trains lies there."""
    counted = 0.0
    if not on_gpu:
        for job in jobs:
            space = forecast.space(job)
            counted += 0.0 if space is None else 2e-9 * memory(job.spec, space, None).total
    return float(math.ceil(BASE + counted))


def _minutes(jobs: Sequence[Job], forecast: Forecast) -> int | None:
    """Time for all that is left; None where it is unknown."""
    seconds = [forecast.left(job) for job in jobs]
    known = [one for one in seconds if one is not None]
    return math.ceil(SLACK * sum(known) / 60 + STARTING) if len(known) == len(seconds) else None
