"""The mathematics of a spec as a LaTeX environment."""

from __future__ import annotations

import re

from pogospec.explain.mathematics.endings import how_repeated, tau_law
from pogospec.explain.mathematics.explicit import ExplicitStep, explicit_step
from pogospec.explain.mathematics.formula import Term, behavior_loss, critic_loss, known_q, objective
from pogospec.explain.mathematics.known_energy import beginning
from pogospec.explain.stages import Group, Stage, groups, labels
from pogospec.spec.schema import Spec
from pogospec.text import latex as escaped
from pogospec.text import line


def latex(spec: Spec, plan: list[Stage], act_dim: int = 1) -> str:
    """An align* environment with the losses of every step of the spec; needs amsmath and amssymb."""
    rows = [row for group in groups(plan) for row in _group(spec, group, act_dim)]
    if spec.target is not None:
        rows += _known(spec, plan[0])
    body = " \\\\\n".join(f"  {row}" for row in rows)
    return f"% {line(spec.name)}: needs \\usepackage{{amsmath, amssymb}}\n\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _group(spec: Spec, group: Group, act_dim: int) -> list[str]:
    """The rows of a step: its first repetition, and how the others follow."""
    stage = group.first
    rows = [rf"&\textbf{{{escaped(stage.label)}}}"]
    explicit = explicit_step(stage, act_dim)
    rows += _objective(stage) if explicit is None else _explicit(stage, explicit)
    for index, (_, text) in enumerate(critic_loss(spec, stage)):
        if index == 0:
            rows.append(rf"\mathcal{{L}}_Q &= {text}")
        else:
            left, _, right = text.partition(" = ")
            rows.append(f"{left} &= {right}" if right else rf"&{text}")
    loss = behavior_loss(spec, stage)
    if loss is not None:
        rows.append(rf"\mathcal{{L}}_\beta &= {loss[1]}")
    if len(group.stages) > 1:
        sizes = "" if tau_law(stage.step) is None else f"; tau {_sizes(group.stages[1:])}"
        text = f"{labels(group.stages[1:])}: the same, each {how_repeated(stage)}{sizes}"
        rows.append(rf"&\text{{{escaped(text)}}}")
    return rows


def _sizes(several: tuple[Stage, ...]) -> str:
    """The step sizes of repetitions; of a rule by trial, those that are tried first."""
    if several[0].step.doubles:
        return "by step doubling"
    taus = [f"{stage.proximal[0].tau:.6g}" for stage in several]
    return ", ".join(taus if len(taus) <= 6 else [*taus[:3], "...", taus[-1]])


def _objective(stage: Stage) -> list[str]:
    rows, terms = [], objective(stage)
    opened, closed = (r"\; \mathbb{E}_s\Big[", r" \Big]") if stage.target is None else (r"\;", "")
    for index, term in enumerate(terms):
        opening = rf"{stage.symbol[1]} &= \arg\min_{{\pi}}{opened}" if index == 0 else r"&\qquad"
        rows.append(f"{opening} {_term(term)}" + (closed if index == len(terms) - 1 else ""))
    return rows


def _explicit(stage: Stage, step: ExplicitStep) -> list[str]:
    (_, loss), *rest = step.lines
    if stage.policy.borrows:
        return [rf"{stage.symbol[1]} &: {loss}", *(rf"&\qquad {text}" for _, text in rest)]
    if stage.is_set:
        return [rf"{stage.symbol[1]} &= {loss}", *(rf"&\qquad {text}" for _, text in rest)]
    loss = loss if stage.target is not None else rf"\mathbb{{E}}_s\Big[ {loss} \Big]"
    return [rf"{stage.symbol[1]} &= \arg\min_{{\pi}}\; {loss}", *(rf"&\qquad {text}" for _, text in rest)]


def _known(spec: Spec, stage: Stage) -> list[str]:
    """Q with the meaning of its symbols, and the start."""
    _, text, meaning = known_q(stage)
    rows = [rf"Q(a) &= {text}"]
    for part in filter(None, meaning.split("; ")):
        match = re.fullmatch(r"(\S+) (=|∝) (.*)", part)
        plain = match is None
        rows.append(rf"&\text{{{escaped(part)}}}" if plain else f"&{_mathematics(*match.groups())}")
    return [*rows, rf"\pi_0 &= {beginning(spec)[1]}"]


def _mathematics(symbol: str, relation: str, value: str) -> str:
    for sign, command in (("σ", r"\sigma"), ("∝", r"\propto"), ("diag", r"\mathrm{diag}")):
        symbol, relation, value = (part.replace(sign, command) for part in (symbol, relation, value))
    return f"{symbol} {relation} {value}"


def _term(term: Term) -> str:
    return rf"{'-' if term.sign < 0 else '+'} {term.factor[1]}\, {term.latex}"
