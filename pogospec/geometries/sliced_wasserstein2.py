"""The sliced 2-Wasserstein distance; D is half its square times the action dimensions d, by samples.

d E_u W2^2(u'x, u'y) over directions u on the sphere, where W2 of projections is that of sorted samples (Rabin et al.,
"Wasserstein barycenter and its application to texture mixing", 2011). The factor makes it W2^2 where the distributions
differ by a shift or, around their mean, by a factor; it is never larger. The directions are those of random
orthonormal bases, whose mean over one basis is exact for shifts (Rowland et al., "Orthogonal estimation of Wasserstein
distances", 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from pogospec.geometries.base import AbstractSampled, Seen
from pogospec.geometries.minibatches import compared
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Values


class SlicedWasserstein2(AbstractSampled):
    """Half the squared sliced 2-Wasserstein distance times the action dimensions, by samples."""

    kind: ClassVar[str] = "sliced_wasserstein2"

    samples: Annotated[int, Within(ge=1), "actions on each side of a comparison"] = 8
    bases: Annotated[int, Within(ge=1), "random orthonormal bases, whose axes are the directions of all states"] = 1
    debiased: Annotated[
        bool, "whether the distance of each distribution to itself is taken off, between samples of their own"
    ] = True
    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    def unweighted(self, policy: Any, reference: Any, seen: Seen | None) -> Values:
        """The estimate of each row."""
        assert seen is not None
        return compared(self._sliced(seen.key), policy, reference, self.samples, self.debiased, seen.key) / 2

    def _sliced(self, key: Key) -> Callable[[Actions, Actions], Values]:
        """SW2^2, times d, of pairs [k, n, ..., act] of samples in each state, all along the same directions."""

        def along(x, y):
            size = x.shape[-1]
            axes = jax.random.orthogonal(jax.random.fold_in(key, 2), size, (self.bases,), x.dtype)
            x, y = (jnp.sort(jnp.einsum("kn...d,bde->k...ben", side, axes)) for side in (x, y))
            return jnp.square(x - y).mean((-1, -2, -3)) * size

        return along

    def accuracy(self) -> str:
        """How bias and noise fall with the samples, in words."""
        count, noise = f"n = {self.samples} actions on each side", "noise falls as 1/√n, in d > 1 with the bases too"
        if self.debiased:
            return f"{count}, two sets of each: no bias where both are alike, else one that falls as 1/n; {noise}"
        return (
            f"{count}: too large by the distance of n actions from n others of one distribution, which falls as 1/n "
            f"(log log n/n for Gaussians) and narrows π; {noise}"
        )

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        less = ", less half that of x to x' and of y to y'" if self.debiased else ""
        meaning = (
            f"SW₂²: mean square of the gaps between sorted projections of x and y{less}, by {self.samples} samples of "
            f"each along the axes of {self.bases} random bas{'ei'[self.bases == 1]}s; d: action dimensions"
        )
        return f"d SW₂²({p[0]}, {q[0]})/2", rf"\tfrac{{d}}{{2}} \mathrm{{SW}}_2^2({p[1]}, {q[1]})", meaning
