"""How the gradient of the proximal objective is taken before it enters the network."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import equinox as eqx
import jax

from pogospec.geometries.base import frame_at
from pogospec.policies.base import DiagonalNormal
from pogospec.spec.fields import Increasing, Within
from pogospec.steps.base import Proximal


class Euclidean(eqx.Module):
    """The gradient as it is."""

    needs_metric: ClassVar[bool] = False

    def precondition(self, proximal: tuple[Proximal, ...], parameters: Any, gradient: Any) -> Any:
        """The gradient unchanged."""
        return gradient


class Natural(eqx.Module):
    """The inverse metric of the step's geometry at the policy, per state, times the gradient."""

    needs_metric: ClassVar[bool] = True

    clip: Annotated[
        tuple[float, float] | None,
        Within(gt=0.0),
        Increasing(),
        "bounds of the scale factor; default: as released",
    ] = None

    def precondition(self, proximal: tuple[Proximal, ...], parameters: Any, gradient: Any) -> Any:
        """The natural gradient with respect to the policy's parameters (heads).

        Several proximal terms: the metric of D/tau = sum_i D_i/tau_i, in units of the first tau, so that a weighted
        sum of divergences has the weighted sum of their metrics.
        """
        inverses = [term.geometry.inverse_metric(parameters, self.clip) for term in proximal]
        inward, outward = frame_at(parameters)
        if len(inverses) == 1:
            return outward(jax.tree.map(lambda factor, g: factor * g, inverses[0], inward(gradient)))
        shares = [proximal[0].tau / term.tau for term in proximal]

        def combine(g, *factors):
            return g / sum(share / factor for share, factor in zip(shares, factors, strict=True))

        return outward(jax.tree.map(combine, inward(gradient), *inverses))


class PogoPrinted(eqx.Module):
    """The scaling that POGO's eqs. 19 and 20 print for W2: that of sigma^2 by 1/2, which no metric of W2 has."""

    needs_metric: ClassVar[bool] = True

    def precondition(self, proximal: tuple[Proximal, ...], parameters: DiagonalNormal, gradient: Any) -> Any:
        """The mean's gradient as it is, half that of sigma^2, and so, by the chain rule, half that of log sigma."""
        return gradient._replace(log_std=gradient.log_std / 2)
