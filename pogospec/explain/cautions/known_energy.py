"""Where mathematics and practice part on a known energy: approximations of Q, families that miss, steps too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.optimum import Least, least
from pogospec.explain.mathematics.explicit import explicit_step
from pogospec.explain.numbers import short
from pogospec.explain.stages import Stage, terms_of
from pogospec.policies.base import DiagonalNormal, FullNormal
from pogospec.spec.schema import Spec


def _cubature(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """A rule that is exact for quadratic Q, used for another one."""
    target: Any = spec.target
    used = [term for _, term in terms_of(stage, "q") if term.actions == "quadrature"]
    if used and not target.gaussian and explicit_step(stage, act_dim) is None:
        yield (
            "cubature",
            "actions: quadrature takes Q at 2d points, exact for quadratic Q, which this one is not: the flow is that "
            "of another energy. For this one: energy.q.actions: {sample: 64}",
        )


def _family(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """An optimum that the family does not hold."""
    target: Any = spec.target
    found = least(target, spec.policy, stage.step)
    heat = found.temperature
    if heat == 0 and not spec.policy.has_density:
        return
    if heat == 0:
        yield (
            "no entropy",
            "the optimum is a point where Q is largest: a policy with a density narrows until its log-std is at its "
            "floor; for the density exp(Q/λ)/Z as the optimum, add energy.entropy.weight: λ",
        )
        return
    if found.why:
        yield "no optimum", f"where the energy is least is not known: {found.why}; no distance to it is told"
    elif not target.gaussian:
        yield (
            "family",
            f"exp(Q/{short(heat)})/Z need not be in the family; the flow then ends where the energy is least in it: "
            "kl_optimum of flow.csv, where Z is known, says how far that is",
        )
    elif spec.policy.parameter_type is DiagonalNormal:
        _, covariance = found.target.optimum(heat) or (None, None)
        if covariance is not None and np.count_nonzero(covariance - np.diag(np.diag(covariance))):
            text = "the optimum has correlations, which policy.kind: gaussian has not; full_gaussian has"
            yield "family", text


def _overshoot(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """Explicit transport steps that are longer than the curvature of Q allows."""
    step = explicit_step(stage, act_dim)
    if step is None or step.kind != "transport":
        return
    target: Any = spec.target
    weight = sum(term.weight for _, term in terms_of(stage, "q"))
    curvature = weight * _curvature(least(target, spec.policy, stage.step))
    if step.length * curvature > 2:
        yield (
            "overshoot",
            f"the step of length {short(step.length)} times the largest curvature of Q at the optimum, "
            f"{short(curvature)}, is above 2: explicit steps move away from it. Lower tau, or scheme: implicit",
        )


def _curvature(found: Least) -> float:
    """The largest eigenvalue of the Hessian of -Q at the mean of the optimum; 0 where that is unknown."""
    optimum = None if found.why else found.target.optimum(found.temperature)
    if optimum is None:
        return 0.0
    hessian = jax.hessian(lambda a: -found.target.log_density(a))(jnp.asarray(optimum[0], float))
    return float(np.linalg.eigvalsh(np.asarray(hessian)).max())


def _weights(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """Few points for the density that they are to represent."""
    step, scheme = explicit_step(stage, act_dim), stage.step.scheme
    count = getattr(getattr(scheme, "points", None), "sample", None)
    if step is None or step.kind != "reweight" or count is None:
        return
    if count < 10 * act_dim and spec.policy.parameter_type in (DiagonalNormal, FullNormal):
        yield (
            "few points",
            f"{count} points in {act_dim} dimensions: their weighted likelihood is a noisy image of the step, and a "
            f"biased one where few weights count. More: scheme.actions: {{sample: {100 * act_dim}}}",
        )


RULES = (_cubature, _family, _overshoot, _weights)
