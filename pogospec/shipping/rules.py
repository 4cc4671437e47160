"""What becomes of the primitives of JAX that compute, call and repeat; of those that move numbers: `places.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from pogospec.shipping.graph import Builder, Ref, Unwritten, rule, signed

SAME = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "max": "maximum", "min": "minimum",
    "neg": "negative", "exp": "exp", "log": "log", "log1p": "log1p", "expm1": "expm1", "tanh": "tanh", "sqrt": "sqrt",
    "abs": "abs", "sign": "sign", "floor": "floor", "sin": "sin", "cos": "cos", "pow": "power", "erfc": "erfc",
    "erf": "erf", "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater",
    "ge": "greater_equal", "eq_to": "equal", "le_to": "less_equal", "lt_to": "less", "square": "square",
}  # fmt: skip
"""Primitives that NumPy has under another name, or the same."""
REDUCED = {"reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min", "reduce_prod": "prod"}
CHOSEN = {"argmax": "argmax", "argmin": "argmin"}
WORDS = {"and": "logical_and", "or": "logical_or", "not": "logical_not", "xor": "not_equal"}
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")
"""Options that hold the program behind a call."""


@rule(*SAME)
def _same(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    return [builder.like(equation, SAME[equation.primitive.name], *given)]


@rule(*WORDS)
def _words(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    if equation.outvars[0].aval.dtype != bool:
        raise Unwritten(f"it computes '{equation.primitive.name}' of bits")
    return [builder.like(equation, WORDS[equation.primitive.name], *given)]


@rule("copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision")
def _through(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    return list(given)


@rule("jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint")
def _call(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    return _inner(builder, next(equation.params[name] for name in INNER if name in equation.params), given)


def _inner(builder: Builder, program: Any, given: Any) -> list[Any]:
    if hasattr(program, "consts"):
        return builder.run(program.jaxpr, program.consts, given)
    return builder.run(program, (), given)


@rule("scan")
def _scan(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    """One round after another."""
    about = equation.params
    fixed, carried = about["num_consts"], about["num_consts"] + about["num_carry"]
    consts, carry, stacked = given[:fixed], list(given[fixed:carried]), given[carried:]
    rounds: list[Any] = []
    order = range(about["length"])
    for number in reversed(order) if about["reverse"] else order:
        out = _inner(builder, about["jaxpr"], [*consts, *carry, *(_entry(builder, one, number) for one in stacked)])
        carry = out[: len(carry)]
        rounds.append(out[len(carry) :])
    rounds = rounds[::-1] if about["reverse"] else rounds
    used = [type(var).__name__ != "DropVar" for var in equation.outvars[len(carry) :]]
    columns = list(zip(*rounds, strict=True)) or [()] * len(used)
    return [*carry, *(_stacked(builder, column) if use else None for use, column in zip(used, columns, strict=True))]


def _entry(builder: Builder, value: Any, number: int) -> Any:
    if not isinstance(value, Ref):
        return value[number]
    return builder.reshape(builder.slice(value, 0, number, number + 1), value.shape[1:])


def _stacked(builder: Builder, values: tuple[Any, ...]) -> Any:
    if not any(isinstance(value, Ref) for value in values):
        return np.stack([np.asarray(value) for value in values])
    return builder.concatenate([builder.reshape(value, (1, *builder.shape(value))) for value in values], 0)


@rule("while")
def _while(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    """One round after another, where their number does not hang on what is observed."""
    about = equation.params
    first, second = about["cond_nconsts"], about["cond_nconsts"] + about["body_nconsts"]
    asked, consts, carry = given[:first], given[first:second], list(given[second:])
    while True:
        (more,) = _inner(builder, about["cond_jaxpr"], [*asked, *carry])
        if isinstance(more, Ref):
            raise Unwritten("the number of rounds of a loop hangs on what is observed")
        if not more:
            return carry
        carry = _inner(builder, about["body_jaxpr"], [*consts, *carry])


@rule("cond")
def _cond(builder: Builder, equation: Any, index: Any, *given: Any) -> list[Any]:
    if isinstance(index, Ref):
        raise Unwritten("what it computes hangs on what is observed")
    return _inner(builder, equation.params["branches"][int(index)], given)


@rule("custom_lin", "random_bits", "random_seed", "random_wrap", "random_unwrap", "random_fold_in", "threefry2x32")
def _random(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    raise Unwritten("it draws random numbers of its own")


@rule("logistic")
def _logistic(builder: Builder, equation: Any, x: Any) -> list[Any]:
    one = np.ones((), equation.outvars[0].aval.dtype)
    below = builder.like(equation, "exp", builder.like(equation, "negative", x))
    return [builder.like(equation, "divide", one, builder.like(equation, "add", one, below))]


@rule("rsqrt")
def _rsqrt(builder: Builder, equation: Any, x: Any) -> list[Any]:
    one = np.ones((), equation.outvars[0].aval.dtype)
    return [builder.like(equation, "divide", one, builder.like(equation, "sqrt", x))]


@rule("integer_pow")
def _integer_pow(builder: Builder, equation: Any, x: Any) -> list[Any]:
    power = equation.params["y"]
    found, square, left = None, x, abs(power)
    while left:
        if left % 2:
            found = square if found is None else builder.like(equation, "multiply", found, square)
        left //= 2
        square = builder.like(equation, "multiply", square, square) if left else square
    one = np.ones((), equation.outvars[0].aval.dtype)
    return [builder.like(equation, "divide", one, found) if power < 0 else found]


@rule("clamp")
def _clamp(builder: Builder, equation: Any, low: Any, x: Any, high: Any) -> list[Any]:
    return [builder.like(equation, "minimum", builder.like(equation, "maximum", x, low), high)]


@rule("select_n")
def _select(builder: Builder, equation: Any, which: Any, *cases: Any) -> list[Any]:
    if len(cases) != 2:
        raise Unwritten("it chooses among more than two")
    if builder.ref(which).dtype != bool:
        which = builder.emit("not_equal", [which, np.zeros((), builder.ref(which).dtype)], builder.shape(which), bool)
    return [builder.like(equation, "where", which, cases[1], cases[0])]


@rule("convert_element_type")
def _convert(builder: Builder, equation: Any, x: Any) -> list[Any]:
    to = signed(np.dtype(equation.params["new_dtype"]))
    if to.kind not in "fiub" or to.name == "bfloat16":
        raise Unwritten(f"it computes in {to.name}")
    return [x if builder.ref(x).dtype == to else builder.like(equation, "cast", x, to=to.name)]


@rule(*REDUCED)
def _reduce(builder: Builder, equation: Any, x: Any) -> list[Any]:
    name, axes = REDUCED[equation.primitive.name], equation.params["axes"]
    return [builder.like(equation, name, x, axis=list(axes)) if axes else x]


@rule("reduce_and", "reduce_or")
def _reduce_bool(builder: Builder, equation: Any, x: Any) -> list[Any]:
    name = "min" if equation.primitive.name == "reduce_and" else "max"
    numbers = builder.emit("cast", [x], builder.shape(x), np.int32, to="int32")
    shape = builder.sizes(equation.outvars[0].aval.shape)
    numbers = builder.emit(name, [numbers], shape, np.int32, axis=list(equation.params["axes"]))
    return [builder.emit("cast", [numbers], shape, bool, to="bool")]


@rule(*CHOSEN)
def _argmax(builder: Builder, equation: Any, x: Any) -> list[Any]:
    (axis,) = equation.params["axes"]
    shape = builder.sizes(equation.outvars[0].aval.shape)
    found = builder.emit(equation.primitive.name, [x], shape, np.int64, axis=axis)
    to = np.dtype(equation.params["index_dtype"])
    return [builder.emit("cast", [found], shape, to, to=to.name)]


@rule("sort")
def _sort(builder: Builder, equation: Any, *given: Any) -> list[Any]:
    if len(given) != 1:
        raise Unwritten("it sorts one thing by another")
    return [builder.like(equation, "sort", *given, axis=equation.params["dimension"])]


@rule("cumsum")
def _cumsum(builder: Builder, equation: Any, x: Any) -> list[Any]:
    """Sums of the entries so far, each by one addition."""
    axis, size = equation.params["axis"], builder.shape(x)[equation.params["axis"]]
    if size < 0:
        raise Unwritten("it sums over the rows")
    order = range(size)[::-1] if equation.params["reverse"] else range(size)
    found: list[Any] = []
    for place in order:
        entry = builder.slice(builder.ref(x), axis, place, place + 1)
        found.append(builder.emit("add", [found[-1], entry], entry.shape, entry.dtype) if found else entry)
    return [builder.concatenate(found[::-1] if equation.params["reverse"] else found, axis)]
