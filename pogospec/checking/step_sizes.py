"""Step sizes that are not one number: the range of a law, sizes chosen by trial, sizes that are learned."""

from __future__ import annotations

import math
from typing import Any

from pogospec.checking.base import HOLD_OUT, Problems, holds_out
from pogospec.registry import kind_of
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.multiplier import Multiplier
from pogospec.steps.schedule import Backtracking, Choice, Geometric


def range_rules(tau: Any, repeat: int, place: str) -> Problems:
    """A rule of step sizes has to stay within the numbers that a program can hold."""
    if not isinstance(tau, (Geometric, Backtracking)):
        return
    taken = repeat if isinstance(tau, Geometric) else tau.tries
    taken = 1 if getattr(tau, "least", None) is not None else taken  # which falls no further than it says
    decades = math.log10(tau.start) + (taken - 1) * math.log10(tau.factor)
    if abs(decades) > 37:
        yield place, f"reaches 10^{decades:.0f} in the end, allowed 1e-37 to 1e37; take fewer, or a factor nearer to 1"


def backtracking_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a step size that is chosen by trial needs: held-out states, and an energy that stays one function."""
    terms = [(term.tau, term.reference, f"{where}.proximal[{i}].tau") for i, term in enumerate(step.proximal or ())]
    terms += [(step.tau, step.from_, f"{where}.tau")]
    chosen = [term for term in terms if isinstance(term[0], (Backtracking, Choice))]
    for tau, reference, place in chosen:
        kind = kind_of("tau", type(tau))
        if not holds_out(spec):
            yield place, f"{kind} {HOLD_OUT}"
        if step.learn != ("policy",):
            yield place, f"{kind} needs a step that learns the policy alone, so that its energy is one function"
        if step.optimizer_state == "keep":
            yield place, f"{kind} takes a step again with a fresh optimiser; allowed optimizer_state: reset"
        unknown = reference == "data" or (reference == "behavior" and type(spec.behavior) is not type(spec.policy))
        if unknown and step.judge is None:
            yield place, f"{kind} compares with the energy of the reference, which {reference} has not"
        if len(terms) > 2:
            yield place, f"{kind} chooses the one step size of a step; allowed one proximal term"


def multiplier_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a learned step size needs: one proximal term, in an implicit step on data."""
    terms = [(term.tau, f"{where}.proximal[{i}].tau") for i, term in enumerate(step.proximal or ())]
    terms += [(step.tau, f"{where}.tau")]
    for tau, place in terms:
        if not isinstance(tau, Multiplier):
            continue
        if tau.start * tau.most < 1:
            most = f"1/most = {1 / tau.most:g}"
            yield f"{place}.start", f"found {tau.start:g}, allowed {most} or more, since 1/tau is at most {tau.most:g}"
        if spec.target is not None:
            yield place, "multiplier follows minibatches of data; allowed here: a number, geometric, backtracking"
        if step.scheme is not None and step.scheme.at_reference:
            scheme = kind_of("scheme", type(step.scheme)).replace("_", "-")
            article = "an" if scheme[0] in "aeiou" else "a"
            yield (
                place,
                f"multiplier weighs a proximal term, which {article} {scheme} step has not; use scheme: implicit",
            )
        if len(terms) > 2:
            yield place, "multiplier learns the one step size of a step; allowed one proximal term"
