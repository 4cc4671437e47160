"""What is particular to a flow on a known energy: Q, the start, and the optimum where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.optimum import least
from pogospec.data.known import lone_state
from pogospec.explain.mathematics.formula import Written, known_q
from pogospec.explain.numbers import number
from pogospec.explain.stages import Stage, kind_of
from pogospec.policies.base import Point, TanhNormal
from pogospec.policies.mixtures import Mixture
from pogospec.spec.schema import Spec
from pogospec.targets.base import kl_to_optimum, shown


@dataclass(frozen=True)
class Known:
    """A known energy; the optimum and what is measured from it are None where unknown, which `why` says of some."""

    kind: str
    dimensions: int
    text: str  # of Q(a)
    latex: str
    meaning: str
    start: str
    temperature: float  # of the last step, the weight of the entropy over that of Q
    optimum: str  # the density, or the point
    why: str
    log_normalizer: float | None
    optimum_mean: list[float] | None
    optimum_std: list[float] | None
    start_kl: float | None  # KL(start || optimum) in nats


def known(spec: Spec, plan: list[Stage]) -> Known | None:
    """What is known of the energy of a spec; None for specs on data. Integrals take a moment."""
    target: Any = spec.target
    if target is None:
        return None
    found, size = least(target, spec.policy, plan[-1].step), target.dimensions
    heat, told = found.temperature, not found.why
    optimum = found.target.optimum(heat) if told else None
    parameters = spec.policy.parameters(_placed(spec, size), jnp.zeros((1, 0)))
    divergence = None
    if heat > 0 and told:
        divergence = kl_to_optimum(found.target, heat, spec.policy, parameters, jax.random.key(0))
    return Known(
        kind_of("target", target),
        size,
        *known_q(plan[0]),
        beginning(spec)[0],
        heat,
        found.text,
        found.why,
        found.target.log_normalizer(heat) if heat > 0 and told else None,
        None if optimum is None else np.asarray(optimum[0]).tolist(),
        None if optimum is None else np.sqrt(np.diag(optimum[1])).tolist(),
        None if divergence is None else float(divergence[0]),
    )


def _placed(spec: Spec, size: int) -> Any:
    _, space = lone_state(size)
    return spec.policy.placed(spec.policy.init(jax.random.key(0), space), *spec.start.moments(size))


def beginning(spec: Spec) -> Written:
    """The distribution at which the flow starts."""
    mean, std = (_numbers(value) for value in (spec.start.mean, spec.start.std))
    if spec.policy.parameter_type is Point:
        return f"the point {mean}", rf"\delta_{{{mean}}}"
    text = f"N(μ₀, diag(σ₀²)), μ₀ = {mean}, σ₀ = {std}"
    latex = rf"\mathcal{{N}}(\mu_0, \mathrm{{diag}}(\sigma_0^2)),\quad \mu_0 = {mean},\; \sigma_0 = {std}"
    if spec.policy.parameter_type is Mixture and spec.policy.components > 1:
        return f"{spec.policy.components} Gaussians that make up nearly {text}", rf"\approx {latex}"
    if spec.policy.parameter_type is TanhNormal:
        return f"tanh of {text}", rf"\tanh_\#\, {latex}"
    return text, latex


def _numbers(value: float | tuple[float, ...]) -> str:
    return shown(value) if isinstance(value, tuple) else number(value)
