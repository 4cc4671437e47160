"""What runs wrote, read: their directories, evaluations, metrics, flows and policies."""

from pogospec.report.reading.find import PLAN, Plan, open_plan, open_planned, open_runs
from pogospec.report.reading.flow import is_target, troubles
from pogospec.report.reading.scores import final, last_step, normalised
from pogospec.report.reading.sweeps import of_sweeps
from pogospec.report.reading.weights import unhealthy

__all__ = [
    "PLAN", "Plan", "final", "is_target", "last_step", "normalised", "of_sweeps", "open_plan", "open_planned",
    "open_runs", "troubles", "unhealthy",
]  # fmt: skip
