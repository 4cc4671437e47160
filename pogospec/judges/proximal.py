"""The proximal inequality E[pi] + D(pi, reference)/tau < E[reference], by the critic that drives the step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pogospec.judges.base import AbstractJudge, Bench, Finding
from pogospec.policies.base import Point
from pogospec.spec.geometries import geometries
from pogospec.spec.schema import Spec, StepSpec


class ProximalInequality(AbstractJudge):
    """By how much the proximal inequality holds in held-out states, which an exact step satisfies.

    It sees whether the step was solved, not whether its critic is right.
    """

    unit: ClassVar[str] = "the energy"

    def finding(self, bench: Bench) -> Finding:
        """Minus gap of flow.csv, with its error."""
        return Finding(-bench.measured["gap"], bench.measured["gap_error"])

    def words(self) -> str:
        """The two sides."""
        return "E[reference] − E[π] − D/tau in held-out states, by the critics that drive the step"

    def refused(self, spec: Spec, step: StepSpec) -> Iterator[tuple[str, str]]:
        """A proximal term whose reference has an energy and a distance."""
        references = [term.reference for term in step.proximal or ()] or [step.from_]
        types = {"behavior": spec.behavior.parameter_type, "previous": spec.policy.parameter_type}
        own = spec.policy.parameter_type
        if references == [None]:
            yield "", "compares E[π] + D/tau with E[reference], and the step has no proximal term; use another judge"
        elif not any(types.get(reference or "", Point) is own for reference in references if reference != "data"):
            found = ", ".join(str(reference) for reference in references)
            yield "", f"compares with the energy of the reference, which {found} has not; use another judge"
        else:
            for key, geometry in geometries(step):
                if not all(geometry.supports(own, types.get(reference or "", Point)) for reference in references):
                    yield "", f"compares distances, which {key} does not know of this policy; use another judge"
