"""How far a distribution is from a density: importance weights, the evidence lower bound, and Pareto k.

With x ~ pi and w = exp(Q(x)/temperature)/pi(x), the mean of log w is the lower bound of log Z, and log w would be the
same number everywhere if pi were the density. The largest w follow a generalised Pareto distribution whose shape k says
how many moments they have (Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling", JMLR 2024).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.errors import UsageError
from pogospec.policies.base import normals
from pogospec.targets.base import AbstractTarget, log_volume
from pogospec.types import Key

FEWEST = 25
"""Samples of which the largest fifth are five, the fewest that a shape is fitted to."""
ALIKE = 1e-3
"""Nats within which all weights are the same: their tail is that of rounding."""
NEAR = 0.9
"""Share of the samples that count, from which on a large k may be one of weights that have no tail yet."""
ROWS = 256
"""Actions whose density is asked for at once."""


class Estimate(NamedTuple):
    """A mean over samples, in nats, and its Monte Carlo standard error."""

    value: float
    error: float

    def __repr__(self) -> str:
        digits = max(0, min(4, 1 - math.floor(math.log10(self.error)))) if 0 < self.error < math.inf else 4
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"

    __str__ = __repr__


class ParetoK(float):
    """The shape k of the largest importance weights; a number, which prints with what it means."""

    samples: int
    effective: float  # share of the samples that weigh as much as all do: (sum w)^2/(n sum w^2)

    def __new__(cls, value: float, samples: int, effective: float) -> ParetoK:
        """K of so many samples."""
        self = super().__new__(cls, value)
        self.samples, self.effective = samples, effective
        return self

    @property
    def most(self) -> float:
        """Up to which k estimates by so many samples are sound: min(1 - 1/log10 n, 0.7)."""
        return min(1 - 1 / math.log10(self.samples), 0.7)

    @property
    def meaning(self) -> str:
        """What it says of the distribution that was drawn from, in words."""
        if self == -math.inf:
            return "good: all weights are alike"
        if self < min(0.5, self.most):
            return "good: weights of finite variance correct what is left"
        if self <= self.most:
            return "usable: smoothed weights correct what is left"
        if self <= 0.7:
            return f"usable with more samples: {self.samples:,} are sound up to {self.most:.2f}"
        if self.effective > NEAR:
            share = f"as many as {self.effective:.0%} of the draws count"
            return f"open: {share}, but the few largest weights follow no Pareto tail; take more draws"
        if self < 1:
            return "poor: tails of the posterior are missed, and weights correct them badly"
        return "far off: weights have no mean, and nothing corrects this end"

    def __repr__(self) -> str:
        return f"{float(self):.2f} ({self.meaning})"

    __str__ = __repr__


def log_weights(target: AbstractTarget, temperature: float, parameters: Any, key: Key, n: int) -> tuple[Any, Any]:
    """Draws [n, d] of parameters without a batch, and Q/temperature - log pi [n] at them, of all data.

    Raises UsageError where the flow has no density to compare.
    """
    if temperature == 0:
        raise UsageError("found a flow at temperature 0, which ends at points; allowed a temperature > 0")
    return _weighted(target.whole(), temperature, parameters, normals(parameters, n, key))


@eqx.filter_jit
def _weighted(target: AbstractTarget, temperature: Any, parameters: Any, z: Any) -> tuple[Any, Any]:
    one = jax.tree.map(lambda leaf: leaf[None], parameters)
    actions = one.at(z[:, None])[:, 0]
    normal = -0.5 * (jnp.square(z.reshape(len(z), -1)).sum(-1) + actions.shape[-1] * jnp.log(2 * jnp.pi))
    density = jax.lax.map(target.log_density, actions, batch_size=ROWS)
    return actions, density / temperature - (normal - log_volume(one, z)[:, 0])


def elbo(log_weight: Any) -> Estimate:
    """Mean and standard error of log weights [n]."""
    values = np.asarray(log_weight, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if np.isfinite(values).all() else math.nan
    return Estimate(float(values.mean()), float(error))


def pareto_k(log_weight: Any) -> ParetoK:
    """The shape of the largest weights; infinite where any of them is not a number."""
    values = np.asarray(log_weight, np.float64)
    weights = np.exp(values - values.max()) if (values < np.inf).all() else np.zeros(len(values))
    effective = weights.sum() ** 2 / max(np.square(weights).sum(), 1.0) / len(weights)
    return ParetoK(smoothed(log_weight)[1], len(weights), float(effective))


def smoothed(log_weight: Any) -> tuple[np.ndarray, float]:
    """Logs of Pareto smoothed weights [n], which sum to 1, and k.

    The largest min(n/5, 3 sqrt n) weights are replaced by quantiles of the Pareto distribution that is fitted to them,
    none above the largest.
    """
    values = np.asarray(log_weight, np.float64)
    alike = np.full(len(values), -math.log(len(values)))
    if not (values < np.inf).all():  # NaN too
        return alike, math.inf
    if np.ptp(values) < max(ALIKE, 64 * float(np.finfo(log_weight.dtype).eps) * np.abs(values).max()):
        return alike, -math.inf
    values = values - values.max()
    count = math.ceil(min(0.2 * len(values), 3 * math.sqrt(len(values))))
    order = np.argsort(values, kind="stable")
    tail, k = order[-count:], -math.inf  # which it is where the largest are alike
    cutoff = max(float(values[order[-count - 1]]), math.log(np.finfo(float).tiny))
    excess = np.exp(values[tail]) - math.exp(cutoff)
    if excess[-1] > 0:
        k, scale = fitted(np.maximum(excess, np.finfo(float).tiny))
        middle = (np.arange(count) + 0.5) / count
        with np.errstate(over="ignore"):  # of tails that none of the weights bounds
            quantiles = scale * np.expm1(-k * np.log1p(-middle)) / k
        values[tail] = np.minimum(np.log(quantiles + math.exp(cutoff)), 0.0)
    return values - np.logaddexp.reduce(values), k


def fitted(excess: np.ndarray) -> tuple[float, float]:
    """Shape k and scale of a generalised Pareto distribution of positive, increasing values.

    The estimate of Zhang and Stephens, "A new and efficient estimation method for the generalized Pareto distribution"
    (Technometrics 2009), their shape with the other sign; k is drawn to 0.5 as by ten further values.
    """
    n = len(excess)
    grid = np.arange(1, 31 + math.isqrt(n)) - 0.5
    quartile = excess[math.floor(n / 4 + 0.5) - 1]
    theta = 1 / excess[-1] + (1 - np.sqrt((30 + math.isqrt(n)) / grid)) / (3 * quartile)
    shapes = np.log1p(-theta[:, None] * excess).mean(1)
    likelihood = n * (np.log(-theta / shapes) - shapes - 1)
    weights = np.exp(likelihood - np.logaddexp.reduce(likelihood))
    mean = float((weights * theta).sum())
    shape = float(np.log1p(-mean * excess).mean())
    return (n * shape + 10 * 0.5) / (n + 10), -shape / mean
