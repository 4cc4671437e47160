"""The maximum mean discrepancy (BEAR, BRAC); D = MMD^2 / 2, by samples of both distributions.

MMD^2(p, q) = E k(x, x') + E k(y, y') - 2 E k(x, y), x, x' ~ p and y, y' ~ q independent. BRAC and BEAR take the mean
over all pairs of the same samples, a sample with itself among them, which is biased and never negative.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp

from pogospec.geometries.base import AbstractSampled, Seen, drawn
from pogospec.spec.fields import Within
from pogospec.types import Actions, Values


class MMD(AbstractSampled):
    """Half the squared maximum mean discrepancy, by samples; tau is a penalty weight."""

    kind: ClassVar[str] = "mmd"

    kernel: Annotated[
        Literal["laplacian", "gaussian"],
        "laplacian: exp(-|x - y|_1 / bandwidth), as published; gaussian: exp(-|x - y|^2 / (2 bandwidth^2))",
    ] = "laplacian"
    bandwidth: Annotated[float, Within(gt=0.0), "width of the kernel, in scaled actions (BRAC: 20)"] = 20.0
    samples: Annotated[int, Within(ge=2), "actions of each distribution in a state (BRAC: 4)"] = 4
    estimate: Annotated[
        Literal["biased", "unbiased"], "biased: the mean over all pairs, as published; unbiased: without equal pairs"
    ] = "biased"
    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def unweighted(self, policy: Any, reference: Any, seen: Seen | None) -> Values:
        """The estimate of each row."""
        assert seen is not None
        x, y = drawn(policy, reference, self.samples, seen.key)
        return (self._within(x) + self._within(y)) / 2 - self._pairs(x, y).mean((0, 1))

    def _pairs(self, x: Actions, y: Actions) -> Values:
        gaps = x[:, None] - y[None]
        if self.kernel == "laplacian":
            return jnp.exp(-jnp.abs(gaps).sum(-1) / self.bandwidth)
        return jnp.exp(-jnp.square(gaps).sum(-1) / (2 * self.bandwidth**2))

    def _within(self, x: Actions) -> Values:
        """Mean of the kernel over pairs of one distribution."""
        if self.estimate == "biased":
            return self._pairs(x, x).mean((0, 1))
        count = self.samples  # k(x, x) = 1
        return (self._pairs(x, x).sum((0, 1)) - count) / (count * (count - 1))

    def accuracy(self) -> str:
        """How bias and noise fall with the samples, in words."""
        noise = "noise falls as 1/√n, and as 1/n where both are the same"
        if self.estimate == "unbiased":
            return f"n = {self.samples} actions of each: no bias; {noise}"
        much = "(2 − E k(x, x') − E k(y, y'))/(2n)"
        return f"n = {self.samples} actions of each: too large by {much}, which narrows π; {noise}"

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        width = f"{self.bandwidth:.12g}"
        kernel = f"exp(−|x − y|₁/{width})" if self.kernel == "laplacian" else f"exp(−|x − y|²/(2 · {width}²))"
        how = f"{self.estimate}, by {self.samples} samples of each"
        meaning = f"MMD: maximum mean discrepancy with the kernel {kernel}, {how}"
        return f"MMD²({p[0]}, {q[0]})/2", rf"\tfrac{{1}}{{2}} \mathrm{{MMD}}^2({p[1]}, {q[1]})", meaning
