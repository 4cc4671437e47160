"""The 2-Wasserstein geometry; D = W2^2 / 2.

Diagonal Gaussians: W2^2 = sum_j (m1 - m2)_j^2 + (s1 - s2)_j^2. Its pull-back metric in (mean, log std) is
diag(1, s^2). Where a tanh-Gaussian takes part, the monotone coupling shares the standard normal of each dimension, and
W2^2 is the mean squared gap of the quantiles, by a quadrature that follows the bends of each tanh.

With the coupling `shared_noise` it is E_z |T1(s, z) - T2(s, z)|^2 of maps T1, T2 of the same noise, by samples: the
cost of one coupling, so never less than W2^2 on average. It is W2^2 where both maps order the noise alike (increasing
maps of each dimension), and the distillation loss of FQL (Park, Li, Levine, "Flow Q-learning", 2025) between any maps.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp

from pogospec.geometries.base import AbstractGeometry, Seen, divergence, drawn_together, has_points, inverse_metric
from pogospec.geometries.bures import bures_squared
from pogospec.geometries.full_gaussians import PAIRS, Spectrum, eigenvalues, full
from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, Point, TanhNormal, panels
from pogospec.spec.fields import Within
from pogospec.types import Values


class SharedNoise(eqx.Module):
    """The coupling by the same noise on both sides, with more than one noise a state."""

    shared_noise: Annotated[int, Within(ge=1), "noises a state"]


class Wasserstein2(AbstractGeometry):
    """Half the squared 2-Wasserstein distance, summed or averaged over action dimensions."""

    kind: ClassVar[str] = "wasserstein2"
    needs_density: ClassVar[bool] = False
    natural_clip: ClassVar[tuple[float, float]] = (1e-3, 1e3)
    retraction = "transport"

    reduction: Annotated[Literal["sum", "mean"], "over action dimensions; released code uses mean"] = "sum"
    coupling: Annotated[
        Literal["optimal", "shared_noise"] | SharedNoise,
        "optimal, in closed form; shared_noise, an upper bound by samples: a noise a state (FQL), or {shared_noise: n}",
    ] = "optimal"
    weight: Annotated[float, Within(ge=0.0), "factor of this divergence"] = 1.0

    @property
    def noises(self) -> int:
        """Noises a state of the coupling by shared noise; 0 for the optimal one."""
        if isinstance(self.coupling, SharedNoise):
            return self.coupling.shared_noise
        return int(self.coupling == "shared_noise")

    def estimated(self) -> bool:
        """Whether the coupling is that by shared noise, which is drawn."""
        return self.noises > 0

    def supports(self, policy: type, reference: type) -> bool:
        """Whether W2 is known for the pair, or with shared noise, whether both can be drawn from."""
        return has_points(policy, reference) if self.estimated() else super().supports(policy, reference)

    def has_metric(self, policy: type) -> bool:
        """Whether natural gradients are known; maps of shared noise have W2's metric where they are increasing."""
        return super().has_metric(policy) and not (self.estimated() and policy is FullNormal)

    def unweighted(self, policy: Any, reference: Any, seen: Seen | None) -> Values:
        """D without its weight: the closed form, or the mean over the noises."""
        if not self.estimated():
            return super().unweighted(policy, reference, seen)
        assert seen is not None
        x, y = drawn_together(policy, reference, self.noises, seen.key)
        return self.reduce(jnp.square(x - y)).mean(0)

    def accuracy(self) -> str:
        """How bias and noise of the coupling by shared noise fall with the noises, in words."""
        if not self.estimated():
            return ""
        return (
            f"n = {self.noises} noise{'s' * (self.noises > 1)} a state: above W₂² by what the coupling is not optimal, "
            "nothing where both maps order the noise alike, which does not fall with n; noise falls as 1/√n"
        )

    def reduce(self, squares):
        """Half the sum or the mean over action dimensions; [..., act] -> [...]."""
        return (squares.sum(-1) if self.reduction == "sum" else squares.mean(-1)) / 2

    def speed(self, dimensions: int) -> float:
        """Length of the gradient beside that of the sum over dimensions."""
        return float(dimensions) if self.reduction == "mean" else 1.0

    def formula(self, p: tuple[str, str], q: tuple[str, str]) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of D(p, q) without its weight; p and q: text and LaTeX of policy and reference."""
        symbol, latex, meaning = "W₂²", "W_2^2", "W₂: 2-Wasserstein distance"
        if self.estimated():
            symbol, latex = "W̃₂²", r"\tilde W_2^2"
            meaning = (
                f"W̃₂²: E_z |T_π(s, z) − T_ref(s, z)|² ≥ W₂², the same noise z on both sides, by {self.noises} z a state"
            )
        if self.reduction == "sum":
            return f"{symbol}({p[0]}, {q[0]})/2", rf"\tfrac{{1}}{{2}} {latex}({p[1]}, {q[1]})", meaning
        return (
            f"{symbol}({p[0]}, {q[0]})/(2d)",
            rf"\tfrac{{1}}{{2d}} {latex}({p[1]}, {q[1]})",
            f"{meaning}; d: action dimensions",
        )


def _std_gap_squared(p: DiagonalNormal, q: DiagonalNormal):
    """(s1 - s2)^2 = 4 s1 s2 sinh^2((r1 - r2)/2), which keeps its digits where the log-stds r are close."""
    half = (p.log_std - q.log_std) / 2
    middle = jnp.exp((p.log_std + q.log_std) / 2)
    return jnp.square(2 * middle * jnp.sinh(half))


@divergence("wasserstein2", Point, Point)
def _points(geometry: Wasserstein2, p: Point, q: Point):
    return geometry.reduce(jnp.square(p.mean - q.mean))


@divergence("wasserstein2", DiagonalNormal, Point)
def _normal_to_point(geometry: Wasserstein2, p: DiagonalNormal, q: Point):
    return geometry.reduce(jnp.square(p.mean - q.mean) + jnp.exp(2 * p.log_std))


@divergence("wasserstein2", Point, DiagonalNormal)
def _point_to_normal(geometry: Wasserstein2, p: Point, q: DiagonalNormal):
    return geometry.reduce(jnp.square(p.mean - q.mean) + jnp.exp(2 * q.log_std))


@divergence("wasserstein2", DiagonalNormal, DiagonalNormal)
def _normals(geometry: Wasserstein2, p: DiagonalNormal, q: DiagonalNormal):
    return geometry.reduce(jnp.square(p.mean - q.mean) + _std_gap_squared(p, q))


@divergence("wasserstein2", LowRankNormal, Point)
@divergence("wasserstein2", FullNormal, Point)
def _full_to_point(geometry: Wasserstein2, p: FullNormal | LowRankNormal, q: Point):
    return geometry.reduce(jnp.square(p.mean - q.mean) + jnp.square(p.factor()).sum(-1))


@divergence("wasserstein2", Point, LowRankNormal)
@divergence("wasserstein2", Point, FullNormal)
def _point_to_full(geometry: Wasserstein2, p: Point, q: FullNormal | LowRankNormal):
    return _full_to_point(geometry, q, p)


def _fulls(geometry: Wasserstein2, p, q):
    shared = bures_squared(full(p), full(q)) / p.mean.shape[-1]
    return geometry.reduce(jnp.square(p.mean - q.mean) + shared[..., None])


for _pair in PAIRS:
    divergence("wasserstein2", *_pair)(_fulls)


def _by_quantiles(geometry: Wasserstein2, p, q):
    squashed = [one for one in (p, q) if isinstance(one, TanhNormal)]
    z, shares = panels(*squashed)
    return geometry.reduce((shares * jnp.square(_gap(p, q, z))).sum(0))


def _gap(p, q, z):
    """Gap of the quantiles at z; of two tanh by tanh(u) - tanh(v) = tanh(u - v) (1 - tanh(u) tanh(v)), with digits."""
    if not isinstance(p, TanhNormal) or not isinstance(q, TanhNormal):
        return p.at(z) - q.at(z)
    apart = p.mean - q.mean + jnp.exp(q.log_std) * jnp.expm1(p.log_std - q.log_std) * z
    return jnp.tanh(apart) * (1 - p.at(z) * q.at(z))


for _pair in ((TanhNormal, TanhNormal), *((TanhNormal, other) for other in (Point, DiagonalNormal))):
    divergence("wasserstein2", *_pair)(_by_quantiles)
    divergence("wasserstein2", *_pair[::-1])(_by_quantiles)


def _dimension_factor(geometry: Wasserstein2, p) -> float:
    """The metric of the mean over dimensions is that of the sum divided by their number."""
    return geometry.speed(p.mean.shape[-1])


@inverse_metric("wasserstein2", Point)
def _point_metric(geometry: Wasserstein2, p: Point, clip):
    return Point(_dimension_factor(geometry, p) * jnp.ones_like(p.mean))


@inverse_metric("wasserstein2", DiagonalNormal)
def _normal_metric(geometry: Wasserstein2, p: DiagonalNormal, clip):
    factor = _dimension_factor(geometry, p)
    return DiagonalNormal(factor * jnp.ones_like(p.mean), factor * jnp.clip(jnp.exp(-2 * p.log_std), *clip))


@inverse_metric("wasserstein2", FullNormal)
def _full_metric(geometry: Wasserstein2, p: FullNormal, clip):
    """1 on the mean; 1/w_i + 1/w_j on the whitened shape, each within the clip."""
    factor = _dimension_factor(geometry, p)
    inverse = factor * jnp.clip(1 / eigenvalues(p), *clip)
    return Spectrum(factor * jnp.ones_like(p.mean), inverse[..., :, None] + inverse[..., None, :])
