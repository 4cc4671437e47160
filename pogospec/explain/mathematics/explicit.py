"""Explicit and closed steps as mathematics: weights or velocity, points, and what is minimised or set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pogospec.explain.mathematics.closed import closed_lines
from pogospec.explain.mathematics.formula import Written, roman, seen_by, signed, summary
from pogospec.explain.mathematics.parts import Part, points_of
from pogospec.explain.numbers import latex_number, number
from pogospec.explain.stages import Stage, kind_of
from pogospec.steps.closed import speed_of
from pogospec.steps.explicit import Explicit


@dataclass(frozen=True)
class ExplicitStep:
    """Such a step; the first of its lines is what is minimised, or what is set, the others define its symbols."""

    kind: str  # reweight, transport, forward_backward or natural
    length: float  # tau over the weight of the geometry, times the number of dimensions where it takes their mean
    parts: list[Part]
    lines: list[Written]
    moves: int = 1  # in which points cover that length

    @property
    def meanings(self) -> list[str]:
        """What the symbols of its parts mean."""
        return [part.meaning for part in self.parts if part.meaning]


def explicit_step(stage: Stage, act_dim: int) -> ExplicitStep | None:
    """The step of a stage whose scheme is explicit or closed; None for others."""
    scheme: Any = stage.step.scheme
    if not stage.learns_policy or not (isinstance(scheme, Explicit) or scheme.closed):
        return None
    (term,) = stage.proximal
    geometry: Any = term.geometry
    reference, length = stage.reference(term.reference), term.tau / geometry.weight
    kind = geometry.retraction
    if scheme.closed:
        kind, length = kind_of("scheme", scheme), length * speed_of(geometry, act_dim)
        parts = _parts(stage, -1.0, reference)
        lines = closed_lines(stage, parts, reference, length, act_dim)
    elif stage.weighs_data:
        parts = _parts(stage, -length, reference)
        lines = _weighted(stage, parts, reference)
    elif geometry.retraction == "reweight":
        parts = _parts(stage, -length, reference)
        lines = _reweighted(stage, parts, reference, act_dim)
    else:
        length *= geometry.speed(act_dim)
        parts = _parts(stage, -1.0, reference)
        as_points = _particles if stage.policy.borrows else _transported
        lines = as_points(stage, parts, reference, length, act_dim)
    seen = [seen_by(stage, (*line, ""))[:2] for line in lines]
    return ExplicitStep(kind, length, parts, seen, getattr(scheme, "moves", 1))


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
        found.append(Part(one.key, factor * one.coefficient, one.text, one.latex, one.meaning, term.entropic))
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
    points, count = points_of(scheme.points, act_dim, f"{source[0]}(·|s)")
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
    scheme: Any = stage.step.scheme
    points, count = points_of(scheme.points, act_dim, "N(0, I)")
    signs = (
        ", μ ± σ z for a Gaussian, in each dimension with the sign of the covariance of z and a', μ + L O z with the "
        "rotation O that brings F_π(z_k) nearest to the linear part of a'_k where π has a full covariance"
    )
    signs = signs if stage.policy.has_density else ""  # those of a map mean nothing
    return [
        ("Σ_k ω_k |F_π(z_k) − a'_k|²/2", r"\tfrac{1}{2} \textstyle\sum_k \omega_k |F_\pi(z_k) - a'_k|^2"),
        *moving(stage, parts, reference, length, count),
        (
            f"z_k: {points}; F_π(z): the point of π at z{signs}",
            rf"z_k \sim \mathcal{{N}}(0, I),\quad k = 1, \ldots, {count}",
        ),
    ]


def _particles(stage: Stage, parts: list[Part], reference: Written, length: float, act_dim: int) -> list[Written]:
    """Points of the reference that are the policy after they have moved."""
    scheme: Any = stage.step.scheme
    count, particles = stage.policy.count, stage.policy
    acting = scheme.moves if particles.moves is None else particles.moves
    each = length / scheme.moves
    return [
        (
            f"the law of a'_k, k = 1, …, {count}, in each state",
            rf"\text{{the law of }} a'_k,\quad k = 1, \ldots, {count}",
        ),
        *moving(stage, parts, reference, length, count),
        (
            f"z_k ~ N(0, I), anew whenever it is asked; ω_k = 1/{count}",
            rf"z_k \sim \mathcal{{N}}(0, I),\quad \omega_k = 1/{count}",
        ),
        (
            f"flow time {number(length)} while the critic learns, {number(acting * each)} in {acting} "
            f"move{'s' * (acting != 1)} where it acts",
            rf"\text{{flow time }} {latex_number(length)} \text{{ while the critic learns, }} "
            rf"{latex_number(acting * each)} \text{{ in {acting} where it acts}}",
        ),
    ]


def moving(stage: Stage, parts: list[Part], reference: Written, length: float, count: int) -> list[Written]:
    """How points of the reference move, in as many moves of a length as the scheme has, and along what."""
    scheme: Any = stage.step.scheme
    moves, along = scheme.moves, f"F_{reference[0]}(z_k)"
    drawn = rf"F_{{{reference[1]}}}(z_k)"
    moved = number(length / moves), latex_number(length / moves)
    if moves == 1 and scheme.mover == "euler" and scheme.bound == "none":
        path = (
            f"a'_k = a_k + {moved[0]} · v(a_k), a_k = {along}",
            rf"a'_k = a_k + {moved[1]}\, v(a_k),\quad a_k = {drawn}",
        )
    else:
        within = ", clipped to ±1" if scheme.bound == "clip" else ""
        each = f"{moves} move{'s' * (moves > 1)}"
        if scheme.mover == "adam":
            how = f"{each} by Adam of learning rate {moved[0]} along v{within}"
            path = f"a'_k: a_k after {how}, a_k = {along}", rf"a'_k:\ a_k\ \text{{after {how}}},\quad a_k = {drawn}"
        else:
            path = (
                f"a'_k: a_k after {each} a_k ← a_k + {moved[0]} · v(a_k){within}, a_k = {along}",
                rf"a'_k:\ a_k\ \text{{after {each}}}\ a_k \leftarrow a_k + {moved[1]}\, v(a_k)\text{{{within}}},"
                rf"\quad a_k = {drawn}",
            )
    kept = [part for part in parts if scheme.kernel == "none" or not part.entropic]
    terms = [part.written for part in kept]
    text, latex = (" ".join(one[i] for one in terms).removeprefix("+ ") or "0" for i in (0, 1))
    if scheme.kernel == "none":
        return [path, (f"v(a) = ∇ₐ[{text}]", rf"v(a) = \nabla_a \big[ {latex} \big]")]
    heat = -sum(part.coefficient for part in parts if part.entropic)
    given = getattr(scheme.kernel, "stein", None)
    width = f"h = {number(given)}" if given else f"h²: median of |a_j − a_l|² over all j, l / (2 log {count + 1})"
    latex_width = (
        f"h = {latex_number(given)}"
        if given
        else rf"h^2 = \mathrm{{median}}_{{j,l}} |a_j - a_l|^2 / (2 \log {count + 1})"
    )
    return [
        path,
        (
            f"v(a) = Σ_j ω_j [κ(a, a_j) f(a_j) + {number(heat)} · ∇κ(a_j, a)], ∇: in a_j",
            rf"v(a) = \sum_j \omega_j \big[\kappa(a, a_j) f(a_j) + {latex_number(heat)}\,"
            rf" \nabla_{{a_j}} \kappa(a_j, a)\big]",
        ),
        (f"f(a) = ∇ₐ[{text}]", rf"f(a) = \nabla_a \big[ {latex} \big]"),
        (
            f"κ(a, b) = exp(−|a − b|²/(2 h² + 1e-6)), {width}",
            rf"\kappa(a, b) = \exp\big(-|a - b|^2 / (2 h^2 + 10^{{-6}})\big),\quad {latex_width}",
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
