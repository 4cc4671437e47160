"""Batches of rows in a file, read while the updates before them are computed.

Which rows an update sees is a function of counters (chunk.py), so that it is known before: those of a piece of updates
are told, read by a thread in the order of the file, and put on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.data.used import Used
from pogospec.training.batching import Batching
from pogospec.training.chunk import BATCH, OWN_BATCH, indices, stream
from pogospec.types import Transitions

PIECE = 2**25
"""Bytes of the rows of a piece, of all runs together; three of them are held: in use, read, and being read."""


class Stream:
    """Reads pieces of batches, the next one ahead; `double`: in double precision."""

    def __init__(self, used: Used, batch_size: int, batching: Batching, double: bool):
        self.used, self.batch_size, self.batching, self.double = used, batch_size, batching, double
        self._pool = ThreadPoolExecutor(1, "rows")
        self._tell: dict[tuple[int, int], Callable] = {}
        self._read: dict[Any, Future] = {}

    def updates_of_piece(self, batches: int, most: int) -> int:
        """Updates whose batches are read at once, `batches` each; `most`: those of their stage."""
        return piece_of(self.used.stored.bytes_of_row, self.batching.runs * batches * self.batch_size, most)

    def ahead(self, name: tuple[int, ...], roots: Any, batches: int, begin: int, count: int) -> None:
        """Have the batches of so many updates read, from `begin` on, unless they are; `name`: of stage and roots."""
        key = (*name, begin)
        if key not in self._read:
            rows = self._told(batches, count)(roots, begin)  # before the updates that take the device
            self._read[key] = self._pool.submit(self._load, rows)

    def piece(self, name: tuple[int, ...], roots: Any, batches: int, begin: int, count: int) -> Transitions:
        """The rows of these batches, one after another, [runs, rows] each; what was asked for before is let go of."""
        self.ahead(name, roots, batches, begin, count)
        asked = list(self._read)
        self._read = {key: self._read[key] for key in asked[asked.index((*name, begin)) :]}
        return self._read[(*name, begin)].result()

    def take(self, rows: Any) -> Transitions:
        """Rows by their numbers, on the host."""
        return self.used.take(np.asarray(rows), self.floats)

    def shapes(self, *sizes: int) -> Transitions:
        """Shapes of so many rows."""
        row = self.take(np.zeros(1, np.int64))
        return Transitions(*(jax.ShapeDtypeStruct((*sizes, *c.shape[1:]), c.dtype) for c in row))

    @property
    def floats(self) -> type:
        """The type of numbers with a point."""
        return np.float64 if self.double else np.float32

    def close(self) -> None:
        """Read no more."""
        self._pool.shutdown(cancel_futures=True)

    def _load(self, rows: Any) -> Transitions:
        with jax.enable_x64(self.double):  # a context of the thread
            return self.batching.ahead(self.take(rows))

    def _told(self, batches: int, count: int) -> Callable:
        if (batches, count) not in self._tell:

            def rows(root, begin):
                each = [self._one(root, name, begin + jnp.arange(count)) for name in (BATCH, OWN_BATCH)[:batches]]
                return jnp.stack(each, 1).reshape(-1)

            self._tell[batches, count] = self.batching.jit(rows, (0, None))
        return self._tell[batches, count]

    def _one(self, root: Any, name: int, updates: Any) -> Any:
        drawn = lambda index: indices(stream(root, name, index), self.batch_size, self.used.count)  # noqa: E731
        return jax.vmap(drawn)(updates)


def piece_of(bytes_of_row: int, rows: int, most: int) -> int:
    """Updates of a piece, of so many rows each, at most `most`."""
    return max(1, min(PIECE // (bytes_of_row * rows), most))
