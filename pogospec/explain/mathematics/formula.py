"""The mathematics of a stage, put together from the formulas of the classes it is made of.

A class may have a method `formula` that writes itself: an energy term `formula()` and a geometry `formula(p, q)` give
text, LaTeX and what their symbols mean; a critic and the nodes in its fields give text and LaTeX. A class without it is
written by its kind. A leading minus of a term is drawn in front of its coefficient. Formulas are written for a state s;
on a known energy there is one state, which is left out, and one Q, whatever a term calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pogospec.explain.numbers import latex_number, number
from pogospec.explain.stages import Stage, kind_of
from pogospec.spec.build import fields_of, mark_of, split
from pogospec.spec.fields import Slot
from pogospec.spec.schema import Spec

Written = tuple[str, str]
"""Text and LaTeX."""
CRITICS = (r"\min_i Q_i", r"\overline{Q}", "Q_1", "min_i Q_i", "mean_i Q_i", "Q₁")
STATES = (
    *(("(·|s)", ""), ("|s)", ")"), (r"(\cdot\mid s)", ""), (r"\mid s)", ")"), ("(s, ", "("), ("(s)", "")),
    (" before any clipping", ""),
)
"""What a formula says of critics and states, and what is left of it where there is one state."""


@dataclass(frozen=True)
class Term:
    """One term of an objective: sign * weight / tau times a quantity that is averaged over the states."""

    key: str  # energy.NAME as in the metrics of a run, or proximal[i]
    sign: int
    weight: float
    tau: float | None
    text: str
    latex: str
    meaning: str

    @property
    def coefficient(self) -> float:
        """The signed number in front of the quantity."""
        return self.sign * self.weight / (1.0 if self.tau is None else self.tau)

    @property
    def factor(self) -> Written:
        """The coefficient without its sign, as text and LaTeX."""
        weight = number(self.weight)
        if self.tau is None:
            return weight, latex_number(self.weight)
        return f"({weight}/{number(self.tau)})", rf"\frac{{{latex_number(self.weight)}}}{{{latex_number(self.tau)}}}"

    def __str__(self) -> str:
        return f"{'−' if self.sign < 0 else '+'} {self.factor[0]} · {self.text}"


def objective(stage: Stage) -> list[Term]:
    """The energy and the proximal terms of an Euler step, on average over the states; none without the policy."""
    if not stage.learns_policy:
        return []
    terms = []
    for name, term in (stage.step.energy or {}).items():
        text, latex, meaning = _energy(term)
        written = text, latex, stage.policy.reads(meaning)
        terms.append(signed(f"energy.{name}", term.weight, None, seen_by(stage, written)))
    policy = ("π", r"\pi")
    for index, term in enumerate(stage.proximal):
        written = _geometry(term.geometry, policy, stage.reference(term.reference), stage.types(term.reference))
        terms.append(signed(f"proximal[{index}]", term.geometry.weight, term.tau, written))
    return terms


def seen_by(stage: Stage, written: tuple[str, str, str]) -> tuple[str, str, str]:
    """A formula as a stage sees it: on a known energy without the state, and with Q as its one name."""
    if stage.target is None:
        return written
    text, latex, meaning = (_stateless(part) for part in written)
    kept = [part for part in meaning.split("; ") if part and not part.startswith("Q: ")]
    return text, latex, "; ".join(kept)


def _stateless(text: str) -> str:
    for critic in CRITICS:
        text = text.replace(critic, "Q")
    for words, left in STATES:
        text = text.replace(words, left)
    return text


def known_q(stage: Stage) -> tuple[str, str, str]:
    """Text, LaTeX and meaning of Q where it is known; empty elsewhere."""
    if stage.target is None:
        return "", "", ""
    if hasattr(stage.target, "formula"):
        return stage.target.formula()
    kind = kind_of("target", stage.target)
    return f"{kind}(a)", f"{roman(kind)}(a)", f"{kind}: {summary(type(stage.target))}"


def signed(key: str, weight: float, tau: float | None, written: tuple[str, str, str]) -> Term:
    """A term of a formula whose leading minus becomes its sign."""
    text, latex, meaning = written
    negative = text.startswith("−")
    return Term(
        key, -1 if negative else 1, weight, tau, text.removeprefix("−"), latex.removeprefix("-").strip(), meaning
    )


def _energy(term: Any) -> tuple[str, str, str]:
    if hasattr(term, "formula"):
        return term.formula()
    kind = kind_of("energy", term)
    return f"{kind}[π](s)", rf"{roman(kind)}[\pi](s)", f"{kind}: {summary(type(term))}"


def _geometry(geometry: Any, p: Written, q: Written, types: tuple[type, type]) -> tuple[str, str, str]:
    if hasattr(geometry, "formula"):
        return geometry.written(geometry.formula(p, q), *types)
    kind = kind_of("geometry", geometry)
    return f"D_{kind}({p[0]}, {q[0]})", rf"D_{{{roman(kind)}}}({p[1]}, {q[1]})", f"{kind}: {summary(type(geometry))}"


def roman(word: str) -> str:
    """A word set upright in LaTeX mathematics."""
    return r"\mathrm{" + word.replace("_", r"\_") + "}"


def summary(cls: type) -> str:
    """The first sentence that a class says of itself."""
    return (cls.__doc__ or "no description").strip().partition("\n")[0]


def critic_loss(spec: Spec, stage: Stage) -> list[Written]:
    """The loss of the critic and its definitions; none where it is not learned."""
    if "critic" not in stage.step.learn or spec.critic is None:
        return []
    if stage.bootstrap == "policy":
        online, slow = ("π(·|s')", r"\pi(\cdot\mid s')"), ("μ̄(s')", r"\bar\mu(s')")
    else:
        online, slow = ("π_β(·|s')", r"\pi_\beta(\cdot\mid s')"), ("μ_β(s')", r"\mu_\beta(s')")
    parts = _parts(spec.critic, online, slow, (spec.policy.parameter_type, spec.behavior.parameter_type))
    if hasattr(spec.critic, "formula"):
        return spec.critic.formula(parts)
    kind = kind_of("critic", spec.critic)
    return [(f"loss of {kind}: {summary(type(spec.critic))}", rf"\mathcal{{L}}_{{{roman(kind)}}}"), *parts.values()]


def _parts(node: Any, online: Written, slow: Written, types: tuple[type, type]) -> dict[str, Written]:
    """Formulas of the nodes in the fields of a critic, or of such a node; `types`: of policy and behaviour."""
    found = {}
    for name, (annotation, field) in fields_of(type(node)).items():
        slot, value = mark_of(split(annotation)[1], Slot), getattr(node, field.name)
        if slot is None or value is None:
            continue
        if slot.name == "geometry":
            found[name] = _geometry(value, online, ("π_β(·|s')", r"\pi_\beta(\cdot\mid s')"), types)[:2]
        elif hasattr(value, "formula"):
            found[name] = value.formula(online, slow, _parts(value, online, slow, types))
        else:
            kind = kind_of(slot.name, value)
            found[name] = (f"{kind}(s')", f"{roman(kind)}(s')")
    return found


def behavior_loss(spec: Spec, stage: Stage) -> Written | None:
    """The loss of the fitted behaviour; None where it is not learned."""
    if "behavior" not in stage.step.learn:
        return None
    offset = getattr(spec.behavior, "fit_variance_offset", None)
    if offset is not None:
        text = f"E[−log N(a; μ_β(s), σ_β(s)² + {number(offset)})]"
        normal = rf"\mathcal{{N}}(a; \mu_\beta(s), \sigma_\beta(s)^2 + {latex_number(offset)})"
        return text, rf"\mathbb{{E}}\big[-\log {normal}\big]"
    if hasattr(spec.behavior, "fit_formula"):
        return spec.behavior.fit_formula()
    if spec.behavior.has_density:
        return "E[−log π_β(a|s)]", r"\mathbb{E}\big[-\log\pi_\beta(a\mid s)\big]"
    return "E[|μ_β(s) − a|²/d]", r"\mathbb{E}\big[\tfrac{1}{d}|\mu_\beta(s) - a|^2\big]"
