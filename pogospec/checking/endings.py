"""Rules that end a step, or its repetitions, by what was measured: until, repeat_until."""

from __future__ import annotations

from pogospec.checking.base import HOLD_OUT, Problems, holds_out
from pogospec.spec.schema import Spec, StepSpec


def ending_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What the rules of a step need: a learner, held-out states, a policy as the reference."""
    if step.until is not None:
        if step.until.needs not in step.learn:
            yield f"{where}.until", f"needs {step.until.needs}, which this step does not learn"
        elif not holds_out(spec):
            yield f"{where}.until", HOLD_OUT
    if step.repeat_until is not None:
        if step.repeat == 1:
            yield f"{where}.repeat_until", "ends repetitions, but repeat is 1; set repeat to the most there may be"
        if "policy" not in step.learn or step.repeat_until.needs != "policy":
            yield f"{where}.repeat_until", "allowed energy_settled, judged, in a step that learns the policy"
        elif not holds_out(spec):
            yield f"{where}.repeat_until", HOLD_OUT
