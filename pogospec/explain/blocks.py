"""Each stage as topics and lines of text, ready to be laid out."""

from __future__ import annotations

from dataclasses import dataclass

from pogospec.explain.choices import every, optimizers, reference, start, targets
from pogospec.explain.formula import Term, behavior_loss, critic_loss, objective, short
from pogospec.explain.metric import Factor, factors
from pogospec.explain.stages import Stage, kind_of
from pogospec.spec.schema import Spec

NAMES = {"critic": "critic", "behavior": "behaviour"}


@dataclass(frozen=True)
class Block:
    """What one stage does: a heading, and rows of a topic and a text of one or more lines."""

    label: str
    heading: str
    rows: list[tuple[str, str]]


def block(spec: Spec, stage: Stage, act_dim: int) -> Block:
    """The text of a stage."""
    step, optimizer = stage.step, optimizers(stage)
    rows: list[tuple[str, str]] = []
    if stage.learns_policy:
        rows.append(("policy", objective_text(stage)))
        rows.append(("", f"by {gradient(spec, stage, act_dim)}; {optimizer['policy']}, {every(step.actor_every)}"))
        rows.append(("starts from", start(stage)))
        for name in dict.fromkeys(term.reference for term in stage.proximal):
            rows.append(("centred at", f"{stage.reference(name)[0]}: {reference(stage, name)}"))
    rows += _critic(spec, stage, optimizer)
    loss = behavior_loss(spec, stage)
    if loss is not None:
        rows.append(("behaviour", f"minimise  {loss[0]};  {optimizer['behavior']}"))
    slow = targets(spec, stage)
    if slow is not None:
        rows.append(("slow copies", slow))
    learns = ", ".join(NAMES.get(name, name) for name in step.learn)
    return Block(stage.label, f"{step.updates:,} updates; learns {learns}", rows)


def objective_text(stage: Stage) -> str:
    """The objective of an Euler step, a term a line."""
    scheme = kind_of("scheme", stage.step.scheme)
    opening = "minimise over π  E_s[ " if scheme == "implicit" else f"{scheme} step on  E_s[ "
    terms = objective(stage)
    lines = [(opening if index == 0 else " " * len(opening)) + str(term) for index, term in enumerate(terms)]
    return "\n".join(lines) + " ]"


def gradient(spec: Spec, stage: Stage, act_dim: int) -> str:
    """How the gradient is taken."""
    found = factors(spec, stage, act_dim)
    if not found:
        return f"{kind_of('gradient', stage.step.gradient)} gradient"
    kind = kind_of("gradient", stage.step.gradient)
    return f"{kind} gradient ({', '.join(_factor(factor) for factor in found)})"


def _factor(factor: Factor) -> str:
    text = f"{factor.text} on {'the ' if factor.parameter.startswith('mean') else ''}{factor.parameter}"
    if factor.clipped is not None:
        low, high = (short(bound) for bound in factor.clipped)
        text += f", held by the clip where log σ is outside [{low}, {high}]"
    return text


def _critic(spec: Spec, stage: Stage, optimizer: dict[str, str]) -> list[tuple[str, str]]:
    rows = critic_loss(spec, stage)
    if rows:
        (loss, _), *parts = rows
        return [("critic", "\n".join([f"minimise  {loss};  {optimizer['critic']}", *(text for text, _ in parts)]))]
    if stage.learns_policy and "critic" in stage.earlier:
        return [("critic", f"frozen, as {stage.earlier['critic']} left it")]
    return []


def meanings(plan: list[Stage]) -> list[tuple[str, str]]:
    """The symbols of all objectives and what they mean, each once."""
    found: dict[str, str] = {}
    terms: list[Term] = [term for stage in plan for term in objective(stage)]
    for term in terms:
        for part in term.meaning.split("; "):
            symbol, _, text = part.partition(": ")
            found.setdefault(symbol, text)
    if terms:
        found = {"E_s": "mean over the states of a minibatch", **found}
    return list(found.items())
