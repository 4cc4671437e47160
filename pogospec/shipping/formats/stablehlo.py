"""StableHLO, as `jax.export` serialises it: for JAX on processors, GPUs and TPUs, and what else runs StableHLO."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import jax
from jax import export

from pogospec.shipping.formats.base import LOADERS, AbstractFormat, Deed

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


class StableHLO(AbstractFormat):
    """The program that XLA compiles, loops and all; the number of rows is open."""

    suffix: ClassVar[str] = ".stablehlo"
    about: ClassVar[str] = "JAX alone"
    loader: ClassVar[Path] = LOADERS / "stablehlo.py"

    def dumped(self, deed: Deed) -> bytes:
        """The serialised program, for all platforms."""
        (rows,) = export.symbolic_shape("rows")
        shapes = [jax.ShapeDtypeStruct((rows, *one.shape), one.dtype) for one in deed.inputs]

        def policy(*given):
            return deed.function(*given)

        with jax.enable_x64(deed.double):
            return bytes(export.export(jax.jit(policy), platforms=PLATFORMS)(*shapes).serialize())
