"""Closed forms behind the warnings: where the std of a Gaussian policy tends, and where a bounded distance lets go.

Where Q is taken at the mean action, sigma sees the entropy -lambda log sigma (per dimension) and the proximal term:

    W2 to a Dirac                 lambda = w sigma^2 / (tau k)                 sigma^2 = lambda tau k / w
    W2 to N(m, sigma_b^2)         lambda = w sigma (sigma - sigma_b)/(tau k)   the positive root
    KL(policy || N(m, sigma_b^2)) lambda + w/tau = w sigma^2/(tau sigma_b^2)   sigma^2 = sigma_b^2 (1 + lambda tau/w)

with k = 1 for the sum over action dimensions and k = d for their mean. For full covariances the same holds along each
principal axis of that of the reference, which the policy comes to share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pogospec.explain.numbers import short
from pogospec.explain.stages import Stage, entropy_weight, kind_of
from pogospec.policies.base import DiagonalNormal, FullNormal, Point
from pogospec.spec.schema import Spec

BOUNDED = {"fisher_rao": ("d_FR²/2", math.pi**2 / 2), "hellinger": ("4 (1 − BC)", 4.0)}
"""Geometries whose divergence is bounded: how it is written, and its bound."""


@dataclass(frozen=True)
class Limit:
    """Where sigma tends; `value` is None where it depends on the sigma of the reference."""

    text: str
    value: float | None

    @property
    def collapses(self) -> bool:
        """Whether nothing of the reference holds sigma up."""
        return self.value is not None

    def place(self, low: float, high: float) -> str:
        """Where the limit lies with respect to the bounds of the log-std."""
        if self.value is None:
            return ""
        if self.value < std(low):
            return f", below the floor e^{short(low)} = {short(std(low))}, and stays there"
        return f", above the ceiling e^{short(high)}, and stays there" if self.value > std(high) else ""


def std(log_std: float) -> float:
    """Sigma of a log-std."""
    return math.exp(log_std)


def seen_by_energy(stage: Stage) -> bool:
    """Whether a term of the energy other than the entropy moves sigma."""
    for term in (stage.step.energy or {}).values():
        by_actions = getattr(term, "actions", "mean") != "mean"
        if term.weight > 0 and kind_of("energy", term) != "entropy" and (term.needs_density or by_actions):
            return True
    return False


def fixed_point(spec: Spec, stage: Stage, act_dim: int) -> Limit | None:
    """Where sigma tends under the entropy and the one proximal term; None where there is no closed form."""
    family = spec.policy.parameter_type
    if len(stage.proximal) != 1 or family not in (DiagonalNormal, FullNormal):
        return None
    (term,) = stage.proximal
    geometry: Any = term.geometry
    kind = kind_of("geometry", geometry)
    heat = entropy_weight(stage)
    if geometry.weight == 0:
        return None
    step = term.tau / geometry.weight
    reference = {"data": Point, "behavior": spec.behavior.parameter_type}.get(term.reference, family)
    if reference not in (Point, DiagonalNormal, family):
        return None
    if kind == "wasserstein2":
        if geometry.estimated() and family is FullNormal and reference is not Point:
            return None
        mean = geometry.reduction == "mean"
        product = heat * step * (act_dim if mean else 1)
        name = "λ tau d" if mean else "λ tau"
        if reference is Point:
            value = math.sqrt(product)
            return Limit(f"√({name}) = {short(value)}" if heat else "0 (no entropy)", value)
        if not heat:
            return Limit("that of the reference, σ_ref", None)
        return Limit(f"[σ_ref + √(σ_ref² + 4 {name})]/2, {name} = {short(product)}", None)
    if kind == "kl" and geometry.direction == "policy_to_reference":
        return Limit(f"√(1 + λ tau) σ_ref = {short(math.sqrt(1 + heat * step))} σ_ref", None)
    return None


def dead_gap(kind: str, share: float = 0.01) -> float:
    """Gap of two Gaussians of one sigma, in sigmas, past the peak of the pull at which it falls to a share of it.

    With B = gap^2/8: d(d_FR^2/2)/dB = 2 d exp(-B)/sqrt(1 - exp(-2 B)), d = 2 arccos exp(-B); Hellinger: 4 exp(-B).
    """
    gaps = np.linspace(1e-3, 20, 200_000)
    b = np.square(gaps) / 8
    pull = 4 * np.exp(-b)
    if kind == "fisher_rao":
        pull = 4 * np.arccos(np.exp(-b)) * np.exp(-b) / np.sqrt(-np.expm1(-2 * b))
    pull = pull * gaps / 4
    peak = int(pull.argmax())
    return float(gaps[peak:][pull[peak:] < share * pull[peak]][0])
