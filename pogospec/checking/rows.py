"""Rows that lie in a file: what looks at more of them than minibatches."""

from __future__ import annotations

from pogospec.checking.base import Problems
from pogospec.spec.schema import Spec


def row_rules(spec: Spec) -> Problems:
    """What wants rows in memory."""
    if spec.data.rows == "memory":
        return
    where = "data.rows"
    for index, step in enumerate(spec.schedule.steps):
        if step.judge is not None:
            yield (
                where,
                f"found disk, but schedule.steps[{index}].judge asks for held-out episodes whole; allowed memory with "
                "a judge",
            )
            return
