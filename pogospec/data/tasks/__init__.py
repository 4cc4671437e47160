"""What data are evaluated in: environments by name, AntMaze as D4RL plays it, goals, reference returns of scores."""

from pogospec.data.tasks.play import Played
from pogospec.data.tasks.task import LIMIT, OURS, Task, is_antmaze, make, refuse_code, replaced, task_of

__all__ = ["LIMIT", "OURS", "Played", "Task", "is_antmaze", "make", "refuse_code", "replaced", "task_of"]
