"""What data are evaluated in: environments by name, AntMaze and OGBench as they are scored, goals, references."""

from pogospec.data.tasks.play import Played
from pogospec.data.tasks.task import (
    ARM,
    LIMIT,
    OGBENCH,
    OURS,
    SINGLE,
    Task,
    is_antmaze,
    is_success,
    make,
    refuse_code,
    replaced,
    task_of,
    time_limit,
)

__all__ = [
    "ARM",
    "LIMIT",
    "OGBENCH",
    "OURS",
    "SINGLE",
    "Played",
    "Task",
    "is_antmaze",
    "is_success",
    "make",
    "refuse_code",
    "replaced",
    "task_of",
    "time_limit",
]
