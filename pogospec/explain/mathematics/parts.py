"""What lines of explicit and closed steps are made of: first variations with coefficients, and points with shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pogospec.explain.mathematics.formula import Written
from pogospec.explain.numbers import latex_number, number
from pogospec.policies.base import Sample
from pogospec.steps.points import Antithetic, Rotated, count_of


@dataclass(frozen=True)
class Part:
    """A coefficient times the first variation of a term of the energy, as part of log r(a) or of v(a)."""

    key: str  # energy.NAME
    coefficient: float
    text: str
    latex: str
    meaning: str
    entropic: bool = False  # whether it is of the entropy, which a kernel follows without its density

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


def points_of(points: Any, act_dim: int, law: str) -> tuple[str, int]:
    """What points of a law there are with what shares, and how many."""
    if isinstance(points, Sample):
        count = points.sample
        return f"{count} sample{'s' * (count > 1)} of {law}, anew at every update; ω_k = 1/{count}", count
    if isinstance(points, Antithetic):
        count = 2 * points.antithetic
        pairs = f"{points.antithetic} pair{'s' * (count > 2)} of samples of {law} on both sides of its mean"
        return f"{pairs}, anew at every update; ω_k = 1/{count}", count
    if isinstance(points, Rotated):
        times = f", {points.rotated} times" if points.rotated > 1 else ""
        axes = f"the mean of {law} and points on both sides of it along {act_dim} axes in random directions{times}"
        return f"{axes}, anew at every update; ω_k: 1/r² of each axis, r its χ-distributed length", count_of(
            points, act_dim
        )
    nodes = points.hermite
    grid = " × ".join([str(nodes)] * act_dim) if act_dim <= 3 else f"{nodes}^{act_dim}"
    return f"the {grid} Gauss-Hermite nodes of {law}; ω_k: their weights, of sum 1", nodes**act_dim
