"""What runs wrote, read: their directories, evaluations, metrics, flows and policies."""

from pogospec.report.reading.estimates import bounds_of, decimals, estimated, spread_of, what
from pogospec.report.reading.find import PLAN, Plan, inside, open_any, open_plan, open_planned, open_runs
from pogospec.report.reading.flow import is_target, read_flow, refusals, troubles
from pogospec.report.reading.scores import final, last_step, normalised, seeds_of
from pogospec.report.reading.sweeps import of_sweeps
from pogospec.report.reading.weights import unhealthy

__all__ = [
    "PLAN", "Plan", "bounds_of", "decimals", "estimated", "final", "inside", "is_target", "last_step", "normalised",
    "of_sweeps", "open_any", "open_plan", "open_planned", "open_runs", "read_flow", "refusals", "seeds_of", "spread_of",
    "troubles", "unhealthy", "what",
]  # fmt: skip
