"""What a format is: how a policy is written, and the loader that reads it again without this package."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from pogospec import registry
from pogospec.errors import UsageError
from pogospec.extras import Needs, lacking
from pogospec.shipping.graph import Graph
from pogospec.shipping.trace import graph_of

LOADERS = Path(__file__).parents[1] / "loaders"


class Input(NamedTuple):
    """An input [batch, *shape]."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


class Deed(NamedTuple):
    """A policy to be written: a pure function of its inputs, which are raw observations and perhaps noise."""

    function: Callable
    inputs: tuple[Input, ...]
    about: dict[str, Any]  # what the file says of itself, as JSON

    @property
    def double(self) -> bool:
        """Whether it computes in double precision, if only before observations are standardised."""
        return any(given.dtype == np.float64 for given in self.inputs)

    def graph(self) -> Graph:
        """Its simple operations; raises Unwritten."""
        with jax.enable_x64(self.double):
            return graph_of(self.function, self.inputs)


class AbstractFormat(abc.ABC):
    """A format; registered in the slot `export`."""

    suffix: ClassVar[str]
    about: ClassVar[str]
    """What reads it, in a few words."""
    needs: ClassVar[tuple[Needs, ...]] = ()
    loader: ClassVar[Path]
    """The file that is copied beside what is written; its `Policy(path)` is called with observations, and noise."""

    @abc.abstractmethod
    def dumped(self, deed: Deed) -> bytes:
        """The file; raises Unwritten for what the format cannot hold."""

    def require(self, name: str) -> None:
        """Raise UsageError where a package that writes or checks it is missing."""
        missing = lacking(self.needs)
        if missing:
            raise UsageError(f"--to {name}: {missing}, or use another format: npz and stablehlo need nothing more")


def format_of(name: str) -> AbstractFormat:
    """The format of a name; raises UsageError where there is none, or a package is missing."""
    known = registry.table("export")
    if name not in known:
        raise UsageError(f"--to: found '{name}', allowed {', '.join(known)}")
    found = registry.load("export", name)()
    found.require(name)
    return found
