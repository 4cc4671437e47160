"""The behaviour policy: the natural gradient of its loss."""

from __future__ import annotations

from typing import Any

from pogospec.checking.base import Problems, no_metric
from pogospec.registry import kind_of
from pogospec.spec.geometries import metric_of_behavior
from pogospec.spec.schema import Spec, StepSpec


def behavior_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a natural gradient of the behaviour's loss needs: a geometry, with a metric on its family."""
    gradient: Any = step.behavior_gradient
    if gradient is None or not gradient.needs_metric or "behavior" not in step.learn:
        return
    metric = metric_of_behavior(spec, step)
    without = next(filter(None, (no_metric(gradient, geometry, spec.behavior) for geometry in metric)), None)
    if not metric:
        yield f"{where}.behavior_gradient", "needs the metric of a geometry, but there is none; add the key `geometry`"
    elif without is not None:
        yield f"{where}.behavior_gradient", without
    elif any(geometry.weight == 0 for geometry in metric):
        kind = kind_of("gradient", type(gradient))
        yield f"{where}.behavior_gradient", f"found {kind} in a geometry of weight 0, which leaves no metric"
