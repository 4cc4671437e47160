"""Which geometries a spec declares: those of a step, and those whose metric the behaviour's gradient takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pogospec.spec.schema import Spec, StepSpec


def geometries(step: StepSpec) -> Iterator[tuple[str, Any]]:
    """Every geometry of a step, with its key."""
    nodes = [(f"proximal[{i}].geometry", term.geometry) for i, term in enumerate(step.proximal or ())]
    for key, node in [("geometry", step.geometry), *nodes]:
        parts = node.items() if isinstance(node, dict) else [("", node)]
        yield from ((f"{key}.{name}" if name else key, part) for name, part in parts if part is not None)


def metric_of_behavior(spec: Spec, step: StepSpec) -> list[Any]:
    """Geometries whose metric the gradient of the behaviour's loss takes: the step's, else the spec's; or none."""
    if step.behavior_gradient is None or not step.behavior_gradient.needs_metric:
        return []
    own = [geometry for _, geometry in geometries(step)]
    top = spec.geometry.values() if isinstance(spec.geometry, dict) else [spec.geometry]
    return own or [geometry for geometry in top if geometry is not None]
