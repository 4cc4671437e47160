"""Each stage as topics and lines of text, ready to be laid out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pogospec.explain.mathematics.endings import endings, length
from pogospec.explain.mathematics.explicit import ExplicitStep, explicit_step
from pogospec.explain.mathematics.formula import behavior_loss, critic_loss, known_q, objective
from pogospec.explain.mathematics.learning import mean_of, optimizers, policy_rhythm, reference, start, targets
from pogospec.explain.mathematics.metric import Factor, factors
from pogospec.explain.numbers import number, short
from pogospec.explain.stages import Stage, groups, kind_of
from pogospec.policies.base import FullNormal
from pogospec.spec.geometries import metric_of_behavior
from pogospec.spec.schema import Spec

CLOSED = {"forward_backward": "a forward-backward", "natural": "a natural", "batch_and_match": "a batch-and-match"}
NAMES = {"critic": "critic", "behavior": "behaviour"}


@dataclass(frozen=True)
class Block:
    """What one stage does: a heading, and rows of a topic and a text of one or more lines."""

    label: str
    heading: str
    rows: list[tuple[str, str]]


def blocks(spec: Spec, plan: list[Stage], act_dim: int) -> list[Block]:
    """A block for each step of the spec; that of a repeated step is about its first repetition."""
    return [replace(block(spec, group.first, act_dim), label=group.label) for group in groups(plan)]


def block(spec: Spec, stage: Stage, act_dim: int) -> Block:
    """The text of a stage."""
    step, optimizer = stage.step, optimizers(stage)
    rows: list[tuple[str, str]] = []
    if stage.learns_policy:
        explicit = explicit_step(stage, act_dim)
        rows.append(("policy", objective_text(stage) if explicit is None else explicit_text(stage, explicit)))
        if not (spec.policy.borrows or stage.is_set):
            rows.append(("", f"by {gradient(spec, stage, act_dim)}; {optimizer['policy']}, {policy_rhythm(step)}"))
        names = list(dict.fromkeys(term.reference for term in stage.proximal))
        if not (spec.policy.borrows or any(stage.begins_flow(name) for name in names)):
            rows.append(("starts from", start(spec, stage)))
        rows += [("centred at", f"{stage.reference(name)[0]}: {reference(spec, stage, name)}") for name in names]
        estimates = [] if stage.weighs_data else [t.geometry for t in stage.proximal if t.geometry.accuracy()]
        told = dict.fromkeys(f"{kind_of('geometry', geometry)}, {geometry.accuracy()}" for geometry in estimates)
        rows += [("by samples", text) for text in told]
        rows += [("dual critic", t.geometry.learning(number)) for t in stage.proximal if t.geometry.learns]
    rows += _critic(spec, stage, optimizer)
    loss = behavior_loss(spec, stage)
    if loss is not None:
        metric = " + ".join(kind_of("geometry", geometry) for geometry in metric_of_behavior(spec, step))
        by = f"{kind_of('gradient', step.behavior_gradient)} gradient in {metric}; " if metric else ""
        by += "on minibatches of its own; " if step.behavior_batch == "own" else ""
        rows.append(("behaviour", f"minimise  {loss[0]};  {by}{optimizer['behavior']}"))
    slow = targets(spec, stage)
    if slow is not None:
        rows.append(("slow copies", slow))
    rows += endings(stage)
    learns = ", ".join(NAMES.get(name, name) for name in step.learn)
    at_once = "" if stage.beside is None else f", the same as {stage.beside.label}'s"
    takes = "set at once, without an optimiser" if stage.is_set else length(step)
    return Block(stage.label, takes + at_once + ("" if spec.target else f"; learns {learns}"), rows)


def objective_text(stage: Stage) -> str:
    """The objective of an Euler step, a term a line."""
    scheme = kind_of("scheme", stage.step.scheme)
    opening = "minimise over π  " if scheme == "implicit" else f"{scheme} step on  "
    ending = ""
    if stage.target is None:
        opening, ending = f"{opening}E_s[ ", " ]"
    terms = objective(stage)
    lines = [(opening if index == 0 else " " * len(opening)) + str(term) for index, term in enumerate(terms)]
    return "\n".join(lines) + ending


def explicit_text(stage: Stage, step: ExplicitStep) -> str:
    """An explicit or closed step, a definition a line."""
    (loss, _), *rest = step.lines
    if stage.policy.borrows:
        return "\n".join([f"π is {loss}, an explicit step", *(text for text, _ in rest)])
    loss = loss if stage.target is not None else f"E_s[ {loss} ]"
    name = CLOSED.get(step.kind, "an explicit")
    if stage.is_set:
        return "\n".join([f"set π to  {loss}, {name} step", *(text for text, _ in rest)])
    return "\n".join([f"minimise over π  {loss}, {name} step", *(text for text, _ in rest)])


def gradient(spec: Spec, stage: Stage, act_dim: int) -> str:
    """How the gradient is taken."""
    found = factors(spec, stage, act_dim)
    if not found:
        return f"{kind_of('gradient', stage.step.gradient)} gradient"
    kind = kind_of("gradient", stage.step.gradient)
    width = "; σ²: eigenvalues of the covariance" if spec.policy.parameter_type is FullNormal else ""
    return f"{kind} gradient ({', '.join(_factor(factor) for factor in found)}{width})"


def _factor(factor: Factor) -> str:
    text = f"{factor.text} on {'' if factor.parameter.startswith('log') else 'the '}{factor.parameter}"
    if factor.clipped is not None:
        low, high = (short(bound) for bound in factor.clipped)
        text += f", held by the clip where log σ is outside [{low}, {high}]"
    return text


def _critic(spec: Spec, stage: Stage, optimizer: dict[str, str]) -> list[tuple[str, str]]:
    rows = critic_loss(spec, stage)
    if rows:
        (loss, _), *parts = rows
        return [("critic", "\n".join([f"minimise  {loss};  {optimizer['critic']}", *(text for text, _ in parts)]))]
    if stage.beside is not None and "critic" in stage.meanwhile:
        return [("critic", f"that of {stage.beside.label}, learned in the same updates")]
    if stage.learns_policy and "critic" in stage.earlier:
        return [("critic", f"frozen, {mean_of(stage, 'critic')}as {stage.earlier['critic']} left it")]
    return []


SYMBOL = re.compile(r"(.+?)(?:: | = | (?=∝ ))(.*)")


def meanings(plan: list[Stage], act_dim: int) -> list[tuple[str, str]]:
    """The symbols of all objectives and what they mean, each once."""
    found: dict[str, str] = {}
    firsts = [group.first for group in groups(plan)]
    if any(stage.learns_policy for stage in firsts) and firsts[0].target is None:
        found["E_s"] = "mean over the states of a minibatch"
    text, _, meaning = known_q(firsts[0])
    if text:
        found["Q(a)"] = text
    told = [meaning]
    for stage in firsts:
        explicit = explicit_step(stage, act_dim)
        told += [term.meaning for term in objective(stage)] if explicit is None else explicit.meanings
    for part in "; ".join(filter(None, told)).split("; "):
        match = SYMBOL.fullmatch(part)
        if match is not None:
            found.setdefault(match[1], match[2])
    return list(found.items())
