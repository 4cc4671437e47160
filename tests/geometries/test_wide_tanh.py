"""What is taken over tanh-Gaussians by quadrature, over all means and widths that the bounds of the family allow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.base import DiagonalNormal, Point, TanhNormal
from pogospec.policies.tanh_gaussian import TanhGaussianPolicy
from pogospec.report.reading.known_energy import moments

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)
OTHERS = {"tanh": TanhNormal, "normal": DiagonalNormal, "point": lambda mean, log_std: Point(mean)}
WIDEST = 10.0  # log std that the schema allows; by default 2


def fine(*bends):
    """Nodes and weights of E f(z) for f with tanh(m + s z), (m, s) in `bends`: thousands of Gauss-Legendre nodes."""
    edges = [np.linspace(-9, 9, 40)]
    far = np.geomspace(0.25, 40, 40)
    edges += [(np.concatenate([-far, [0], far]) - m) / s for m, s in bends]
    edges = np.unique(np.clip(np.concatenate(edges), -9, 9))
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    z = (middle[:, None] + half[:, None] * NODES).ravel()
    return z, (half[:, None] * WEIGHTS).ravel() * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def expected(other, m, s, n, t):
    """W2^2/2 from tanh(m + s z) to another law of (n, t), and its slopes in m and log s."""
    z, weights = fine((m, s), *([(n, t)] if other == "tanh" else []))
    gaps = np.tanh(m + s * z) - {"tanh": np.tanh(n + t * z), "normal": n + t * z, "point": n}[other]
    slope = np.cosh(np.clip(m + s * z, -300, 300)) ** -2.0
    return [weights @ part for part in (gaps**2 / 2, gaps * slope, gaps * slope * s * z)]


def drawn(log_std, dtype, count=60):
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(2, count)) * 3, rng.uniform(-5, log_std, (2, count))
    parts[1][0, :10], parts[1][1, 5:15], parts[1][0, 15:20] = log_std, log_std, -5.0
    parts[0][1, -10:], parts[1][1, -10:] = parts[0][0, -10:] + 1e-3, parts[1][0, -10:] - 1e-3  # close pairs
    return [part.astype(dtype).astype(float) for part in (*parts[0], *parts[1])]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("log_std", [2.0, WIDEST])
@pytest.mark.parametrize("other", OTHERS)
def test_w2_and_its_gradient_hold_at_every_width(other, log_std, dtype):
    m, n, r, q = drawn(log_std, dtype)
    wanted = np.array([expected(other, a, np.exp(b), c, np.exp(d)) for a, b, c, d in zip(m, r, n, q, strict=True)])
    with jax.enable_x64(dtype is np.float64):
        m, n, r, q = (jnp.asarray(part, dtype)[:, None] for part in (m, n, r, q))

        def distance(p):
            rows = Wasserstein2().divergence(p, OTHERS[other](n, q))
            return rows.sum(), rows

        gradient, rows = jax.grad(distance, has_aux=True)(TanhNormal(m, r))
        found = np.stack([rows, gradient.mean[:, 0], gradient.log_std[:, 0]], 1).astype(float)
    assert found.dtype == float
    size = np.abs(wanted[:, :1]) + np.sqrt(np.abs(wanted[:, :1]))  # of the gaps squared, and of the gaps
    assert (np.abs(found - wanted) < 1e-5 * size + 1e-6 * (dtype is np.float32)).all()


@pytest.mark.parametrize("log_std", [2.0, WIDEST])
def test_moments_hold_at_every_width(log_std, float64):
    m, _, r, _ = drawn(log_std, np.float64)
    p = TanhNormal(jnp.asarray(m).reshape(-1, 2), jnp.asarray(r).reshape(-1, 2))
    sides = [(fine((a, np.exp(b))), a, np.exp(b)) for a, b in zip(m, r, strict=True)]
    first = np.array([weights @ np.tanh(a + s * z) for (z, weights), a, s in sides]).reshape(-1, 2)
    second = np.array([weights @ np.tanh(a + s * z) ** 2 for (z, weights), a, s in sides]).reshape(-1, 2)
    np.testing.assert_allclose(TanhGaussianPolicy().mean_square(p), second.sum(-1), atol=1e-6)
    np.testing.assert_allclose(moments(p).mean, first, atol=1e-6)
    np.testing.assert_allclose(moments(p).std ** 2, second - first**2, atol=1e-6)
