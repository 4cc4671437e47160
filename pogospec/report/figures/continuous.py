"""The continuous flow of a quadratic energy on Gaussians, the limit of small steps, in closed form.

E[pi] = w E_pi[(a - m)^T A (a - m)]/2 - lambda H[pi]; what is called A below is w A, and time runs at the speed of the
geometry. With phi(r, t) = (1 - exp(-r t))/r:

Wasserstein: mean' = -A (mean - m), S' = -(A S + S A) + 2 lambda I, so that
S = e^(-At) S0 e^(-At) + 2 lambda phi(2A, t).
Fisher-Rao (Hellinger and KL alike): P = P0 e^(-lambda t) + A phi(lambda, t) and
P mean = P0 mean0 e^(-lambda t) + A m phi(lambda, t), for the precision P.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pogospec.policies.base import DiagonalNormal, FullNormal, Point
from pogospec.registry import kind_of
from pogospec.report.reading.flow import START
from pogospec.report.reading.known_energy import Compiled, Moments
from pogospec.targets.quadratic import QuadraticTarget

FISHER_RAO = ("fisher_rao", "gaussian_fisher_rao", "kl", "hellinger")
"""Geometries that agree to leading order, so that their flows are one."""


class Continuous(NamedTuple):
    """A flow that is known in closed form; `curvature` [d, d] includes the weight of Q."""

    wasserstein: bool
    center: np.ndarray
    curvature: np.ndarray
    heat: float  # lambda, the weight of the entropy
    weight: float  # of Q
    speed: float
    start: Moments  # of one policy

    def at(self, times: np.ndarray) -> Moments:
        """Moments at flow times [n]."""
        t = self.speed * np.asarray(times, float)
        values, vectors = np.linalg.eigh(self.curvature)
        if self.wasserstein:
            decay = np.einsum("ij,nj,kj->nik", vectors, np.exp(-np.outer(t, values)), vectors)
            mean = self.center + decay @ (self.start.mean - self.center)
            spread = np.einsum("ij,nj,kj->nik", vectors, _phi(2 * values, t), vectors)
            return Moments(mean, decay @ self.start.covariance @ decay + 2 * self.heat * spread)
        kept, gained = np.exp(-self.heat * t)[:, None, None], _phi(np.array([self.heat]), t)[:, :, None]
        before = np.linalg.inv(self.start.covariance)
        precision = before * kept + self.curvature * gained
        pull = (before @ self.start.mean) * kept[..., 0] + (self.curvature @ self.center) * gained[..., 0]
        covariance = np.linalg.inv(precision)
        return Moments((covariance @ pull[..., None])[..., 0], covariance)

    def energy(self, times: np.ndarray) -> np.ndarray:
        """E at flow times [n]; Q is 0 at the center."""
        found = self.at(times)
        gap = found.mean - self.center
        entropy = 0.0
        if self.heat > 0:
            size = len(self.center) * np.log(2 * np.pi * np.e)
            entropy = (size + np.linalg.slogdet(found.covariance)[1]) / 2
        return self._squares(self.curvature, gap, found.covariance) / 2 - self.heat * entropy

    def kl(self, times: np.ndarray) -> np.ndarray:
        """KL to the optimum in nats at flow times [n]."""
        found = self.at(times)
        precision = self.curvature / self.heat
        gap = found.mean - self.center
        inside = self._squares(precision, gap, found.covariance)
        logdet = np.linalg.slogdet(found.covariance)[1] + np.linalg.slogdet(precision)[1]
        return (inside - len(self.center) - logdet) / 2

    @staticmethod
    def _squares(matrix: np.ndarray, gap: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """E (a - m)^T matrix (a - m) for means that lie `gap` [n, d] from m."""
        return np.einsum("ij,nji->n", matrix, covariance) + np.einsum("ni,ij,nj->n", gap, matrix, gap)

    @property
    def rate(self) -> float | None:
        """The rate at which the energy above its minimum falls in the end, and KL to the optimum; None without one."""
        least = float(np.linalg.eigvalsh(self.curvature).min())
        if least <= 0 or (self.heat <= 0 and not self.wasserstein):
            return None
        return self.speed * 2 * (least if self.wasserstein else self.heat)

    @property
    def law(self) -> str:
        """What half the rate is: the least curvature or lambda; other factors are in the number."""
        return "min A" if self.wasserstein else "λ"


def _phi(rates: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(1 - exp(-r t))/r, and t where r = 0; [n, rates]."""
    safe = np.where(rates == 0, 1.0, rates)
    return np.where(rates == 0, t[:, None], -np.expm1(-np.outer(t, safe)) / safe)


def continuous(known: Compiled, seed: int = 0) -> Continuous | None:
    """The continuous flow that the steps follow, where it is known in closed form.

    Known for a quadratic target, Gaussians (with independent dimensions: a diagonal A) or, in Wasserstein geometry, a
    Dirac, an energy of Q in expectation and entropy, one geometry, and steps that are re-centred each time.
    """
    start = known.parameters(START)
    if not isinstance(known.target, QuadraticTarget) or not isinstance(start, DiagonalNormal | FullNormal | Point):
        return None
    steps = [(stage.step, known.proximal(stage)) for stage in known.stages]
    first, terms = steps[0]
    moved = isinstance(start, Point) or all(step.scheme.at_reference for step, _ in steps)
    if any(len(own) != 1 or step.energy != first.energy for step, own in steps) or not _plain(first.energy, moved):
        return None
    geometry: Any = terms[0].geometry
    later = [own[0] for _, own in steps[1:]]
    if any(term.geometry != geometry or term.reference != "previous" for term in later) or geometry.weight == 0:
        return None
    curvature = np.asarray(known.target.curvature, float)
    diagonal = curvature.ndim == 1
    if not diagonal and not np.count_nonzero(curvature - np.diag(np.diag(curvature))):
        curvature, diagonal = np.diag(curvature), True
    if not diagonal and not isinstance(start, FullNormal):
        return None
    wasserstein = geometry.kind == "wasserstein2"
    if not wasserstein and geometry.kind not in FISHER_RAO:
        return None
    weight = sum(term.weight for term in first.energy.values() if term.needs_critic)
    heat = sum(term.weight for term in first.energy.values() if not term.needs_critic)
    matrix = weight * (np.diag(curvature) if diagonal else curvature)
    speed = (geometry.speed(len(matrix)) if wasserstein else 1.0) / geometry.weight
    found = known.moments(START)
    place = Moments(found.mean[seed], found.covariance[seed])
    return Continuous(wasserstein, np.asarray(known.target.center, float), matrix, heat, weight, speed, place)


def minimum(known: Compiled) -> float | None:
    """The least energy that any distribution has, where the recorded energy of Gaussians and Diracs is exact."""
    start, energies = known.parameters(START), [stage.step.energy for stage in known.stages]
    if not isinstance(known.target, QuadraticTarget) or any(energy != energies[0] for energy in energies):
        return None
    point = isinstance(start, Point)
    if not isinstance(start, DiagonalNormal | FullNormal | Point) or not _plain(energies[0], point):
        return None
    values = [term for term in energies[0].values() if term.needs_critic]
    if not values or not (point or all(term.actions == "quadrature" for term in values)):
        return None
    if known.heat == 0:
        return 0.0 if known.target.optimum(0.0) is not None else None
    log_normalizer = known.target.log_normalizer(known.heat)
    return None if log_normalizer is None else -sum(term.weight for term in values) * known.heat * log_normalizer


def _plain(energy: dict[str, Any], moved: bool) -> bool:
    """Whether an energy is that of Q in expectation, unscaled, and entropy; `moved`: wherever Q is looked at."""
    kinds = {kind_of("energy", type(term)) for term in energy.values()}
    values = [term for term in energy.values() if term.needs_critic]
    return kinds <= {"q", "entropy"} and all(
        term.scale == "none" and (moved or term.actions != "mean") for term in values
    )
