"""Names of steps: what may be one, and that none stands twice."""

from __future__ import annotations

import re

from pogospec.checking.base import Problems
from pogospec.spec.schema import Spec
from pogospec.spec.yaml import show


def name_rules(spec: Spec) -> Problems:
    """Names of steps are names of files, one for each repetition."""
    steps, taken = spec.schedule.steps, {"behavior", "warm-up"}
    unnamed = sum(step.repeat for step in steps if step.name is None and "policy" in step.learn)
    taken |= {f"step {number + 1}" for number in range(unnamed)}
    for index, step in enumerate(steps):
        if step.name is None:
            continue
        labels = {f"{step.name} {k + 1}" for k in range(step.repeat)} if step.repeat > 1 else {step.name}
        if not re.fullmatch(r"[^\W_](?:[ -]?[^\W_]){0,39}", step.name):
            message = f"found {show(step.name)}, allowed up to 40 letters and digits, with a space or - between them"
            yield f"schedule.steps[{index}].name", message
        elif labels & taken:
            message = f"found {show(step.name)}, which gives the label '{min(labels & taken)}' twice; choose another"
            yield f"schedule.steps[{index}].name", message
        taken |= labels
