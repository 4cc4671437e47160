"""Step sizes that are not one number: the range of a law, sizes chosen by trial, sizes that are learned."""

from __future__ import annotations

import math
from typing import Any

from pogospec.checking.base import HOLD_OUT, Problems, holds_out
from pogospec.registry import kind_of
from pogospec.spec.geometries import geometries
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.multiplier import Multiplier
from pogospec.steps.schedule import Backtracking, Choice, Doubling, Geometric


def range_rules(tau: Any, repeat: int, place: str) -> Problems:
    """A rule of step sizes has to stay within the numbers that a program can hold."""
    if not isinstance(tau, (Geometric, Backtracking)):
        return
    taken = repeat if isinstance(tau, Geometric) else tau.tries
    taken = 1 if getattr(tau, "least", None) is not None else taken  # which falls no further than it says
    decades = math.log10(tau.start) + (taken - 1) * math.log10(tau.factor)
    if abs(decades) > 37:
        yield place, f"reaches 10^{decades:.0f} in the end, allowed 1e-37 to 1e37; take fewer, or a factor nearer to 1"


def trial_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What a step size that is chosen by trial needs: held-out states, and an energy that stays one function."""
    terms = [(term.tau, term.reference, f"{where}.proximal[{i}].tau") for i, term in enumerate(step.proximal or ())]
    terms += [(step.tau, step.from_, f"{where}.tau")]
    chosen = [term for term in terms if isinstance(term[0], (Backtracking, Choice, Doubling))]
    for tau, reference, place in chosen:
        kind = kind_of("tau", type(tau))
        if not holds_out(spec):
            yield place, f"{kind} {HOLD_OUT}"
        if step.learn != ("policy",):
            yield place, f"{kind} needs a step that learns the policy alone, so that its energy is one function"
        if step.optimizer_state == "keep":
            yield place, f"{kind} takes a step again with a fresh optimiser; allowed optimizer_state: reset"
        unknown = reference == "data" or (reference == "behavior" and type(spec.behavior) is not type(spec.policy))
        if unknown and step.judge is None and not isinstance(tau, Doubling):
            yield place, f"{kind} compares with the energy of the reference, which {reference} has not"
        if len(terms) > 2:
            yield place, f"{kind} chooses the one step size of a step; allowed one proximal term"


def doubling_rules(spec: Spec, step: StepSpec, where: str) -> Problems:
    """What step doubling needs: repetitions that go on from each other, and a distance between two policies."""
    terms = [(term.tau, term.reference, f"{where}.proximal[{i}]") for i, term in enumerate(step.proximal or ())]
    for tau, reference, place in [*terms, (step.tau, step.from_, where)]:
        if not isinstance(tau, Doubling):
            continue
        yield from _lengths(tau, f"{place}.tau")
        if reference != "previous":
            key = "from" if place == where else "reference"
            yield (
                f"{place}.{key}",
                f"found '{reference}', but step doubling goes on from step to step; allowed previous",
            )
        if step.repeat == 1:
            yield f"{where}.repeat", "found 1, but each repetition is an attempt of step doubling; set the most of them"
        yield from _of_doubled(step, where)


def _lengths(tau: Doubling, place: str) -> Problems:
    """Step sizes and flow time of one rule."""
    if tau.start > tau.bound:
        key = "time" if tau.longest is None or tau.longest > tau.time / 2 else "longest"
        most = "half of time" if key == "time" else "longest"
        yield f"{place}.start", f"found {tau.start:g}, allowed at most {most} = {tau.bound:g}, or a larger {key}"
    for key in ("start", "time", "tolerance"):
        if not 1e-37 < getattr(tau, key) < 1e37:
            yield f"{place}.{key}", f"found {getattr(tau, key):g}, allowed 1e-37 to 1e37"


def _of_doubled(step: StepSpec, where: str) -> Problems:
    """What a step that is doubled cannot have beside it."""
    if step.judge is not None:
        kind = kind_of("judge", type(step.judge))
        yield f"{where}.judge", f"found {kind}, but step doubling decides by its local error; remove it"
    if step.repeat_until is not None:
        kind = kind_of("until", type(step.repeat_until))
        yield f"{where}.repeat_until", f"found {kind}, but step doubling ends at tau.time; remove it"
    if step.start != "as_is":
        yield f"{where}.start", f"found '{step.start}', where step doubling goes on from step to step; allowed as_is"
    used = list(geometries(step))
    for key, geometry in used:
        if geometry.learns:
            learned = f"found {geometry.kind}, which learns its distance from the step's reference"
            yield f"{where}.{key}", f"{learned}; step doubling needs that of two other policies: use another geometry"
    if used and not any(geometry.weight for _, geometry in used):
        yield f"{where}.geometry", "found weight 0, which leaves step doubling no distance; allowed a number > 0"
    for name, term in (step.energy or {}).items():
        if getattr(term, "temperature", None) is not None:
            yield (
                f"{where}.energy.{name}.temperature",
                "is learned, so that the energy moves, which step doubling compares; give the weight alone",
            )


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
            yield (
                place,
                "multiplier follows minibatches of data; allowed here: a number, geometric, backtracking, doubling",
            )
        if step.scheme is not None and step.scheme.at_reference:
            scheme = kind_of("scheme", type(step.scheme)).replace("_", "-")
            article = "an" if scheme[0] in "aeiou" else "a"
            yield (
                place,
                f"multiplier weighs a proximal term, which {article} {scheme} step has not; use scheme: implicit",
            )
        if len(terms) > 2:
            yield place, "multiplier learns the one step size of a step; allowed one proximal term"
