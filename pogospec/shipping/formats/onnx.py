"""ONNX of opset 18, with a name for each input, which ONNX Runtime and others run on many devices."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pogospec.extras import Needs
from pogospec.shipping.formats.base import LOADERS, AbstractFormat, Deed
from pogospec.shipping.graph import Unwritten

OPSET, IR = 18, 10
OWN = "pogospec"
"""Domain of the one function that ONNX lacks."""
NAMES = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "maximum": "Max", "minimum": "Min",
    "negative": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "sqrt": "Sqrt", "abs": "Abs", "sign": "Sign",
    "floor": "Floor", "sin": "Sin", "cos": "Cos", "power": "Pow", "erf": "Erf", "equal": "Equal", "less": "Less",
    "less_equal": "LessOrEqual", "greater": "Greater", "greater_equal": "GreaterOrEqual", "logical_and": "And",
    "logical_or": "Or", "logical_not": "Not", "where": "Where", "matmul": "MatMul",
}  # fmt: skip
"""Operations that ONNX has under another name."""
REDUCED = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}
# the complementary error function in float32: Cephes, ndtrf.c, by Moshier; coefficients from the highest power down
NEAR = (7.853861353153693e-5, -8.010193625184903e-4, 5.188327685732524e-3, -2.685381193529856e-2,
        1.128358514861418e-1, -3.761262582423300e-1, 1.128379165726710e0)  # fmt: skip
MIDDLE = (2.326819970068386e-2, -1.387039388740657e-1, 3.687424674597105e-1, -5.824733027278666e-1,
          6.210004621745983e-1, -4.944515323274145e-1, 3.404879937665872e-1, -2.741127028184656e-1,
          5.638259427386472e-1)  # fmt: skip
FAR = (-1.047766399936249e1, 1.297719955372516e1, -7.495518717768503e0, 2.921019019210786e0, -1.015265279202700e0,
       4.218463358204948e-1, -2.820767439740514e-1, 5.641895067754075e-1)  # fmt: skip


class Onnx(AbstractFormat):
    """A model for ONNX Runtime; its inputs are called as in the card, the output `action`."""

    suffix: ClassVar[str] = ".onnx"
    about: ClassVar[str] = "ONNX Runtime"
    needs: ClassVar[tuple[Needs, ...]] = (Needs("onnx", "onnx"), Needs("onnxruntime", "onnx"))
    loader: ClassVar[Path] = LOADERS / "onnx.py"

    def dumped(self, deed: Deed) -> bytes:
        """The model, checked by onnx; what the file says of itself is in its metadata."""
        import onnx
        from onnx import helper, numpy_helper

        graph, writer = deed.graph(), _Writer()
        if any(name in ("erf", "erfc") for name, *_ in graph.operations) and deed.double:
            raise Unwritten("it takes the error function in double precision, which ONNX lacks; --to npz has it")
        arrays = [numpy_helper.from_array(np.array(array), name) for name, array in graph.arrays.items()]
        for name, out, given, options in graph.operations:
            writer.operation(name, out, given, options)
        writer.node("Identity", [graph.output.name], "action")
        kind = lambda dtype: helper.np_dtype_to_tensor_dtype(np.dtype(dtype))  # noqa: E731
        shaped = lambda name, shape, dtype: helper.make_tensor_value_info(name, kind(dtype), ["batch", *shape])  # noqa: E731
        inputs = [shaped(one.name, one.shape, one.dtype) for one in deed.inputs]
        output = shaped("action", graph.output.shape[1:], graph.output.dtype)
        whole = helper.make_graph(writer.nodes, "policy", inputs, [output], [*arrays, *writer.arrays])
        versions, functions = [helper.make_opsetid("", OPSET)], []
        if writer.erfc:
            versions.append(helper.make_opsetid(OWN, 1))
            functions.append(_erfc())
        model = helper.make_model(
            whole, opset_imports=versions, functions=functions, ir_version=IR, producer_name="pogospec"
        )
        helper.set_model_props(model, {"about": json.dumps(deed.about, ensure_ascii=False)})
        onnx.checker.check_model(model)
        return model.SerializeToString()


class _Writer:
    """Nodes of a graph; values that several need are made once."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self.made: dict[tuple, str] = {}
        self.erfc = False

    def node(self, kind: str, given: Sequence[str], out: str | None = None, **attributes: Any) -> str:
        """Add a node; the name of what it puts out."""
        from onnx import helper

        out = out or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(given), [out], **attributes))
        return out

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """The name of an array."""
        from onnx import numpy_helper

        array = np.asarray(value, dtype)
        same = (array.tobytes(), array.shape, array.dtype.str)
        if same not in self.made:
            self.made[same] = f"k{len(self.arrays)}"
            self.arrays.append(numpy_helper.from_array(array, self.made[same]))
        return self.made[same]

    def sizes(self, shape: Sequence[int]) -> str:
        """The name of sizes, of which -k is k times the rows."""
        if min(shape, default=0) >= 0:
            return self.constant(list(shape))
        same = ("sizes", *shape)
        if same not in self.made:
            rows = self.made.get(("rows",))
            if rows is None:
                whole = self.node("Shape", ["observation"], start=0, end=1)
                rows = self.made[("rows",)] = whole
            parts = [
                self.node("Mul", [rows, self.constant([-size])]) if size < 0 else self.constant([size])
                for size in shape
            ]
            self.made[same] = self.node("Concat", parts, axis=0)
        return self.made[same]

    def operation(self, name: str, out: str, given: list[str], options: dict[str, Any]) -> None:
        """Add an operation."""
        if name in NAMES:
            self.node(NAMES[name], given, out)
        elif name in REDUCED:
            self.node(REDUCED[name], [*given, self.constant(options["axis"])], out, keepdims=0)
        else:
            SPECIAL[name](self, out, given, **options)

    def float_one(self) -> str:
        """The name of 1, whose type is that of what it is added to: single, as all else that asks for it."""
        return self.constant(1.0, np.float32)


def _reshape(w: _Writer, out: str, given: list[str], shape: list[int]) -> None:
    if sum(size < 0 for size in shape) == 1:
        shape = [-1 if size < 0 else size for size in shape]
    w.node("Reshape", [*given, w.constant(shape)], out)


def _slice(w: _Writer, out: str, given: list[str], axis: int, start: int, stop: int, step: int) -> None:
    w.node("Slice", [*given, *(w.constant([value]) for value in (start, stop, axis, step))], out)


def _sort(w: _Writer, out: str, given: list[str], axis: int) -> None:
    from onnx import helper

    size = w.node("Gather", [w.node("Shape", given), w.constant([axis])])
    w.nodes.append(helper.make_node("TopK", [*given, size], [out, f"{out}_order"], axis=axis, largest=0, sorted=1))


def _cast(w: _Writer, out: str, given: list[str], to: str) -> None:
    from onnx import helper

    w.node("Cast", given, out, to=helper.np_dtype_to_tensor_dtype(np.dtype(to)))


def _count(w: _Writer, out: str, given: list[str], shape: list[int]) -> None:
    end = w.node("Squeeze", [w.sizes(shape), w.constant([0])])
    w.node("Range", [w.constant(0), end, w.constant(1)], out)


def _erfc_node(w: _Writer, out: str, given: list[str]) -> None:
    w.erfc = True
    w.node("Erfc", given, out, domain=OWN)


def _with_one(kind: str, first: str, then: str = "") -> Callable[..., None]:
    """log(1 + x), and exp(x) - 1; a sum whose error is small beside 1."""

    def write(w: _Writer, out: str, given: list[str]) -> None:
        one = w.node("CastLike", [w.float_one(), *given])
        if kind == "before":
            w.node(then, [w.node(first, [*given, one])], out)
        else:
            w.node(then, [w.node(first, given), one], out)

    return write


SPECIAL: dict[str, Callable[..., None]] = {
    "reshape": _reshape,
    "slice": _slice,
    "sort": _sort,
    "cast": _cast,
    "count": _count,
    "erfc": _erfc_node,
    "log1p": _with_one("before", "Add", "Log"),
    "expm1": _with_one("after", "Exp", "Sub"),
    "square": lambda w, out, given: w.node("Mul", given * 2, out),
    "not_equal": lambda w, out, given: w.node("Not", [w.node("Equal", given)], out),
    "broadcast_to": lambda w, out, given, shape: w.node("Expand", [*given, w.sizes(shape)], out),
    "transpose": lambda w, out, given, axes: w.node("Transpose", given, out, perm=axes),
    "concatenate": lambda w, out, given, axis: w.node("Concat", given, out, axis=axis),
    "argmax": lambda w, out, given, axis: w.node("ArgMax", given, out, axis=axis, keepdims=0),
    "argmin": lambda w, out, given, axis: w.node("ArgMin", given, out, axis=axis, keepdims=0),
    "take": lambda w, out, given, axis: w.node("Gather", given, out, axis=axis),
}
"""Operations that take more than one node, or say more than their inputs."""


def _erfc() -> Any:
    """A function of float32: 1 - x P(x^2) near 0, else exp(-x^2)/|x| times a polynomial of 1/x^2, and its mirror."""
    from onnx import helper, numpy_helper

    nodes: list[Any] = []

    def node(kind: str, *given: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(given), [f"e{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def number(value: float) -> str:
        return node("Constant", value=numpy_helper.from_array(np.array(value, np.float32)))

    def polynomial(x: str, coefficients: Sequence[float]) -> str:
        found = number(coefficients[0])
        for coefficient in coefficients[1:]:
            found = node("Add", node("Mul", found, x), number(coefficient))
        return found

    one, size, square = number(1.0), node("Abs", "x"), node("Mul", "x", "x")
    near = node("Sub", one, node("Mul", "x", polynomial(square, NEAR)))
    inverse = node("Div", one, size)
    y = node("Mul", inverse, inverse)
    factor = node("Where", node("Less", size, number(2.0)), polynomial(y, MIDDLE), polynomial(y, FAR))
    far = node("Mul", node("Mul", node("Exp", node("Neg", square)), inverse), factor)
    far = node("Where", node("Less", "x", number(0.0)), node("Sub", number(2.0), far), far)
    nodes.append(helper.make_node("Where", [node("Less", size, one), near, far], ["y"]))
    return helper.make_function(OWN, "Erfc", ["x"], ["y"], nodes, [helper.make_opsetid("", OPSET)])
