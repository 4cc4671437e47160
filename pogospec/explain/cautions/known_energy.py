"""Where mathematics and practice part on a known energy: approximations of Q, families that miss, steps too long."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.optimum import Least, least
from pogospec.data.known import lone_state
from pogospec.energies.base import Context
from pogospec.explain.mathematics.explicit import explicit_step
from pogospec.explain.numbers import short
from pogospec.explain.stages import Stage, entropy_weight, terms_of
from pogospec.policies.base import DiagonalNormal, FullNormal, TanhNormal, normals
from pogospec.spec.schema import Spec

FEW = 8
"""Points that count, fewer than which make a weighted likelihood off by more than an eighth of the step."""
MANY = 4096


def _cubature(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """A rule that is exact for quadratic Q under a Gaussian, used for another one."""
    target: Any = spec.target
    used = [term for _, term in terms_of(stage, "q") if term.actions == "quadrature"]
    squashed = spec.policy.parameter_type is TanhNormal
    if used and (squashed or not target.gaussian) and explicit_step(stage, act_dim) is None:
        which = "under a Gaussian, which a tanh-Gaussian" if squashed else "which this one"
        yield (
            "cubature",
            f"actions: quadrature takes Q at 2d points, exact for quadratic Q {which} is not: the flow is that "
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
    """Explicit transport, forward-backward and natural steps that are longer than the curvature of Q allows."""
    step = explicit_step(stage, act_dim)
    if step is None or step.kind == "reweight":
        return
    target: Any = spec.target
    found = least(target, spec.policy, stage.step)
    heat = found.temperature
    if step.kind == "natural":
        yield from _too_natural(step.length * entropy_weight(stage))
        return
    curvature = sum(term.weight for _, term in terms_of(stage, "q")) * _curvature(found)
    # there a gap of the mean is multiplied by 1 - tau A, one of the std by 1 - 2 tau A where entropy holds it up
    kernel = getattr(stage.step.scheme, "kernel", "none")
    length, what = step.length / step.moves, "step" if step.moves == 1 else "move"
    product = (
        f"the {what} of length {short(length)} times the largest curvature of Q at the optimum, {short(curvature)}"
    )
    if length * curvature > 2:
        which = "forward-backward" if step.kind == "forward_backward" else "explicit"
        text = f"{product}, is above 2: {which} steps move away from it. Lower tau, or scheme: implicit"
        yield "overshoot", text
    elif length * curvature > 1 and heat > 0 and step.kind == "forward_backward":
        wide = "√(λ tau/(2 − tau A)), above √(λ/A) of the optimum"
        yield "too wide", f"{product}, is above 1: steps come to rest at the std {wide}. Lower tau, or scheme: implicit"
    elif length * curvature > 1 and heat > 0 and spec.policy.has_density and kernel == "none":
        text = f"{product}, is above 1: the std swings about that of the optimum. Lower tau, or scheme: implicit"
        yield "swinging std", text


def _too_natural(product: float) -> Iterator[tuple[str, str]]:
    """Gaps of mean and precision are multiplied by 1 - tau lambda near the optimum, whatever the curvature."""
    if product > 1:
        what = "the gaps of mean and precision change their sign at each step"
        what = "natural steps move away from the optimum" if product > 2 else what
        name = "overshoot" if product > 2 else "swinging"
        yield (
            name,
            f"the length of the step times λ, {short(product)}, is above {int(min(product, 2))}: {what}. Lower tau",
        )


def _curvature(found: Least) -> float:
    """The largest eigenvalue of the Hessian of -Q at the mean of the optimum; 0 where that is unknown."""
    optimum = None if found.why else found.target.optimum(found.temperature)
    if optimum is None:
        return 0.0
    hessian = jax.hessian(lambda a: -found.target.log_density(a))(jnp.asarray(optimum[0], float))
    return float(np.linalg.eigvalsh(np.asarray(hessian)).max())


def _weights(spec: Spec, plan: list[Stage], stage: Stage, act_dim: int) -> Iterator[tuple[str, str]]:
    """Few points that count for the density that they are to represent."""
    step, scheme = explicit_step(stage, act_dim), stage.step.scheme
    count = getattr(getattr(scheme, "points", None), "sample", None)
    if step is None or step.kind != "reweight" or count is None or getattr(scheme, "split", None) is not None:
        return
    share = counting(spec, step.length, stage) if stage.index == 0 else 1.0
    if share * count < FEW:
        what = f"about {short(max(1.0, share * count))} of {count} points count at the start"
    elif count < 10 * act_dim and spec.policy.parameter_type in (DiagonalNormal, FullNormal):
        what = f"{count} points in {act_dim} dimensions"
    else:
        return
    yield (
        "few points",
        f"{what}: their weighted likelihood is a noisy image of the step, and a biased one where few weights count, by "
        "about 1/effective_samples of it. scheme.split: 0.5, or more points: scheme.actions: "
        f"{{sample: {100 * act_dim}}}",
    )


def counting(spec: Spec, length: float, stage: Stage) -> float:
    """The share (E r)^2 / E r^2 of the points of the start that count in a step of this length, by many of them."""
    target: Any = spec.target
    size, key, nothing = target.dimensions, jax.random.key(0), jnp.zeros((1, 0))
    network = spec.policy.placed(spec.policy.init(key, lone_state(size)[1]), *spec.start.moments(size))
    start = spec.policy.parameters(network, nothing)
    z = normals(start, MANY, key)
    q = lambda actions, count=None, slow=False: target.log_density(actions)[None]  # noqa: E731
    before = start.before(z) if hasattr(start, "before") else None
    seen = Context(nothing, jnp.zeros((1, size)), spec.policy, q, before=before)
    potential = jnp.zeros((MANY, 1))
    for term in (stage.step.energy or {}).values():
        fixed = seen._replace(fixed=term.begin(start, seen, key))
        potential += term.weight * term.potential(start.at(z), start, fixed)
    mean, square = (jax.scipy.special.logsumexp(-k * length * potential) for k in (1, 2))
    return float(jnp.exp(2 * mean - square)) / MANY


RULES = (_cubature, _family, _overshoot, _weights)
