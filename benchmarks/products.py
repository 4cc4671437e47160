"""The machine's matrix rate, in products of the shapes that an update takes: a worker. Updates are products here."""

from __future__ import annotations

from protocol import clock, serve  # isort: skip  # pins the process
import jax
import jax.numpy as jnp

SMALL = 1e-30
"""Enough to make one product depend on the one before."""


def forward(x, w):
    """Activations times weights."""
    return x @ w


def input_gradient(x, w):
    """Gradients times transposed weights."""
    return x @ w.T


def weight_gradient(x, w):
    """Transposed activations times gradients; the result is fed back in one number."""
    found = x.T @ x
    return x.at[0, 0].add(SMALL * (found[0, 0] + w[0, 0]))


def bfloat16(x, w):
    """Activations times weights, both rounded to bfloat16, added up in float32."""
    low = jnp.bfloat16
    return jax.lax.dot(x.astype(low), w.astype(low), preferred_element_type=jnp.float32)


KINDS = {function.__name__: function for function in (forward, input_gradient, weight_gradient, bfloat16)}


def prepare(task):
    """Compile a loop of products; the operations of one, and how to run many."""
    batch, width, one = task["batch"], task["width"], KINDS[task["product"]]
    x, w = jnp.ones((batch, width)), jnp.eye(width)
    many = jax.jit(lambda x, w, count: jax.lax.fori_loop(0, count, lambda _, x: one(x, w), x))

    def run(count):
        with clock() as spent:
            many(x, w, count).block_until_ready()
        return spent[0]

    compiling = run(1)
    return {"compile": compiling, "operations": 2.0 * batch * width * width}, run


if __name__ == "__main__":
    serve(prepare)
