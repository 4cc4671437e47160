"""The engine of Slurm with submitit's executor of this machine, which starts a process a job and schedules nothing.

As a program: the command line, which then knows it as `--on here`.
"""

import sys
from pathlib import Path
from typing import ClassVar

from pogospec import registry
from pogospec.engines.slurm import Slurm

KIND, TARGET = "here", "here:Here"


class Here(Slurm):
    """Jobs that are processes of this machine."""

    cluster: ClassVar[str] = "local"
    job: ClassVar[str] = "LocalJob"


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent))
    registry.BESIDE["engine"][KIND] = TARGET
    from pogospec.cli import main

    main()
