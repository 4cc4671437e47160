"""What becomes of the primitives of JAX that move numbers: shapes, parts, products of matrices, what is looked up."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pogospec.shipping.graph import Builder, Ref, Unwritten, rule, signed


@rule("reshape", "squeeze", "expand_dims")
def _reshape(builder: Builder, equation: Any, x: Any) -> list[Any]:
    return [builder.reshape(x, builder.sizes(equation.outvars[0].aval.shape))]


@rule("broadcast_in_dim")
def _broadcast(builder: Builder, equation: Any, x: Any, *_: Any) -> list[Any]:
    shape, places = builder.sizes(equation.outvars[0].aval.shape), equation.params["broadcast_dimensions"]
    own, before = [1] * len(shape), builder.shape(x)
    for axis, place in enumerate(places):
        own[place] = before[axis]
    return [builder.spread(builder.reshape(x, own), shape)]


@rule("transpose")
def _transpose(builder: Builder, equation: Any, x: Any) -> list[Any]:
    return [builder.transpose(x, equation.params["permutation"])]


@rule("concatenate")
def _concatenate(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    return [builder.concatenate(given, equation.params["dimension"])]


@rule("split")
def _split(builder: Builder, equation: Any, x: Any) -> list[Any]:
    axis, found, start = equation.params["axis"], [], 0
    for size in equation.params["sizes"]:
        found.append(builder.slice(x, axis, start, start + size))
        start += size
    return found


@rule("slice")
def _slice(builder: Builder, equation: Any, x: Any) -> list[Any]:
    about = equation.params
    steps = about["strides"] or (1,) * len(about["start_indices"])
    starts, stops = builder.sizes(about["start_indices"]), builder.sizes(about["limit_indices"])
    for axis, (start, stop, step) in enumerate(zip(starts, stops, steps, strict=True)):
        x = builder.slice(x, axis, start, stop, step)
    return [x]


@rule("dynamic_slice")
def _dynamic_slice(builder: Builder, equation: Any, x: Any, *starts: Any) -> list[Any]:
    if any(isinstance(start, Ref) for start in starts):
        raise Unwritten("it takes a part whose place hangs on what is observed")
    for axis, (start, size) in enumerate(zip(starts, builder.sizes(equation.params["slice_sizes"]), strict=True)):
        whole = builder.shape(x)[axis]
        place = 0 if whole < 0 else min(max(int(start), 0), whole - size)
        x = builder.slice(x, axis, place, whole if whole < 0 else place + size)
    return [x]


@rule("dynamic_update_slice")
def _dynamic_update(builder: Builder, equation: Any, x: Any, part: Any, *starts: Any) -> list[Any]:
    shape, inner = builder.shape(x), builder.shape(part)
    axes = [axis for axis in range(len(shape)) if shape[axis] != inner[axis]]
    if not axes:
        return [part]
    if len(axes) > 1 or isinstance(starts[axes[0]], Ref):
        raise Unwritten("it writes a part whose place hangs on what is observed")
    (axis,) = axes
    size = inner[axis]
    place = min(max(int(starts[axis]), 0), shape[axis] - size)
    before, after = builder.slice(x, axis, 0, place), builder.slice(x, axis, place + size, shape[axis])
    return [builder.concatenate([before, part, after], axis)]


@rule("pad")
def _pad(builder: Builder, equation: Any, x: Any, value: Any) -> list[Any]:
    dtype = equation.outvars[0].aval.dtype
    for axis, (low, high, inner) in enumerate(equation.params["padding_config"]):
        if inner and builder.shape(x)[axis] > 1:
            size = builder.shape(x)[axis]
            shape = list(builder.shape(x))
            cells = builder.reshape(x, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
            filling = builder.spread(np.asarray(value, dtype), [*shape[: axis + 1], inner, *shape[axis + 1 :]])
            both = builder.concatenate([cells, filling], axis + 1)
            x = builder.reshape(both, [*shape[:axis], size * (inner + 1), *shape[axis + 1 :]])
            x = builder.slice(x, axis, 0, size * (inner + 1) - inner)
        shape = list(builder.shape(x))
        if low < 0 or high < 0:
            x = builder.slice(x, axis, max(-low, 0), shape[axis] + min(high, 0))
        x = _surrounded(builder, x, axis, max(low, 0), max(high, 0), np.asarray(value, dtype))
    return [x]


def _surrounded(builder: Builder, x: Any, axis: int, low: int, high: int, value: Any) -> Any:
    """So many more entries of an axis before and after, all of one value."""
    shape = builder.shape(x)
    more = [
        builder.spread(value, [*shape[:axis], count, *shape[axis + 1 :]]) if count else None for count in (low, high)
    ]
    return builder.concatenate([part for part in (more[0], x, more[1]) if part is not None], axis)


@rule("scatter-add", "scatter_add")
def _scatter_add(builder: Builder, equation: Any, x: Any, index: Any, part: Any) -> list[Any]:
    """One part added at a place that is known: the gradient of taking it."""
    numbers, shape = equation.params["dimension_numbers"], builder.shape(x)
    if isinstance(index, Ref) or np.ndim(index) != 1 or numbers.operand_batching_dims:
        raise Unwritten("it adds parts whose places hang on what is observed")
    inner, dtype = list(builder.shape(part)), equation.outvars[0].aval.dtype
    for axis in sorted(numbers.inserted_window_dims):
        inner.insert(axis, 1)
    part = builder.reshape(part, inner)
    for axis, start in zip(numbers.scatter_dims_to_operand_dims, np.asarray(index).tolist(), strict=True):
        ends = (start, shape[axis] - start - builder.shape(part)[axis])
        if min(ends) < 0:
            return [x]
        part = _surrounded(builder, part, axis, *ends, np.zeros((), dtype))
    return [builder.like(equation, "add", x, part)]


@rule("rev")
def _reverse(builder: Builder, equation: Any, x: Any) -> list[Any]:
    for axis in equation.params["dimensions"]:
        index = np.arange(builder.shape(x)[axis])[::-1]
        x = _taken(builder, x, index.copy(), axis)
    return [x]


def _taken(builder: Builder, x: Any, index: Any, axis: int) -> Any:
    """Entries of an axis in the order of an index [n]."""
    ref = builder.ref(x)
    shape = [*ref.shape[:axis], *builder.shape(index), *ref.shape[axis + 1 :]]
    return builder.emit("take", [ref, index], shape, ref.dtype, axis=axis)


@rule("iota")
def _iota(builder: Builder, equation: Any, *_: Any) -> list[Any]:
    return [_counted(builder, builder.sizes(equation.params["shape"]), equation.params["dimension"],
                     equation.params["dtype"])]  # fmt: skip


def _counted(builder: Builder, shape: tuple[int, ...], axis: int, dtype: Any) -> Any:
    """0, 1, … along an axis."""
    own = [size if place == axis else 1 for place, size in enumerate(shape)]
    if shape[axis] > 0:
        return builder.spread(np.arange(shape[axis], dtype=dtype).reshape(own), shape)
    numbers = builder.emit("count", [], [shape[axis]], np.int64, shape=[shape[axis]])
    to = signed(np.dtype(dtype))
    numbers = builder.emit("cast", [numbers], numbers.shape, to, to=to.name)
    return builder.spread(builder.reshape(numbers, own), shape)


@rule("dot_general")
def _dot(builder: Builder, equation: Any, left: Any, right: Any) -> list[Any]:
    """A product of matrices [*both, m, k] @ [*both, k, n]."""
    (sums, other_sums), (both, other_both) = equation.params["dimension_numbers"]
    out = equation.outvars[0].aval
    if {builder.ref(value).dtype for value in (left, right)} != {np.dtype(out.dtype)}:
        raise Unwritten("it multiplies numbers of one type into another")
    free = [axis for axis in range(len(builder.shape(left))) if axis not in (*sums, *both)]
    other = [axis for axis in range(len(builder.shape(right))) if axis not in (*other_sums, *other_both)]
    left, right = (
        builder.transpose(left, [*both, *free, *sums]),
        builder.transpose(right, [*other_both, *other_sums, *other]),
    )
    shape, shapes = builder.sizes(out.shape), (builder.shape(left), builder.shape(right))
    lead = shape[: len(both)]
    rows, columns = _size(shape[len(both) : len(both) + len(free)]), _size(shape[len(both) + len(free) :])
    inner = _size(shapes[0][len(both) + len(free) :])
    left, right = builder.reshape(left, (*lead, rows, inner)), builder.reshape(right, (*lead, inner, columns))
    product = builder.emit("matmul", [left, right], (*lead, rows, columns), out.dtype)
    return [builder.reshape(product, shape)]


def _size(shape: tuple[int, ...]) -> int:
    """The product of sizes, of which one may be a multiple of the rows."""
    if sum(size < 0 for size in shape) > 1:
        raise Unwritten("it compares rows with each other")
    return math.prod(shape)


@rule("gather")
def _gather(builder: Builder, equation: Any, x: Any, index: Any) -> list[Any]:
    """Rows of a table of what is taken whole, at numbers made of the places; places outside are moved inside."""
    about, numbers = equation.params, equation.params["dimension_numbers"]
    shape, sizes = builder.shape(x), builder.sizes(about["slice_sizes"])
    if not isinstance(index, Ref) and np.ndim(index) == 1:
        for axis, start in zip(numbers.start_index_map, np.asarray(index).tolist(), strict=True):
            start = min(max(start, 0), shape[axis] - sizes[axis]) if shape[axis] > 0 else 0
            x = builder.slice(x, axis, start, start + sizes[axis]) if sizes[axis] != shape[axis] else x
        return [builder.reshape(x, builder.sizes(equation.outvars[0].aval.shape))]
    both, other_both = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    placed = [axis for axis in numbers.start_index_map if sizes[axis] != shape[axis] or sizes[axis] == 1]
    whole = [axis for axis in range(len(shape)) if axis not in (*both, *placed)]
    if any(sizes[axis] != 1 for axis in placed) or any(sizes[axis] != shape[axis] for axis in whole):
        raise Unwritten("it takes parts of a size between one and all")
    lead = builder.shape(index)[:-1]
    table = builder.transpose(builder.ref(x), [*both, *placed, *whole])
    rest = [shape[axis] for axis in whole]
    table = builder.reshape(table, (_size(tuple(shape[axis] for axis in (*both, *placed))), *rest))
    place: Any = np.zeros((1,) * len(lead), np.int64)
    for axis, from_axis in zip(both, other_both, strict=True):
        count = _counted(builder, tuple(shape[axis] if at == from_axis else 1 for at in range(len(lead))), from_axis,
                         np.int64)  # fmt: skip
        place = _numbered(builder, place, shape[axis], count)
    for axis in placed:
        at = list(numbers.start_index_map).index(axis)
        one = builder.reshape(builder.slice(index, len(lead), at, at + 1), lead)
        place = _numbered(builder, place, shape[axis], _inside(builder, one, shape[axis]))
    place = builder.reshape(builder.spread(place, lead), (_size(lead),))
    taken = builder.reshape(_taken(builder, table, place, 0), (*lead, *rest))
    kept = [axis for axis in range(len(shape)) if axis not in (*numbers.collapsed_slice_dims, *both)]
    taken = builder.reshape(
        builder.transpose(
            taken, [*range(len(lead)), *(len(lead) + whole.index(axis) for axis in kept if axis in whole)]
        ),
        (*lead, *(sizes[axis] for axis in kept)),
    )
    where = list(numbers.offset_dims)
    order = iter(range(len(lead)))
    offset = {place: len(lead) + number for number, place in enumerate(where)}
    return [
        builder.transpose(taken, [offset[at] if at in offset else next(order) for at in range(len(lead) + len(where))])
    ]


def _inside(builder: Builder, index: Any, size: int) -> Any:
    """An index as a place that there is."""
    if not isinstance(index, Ref):
        return np.clip(np.asarray(index, np.int64), 0, size - 1)
    found = builder.emit("cast", [index], index.shape, np.int64, to="int64")
    found = builder.emit("maximum", [found, np.zeros((), np.int64)], index.shape, np.int64)
    return builder.emit("minimum", [found, np.asarray(size - 1, np.int64)], index.shape, np.int64)


def _numbered(builder: Builder, place: Any, size: int, more: Any) -> Any:
    """Place times size plus more, whose size may be that of the rows where place is 0."""
    if not isinstance(place, Ref) and not np.any(place):
        return more
    if size < 0:
        raise Unwritten("it takes parts of several rows at once")
    if not isinstance(place, Ref) and not isinstance(more, Ref):
        return place * size + more
    shape = [max(pair, key=abs) for pair in zip(builder.shape(place), builder.shape(more), strict=True)]
    times = builder.emit("multiply", [place, np.asarray(size, np.int64)], builder.shape(place), np.int64)
    return builder.emit("add", [times, more], shape, np.int64)
