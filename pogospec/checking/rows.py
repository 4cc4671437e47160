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
    terms = [name for step in spec.schedule.steps for name, term in (step.energy or {}).items() if term.begins]
    if spec.schedule.at_once > 1 and terms:
        yield (
            where,
            f"found disk, but {terms[0]} of the energy measures its scale where each of the concurrent steps begins, "
            "on rows of its own; allowed memory, or another scale",
        )
