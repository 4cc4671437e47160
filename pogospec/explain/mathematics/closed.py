"""Steps to a Gaussian in closed form as mathematics: the next mean and covariance, curvature, points."""

from __future__ import annotations

from typing import Any

from pogospec.explain.mathematics.formula import Written
from pogospec.explain.mathematics.parts import Part, points_of
from pogospec.explain.numbers import latex_number, number
from pogospec.explain.stages import Stage, kind_of
from pogospec.policies.base import DiagonalNormal, LowRankNormal
from pogospec.steps.patch import SWEEPS

Lines = list[Written]


def closed_lines(stage: Stage, parts: list[Part], reference: Written, length: float, act_dim: int) -> Lines:
    """What is minimised or set, and the symbols in it."""
    scheme: Any = stage.step.scheme
    described, count = points_of(scheme.points(act_dim), act_dim, f"{reference[0]}(·|s)")
    terms = [part.written for part in parts if not part.entropic]
    text, latex = (" ".join(one[i] for one in terms).removeprefix("+ ") or "0" for i in (0, 1))
    heat = -sum(part.coefficient for part in parts if part.entropic)
    diagonal = stage.policy.parameter_type is DiagonalNormal
    kind = kind_of("scheme", scheme)
    aim = "N(m⁺, S⁺)", r"\mathcal{N}(m^+, S^+)"
    if not stage.is_set and kind != "forward_backward":
        geometry: Any = stage.proximal[0].geometry
        aim = geometry.formula(("π", r"\pi"), aim)[:2]
    elif not stage.is_set:
        aim = f"W₂²(π, {aim[0]})/2", rf"\tfrac{{1}}{{2}} W_2^2(\pi, {aim[1]})"
    velocity = f"v(a) = ∇ₐ[{text}]", rf"v(a) = \nabla_a \big[ {latex} \big]"
    if kind == "batch_and_match":
        lines = [*_matched(reference, length, heat, diagonal), _scaled(velocity, heat)]
        lines[2:2] = [PATCHED] if stage.policy.parameter_type is LowRankNormal else []
    else:
        moved = _natural if kind == "natural" else _forward_backward
        fit = _exact(scheme, act_dim, count) if scheme.curved(act_dim) == "exact" else PLANE
        lines = [*moved(reference, length, heat, diagonal), fit, velocity]
    return [
        aim,
        *lines,
        (f"a_k: {described}", rf"a_k \sim {reference[1]}(\cdot\mid s),\quad k = 1, \ldots, {count}"),
    ]


PLANE = (
    "g, H: v(a) ≈ g + H (a − m) by least squares over a_k with weights ω_k, H made symmetric: E[v] and E[∇v], "
    "exact where v is linear, without second derivatives",
    r"g, H: \min \textstyle\sum_k \omega_k |v(a_k) - g - H (a_k - m)|^2,\quad H \to \tfrac{1}{2}(H + H^\top)",
)


PATCHED = (
    f"S⁺ of the policy and of m⁺: the diag(ψ) + L Lᵀ nearest to that in KL(N(0, S⁺) ‖ ·), by {SWEEPS} sweeps of EM",
    rf"S^+ \to \mathrm{{diag}}(\psi) + L L^\top \ \text{{nearest in KL, by {SWEEPS} sweeps of EM}}",
)


def _exact(scheme: Any, act_dim: int, count: int) -> Written:
    """Means of velocity and of its derivatives, and what they cost."""
    cost = f"{count} gradients of Q and {scheme.gradients(act_dim) - count:,} of its second derivatives along a column"
    return (
        f"g = Σ_k ω_k v(a_k), H = Σ_k ω_k ∇v(a_k), forward over reverse: {cost}",
        r"g = \textstyle\sum_k \omega_k v(a_k),\quad H = \textstyle\sum_k \omega_k \nabla v(a_k)",
    )


def _forward_backward(reference: Written, length: float, heat: float, diagonal: bool) -> Lines:
    """Explicit in Q, implicit in the entropy."""
    step, heat = (number(length), latex_number(length)), length * heat
    curved = ("diag(H)", r"\mathrm{diag}(H)") if diagonal else ("H", "H")
    shape = "S⁺ = S'", "S^+ = S'"
    if heat:
        twice, four, tail = number(2 * heat), number(4 * heat), "eigenvalue by eigenvalue"
        shape = (
            f"S⁺ = (S' + {twice} I + (S' (S' + {four} I))^½)/2: the step of the entropy, {tail}",
            rf"S^+ = \tfrac{{1}}{{2}} \big(S' + {latex_number(2 * heat)} I + "
            rf"(S' (S' + {latex_number(4 * heat)} I))^{{1/2}}\big)",
        )
    return [
        (f"m⁺ = m + {step[0]} · g; {_named(reference)[0]}", rf"m^+ = m + {step[1]}\, g,\quad {_named(reference)[1]}"),
        shape,
        (f"S' = M S M, M = I + {step[0]} · {curved[0]}", rf"S' = M S M,\quad M = I + {step[1]}\, {curved[1]}"),
    ]


def _natural(reference: Written, length: float, heat: float, diagonal: bool) -> Lines:
    """Precision and mean, and when a step is shortened."""
    step = number(length), latex_number(length)
    curved = ("diag(H)", r"\mathrm{diag}(H)") if diagonal else ("H", "H")
    bent = (
        curved
        if not heat
        else (f"{number(heat)} · S⁻¹ + {curved[0]}", rf"{latex_number(heat)}\, S^{{-1}} + {curved[1]}")
    )
    named, moves, whole = _named(reference), ("S⁺", "S^+"), []
    if diagonal:
        left = abs(1 - length * heat)
        moves = "C", "C"
        whole = [
            (
                f"C⁻¹ = {number(left)} · S⁻¹ + {step[0]} · |H|: the whole H, by absolute eigenvalues of S^½ H S^½",
                rf"C^{{-1}} = {latex_number(left)}\, S^{{-1}} + {step[1]}\, |H|",
            )
        ]
    rise = heat or 1.0
    return [
        (f"m⁺ = m + {step[0]} · {moves[0]} g; {named[0]}", rf"m^+ = m + {step[1]}\, {moves[1]} g,\quad {named[1]}"),
        (
            f"(S⁺)⁻¹ = S⁻¹ − {step[0]} · G; eigenvalues below S⁻¹/2 are bent to stay above S⁻¹/4",
            rf"(S^+)^{{-1}} = S^{{-1}} - {step[1]}\, G \;\succ\; \tfrac{{1}}{{4}} S^{{-1}}",
        ),
        (f"G = {bent[0]}", f"G = {bent[1]}"),
        *whole,
        _quartered(*step, rise),
    ]


def _matched(reference: Written, length: float, heat: float, diagonal: bool) -> Lines:
    """The Gaussian whose score is nearest to that of the optimum at the points."""
    step, share = number(length), number(length / (1 + length))
    latex, part = latex_number(length), latex_number(length / (1 + length))
    left, less = number(1 / (1 + length)), latex_number(1 / (1 + length))
    own = ("; all of them diagonal", r"\quad \text{all diagonal}") if diagonal else ("", "")
    named = _named(reference)
    return [
        (
            f"m⁺ = {left} · m + {share} · (S⁺ v̄ + ā); {named[0]}",
            rf"m^+ = {less}\, m + {part}\, (S^+ \bar v + \bar a),\quad {named[1]}",
        ),
        (f"S⁺ U S⁺ + S⁺ = V{own[0]}", f"S^+ U S^+ + S^+ = V{own[1]}"),
        (
            f"U = {step} · Cov(v) + {share} · v̄ v̄ᵀ, V = S + {step} · Cov(a) + {share} · (m − ā)(m − ā)ᵀ",
            rf"U = {latex}\, \mathrm{{Cov}}(v) + {part}\, \bar v \bar v^\top,\quad "
            rf"V = S + {latex}\, \mathrm{{Cov}}(a) + {part}\, (m - \bar a)(m - \bar a)^\top",
        ),
        _quartered(step, latex, heat),
        (
            "ā, Cov(a), v̄, Cov(v): means and covariances over a_k with weights ω_k",
            r"\bar a, \mathrm{Cov}(a), \bar v, \mathrm{Cov}(v)\ \text{with weights}\ \omega_k",
        ),
    ]


def _scaled(velocity: Written, heat: float) -> Written:
    """The score of the optimum, from the slope of the energy."""
    if heat == 1:
        return velocity
    return f"{velocity[0]}/{number(heat)}", rf"{velocity[1]} / {latex_number(heat)}"


def _quartered(step: str, latex: str, most: float) -> Written:
    return (
        f"{step} is quartered while the energy at a_k would rise by more than {number(most)}",
        rf"{latex} \to {latex}/4 \;\text{{while}}\; \Delta E > {latex_number(most)}",
    )


def _named(reference: Written) -> Written:
    return f"{reference[0]} = N(m, S)", rf"{reference[1]} = \mathcal{{N}}(m, S)"
