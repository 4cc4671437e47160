"""NumPy's archive: arrays, and as JSON the operations that make an action of them, which NumPy alone computes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from pogospec.shipping.formats.base import LOADERS, AbstractFormat, Deed


class Npz(AbstractFormat):
    """Arrays of all networks, and a list of operations, of which the loader knows some sixty."""

    suffix: ClassVar[str] = ".npz"
    about: ClassVar[str] = "NumPy alone"
    loader: ClassVar[Path] = LOADERS / "npz.py"

    def dumped(self, deed: Deed) -> bytes:
        """Arrays by name, and under `about` inputs, operations and output."""
        graph, file = deed.graph(), io.BytesIO()
        inputs = [{"name": one.name, "shape": one.shape, "dtype": one.dtype.name} for one in deed.inputs]
        about = {**deed.about, "inputs": inputs, "output": graph.output.name, "operations": graph.operations}
        np.savez(file, about=np.array(json.dumps(about, default=int)), **graph.arrays)  # type: ignore[arg-type]
        return file.getvalue()
