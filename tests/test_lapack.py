import math
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest

import pogospec.types  # noqa: F401, has JAX cut batches into parts
from pogospec.lapack import SPREAD, part_of

FOUND = {
    "inv": jnp.linalg.inv,
    "cholesky": lambda x: jnp.linalg.cholesky(x @ x.mT + jnp.eye(x.shape[-1])),
    "svd": jnp.linalg.svd,
    "eigh": lambda x: jnp.linalg.eigh(x + x.mT),
    "qr": jnp.linalg.qr,
    "solve_triangular": lambda x: jax.scipy.linalg.solve_triangular(x, x.mT, lower=True),
}
AT_ONCE = {"getrf": 1, "trsm": 1, "potrf": 1, "gesdd": 10, "syevd": 5, "geqrf": 4, "orgqr": 4}
"""What jaxlib 0.10 reckons as the cost of a square matrix of n rows, in units of n^3, rounded up."""
CALL = re.compile(r"= \(?\w+\[(?:(\d+),)?(\d+),(\d+)\].* custom-call\(.*custom_call_target=\"lapack_[sd](\w+?)_ffi\"")


@pytest.fixture
def matrices():
    return np.random.default_rng(0).normal(size=(2, 1500, 5, 5)) + 5 * np.eye(5)


@pytest.mark.skipif(jaxlib.version.__version_info__[:2] != (0, 10), reason="other versions spread no batch")
@pytest.mark.parametrize("name", FOUND)
def test_no_call_is_spread_over_threads(name, matrices):
    text = jax.jit(jax.vmap(FOUND[name])).lower(matrices).compile().as_text() or ""
    calls = CALL.findall(text)
    assert calls
    for batch, rows, columns, kind in calls:
        assert rows == columns == "5"
        assert int(batch or 1) * AT_ONCE[kind] * 5**3 < SPREAD
    assert text.count('custom_call_target="lapack_') == len(calls)


@pytest.mark.parametrize("name", FOUND)
def test_parts_are_what_matrices_alone_are(name, matrices):
    whole = jax.tree.leaves(jax.jit(jax.vmap(FOUND[name]))(matrices))
    few = np.concatenate([matrices[0, :2], matrices[1, -2:]])
    alone = jax.tree.leaves(jax.jit(FOUND[name])(few))
    for one, other in zip(whole, alone, strict=True):
        assert one.shape[:2] == (2, 1500)
        np.testing.assert_allclose(np.concatenate([one[0, :2], one[1, -2:]]), other, rtol=1e-5, atol=1e-5)


def test_gradients_pass_through_parts(matrices):
    symmetric = matrices @ np.swapaxes(matrices, -1, -2)
    found = jax.jit(jax.grad(lambda x: jnp.log(jnp.linalg.cholesky(x)[..., np.arange(5), np.arange(5)]).sum()))(
        symmetric
    )
    np.testing.assert_allclose(found, np.linalg.inv(symmetric) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shapes", [[(9, 3, 3)], [(9, 3, 3), (9, 3, 40)], [(9, 200, 2), (9, 2)], [(2, 128, 128)]])
def test_parts_stay_below_what_is_spread(shapes):
    matrices = [shape[1:] for shape in shapes if len(shape) == 3]
    cost = 10 * max(map(math.prod, matrices)) * max(map(min, matrices))
    part = part_of(shapes, 1, 10)
    assert part == 1 or part * cost < SPREAD <= (part + 1) * cost


BESIDE = """
import jax, jax.numpy as jnp, numpy as np
import pogospec.types
x = np.random.default_rng(0).normal(size=(20_000, 5, 5)) + 5 * np.eye(5)
beside = jax.jit(lambda *all: [jnp.linalg.inv(x) for x in all])
for _ in range(20):
    jax.block_until_ready(beside(x, x + 1, x + 2, x + 3))
"""


@pytest.mark.exhaustive("a process of its own, for the fault that the tests above rule out")
def test_independent_calls_do_not_wait_for_each_other():
    """On two cores they did, for ever, in each of the first few calls."""
    subprocess.run([sys.executable, "-c", BESIDE], check=True, timeout=240)
