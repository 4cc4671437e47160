"""LAPACK on processors without the deadlock of JAX 0.10: batches in parts that one thread computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.interpreters import mlir

SPREAD = 200_000
"""Cost from which jaxlib 0.10 spreads a batch over threads: its size times the cost of a matrix."""

COSTS = {
    "cholesky": 1,
    "lu": 1,
    "triangular_solve": 1,
    "eig": 10,
    "eigh": 10,
    "geqp3": 10,
    "geqrf": 10,
    "hessenberg": 10,
    "householder_product": 10,
    "ormqr": 10,
    "schur": 10,
    "svd": 10,
    "tridiagonal": 10,
}
"""Bounds of jaxlib's cost of a real m x n matrix, in units of m n min(m, n), by primitive."""


def in_parts() -> None:
    """Have batched decompositions on processors cut into parts that are not spread over threads, one after another.

    A call of jaxlib 0.10 runs on a thread of XLA's pool, schedules the parts of its batch on the same pool, and waits
    for them; when all threads wait, none is left to compute. Before 0.10 and after 0.11.0 JAX spreads no batch.
    Results are the same bit for bit, as each matrix is decomposed by itself.
    """
    if jaxlib.version.__version_info__[:2] != (0, 10):
        return
    rules = mlir._platform_specific_lowerings["cpu"]
    for primitive in [primitive for primitive in rules if primitive.name in COSTS]:
        mlir.register_lowering(primitive, _parted(primitive, rules[primitive].rule), platform="cpu")


def part_of(shapes: list[tuple[int, ...]], batch: int, cost: int) -> int:
    """The most matrices that are computed at once; `shapes` [*batch, m, n] of operands and results, `batch` axes."""
    matrices = [shape[batch:] for shape in shapes if len(shape) == batch + 2]
    elements, side = max(map(math.prod, matrices)), max(map(min, matrices))
    return max(1, (SPREAD - 1) // max(1, cost * elements * side))


def _parted(primitive: Any, rule: Callable) -> Callable:
    def lowered(context, *operands, **parameters):
        every = [*context.avals_in, *context.avals_out]
        *axes, _, _ = context.avals_in[0].shape
        shapes, batch = [aval.shape for aval in every], len(axes)
        if not all(isinstance(size, int) for shape in shapes for size in shape) or math.prod(axes) < 2:
            return rule(context, *operands, **parameters)
        real = not any(np.issubdtype(aval.dtype, np.complexfloating) for aval in every)
        part = part_of(shapes, batch, COSTS[primitive.name]) if real else 1
        if math.prod(axes) <= part:
            return rule(context, *operands, **parameters)

        def parts(*arrays):
            flat = [array.reshape(-1, *array.shape[batch:]) for array in arrays]
            found = jax.lax.map(lambda rows: primitive.bind(*rows, **parameters), flat, batch_size=part)
            return jax.tree.map(lambda leaf: leaf.reshape(*axes, *leaf.shape[1:]), found)

        return mlir.lower_fun(parts, multiple_results=primitive.multiple_results)(context, *operands)

    return lowered
