"""A known energy beside the squared length of actions, as one known energy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from pogospec.targets.base import AbstractTarget, concrete
from pogospec.targets.quadratic import QuadraticTarget
from pogospec.targets.quadrature import Box
from pogospec.types import Actions, Values


class TiltedTarget(AbstractTarget):
    """Q(a) - length |a|^2 of any Q."""

    base: AbstractTarget
    length: float

    @property
    def any_precision(self) -> bool:  # type: ignore[override]
        """That of the Q inside."""
        return self.base.any_precision

    @property
    def dimensions(self) -> int:
        """Those of Q."""
        return self.base.dimensions

    def log_density(self, actions: Actions) -> Values:
        """Q(a) - length |a|^2, [..., d] -> [...]."""
        actions = jnp.asarray(actions)
        return self.base.log_density(actions) - self.length * jnp.square(actions).sum(-1)

    def box(self, temperature: float) -> Box | None:
        """Where the mass is, with a spacing that sees both factors."""
        found, inner = super().box(temperature), self.base.box(temperature)
        if found is None:
            return None
        own = np.sqrt(temperature / (2 * self.length)) / 2
        return found._replace(spacing=min(own, inner.spacing) if inner is not None and inner.spacing else own)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""
        text, latex, meaning = self.base.formula()
        return f"{text} − {self.length:g} |a|²", rf"{latex} - {self.length:g} |a|^2", meaning


def tilted(target: AbstractTarget, length: float) -> AbstractTarget:
    """Q(a) - length |a|^2 up to a constant; of a quadratic Q a quadratic one: A + 2 length I around A m over that."""
    if length == 0:
        return target
    if not isinstance(target, QuadraticTarget):
        return TiltedTarget(target, length)
    known = concrete(target)
    matrix = np.asarray(known.curvature, float)
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    whole = matrix + 2 * length * np.eye(len(matrix))
    if np.linalg.matrix_rank(whole) < len(whole):
        return TiltedTarget(target, length)
    center = np.linalg.solve(whole, matrix @ np.asarray(known.center, float))
    curvature = np.diag(whole).tolist() if np.ndim(known.curvature) == 1 else map(tuple, whole.tolist())
    return QuadraticTarget(center=tuple(center.tolist()), curvature=tuple(curvature))
