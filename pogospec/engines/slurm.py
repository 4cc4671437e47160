"""Slurm, by submitit: units of the same size are one job array, whose jobs live on when the command ends.

The address is a partition. Where time is up, or a job is preempted with a warning, its worker is stopped and the job is
queued again under its own id, by Slurm and submitit alone; what is lost without warning the command submits again.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from pogospec.engines import start
from pogospec.engines.base import AbstractEngine, Size
from pogospec.engines.unit import Resources, Unit
from pogospec.errors import RunError, UsageError, printable
from pogospec.extras import Needs

FOLDER = "jobs"
"""Below that of the units: what submitit and Slurm write."""
WARNING = 120
"""Seconds before the time is up at which a worker is stopped."""
WAITING = ("PENDING", "RUNNING", "REQUEUED", "CONFIGURING", "SUSPENDED", "RESIZING", "REQUEUE_HOLD", "COMPLETING")


class Train:
    """What a job calls; submitit asks it what to queue again when the job has to go."""

    def __call__(self, file: str) -> str:
        """Train a unit; how that ended."""
        self.worker = start.Worker(file, "slurm", import_module("submitit").JobEnvironment().job_id)
        return start.words(self.worker.wait())

    def checkpoint(self, file: str) -> Any:
        """Stop the worker; the same again."""
        self.worker.stop()
        return import_module("submitit.helpers").DelayedSubmission(Train(), file)


class Slurm(AbstractEngine):
    """Jobs of a Slurm cluster."""

    needs: ClassVar[tuple[Needs, ...]] = (Needs("submitit", "slurm"),)
    address_is: ClassVar[str | None] = "PARTITION"
    lives_on: ClassVar[bool] = True
    cluster: ClassVar[str] = "slurm"
    job: ClassVar[str] = "SlurmJob"
    """submitit's names of the scheduler, and of its jobs."""

    def open(self, folder: Path) -> Size:
        """Look for Slurm's commands."""
        submitit, self.folder, self.jobs = import_module("submitit"), folder / FOLDER, {}
        try:
            self.executor = submitit.AutoExecutor(self.folder, cluster=self.cluster, slurm_max_num_timeout=1000)
        except RuntimeError:
            raise UsageError(
                "--on slurm: found no `srun` here; start the command on a machine that submits jobs"
            ) from None
        self.executor.update_parameters(name="pogospec", slurm_signal_delay_s=WARNING)
        if self.address is not None:
            self.executor.update_parameters(slurm_partition=self.address)
        return Size()

    def submit(self, units: Sequence[Unit]) -> list[str]:
        """An array for each size."""
        found: dict[str, str] = {}
        for size in dict.fromkeys(unit.resources for unit in units):
            same = [unit for unit in units if unit.resources == size]
            self.executor.update_parameters(**_asked(size))
            try:
                jobs = self.executor.map_array(Train(), [str(unit.file) for unit in same])
            except Exception as error:  # submitit's own, and those of the commands that it calls
                if isinstance(error, subprocess.CalledProcessError | OSError) or "submitit" in type(error).__module__:
                    raise RunError(f"--on slurm: jobs cannot be submitted: {printable(str(error), 300)}") from None
                raise
            for unit, job in zip(same, jobs, strict=True):
                self.jobs[job.job_id], found[unit.name] = job, job.job_id
        return [found[unit.name] for unit in units]

    def knows(self, id: str) -> bool:
        """Ask Slurm; who was submitted by an earlier command is asked for from now on."""
        job = getattr(import_module("submitit"), self.job)(self.folder, id)
        if job.state not in WAITING:
            return False
        self.jobs[id] = job
        return True

    def ended(self, id: str) -> str | None:
        """What Slurm calls it; submitit asks for all jobs together, and not often."""
        job = self.jobs[id]
        if not job.done():
            return None
        with contextlib.suppress(Exception):  # what the job returned, if it did
            return str(job.result())
        return f"{job.state.lower().replace('_', ' ')} as job {id}"

    def cancel(self, ids: Sequence[str]) -> None:
        """By scancel."""
        for id in ids:
            self.jobs[id].cancel(check=False)

    def stopping(self, ids: Sequence[str]) -> str | None:
        """A line of scancel."""
        return f"scancel {' '.join(dict.fromkeys(id.partition('_')[0] for id in ids))}" if ids else None


def _asked(size: Resources) -> dict[str, Any]:
    """Parameters of submitit."""
    asked: dict[str, Any] = {"cpus_per_task": size.cores, "slurm_additional_parameters": {"requeue": True}}
    if size.gpus != int(size.gpus):
        raise UsageError(f"resources.gpus: found {size.gpus:g}, allowed whole numbers on Slurm")
    if size.gpus:
        asked["gpus_per_node"] = int(size.gpus)
    if size.memory is not None:
        asked["mem_gb"] = size.memory
    if size.minutes is not None:
        asked["timeout_min"] = size.minutes
    return asked
