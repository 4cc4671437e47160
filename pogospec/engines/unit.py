"""What is handed to a worker: runs that train in one program, as a file of JSON in the folder of the runs.

FOLDER/units/NAME.json    the unit
FOLDER/units/NAME.lease   who works on it, see `lease.py`
FOLDER/units/NAME.log     what its workers printed, one after another
FOLDER/units/jobs.json    by which id the engine knows each unit
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.runs import files

UNITS = "units"
FORWARDED = ("POGOSPEC_", "MINARI_", "D4RL_", "OGBENCH_", "JAX_", "XLA_", "MUJOCO_")
"""How variables begin that workers have from whoever submits: where data and caches are, how programs are compiled.

None that hold keys of accounts: they are written into a file.
"""


class Resources(NamedTuple):
    """What a unit asks for; None where the engine is to decide."""

    cores: int = 1
    gpus: float = 0
    memory: float | None = None  # GB
    minutes: int | None = None


class Unit(NamedTuple):
    """Runs that train in one program, on a worker."""

    file: Path
    resources: Resources

    @property
    def name(self) -> str:
        """What the files of the unit are called, and its job."""
        return self.file.stem

    @property
    def lease(self) -> Path:
        """Who works on it."""
        return self.file.with_suffix(".lease")

    @property
    def log(self) -> Path:
        """What its workers print."""
        return self.file.with_suffix(".log")


def write(folder: Path, name: str, resources: Resources, content: dict[str, Any]) -> Unit:
    """Write a unit down; `content`: what its worker is to know. Raises OSError."""
    file = folder / UNITS / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {"resources": resources._asdict(), "environment": forwarded(), "directory": os.getcwd()}
    files.write_json(file, content | told)
    return Unit(file, resources)


def forwarded() -> dict[str, str]:
    """Variables of this process that workers are to have too."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(FORWARDED)}
