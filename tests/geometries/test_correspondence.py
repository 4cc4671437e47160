"""Fisher-Rao steps and KL-BRAC agree to leading order, with tau = 1/alpha."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pogospec.geometries.fisher_rao import FisherRao
from pogospec.geometries.kl import KL
from pogospec.policies.base import DiagonalNormal

PERTURBATIONS = np.geomspace(0.03, 0.001, 6)
KLS = {
    "kl": lambda p, q: KL().divergence(p, q),
    "symmetrised": lambda p, q: (KL().divergence(p, q) + KL(direction="reference_to_policy").divergence(p, q)) / 2,
}


def slopes(kl):
    """Fitted slopes of the gap, and of the gap between gradients, in the distance; medians over directions."""
    start, direction = np.random.default_rng(5).normal(size=(2, 200, 1, 2, 3))
    moved = start + PERTURBATIONS[:, None, None] * direction  # [direction, perturbation, mean or log-std, act]

    def gaps(p, q):
        p, q = DiagonalNormal(*p), DiagonalNormal(*q)
        half_square, by_fr = jax.value_and_grad(FisherRao().divergence)(p, q)
        other, by_kl = jax.value_and_grad(kl)(p, q)
        gap = jnp.linalg.norm(jnp.concatenate(by_fr) - jnp.concatenate(by_kl))
        return jnp.log(jnp.stack([jnp.sqrt(2 * half_square), jnp.abs(half_square - other), gap]))

    rows = jax.jit(jax.vmap(jax.vmap(gaps)))(moved, np.broadcast_to(start, moved.shape))
    fitted = [[np.polyfit(r[:, 0], r[:, k], 1)[0] for k in (1, 2)] for r in np.asarray(rows)]
    return np.median(fitted, 0)


@pytest.mark.parametrize(("kl", "order"), [("kl", 3), ("symmetrised", 4)])
def test_the_gap_falls_with_the_distance(float64, kl, order):
    value, gradient = slopes(KLS[kl])
    assert value == pytest.approx(order, abs=0.15)
    assert gradient == pytest.approx(order - 1, abs=0.15)
