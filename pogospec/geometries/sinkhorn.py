"""The Sinkhorn divergence of samples; D = S / 2, by log-domain iterations in each state.

    S(p, q) = OT(p, q) - (OT(p, p) + OT(q, q)) / 2,   OT(p, q) = min_P <P, C> + eps KL(P | p x q),   C = |x - y|^2

(Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn divergences", 2019). It goes from W2^2
of the samples at eps -> 0 to the squared gap of their means at eps -> infinity. The means of both sides are matched
first: OT(p, q) is the squared gap of the means plus that of the centred samples, so that large steps and supports far
apart cost no digits and no iterations, and a relative eps does not change with the gap.

The dual value mean f + mean g - eps mean(exp((f + g - C)/eps) - 1) is differentiated at fixed potentials, which is the
gradient of OT where they are optimal (envelope theorem), and its error is of second order in theirs. After an update of
g, the mean row violation times the range of the costs in a column bounds what the dual value is short by.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pogospec.geometries.base import AbstractSampled, Seen
from pogospec.geometries.minibatches import compared
from pogospec.spec.fields import Within
from pogospec.types import Actions, Values

SHORTFALL = 5e-3
"""Part of the mean cost of the centred samples by which a dual value may be short at most, as its bound says."""
SHARPEST, BLUNTEST = 2e-3, 1e6
"""Bounds of eps as a part of that cost: float32 tells no more below, and above it is as good as infinite."""
COOLING = 0.7
"""Factor of eps from iteration to iteration until the one asked for is reached."""
OVERRELAXATION, TURN = (1.8, 1.3), 100
"""How far towards its optimum and past it a potential goes, for so many iterations in turn: what circles under one
settles under the other."""
CHECKED, MOST = 10, 2000
"""Iterations between checks, and at most."""


class Sinkhorn(AbstractSampled):
    """Half the Sinkhorn divergence, by samples."""

    kind: ClassVar[str] = "sinkhorn"

    samples: Annotated[int, Within(ge=2), "actions on each side of a transport problem (PORL: 4)"] = 8
    epsilon: Annotated[
        float, Within(gt=0.0), "entropic regularisation, at least 2e-3 of the mean cost; towards 0, W2 of the samples"
    ] = 0.1
    unit: Annotated[
        Literal["mean_cost", "absolute"],
        "of epsilon: mean_cost, |x - y|^2 on average once means are matched; absolute, squared scaled actions",
    ] = "mean_cost"
    debiased: Annotated[
        bool, "whether OT of each distribution to itself is taken off, between samples of their own (PORL: false)"
    ] = True
    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def unweighted(self, policy: Any, reference: Any, seen: Seen | None) -> Values:
        """The estimate of each row."""
        assert seen is not None
        return compared(self._transported, policy, reference, self.samples, self.debiased, seen.key) / 2

    def _transported(self, x: Actions, y: Actions) -> Values:
        """OT of the pairs [k, n, ..., act] of samples in each state, under an eps that is one for all pairs."""
        x, y = jnp.moveaxis(x, 1, -2), jnp.moveaxis(y, 1, -2)
        gaps = jnp.square(x.mean(-2) - y.mean(-2)).sum(-1)
        x, y = (side - side.mean(-2, keepdims=True) for side in (x, y))
        cost = (jnp.square(x).sum(-1).mean(-1) + jnp.square(y).sum(-1).mean(-1)).mean(0)
        cost = jnp.where(cost > 0, cost, 1.0)
        # in units in which it is 1, so that no digits are lost where all actions are close
        unit = jax.lax.stop_gradient(cost)
        eps = self.epsilon * (cost if self.unit == "mean_cost" else 1.0) / unit
        costs = jnp.square(x[..., :, None, :] - y[..., None, :, :]).sum(-1) / unit[..., None, None]
        eps = jnp.broadcast_to(jnp.clip(eps, SHARPEST, BLUNTEST), costs.shape[:-2])
        return gaps + unit * transport(costs, eps)

    def accuracy(self) -> str:
        """How bias and noise fall with the samples, in words."""
        count = f"n = {self.samples} actions on each side of a transport"
        noise = f"noise falls as 1/√n; iterations end within {SHORTFALL:.1%} of the mean cost"
        if self.debiased:
            return f"{count}, two sets of each: no bias where both are alike, else of order 1/n; {noise}"
        part = f"{self.epsilon:.12g} of the mean cost" if self.unit == "mean_cost" else f"{self.epsilon:.12g}"
        return (
            f"{count}: too large by the cost of n actions to n others of the same distribution, which falls as 1/n (as "
            f"n^(−2/d) towards ε = 0 in d > 4 dimensions), and by the blur of ε = {part}, which does not fall with n; "
            f"both narrow π; {noise}"
        )

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        share = "of the mean cost once means are matched"
        if self.unit == "mean_cost":
            eps = f"{min(max(self.epsilon, SHARPEST), BLUNTEST):.12g} {share}"
        else:
            eps = f"{self.epsilon:.12g}, at least {SHARPEST:g} {share}"
        how = f"by {self.samples} samples of each"
        meaning = f"OT: min_P <P, C> + ε KL(P ‖ x ⊗ y), C = |x − y|², ε = {eps}, {how}"
        if not self.debiased:
            return f"OT({p[0]}, {q[0]})/2", rf"\tfrac{{1}}{{2}} \mathrm{{OT}}_\varepsilon({p[1]}, {q[1]})", meaning
        meaning = f"S: Sinkhorn divergence OT(x, y) − [OT(x, x') + OT(y, y')]/2, two sets of each; {meaning}"
        return f"S({p[0]}, {q[0]})/2", rf"\tfrac{{1}}{{2}} S_\varepsilon({p[1]}, {q[1]})", meaning


class Potentials(NamedTuple):
    """Dual variables of the rows and columns of costs, and what the dual value is short by at most."""

    f: Float[Array, "*batch n"]
    g: Float[Array, "*batch m"]
    short: Values


def transport(costs: Float[Array, "*batch n m"], eps: Values) -> Values:
    """OT of uniform weights under costs of about 1, with its gradient in costs and eps.

    Where no more than MOST iterations are needed, short of the minimum by at most SHORTFALL.
    """
    f, g, _ = jax.lax.stop_gradient(potentials(*jax.lax.stop_gradient((costs, eps))))
    exponents = (f[..., :, None] + g[..., None, :] - costs) / eps[..., None, None]
    return f.mean(-1) + g.mean(-1) - eps * jnp.expm1(exponents).mean((-1, -2))


def potentials(costs: Float[Array, "*batch n m"], eps: Values) -> Potentials:
    """The potentials of `transport`, by overrelaxed iterations under an eps that falls to the one that is asked for."""
    turned, hottest = jnp.swapaxes(costs, -1, -2), costs.max((-1, -2))
    span = (costs.max(-2) - costs.min(-2)).max(-1)

    def step(index, pair):
        f, g = pair
        heat = jnp.maximum(eps, hottest * COOLING**index)
        far = jnp.where(index // TURN % 2 == 0, *OVERRELAXATION)
        f += far * (_softmin(costs - g[..., None, :], heat) - f)
        return f, g + far * (_softmin(turned - f[..., None, :], heat) - g)

    def check(carry):
        index, f, g, _ = carry
        f, g = jax.lax.fori_loop(0, CHECKED, lambda k, pair: step(index + k, pair), (f, g))
        return index + CHECKED, f, g, settled(f, g).short.max()

    def settled(f, g):
        f = _softmin(costs - g[..., None, :], eps)
        g = _softmin(turned - f[..., None, :], eps)
        rows = jnp.expm1((f[..., :, None] + g[..., None, :] - costs) / eps[..., None, None]).mean(-1)
        return Potentials(f, g, jnp.abs(rows).mean(-1) * span)

    first = jnp.int32(0), 0 * costs[..., 0], 0 * costs[..., 0, :], jnp.asarray(jnp.inf, costs.dtype)
    going = lambda carry: (carry[0] < MOST) & (carry[3] > SHORTFALL)  # noqa: E731
    _, f, g, _ = jax.lax.while_loop(going, check, first)
    return settled(f, g)


def _softmin(costs: Float[Array, "*batch n m"], eps: Values) -> Float[Array, "*batch n"]:
    """-eps log mean exp(-costs/eps) over the last axis, with its digits at small and at large eps."""
    least = costs.min(-1, keepdims=True)
    return least[..., 0] - eps[..., None] * jnp.log1p(jnp.expm1((least - costs) / eps[..., None, None]).mean(-1))
