"""The behaviour policy: the natural gradient of its loss."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import Problems, policy_kind
from pogospec.spec.geometries import metric_of_behavior
from pogospec.spec.schema import Spec, StepSpec


def behavior_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a natural gradient of the behaviour's loss needs: a geometry, with a metric on its family."""
    gradient: Any = step.behavior_gradient
    if gradient is None or not gradient.needs_metric or "behavior" not in step.learn:
        return
    metric = metric_of_behavior(spec, step)
    without = next((geometry for geometry in metric if not geometry.has_metric(spec.behavior.parameter_type)), None)
    if not metric:
        yield f"{where}.behavior_gradient", "needs the metric of a geometry, but there is none; add the key `geometry`"
    elif without is not None:
        found = f"{without.kind} has no metric on {policy_kind(spec.behavior)}"
        yield f"{where}.behavior_gradient", f"{found}; use the euclidean gradient"
    elif any(geometry.weight == 0 for geometry in metric):
        yield f"{where}.behavior_gradient", "found natural in a geometry of weight 0, which leaves no metric"
