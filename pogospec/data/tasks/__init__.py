"""What data are evaluated in: environments by name, AntMaze as D4RL plays it, goals, reference returns of scores."""

from pogospec.data.tasks.task import OURS, Task, is_antmaze, make, task_of

__all__ = ["OURS", "Task", "is_antmaze", "make", "task_of"]
