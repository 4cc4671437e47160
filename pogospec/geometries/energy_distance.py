"""The energy distance; D = E^2 / 2, by samples of both distributions.

E^2(p, q) = 2 E|x - y| - E|x - x'| - E|y - y'|, x, x' ~ p and y, y' ~ q independent (Szekely and Rizzo, "Energy
statistics: A class of statistics based on distances", 2013). It needs no bandwidth, and grows like the distance itself
where the distributions are far apart.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp

from pogospec.geometries.base import AbstractSampled, Seen, drawn
from pogospec.spec.fields import Within
from pogospec.types import Actions, Values


class EnergyDistance(AbstractSampled):
    """Half the squared energy distance, by samples; tau is a penalty weight."""

    kind: ClassVar[str] = "energy_distance"

    samples: Annotated[int, Within(ge=2), "actions of each distribution in a state"] = 8
    estimate: Annotated[
        Literal["unbiased", "biased"], "unbiased: without pairs of an action with itself; biased: with them, never < 0"
    ] = "unbiased"
    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def unweighted(self, policy: Any, reference: Any, seen: Seen | None) -> Values:
        """The estimate of each row."""
        assert seen is not None
        x, y = drawn(policy, reference, self.samples, seen.key)
        return _lengths(x, y).mean((0, 1)) - (self._within(x) + self._within(y)) / 2

    def _within(self, x: Actions) -> Values:
        """Mean length over pairs of one distribution."""
        lengths = _lengths(x, x).mean((0, 1))
        return lengths if self.estimate == "biased" else lengths * self.samples / (self.samples - 1)

    def accuracy(self) -> str:
        """How bias and noise fall with the samples, in words."""
        noise = "noise falls as 1/√n, and as 1/n where both are the same"
        if self.estimate == "unbiased":
            return f"n = {self.samples} actions of each: no bias; {noise}"
        return (
            f"n = {self.samples} actions of each: too large by (E|x − x'| + E|y − y'|)/(2n), which narrows π; {noise}"
        )

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        meaning = f"E²: 2 E|x − y| − E|x − x'| − E|y − y'|, {self.estimate}, by {self.samples} samples of each"
        return f"E²({p[0]}, {q[0]})/2", rf"\tfrac{{1}}{{2}} E^2({p[1]}, {q[1]})", meaning


def _lengths(x: Actions, y: Actions) -> Values:
    """Lengths [n, m, ...] of the gaps between actions; where there is no gap, neither has the length a slope."""
    squares = jnp.square(x[:, None] - y).sum(-1)
    apart = squares > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
