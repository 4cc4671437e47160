"""From a function that JAX traces to its list of simple operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import export

from pogospec.shipping import places, rules  # noqa: F401 -- they register what becomes of each primitive
from pogospec.shipping.graph import Builder, Graph, Ref


def graph_of(function: Callable, shapes: Sequence[tuple[str, tuple[int, ...], np.dtype]]) -> Graph:
    """The operations of a function of arrays [rows, *shape], given as names, shapes of a row and types.

    Raises Unwritten where there are none.
    """
    (rows,) = export.symbolic_shape("rows")
    given = [jax.ShapeDtypeStruct((rows, *shape), dtype) for _, shape, dtype in shapes]
    traced = jax.make_jaxpr(function)(*given)
    builder = Builder(rows, traced.jaxpr.debug_info)
    inputs = tuple(Ref(name, (-1, *shape), np.dtype(dtype)) for name, shape, dtype in shapes)
    (out,) = builder.run(traced.jaxpr, traced.consts, inputs)
    return builder.graph(inputs, builder.ref(out))
