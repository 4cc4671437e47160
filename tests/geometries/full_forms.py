"""Closed forms for Gaussians with full covariance, NumPy float64, written without the package.

A Gaussian is (mean [d], L [d, d]) with covariance L L^T. Gradients are (by mean [d], by covariance [d, d], symmetric).
"""

# pyright: reportArgumentType=false
# arrays of NumPy go into programs here, where JAX's are declared

import numpy as np
from scipy.linalg import solve_continuous_lyapunov

from pogospec.policies.base import FullNormal

SHAPES = {1: 0, 2: 1, 3: 3, 6: 15}


def covariance(rng, size, condition, scale=0.3):
    """A random covariance with this condition number; a random variance in one dimension."""
    axes, _ = np.linalg.qr(rng.normal(size=(size, size)))
    logs = rng.uniform(-0.5, 0.5, size) * np.log(condition)
    if size > 1:
        logs[[0, -1]] = -0.5 * np.log(condition), 0.5 * np.log(condition)
    return scale**2 * (axes * np.exp(logs)) @ axes.T


def gaussian(rng, size, condition):
    """A random Gaussian."""
    return 0.3 * rng.normal(size=size), np.linalg.cholesky(covariance(rng, size, condition))


def near(rng, p, gap):
    """A Gaussian near another, in units of that one."""
    mean, factor = p
    change = np.tril(rng.normal(size=factor.shape))
    return mean + gap * factor @ rng.normal(size=mean.shape), factor @ (np.eye(len(mean)) + gap * change)


def parameters(gaussians, dtype=None):
    """The package's parameters of a list of Gaussians, on the host."""
    rows = [(m, np.log(np.diag(f)), f[np.tril_indices(len(m), -1)]) for m, f in gaussians]
    return FullNormal(*(np.array(column, dtype) for column in zip(*rows, strict=True)))


def pulled_back(p, gradient):
    """Gradient in (mean, log-diagonal, lower) from the one in (mean, covariance)."""
    by_factor = 2 * gradient[1] @ p[1]
    lower = by_factor[np.tril_indices(len(p[0]), -1)]
    return np.concatenate([gradient[0], np.diag(by_factor) * np.diag(p[1]), lower])


def bures_squared(p, q):
    """|L_p|^2 + |L_q|^2 less twice the nuclear norm of L_p^T L_q."""
    return np.sum(p[1] ** 2) + np.sum(q[1] ** 2) - 2 * np.linalg.norm(p[1].T @ q[1], "nuc")


def wasserstein2(p, q):
    """W2^2/2, and its gradient at p from the optimal map T: T S_p T = S_q."""
    inner = p[1].T @ q[1] @ q[1].T @ p[1]
    values, vectors = np.linalg.eigh(inner)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inverse = np.linalg.inv(p[1])
    transport = inverse.T @ root @ inverse
    gap = p[0] - q[0]
    return (gap @ gap + bures_squared(p, q)) / 2, (gap, (np.eye(len(gap)) - transport) / 2)


def bhattacharyya(p, q):
    """-log of the affinity, and its gradient at p."""
    gap, s_p = p[0] - q[0], p[1] @ p[1].T
    middle = (s_p + q[1] @ q[1].T) / 2
    logs = np.linalg.slogdet(middle)[1] - np.log(np.diag(p[1])).sum() - np.log(np.diag(q[1])).sum()
    moved, inverse = np.linalg.solve(middle, gap), np.linalg.inv(middle)
    slope = (inverse - np.linalg.inv(s_p)) / 4 - np.outer(moved, moved) / 16
    return gap @ moved / 8 + logs / 2, (moved / 4, slope)


def fisher_rao(p, q):
    """d^2/2 of 2 arccos BC, and its gradient at p."""
    b, (by_mean, by_covariance) = bhattacharyya(p, q)
    tangent = np.sqrt(np.expm1(2 * min(b, 300.0)))
    slope = 4 * np.arctan(tangent) / tangent
    return 2 * np.arctan(tangent) ** 2, (slope * by_mean, slope * by_covariance)


def hellinger(p, q):
    """4 (1 - BC), and its gradient at p."""
    b, (by_mean, by_covariance) = bhattacharyya(p, q)
    return -4 * np.expm1(-b), (4 * np.exp(-b) * by_mean, 4 * np.exp(-b) * by_covariance)


def kl(p, q):
    """KL(p || q), and its gradient at p."""
    gap, inverse = p[0] - q[0], np.linalg.inv(q[1])
    ratio = inverse @ p[1]
    logs = np.log(np.diag(p[1])).sum() - np.log(np.diag(q[1])).sum()
    value = (np.sum(ratio**2) - len(gap) + np.sum((inverse @ gap) ** 2)) / 2 - logs
    own = np.linalg.inv(p[1])
    return value, (inverse.T @ inverse @ gap, (inverse.T @ inverse - own.T @ own) / 2)


def kl_reversed(p, q):
    """KL(q || p), and its gradient at p."""
    gap, own = p[0] - q[0], np.linalg.inv(p[1])
    precision = own.T @ own
    second = q[1] @ q[1].T + np.outer(gap, gap)
    return kl(q, p)[0], (precision @ gap, (precision - precision @ second @ precision) / 2)


FORMS = {
    "wasserstein2": wasserstein2,
    "fisher_rao": fisher_rao,
    "hellinger": hellinger,
    "kl": kl,
    "kl reversed": kl_reversed,
}


def tangents(p):
    """Changes of the covariance along (log-diagonal, lower), one a coordinate."""
    factor, size = p[1], len(p[0])
    found = []
    for row, column in [*((i, i) for i in range(size)), *zip(*np.tril_indices(size, -1), strict=True)]:
        change = np.zeros((size, size))
        change[row, column] = factor[row, row] if row == column else 1.0
        found.append(change @ factor.T + factor @ change.T)
    return found


def metric(kind, p):
    """The metric in (mean, log-diagonal, lower): Fisher's, or Wasserstein's by Lyapunov equations."""
    s = p[1] @ p[1].T
    inverse, along = np.linalg.inv(s), tangents(p)
    if kind == "wasserstein2":
        solved = [solve_continuous_lyapunov(s, x) for x in along]
        shape = np.array([[np.trace(a @ s @ b) for b in solved] for a in solved])
        means = np.eye(len(s))
    else:
        shape = np.array([[np.trace(inverse @ a @ inverse @ b) / 2 for b in along] for a in along])
        means = inverse
    zero = np.zeros((len(s), len(shape)))
    return np.block([[means, zero], [zero.T, shape]])
