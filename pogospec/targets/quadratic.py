"""The quadratic Q(a) = -1/2 (a - m)^T A (a - m): its optimum and its flows are known in closed form."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from pogospec.spec.fields import Length
from pogospec.targets.base import AbstractTarget, Optimum, shown
from pogospec.targets.quadrature import Box
from pogospec.types import Actions, Values


class QuadraticTarget(AbstractTarget):
    """Quadratic around a center; its optimum at temperature T is the Gaussian N(center, T curvature^-1)."""

    gaussian: ClassVar[bool] = True

    center: Annotated[tuple[float, ...], Length(1), "m, where Q is stationary"]
    curvature: Annotated[
        tuple[float | tuple[float, ...], ...],
        Length(1),
        "A: a number for each dimension, or the rows of a symmetric matrix; an optimum needs it positive definite",
    ]

    def __check_init__(self):
        size = len(self.center)
        rows = [row for row in self.curvature if isinstance(row, tuple)]
        if len(self.curvature) != size or (rows and [len(row) for row in rows] != [size] * size):
            found = f"found curvature {shown(self.curvature)}"
            raise ValueError(f"{found}, allowed {size} numbers or {size} rows of {size}, as center has {size}")
        for i, row in enumerate(rows):
            for j in range(i):
                if not math.isclose(row[j], rows[j][i], rel_tol=1e-9):
                    found = f"found curvature[{i}][{j}] = {row[j]:g} and curvature[{j}][{i}] = {rows[j][i]:g}"
                    raise ValueError(f"{found}, allowed a symmetric matrix")

    @property
    def dimensions(self) -> int:
        """Number of action dimensions."""
        return len(self.center)

    @property
    def _is_matrix(self) -> bool:
        return isinstance(self.curvature[0], tuple)

    def log_density(self, actions: Actions) -> Values:
        """Q of each row; 0 at the center."""
        actions = jnp.asarray(actions)
        gap = actions - jnp.asarray(self.center, actions.dtype)
        curvature = jnp.asarray(self.curvature, actions.dtype)
        return -0.5 * (gap * (gap @ curvature if self._is_matrix else gap * curvature)).sum(-1)

    def log_normalizer(self, temperature: float) -> float | None:
        """d/2 log(2 pi temperature) - 1/2 log det A."""
        values = np.linalg.eigvalsh(self._matrix())
        if temperature <= 0 or values.min() <= 0:
            return None
        return 0.5 * float(np.log(2 * np.pi * temperature / values).sum())

    def optimum(self, temperature: float) -> Optimum | None:
        """Center and temperature A^-1; at temperature 0 the point that is the limit."""
        matrix = self._matrix()
        if temperature < 0 or np.linalg.eigvalsh(matrix).min() <= 0:
            return None
        if not self._is_matrix:
            return np.asarray(self.center, float), temperature * np.diag(1 / np.diag(matrix))
        inverse = np.linalg.inv(matrix)
        return np.asarray(self.center, float), temperature * (inverse + inverse.T) / 2

    def box(self, temperature: float) -> Box | None:
        """Ten standard deviations around the center."""
        optimum = self.optimum(temperature)
        if temperature <= 0 or optimum is None:
            return None
        stds = np.sqrt(np.diag(optimum[1]))
        return Box(optimum[0] - 10 * stds, optimum[0] + 10 * stds, float(stds.min()) / 2)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""
        matrix: Any = shown(self.curvature) if self._is_matrix else f"diag{shown(self.curvature)}"
        meaning = f"m = {shown(self.center)}; A = {matrix}"
        return "−½ (a − m)ᵀ A (a − m)", r"-\tfrac{1}{2}(a - m)^\top A\,(a - m)", meaning

    def _matrix(self) -> np.ndarray:
        matrix = np.asarray(self.curvature, float)
        return matrix if self._is_matrix else np.diag(matrix)
