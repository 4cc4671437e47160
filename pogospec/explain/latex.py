"""The mathematics of a spec as a LaTeX environment."""

from __future__ import annotations

from pogospec.explain.formula import Term, behavior_loss, critic_loss, objective
from pogospec.explain.stages import Stage
from pogospec.spec.schema import Spec

ESCAPES = str.maketrans({"_": r"\_", "%": r"\%", "#": r"\#", "&": r"\&"})


def latex(spec: Spec, plan: list[Stage]) -> str:
    """An align* environment with the losses of every stage; needs amsmath and amssymb."""
    rows = [row for stage in plan for row in _stage(spec, stage)]
    body = " \\\\\n".join(f"  {row}" for row in rows)
    about = spec.name.translate(ESCAPES)
    return f"% {about}: needs \\usepackage{{amsmath, amssymb}}\n\\begin{{align*}}\n{body}\n\\end{{align*}}"


def _stage(spec: Spec, stage: Stage) -> list[str]:
    label = stage.label.translate(ESCAPES)
    rows = [rf"&\textbf{{{label}}}"]
    terms = objective(stage)
    for index, term in enumerate(terms):
        opening = rf"{_name(stage)} &= \arg\min_{{\pi}}\; \mathbb{{E}}_s\Big[" if index == 0 else r"&\qquad"
        rows.append(f"{opening} {_term(term)}" + (r" \Big]" if index == len(terms) - 1 else ""))
    for index, (_, text) in enumerate(critic_loss(spec, stage)):
        if index == 0:
            rows.append(rf"\mathcal{{L}}_Q &= {text}")
        else:
            left, _, right = text.partition(" = ")
            rows.append(f"{left} &= {right}" if right else rf"&{text}")
    loss = behavior_loss(spec, stage)
    if loss is not None:
        rows.append(rf"\mathcal{{L}}_\beta &= {loss[1]}")
    return rows


def _name(stage: Stage) -> str:
    number = stage.label.removeprefix("step ")
    return rf"\pi_{{{number}}}" if number.isdigit() else rf"\pi_{{\text{{{stage.label}}}}}"


def _term(term: Term) -> str:
    return rf"{'-' if term.sign < 0 else '+'} {term.factor[1]}\, {term.latex}"
