"""Explicit steps as mathematics: the weights or the velocity, the points, and what is minimised over the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pogospec.explain.mathematics.formula import Written, roman, seen_by, signed, summary
from pogospec.explain.numbers import latex_number, number
from pogospec.explain.stages import Stage, kind_of
from pogospec.policies.base import Sample
from pogospec.steps.explicit import Explicit


@dataclass(frozen=True)
class Part:
    """A coefficient times the first variation of a term of the energy, as part of log r(a) or of v(a)."""

    key: str  # energy.NAME
    coefficient: float
    text: str
    latex: str
    meaning: str

    @property
    def density(self) -> Written | None:
        """The density whose logarithm the variation is, where it is one."""
        if not self.text.startswith("log "):
            return None
        return self.text.removeprefix("log "), self.latex.removeprefix(r"\log ")

    @property
    def written(self) -> Written:
        """The coefficient and the variation, as text and LaTeX."""
        size = abs(self.coefficient)
        text, latex = ("−", "-") if self.coefficient < 0 else ("+", "+")
        return f"{text} {number(size)} · {self.text}", rf"{latex} {latex_number(size)}\, {self.latex}"


@dataclass(frozen=True)
class ExplicitStep:
    """An explicit step; the first of its lines is what is minimised over the policy, the others define its symbols."""

    kind: str  # reweight or transport
    length: float  # tau over the weight of the geometry, times the number of dimensions where it takes their mean
    parts: list[Part]
    lines: list[Written]

    @property
    def meanings(self) -> list[str]:
        """What the symbols of its parts mean."""
        return [part.meaning for part in self.parts if part.meaning]


def explicit_step(stage: Stage, act_dim: int) -> ExplicitStep | None:
    """The step of a stage whose scheme is explicit; None for others."""
    if not stage.learns_policy or not isinstance(stage.step.scheme, Explicit):
        return None
    (term,) = stage.proximal
    geometry: Any = term.geometry
    reference, length = stage.reference(term.reference), term.tau / geometry.weight
    if stage.weighs_data:
        parts = _parts(stage, -length, reference)
        lines = _weighted(stage, parts, reference)
    elif geometry.retraction == "reweight":
        parts = _parts(stage, -length, reference)
        lines = _reweighted(stage, parts, reference, act_dim)
    else:
        length *= geometry.speed(act_dim)
        parts = _parts(stage, -1.0, reference)
        lines = _transported(stage, parts, reference, length, act_dim)
    seen = [seen_by(stage, (*line, ""))[:2] for line in lines]
    return ExplicitStep(geometry.retraction, length, parts, seen)


def _parts(stage: Stage, factor: float, reference: Written) -> list[Part]:
    """The first variations of the energy's terms, times a factor."""
    found = []
    for name, term in (stage.step.energy or {}).items():
        kind = kind_of("energy", term)
        written = f"δ{kind}/δπ(a)", rf"\delta\,{roman(kind)}/\delta\pi(a)", f"{kind}: {summary(type(term))}"
        if stage.weighs_data and hasattr(term, "weighing"):
            written = term.weighing()
        elif hasattr(term, "variation"):
            written = term.variation(reference)
        text, latex, meaning = written
        written = text, latex, stage.policy.reads(meaning)
        one = signed(f"energy.{name}", term.weight, None, seen_by(stage, written))
        found.append(Part(one.key, factor * one.coefficient, one.text, one.latex, one.meaning))
    return found


def _weighted(stage: Stage, parts: list[Part], reference: Written) -> list[Written]:
    """Weighted maximum likelihood on the logged actions, whose weights nothing normalises."""
    scheme: Any = stage.step.scheme
    bare = f"{reference[0]}(a|s)", rf"{reference[1]}(a\mid s)"
    weight, limit = _product(parts, {}), _product(parts, {bare: 1.0})
    new, clip = stage.symbol, (number(scheme.limit), latex_number(scheme.limit))
    return [
        (f"− min(r(a), {clip[0]}) log π(a|s)", rf"-\min(r(a), {clip[1]}) \log\pi(a\mid s)"),
        (f"r(a) = {weight[0]}", f"r(a) = {weight[1]}"),
        (f"a: the logged action of s, one of {reference[0]}(·|s)", rf"a \sim {reference[1]}(\cdot\mid s)"),
        (
            f"{new[0]} is the member of the family nearest to {limit[0]} / Z, by maximum likelihood",
            rf"{new[1]} \approx {limit[1]} / Z",
        ),
    ]


def _reweighted(stage: Stage, parts: list[Part], reference: Written, act_dim: int) -> list[Written]:
    """Weighted maximum likelihood on points of the reference."""
    scheme: Any = stage.step.scheme
    bare = seen_by(stage, (f"{reference[0]}(a|s)", rf"{reference[1]}(a\mid s)", ""))[:2]
    weight, limit = _product(parts, {}), _product(parts, {bare: 1.0})
    source = reference if scheme.split is None else ("π", r"\pi")
    points, count = _points(scheme, act_dim, f"{source[0]}(·|s)")
    new, ratio = stage.symbol, ("r(a_k)", "r(a_k)")
    splitting: list[Written] = []
    if scheme.split is not None:
        points = f"{points}; π: the policy as it is, held fixed in the weights"
        ratio = "r(a_k)^p", "r(a_k)^p"
        weight = _product(parts, {bare: 1.0, ("π(a|s)", r"\pi(a\mid s)"): -1.0})
        splitting = [
            (
                f"p: the largest power, at most 1, at which (Σ_k ω_k r^p)²/Σ_k ω_k r^2p is {number(scheme.split)} or "
                "more: the step splits itself until so many points count",
                rf"p = \max\Big\{{p \le 1 : \frac{{(\sum_k \omega_k r^p)^2}}{{\sum_k \omega_k r^{{2p}}}} \ge "
                rf"{latex_number(scheme.split)}\Big\}}",
            )
        ]
    return [
        ("− Σ_k w_k log π(a_k|s)", r"-\textstyle\sum_k w_k \log\pi(a_k\mid s)"),
        _shared(scheme, ratio),
        *splitting,
        (f"r(a) = {weight[0]}", f"r(a) = {weight[1]}"),
        (
            f"a_k: {points}",
            rf"a_k \sim {source[1]}(\cdot\mid s),\quad k = 1, \ldots, {count}",
        ),
        (
            f"{new[0]} is the member of the family nearest to {limit[0]} / Z, by maximum likelihood",
            rf"{new[1]} \approx {limit[1]} / Z",
        ),
    ]


def _shared(scheme: Any, ratio: Written) -> Written:
    """The weights of points of a ratio to the reference, or to the policy."""
    text, latex = ratio
    if scheme.clip is None:
        return f"w_k ∝ ω_k {text}, Σ_k w_k = 1", rf"w_k \propto \omega_k {latex},\quad \textstyle\sum_k w_k = 1"
    return (
        f"w_k ∝ ω_k min({text}/R, {number(scheme.clip)}), R = Σ_k ω_k {text}, Σ_k w_k = 1",
        rf"w_k \propto \omega_k \min\big({latex}/R, {latex_number(scheme.clip)}\big),\quad "
        rf"R = \textstyle\sum_k \omega_k {latex},\quad \textstyle\sum_k w_k = 1",
    )


def _transported(stage: Stage, parts: list[Part], reference: Written, length: float, act_dim: int) -> list[Written]:
    """Regression of the policy's points on those of the reference after they have moved."""
    points, count = _points(stage.step.scheme, act_dim, "N(0, I)")
    terms = [part.written for part in parts]
    text, latex = (" ".join(one[i] for one in terms).removeprefix("+ ") for i in (0, 1))
    moved = number(length), latex_number(length)
    return [
        ("Σ_k ω_k |F_π(z_k) − a'_k|²/2", r"\tfrac{1}{2} \textstyle\sum_k \omega_k |F_\pi(z_k) - a'_k|^2"),
        (
            f"a'_k = a_k + {moved[0]} · v(a_k), a_k = F_{reference[0]}(z_k)",
            rf"a'_k = a_k + {moved[1]}\, v(a_k),\quad a_k = F_{{{reference[1]}}}(z_k)",
        ),
        (f"v(a) = ∇ₐ[{text}]", rf"v(a) = \nabla_a \big[ {latex} \big]"),
        (
            f"z_k: {points}; F_π(z): the point of π at z, μ ± σ z for a Gaussian, in each dimension with the sign of "
            "the covariance of z and a', μ + L O z with the rotation O that brings F_π(z_k) nearest to the linear part "
            "of a'_k where π has a full covariance",
            rf"z_k \sim \mathcal{{N}}(0, I),\quad k = 1, \ldots, {count}",
        ),
    ]


def _product(parts: list[Part], powers: dict[Written, float]) -> Written:
    """The exponential of the parts times powers of densities, where logarithms of densities are powers of them."""
    powers, factors = dict(powers), []
    for part in parts:
        if part.density is not None:
            powers[part.density] = powers.get(part.density, 0.0) + part.coefficient
    for (text, latex), power in powers.items():
        if power == 1:
            factors.append((text, latex))
        elif abs(power) > 1e-12:
            sign = "−" if power < 0 else ""
            shown = f"{'-' if power < 0 else ''}{latex_number(abs(power))}"
            factors.append((f"{text}^({sign}{number(abs(power))})", f"{latex}^{{{shown}}}"))
    rest = [part.written for part in parts if part.density is None]
    if rest:
        inside = [" ".join(one[i] for one in rest).removeprefix("+ ") for i in (0, 1)]
        factors.append((f"exp({inside[0]})", rf"\exp\big({inside[1]}\big)"))
    return " · ".join(text for text, _ in factors) or "1", r"\, ".join(latex for _, latex in factors) or "1"


def _points(scheme: Any, act_dim: int, law: str) -> tuple[str, int]:
    """What points of a law there are with what shares, and how many."""
    if isinstance(scheme.points, Sample):
        count = scheme.points.sample
        return f"{count} sample{'s' * (count > 1)} of {law}, anew at every update; ω_k = 1/{count}", count
    nodes = scheme.points.hermite
    grid = " × ".join([str(nodes)] * act_dim) if act_dim <= 3 else f"{nodes}^{act_dim}"
    return f"the {grid} Gauss-Hermite nodes of {law}; ω_k: their weights, of sum 1", nodes**act_dim
