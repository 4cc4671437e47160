"""Where the energy of a flow on a known Q is least: the density exp(Q/lambda)/Z, or what further terms make of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from pogospec.energies.action_norm import ActionNormTerm
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.spec.schema import StepSpec
from pogospec.targets.base import AbstractTarget
from pogospec.targets.tilted import tilted


class Least(NamedTuple):
    """The density exp(Q/temperature)/Z at which an energy is least; at temperature 0 the point where Q is greatest.

    `target` holds Q with all that further terms add to it. Where `why` says something, the energy has another minimum,
    or none, that is not known, and the rest is Q and lambda as they stand in the spec.
    """

    target: AbstractTarget
    temperature: float
    length: float = 0.0  # c of Q - c |a|^2
    why: str = ""

    @property
    def text(self) -> str:
        """What it is, in words."""
        q = "Q" if self.length == 0 else f"Q - {self.length:.4g} |a|^2"
        if self.temperature == 0:
            return f"the point where {q} is greatest"
        return f"exp({q if self.length == 0 else f'({q})'}/lambda)/Z at lambda = {self.temperature:g}"


def least(target: AbstractTarget, family: Any, step: StepSpec) -> Least:
    """Where the energy of a step is least over all densities, or all points for a family without them.

    E[pi] = -w E[Q] + n E|a|^2 - lambda H(pi) is least at exp((Q - (n/w) |a|^2) w/lambda)/Z.
    """
    terms = {name: term for name, term in (step.energy or {}).items() if term.weight > 0}
    weight = {
        kind: sum(term.weight for term in terms.values() if isinstance(term, kind))
        for kind in (QTerm, EntropyTerm, ActionNormTerm)
    }
    if weight[QTerm] == 0:
        return Least(target, 0.0, why="the energy has no Q")
    heat = weight[EntropyTerm] / weight[QTerm]
    length = weight[ActionNormTerm] / weight[QTerm]
    at_mean = all(getattr(term, "actions", "mean") == "mean" for term in terms.values())
    # of -Q(mean) + c |mean|^2 the point is a minimum too
    points = not family.has_density or (step.scheme is not None and step.scheme.at_reference) or (heat == 0 and at_mean)
    for name, term in terms.items():
        why = _why(term, points, heat == length == 0)
        if why:
            return Least(target, heat, why=f"energy.{name} {why}")
    return Least(tilted(target, length), heat, length)


def _why(term: Any, points: bool, alone: bool) -> str:
    """Why the optimum is not known beside a term.

    `points`: whether the flow sees its value at each action; `alone`: whether the energy is that of Q.
    """
    if isinstance(term, EntropyTerm):
        return ""
    if not isinstance(term, QTerm | ActionNormTerm):
        return "has a part in the optimum that is not known"
    if not points and term.actions == "mean":
        return "looks at the mean action alone, so that the energy is not that of a density: actions: quadrature"
    if isinstance(term, QTerm) and not alone and term.scale != "none":
        return f"divides Q by a scale that is measured, so that lambda is not that of Q (scale: {term.scale})"
    return ""
