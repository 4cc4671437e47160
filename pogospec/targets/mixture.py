"""A mixture of diagonal Gaussians: several modes, for which one Gaussian policy has to choose or to spread."""

from __future__ import annotations

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.spec.fields import Length, Within
from pogospec.targets.base import AbstractTarget, Optimum, shown
from pogospec.targets.quadrature import Box
from pogospec.types import Actions, Values


class MixtureTarget(AbstractTarget):
    """Log density of a mixture of Gaussians with independent dimensions; normalised at temperature 1."""

    means: Annotated[
        tuple[float | tuple[float, ...], ...], Length(1), "a point for each component; numbers in one dimension"
    ]
    stds: Annotated[
        tuple[float | tuple[float, ...], ...],
        Within(gt=0.0),
        Length(1),
        "standard deviations of each component: one number, or one a dimension",
    ]
    weights: Annotated[
        tuple[float, ...] | None, Within(gt=0.0), Length(1), "of the components, whatever their sum; null: equal"
    ] = None

    def __check_init__(self):
        for name, rows in (("stds", self.stds), ("weights", self.weights)):
            if rows is not None and len(rows) != len(self.means):
                raise ValueError(f"found {len(rows)} {name}, allowed {len(self.means)}, one for each of means")
        sizes = {len(mean) if isinstance(mean, tuple) else None for mean in self.means}
        if len(sizes) > 1:
            raise ValueError(f"found means {shown(self.means)}, allowed points of one number of dimensions")
        if any(isinstance(std, tuple) and len(std) != self.dimensions for std in self.stds):
            d = self.dimensions
            raise ValueError(f"found stds {shown(self.stds)}, allowed for each component a number or a list of {d}")

    @property
    def dimensions(self) -> int:
        """Number of action dimensions."""
        first = self.means[0]
        return len(first) if isinstance(first, tuple) else 1

    def log_density(self, actions: Actions) -> Values:
        """Log density in nats of each row."""
        actions = jnp.asarray(actions)
        weights, means, stds = self._components(actions.dtype)
        gaps = (actions[..., None, :] - means) / stds
        logs = -0.5 * jnp.square(gaps).sum(-1) - jnp.log(stds).sum(-1) + jnp.log(weights)
        return jax.nn.logsumexp(logs, axis=-1) - 0.5 * self.dimensions * jnp.log(2 * jnp.pi).astype(actions.dtype)

    def log_normalizer(self, temperature: float) -> float | None:
        """0 at temperature 1; by quadrature at others, in one or two dimensions."""
        return 0.0 if temperature == 1 else super().log_normalizer(temperature)

    def optimum(self, temperature: float) -> Optimum | None:
        """Moments: exact at temperature 1; by quadrature at others, in one or two dimensions."""
        if temperature != 1:
            return super().optimum(temperature)
        weights, means, stds = self._host()
        mean = weights @ means
        gaps = means - mean
        return mean, np.diag(weights @ stds**2) + (weights[:, None] * gaps).T @ gaps

    def box(self, temperature: float) -> Box | None:
        """Ten standard deviations around each component."""
        if temperature <= 0 or self.dimensions > 2:
            return None
        _, means, stds = self._host()
        reach = 10 * np.sqrt(temperature) * stds
        return Box((means - reach).min(0), (means + reach).max(0), float(reach.min()) / 20)

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""
        weights = (1.0,) * len(self.means) if self.weights is None else self.weights
        meaning = f"w ∝ {shown(weights)}; m = {shown(self.means)}; σ = {shown(self.stds)}"
        return "log Σ_k w_k N(a; m_k, σ_k²)", r"\log\sum_k w_k\,\mathcal{N}(a; m_k, \sigma_k^2)", meaning

    def _components(self, dtype):
        """Weights [k] with sum 1, means and stds [k, d]."""
        count, d = len(self.means), self.dimensions
        weights = jnp.ones(count, dtype) if self.weights is None else jnp.asarray(self.weights, dtype)
        rows = [jnp.broadcast_to(jnp.asarray(std, dtype), (d,)) for std in self.stds]
        return weights / weights.sum(), jnp.asarray(self.means, dtype).reshape(count, d), jnp.stack(rows)

    def _host(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same in float64 on the host."""
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            weights, means, stds = self._components(jnp.float64)
            return np.asarray(weights), np.asarray(means), np.asarray(stds)
