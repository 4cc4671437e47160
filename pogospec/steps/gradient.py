"""How the gradient of the proximal objective is taken before it enters the network."""

from __future__ import annotations

from typing import Annotated, ClassVar

import equinox as eqx

from pogospec.geometries.base import AbstractGeometry
from pogospec.spec.fields import Increasing, Within


class Euclidean(eqx.Module):
    """The gradient as it is."""

    needs_metric: ClassVar[bool] = False

    def precondition(self, geometry: AbstractGeometry, parameters, gradient):
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

    def precondition(self, geometry: AbstractGeometry, parameters, gradient):
        """The natural gradient with respect to the policy's parameters (heads)."""
        return geometry.natural(parameters, gradient, self.clip)
