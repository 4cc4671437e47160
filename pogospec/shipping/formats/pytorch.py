"""PyTorch, as `torch.export` saves a program: it is loaded by PyTorch alone, and by its compilers for other devices."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any, ClassVar

from pogospec.extras import Needs
from pogospec.shipping.formats.base import LOADERS, AbstractFormat, Deed
from pogospec.shipping.graph import Graph

SAME = """add subtract multiply divide maximum minimum negative exp log log1p expm1 tanh sqrt abs sign floor sin cos
square erf less less_equal greater greater_equal not_equal logical_and logical_or logical_not where matmul reshape"""
"""Operations that torch has under the same name."""


class Torch(AbstractFormat):
    """An exported program, whose number of rows is open."""

    suffix: ClassVar[str] = ".pt2"
    about: ClassVar[str] = "PyTorch"
    needs: ClassVar[tuple[Needs, ...]] = (Needs("torch", "torch"),)
    loader: ClassVar[Path] = LOADERS / "pytorch.py"

    def dumped(self, deed: Deed) -> bytes:
        """The saved program; inputs, and what the file says of itself, are in it as `about.json`."""
        import torch  # pyright: ignore[reportMissingImports]

        graph, file = deed.graph(), io.BytesIO()
        given = tuple(torch.zeros((3, *one.shape), dtype=getattr(torch, one.dtype.name)) for one in deed.inputs)
        rows = torch.export.Dim("batch", min=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shapes = tuple({0: rows} for _ in given)
            program = torch.export.export(_module(graph), given, dynamic_shapes=(shapes,))
            inputs = [{"name": one.name, "shape": one.shape, "dtype": one.dtype.name} for one in deed.inputs]
            about = json.dumps({**deed.about, "inputs": inputs}, default=int)
            torch.export.save(program, file, extra_files={"about.json": about})
        return file.getvalue()


def _module(graph: Graph) -> Any:
    """The operations as a module, whose arrays are buffers."""
    import torch  # pyright: ignore[reportMissingImports]

    operations: dict[str, Any] = {name: getattr(torch, name) for name in SAME.split()}
    operations |= {
        "power": torch.pow,
        "equal": torch.eq,
        "erfc": torch.special.erfc,
        "cast": lambda x, to: x.to(getattr(torch, to)),
        "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
        "count": lambda shape: torch.arange(shape[0]),
        "slice": lambda x, axis, start, stop, step: x[(slice(None),) * axis + (slice(start, stop, step),)],
        "concatenate": lambda *x, axis: torch.cat(x, axis),
        "transpose": lambda x, axes: x.permute(axes),
        "sum": lambda x, axis: torch.sum(x, axis, dtype=x.dtype),
        "max": torch.amax,
        "min": torch.amin,
        "prod": _product,
        "argmax": lambda x, axis: torch.argmax(x, axis),
        "argmin": lambda x, axis: torch.argmin(x, axis),
        "sort": lambda x, axis: torch.sort(x, axis).values,
        "take": lambda x, index, axis: torch.index_select(x, axis, index),
    }

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for name, array in graph.arrays.items():
                self.register_buffer(name, torch.tensor(array))

        def forward(self, *given: Any) -> Any:
            values: dict[str, Any] = {one.name: value for one, value in zip(graph.inputs, given, strict=True)}
            values |= {name: getattr(self, name) for name in graph.arrays}
            rows = given[0].shape[0]
            for name, out, taken, options in graph.operations:
                options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
                if "shape" in options:
                    options["shape"] = tuple(-size * rows if size < 0 else size for size in options["shape"])
                values[out] = operations[name](*[values[one] for one in taken], **options)
            return values[graph.output.name]

    return Module()


def _product(x: Any, axis: tuple[int, ...]) -> Any:
    for one in sorted(axis, reverse=True):
        x = x.prod(one)
    return x
