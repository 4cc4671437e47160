"""When a step and its repetitions end, and how the size of a step is chosen, in words with numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pogospec.explain.mathematics.formula import summary
from pogospec.explain.mathematics.learning import averages
from pogospec.explain.stages import Stage, kind_of
from pogospec.spec.schema import StepSpec


def tau_law(step: StepSpec) -> Any | None:
    """The node that chooses the step size; None where it is a number."""
    taus = [term.tau for term in step.proximal or ()] or [step.tau]
    return next((tau for tau in taus if tau is not None and not isinstance(tau, float)), None)


def length(step: StepSpec) -> str:
    """Updates of a step in a few words."""
    most = "at most " if step.until is not None else ""
    return f"{most}{step.updates:,} updates{' each' if step.repeat > 1 else ''}"


def endings(stage: Stage) -> list[tuple[str, str]]:
    """Topics and texts about step size, temperature, averages, end and repetitions; none where all is plain."""
    step, rows = stage.step, []
    law = tau_law(step)
    if law is not None:
        rows.append(("tau", words(law, stage.target is None)))
    laws = [getattr(term, "temperature", None) for term in (step.energy or {}).values()]
    rows += [("temperature", words(law)) for law in laws if law is not None and stage.learns_policy]
    if means := averages(stage):
        rows.append(("averaged", means))
    if step.judge is not None and stage.learns_policy:
        rows += judged(stage)
    if step.until is not None and step.until.keeps_best:
        rule = f"{words(step.until)}; a check every {step.until.every:,} updates"
        rows.append(("ends", f"after {step.updates:,} updates, or before, when {rule}; the best one is kept"))
    elif step.until is not None:
        what = "the critic" if step.until.needs == "critic" else f"what it minimises{_held(stage)}"
        rule = f"{what} has settled: {words(step.until)}; a check every {step.until.every:,} updates"
        rows.append(("ends", f"after {step.updates:,} updates, or before, when {rule}"))
    if step.repeat > 1:
        most = "at most " if step.repeat_until is not None or step.doubles else ""
        times = "policies at once" if stage.at_once else attempts(step) if step.doubles else "times"
        rows.append(
            ("repeated", f"{most}{step.repeat:,} {times}, each {how_repeated(stage)}; the first is written here")
        )
    if step.repeat_until is not None and step.repeat_until.keeps_best:
        rows.append(
            ("", f"no further one when {words(step.repeat_until, 'repetition')} in any of them, with every seed")
        )
    elif step.repeat_until is not None:
        rule = words(step.repeat_until, "repetition")
        rows.append(("", f"no further one when the energy at their ends{_held(stage)} has settled: {rule}"))
    return rows


def attempts(step: StepSpec) -> str:
    """What the repetitions of a step that is doubled are."""
    return f"attempts of {step.solves} x {step.updates:,} updates"


def judged(stage: Stage) -> Iterator[tuple[str, str]]:
    """Who judges the step, when it is taken, and what that costs."""
    judge: Any = stage.step.judge
    yield "judge", f"{kind_of('judge', judge)}: gain = {judge.words()}, in units of {judge.unit}"
    at = "; by it the step size is chosen" if tau_law(stage.step) is not None else ""
    yield "", f"the step is taken where {judge.sentence()}; else the policy stays the one that it began with{at}"
    updates = judge.updates_of_critics(checks(stage.step))
    if updates:
        yield "", f"{updates:,} updates of the judge's own critics for each seed, beside those of the step"


def checks(step: StepSpec) -> int:
    """How often the judge is asked in a step, at most."""
    tries = getattr(tau_law(step), "tries", 1)
    rule = step.until if step.until is not None and step.until.keeps_best else None
    return tries * (1 if rule is None else -(-step.updates // rule.every))


def how_repeated(stage: Stage) -> str:
    """What a repetition takes from the one before."""
    kept = [term.reference for term in stage.proximal]
    if stage.at_once:
        return "near the one before as it is now" if "previous" in kept else "by itself"
    return "re-centred at the policy of the one before" if "previous" in kept else "from where the one before ended"


def _held(stage: Stage) -> str:
    return "" if stage.target is not None else " on held-out states"


def words(node: Any, *how: Any) -> str:
    """What a law or a rule says, with its numbers."""
    return node.words(*how) if hasattr(node, "words") else summary(type(node))
