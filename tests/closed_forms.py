"""Closed forms for Gaussian geometry and flows, NumPy float64, independent of the package.

Arrays: means, stds of shape (..., d); covariances (d, d).
"""

import numpy as np
import scipy.linalg as sl


def w2_squared(m1, s1, m2, s2):
    """Squared Wasserstein-2 distance of diagonal Gaussians."""
    return np.sum((m1 - m2) ** 2 + (s1 - s2) ** 2, -1)


def w2_squared_full(m1, c1, m2, c2):
    """Squared Wasserstein-2 (Bures) distance of full-covariance Gaussians."""
    r = np.real(sl.sqrtm(c1))
    return np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * np.real(sl.sqrtm(r @ c2 @ r)))


def bhattacharyya(m1, s1, m2, s2):
    """-log of the Bhattacharyya affinity of diagonal Gaussians."""
    v = s1**2 + s2**2
    return np.sum((m1 - m2) ** 2 / (4 * v) + 0.5 * np.log1p((s1 - s2) ** 2 / (2 * s1 * s2)), -1)


def fisher_rao(m1, s1, m2, s2):
    """2 arccos(affinity), in [0, pi]."""
    return 4 * np.arcsin(np.sqrt(-np.expm1(-bhattacharyya(m1, s1, m2, s2)) / 2))


def rao(m1, s1, m2, s2):
    """Geodesic distance on the manifold of diagonal Gaussians."""
    x = ((m1 - m2) ** 2 / 2 + (s1 - s2) ** 2) / (2 * s1 * s2)
    return np.sqrt(np.sum(8 * np.arcsinh(np.sqrt(x / 2)) ** 2, -1))


def kl(m1, s1, m2, s2):
    """KL(N1 || N2) of diagonal Gaussians, nats."""
    return np.sum(np.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5, -1)


def jko_w2_quadratic(m0, s0, peak, curvature, lam, tau):
    """Implicit W2 step for Q(a) = -1/2 sum A (a - peak)^2 and E = -E[Q] - lam H, minimising E + W2^2/(2 tau)."""
    a = curvature
    return (m0 + tau * a * peak) / (1 + tau * a), (s0 + np.sqrt(s0**2 + 4 * tau * lam * (1 + tau * a))) / (
        2 * (1 + tau * a)
    )


def kl_prox_quadratic(m0, s0, peak, curvature, lam, tau):
    """Implicit step with D = KL(pi || pi_0): pi proportional to (pi_0 exp(tau Q))^(1/(1 + tau lam))."""
    p0, a = s0**-2, curvature
    return (p0 * m0 + tau * a * peak) / (p0 + tau * a), np.sqrt((1 + tau * lam) / (p0 + tau * a))


def exponentiated_quadratic(m0, s0, peak, curvature, lam, eta):
    """Explicit Fisher-Rao/KL step: pi proportional to pi_0^(1 - eta lam) exp(eta Q); needs eta lam <= 1."""
    p0, a, k = s0**-2, curvature, 1 - eta * lam
    p = k * p0 + eta * a
    return (k * p0 * m0 + eta * a * peak) / p, p**-0.5


def w2_flow_quadratic(m0, s0, peak, curvature, lam, t):
    """Continuous Wasserstein gradient flow at time t."""
    a = curvature
    return peak + (m0 - peak) * np.exp(-a * t), np.sqrt(lam / a + (s0**2 - lam / a) * np.exp(-2 * a * t))


def fisher_rao_flow_quadratic(m0, s0, peak, curvature, lam, t):
    """Continuous Fisher-Rao (replicator) gradient flow at time t."""
    a, p0, e = curvature, s0**-2, np.exp(-lam * t)
    p = a / lam + (p0 - a / lam) * e
    return (a * peak / lam * (1 - e) + p0 * m0 * e) / p, p**-0.5
