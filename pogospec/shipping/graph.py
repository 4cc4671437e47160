"""What a policy computes as a list of simple operations over arrays, read off the program that JAX traces.

Loops are written out, what is known beforehand is computed beforehand, and the number of rows stays open. An operation
is [name, output, inputs, options]; names are those of NumPy where it has one. Sizes in options are whole numbers, where
-k stands for k times the number of rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend import core

from pogospec.errors import UsageError

MOST = 50_000
"""Operations of a file; more are those of very many moves, which a format with loops holds better."""


class Unwritten(UsageError):
    """A policy whose computation has no form in simple operations."""


class Ref(NamedTuple):
    """What an operation puts out, or an input: its name, its sizes (-k: k times the rows) and its type."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


class Graph(NamedTuple):
    """Operations from inputs to the output, and the arrays that they take beside these, by name."""

    inputs: tuple[Ref, ...]
    output: Ref
    operations: list[tuple[str, str, list[str], dict[str, Any]]]
    arrays: dict[str, np.ndarray]


Rule = Callable[..., list[Any]]
"""(builder, equation, what goes in) -> what comes out."""
RULES: dict[str, Rule] = {}
"""Primitive of JAX -> its rule."""


def rule(*primitives: str) -> Callable[[Rule], Rule]:
    """Say that a function is the rule of these primitives."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(primitives, function))
        return function

    return register


class Builder:
    """Goes through a program; values are arrays where they are known, else a `Ref`."""

    def __init__(self, rows: Any, debug: Any):
        self.rows, self.debug = rows, debug
        self.operations: list[tuple[str, str, list[str], dict[str, Any]]] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.made: dict[Any, Ref] = {}

    def run(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """What a program puts out of its inputs."""
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            return np.asarray(atom.val, dtype_of(atom)) if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            given = [read(atom) for atom in equation.invars]
            known.update(zip(equation.outvars, self._apply(equation, given), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, given: list[Any]) -> list[Any]:
        fixed = all(isinstance(size, int) for var in equation.outvars for size in var.aval.shape)
        if fixed and not any(isinstance(value, Ref) for value in given):
            return self._computed(equation, given)
        name = equation.primitive.name
        if name not in RULES:
            raise Unwritten(f"it computes '{name}', which has no form in simple operations")
        found = RULES[name](self, equation, *given)
        if len(self.operations) > MOST:
            raise Unwritten(f"it takes more than {MOST:,} operations")
        return found

    def _computed(self, equation: Any, given: list[Any]) -> list[Any]:
        """What is known beforehand; keys of random numbers stay JAX's."""
        known = {
            at: value for at, value in zip(equation.invars, given, strict=True) if not isinstance(at, core.Literal)
        }
        alone = core.Jaxpr((), list(known), equation.outvars, [equation], debug_info=self.debug)
        return core.jaxpr_as_fun(core.ClosedJaxpr(alone, ()))(*known.values())

    def sizes(self, shape: Sequence[Any]) -> tuple[int, ...]:
        """Sizes as operations have them; raises Unwritten for what is no multiple of the rows."""
        found = []
        for size in shape:
            if not isinstance(size, int):
                times = size // self.rows
                if not isinstance(times, int) or times * self.rows != size:
                    raise Unwritten(f"it has an array of size {size}, which is no multiple of the rows")
                size = -times
            found.append(int(size))
        return tuple(found)

    def ref(self, value: Any) -> Ref:
        """A value as the input of an operation; known ones become arrays of the file, each once."""
        if isinstance(value, Ref):
            return value
        array = np.asarray(value)
        array = array.astype(signed(array.dtype), copy=False)
        digest = hashlib.sha256(array.tobytes()).hexdigest(), array.shape, array.dtype.str
        if digest not in self.made:
            name = f"c{len(self.arrays)}"
            self.arrays[name] = array
            self.made[digest] = Ref(name, array.shape, array.dtype)
        return self.made[digest]

    def shape(self, value: Any) -> tuple[int, ...]:
        """Sizes of a value."""
        return value.shape if isinstance(value, Ref) else np.shape(value)

    def emit(self, name: str, given: Sequence[Any], shape: Sequence[int], dtype: Any, /, **options: Any) -> Ref:
        """Add an operation, or find it where it is there already."""
        refs = [self.ref(value) for value in given]
        same = name, tuple(ref.name for ref in refs), repr(sorted(options.items()))
        if same not in self.made:
            out = Ref(f"v{len(self.operations)}", tuple(shape), signed(np.dtype(dtype)))
            self.operations.append((name, out.name, [ref.name for ref in refs], options))
            self.made[same] = out
        return self.made[same]

    def like(self, equation: Any, name: str, *given: Any, **options: Any) -> Ref:
        """Add an operation whose sizes and type are those of what an equation puts out."""
        out = equation.outvars[0].aval
        return self.emit(name, given, self.sizes(out.shape), out.dtype, **options)

    def reshape(self, value: Any, shape: Sequence[int]) -> Any:
        """The same numbers in another shape."""
        shape = tuple(shape)
        if self.shape(value) == shape:
            return value
        if not isinstance(value, Ref):
            return np.reshape(value, shape)
        return self.emit("reshape", [value], shape, value.dtype, shape=list(shape))

    def spread(self, value: Any, shape: Sequence[int]) -> Any:
        """A value repeated along its axes of size 1."""
        if self.shape(value) == tuple(shape):
            return value
        if not isinstance(value, Ref) and min(shape, default=0) >= 0:
            return np.broadcast_to(value, shape)
        ref = self.ref(value)
        return self.emit("broadcast_to", [ref], shape, ref.dtype, shape=list(shape))

    def transpose(self, value: Any, axes: Sequence[int]) -> Any:
        """Axes in another order."""
        axes = list(axes)
        if axes == sorted(axes):
            return value
        if not isinstance(value, Ref):
            return np.transpose(value, axes)
        return self.emit("transpose", [value], [value.shape[axis] for axis in axes], value.dtype, axes=axes)

    def slice(self, value: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
        """Entries of an axis, whose size is fixed."""
        size, start, stop, step = self.shape(value)[axis], int(start), int(stop), int(step)
        if (start, stop, step) == (0, size, 1):
            return value
        if size < 0:
            raise Unwritten("it takes some of the rows")
        if not isinstance(value, Ref):
            return np.asarray(value)[(slice(None),) * axis + (slice(start, stop, step),)]
        shape = [*value.shape[:axis], len(range(start, stop, step)), *value.shape[axis + 1 :]]
        return self.emit("slice", [value], shape, value.dtype, axis=axis, start=start, stop=stop, step=step)

    def concatenate(self, values: Sequence[Any], axis: int) -> Any:
        """Values one after another along an axis."""
        values = [value for value in values if self.shape(value)[axis] != 0]
        if len(values) == 1:
            return values[0]
        shapes = [self.shape(value) for value in values]
        total = [*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :]]
        if len({shape[axis] > 0 for shape in shapes}) > 1:
            raise Unwritten("it puts something beside the rows")
        return self.emit("concatenate", values, total, self.ref(values[0]).dtype, axis=axis)

    def graph(self, inputs: tuple[Ref, ...], output: Ref) -> Graph:
        """The operations that the output needs, and their arrays."""
        needed, kept = {output.name}, []
        for operation in reversed(self.operations):
            if operation[1] in needed:
                needed.update(operation[2])
                kept.append(operation)
        arrays = {name: array for name, array in self.arrays.items() if name in needed}
        return Graph(inputs, output, kept[::-1], arrays)


def dtype_of(atom: Any) -> np.dtype:
    """The type of a variable or a literal."""
    return atom.aval.dtype


def signed(dtype: np.dtype) -> np.dtype:
    """The type of numbers in a file: wide signed ones for indices without a sign, which few formats compute with."""
    return np.dtype(np.int64) if dtype.kind == "u" else dtype
