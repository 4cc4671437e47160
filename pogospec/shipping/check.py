"""An exported file, read by its loader, beside the policy that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from pogospec.errors import RunError
from pogospec.runs.saved import SavedPolicy

ROWS, FEWER = 4096, 512
"""Observations of a check; of policies that act otherwise in a batch than alone, which are asked one by one."""
BATCHES = ((1, 8), (7, 16), (256, 1))
"""Sizes of batches, and how many of each; the last one takes what is left."""
TOLERANCE = 1e-6
"""Of actions scaled to [-1, 1], in float32."""
ROUNDINGS = 4.0
"""So many times the policy's own rounding a file may be off."""


class Check(NamedTuple):
    """What was compared, and by how much the file is off at most."""

    observations: str  # what they are
    rows: int
    batches: tuple[int, ...]
    largest: float  # difference, in actions scaled to [-1, 1]
    tolerance: float
    own: float  # largest difference that rounding makes to the policy itself

    @property
    def allowed(self) -> float:
        """The largest difference with which a file is written."""
        return max(self.tolerance, ROUNDINGS * self.own)

    def __str__(self) -> str:
        sizes = ", ".join(f"{size:,}" for size in self.batches)
        text = f"{self.rows:,} {self.observations} in batches of {sizes}: largest difference {self.largest:.1e} of "
        text += f"actions in [-1, 1], allowed {self.allowed:.1e}"
        if self.allowed > self.tolerance:
            text += f" ({ROUNDINGS:g} times what rounding changes in the policy itself)"
        return text


def compare(
    saved: SavedPolicy, seed: int, action: str, loaded: Callable, observations: np.ndarray, what: str, tolerance: float
) -> Check:
    """Compare a loaded file with a policy of one seed on raw observations [rows, obs], and samples at the same noise.

    Raises RunError where the largest difference is over the tolerance, and over what rounding does to the policy.
    """
    act, wide, half = saved.batched(action, seed), _in_double(saved, action), _half_ranges(saved)
    single = action == "mean" and saved.family.borrows
    largest, own, sizes = 0.0, 0.0, []
    for number, rows in enumerate(_batches(observations[: FEWER if single else ROWS])):
        noise = saved.noise(rows[None], seed, number)[0] if action == "sample" else None
        given = (rows,) if noise is None else (rows, noise)
        expected = (
            np.concatenate([act(row[None, None], 0)[0] for row in rows]) if single else act(rows[None], number)[0]
        )
        found = np.asarray(loaded(*given))
        if found.shape != expected.shape or not np.isfinite(found).all():
            raise RunError(f"the file gives {found.shape} actions, or some that are not finite; nothing was written")
        largest = max(largest, float((np.abs(found - expected) / half).max()))
        sizes.append(len(rows))
        if len(rows) == max(sizes):
            own = max(own, float((np.abs(wide(*given) - expected) / half).max()))
    check = Check(what, sum(sizes), tuple(dict.fromkeys(sizes)), largest, tolerance, own)
    if not largest <= check.allowed:
        raise RunError(
            f"the file acts otherwise than the policy, and was not written: {check}; allow more with --tolerance"
        )
    return check


def _batches(observations: np.ndarray) -> Iterator[np.ndarray]:
    start = 0
    for size, count in BATCHES:
        for _ in range(count):
            if start + size > len(observations):
                break
            yield observations[start : start + size]
            start += size
    if start < len(observations):
        yield observations[start:]


def _half_ranges(saved: SavedPolicy) -> np.ndarray:
    """What 1 in scaled actions is in those of the environment."""
    low, high = np.array([saved.space.low, saved.space.high])
    return (high - low) / 2 if np.isfinite([low, high]).all() else np.ones_like(low)


def _in_double(saved: SavedPolicy, action: str) -> Callable[..., np.ndarray]:
    """The same actions by double precision all along; compiled once a size of batch."""
    act = jax.jit(saved.in_double().pure(action)[0])

    def computed(*given: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(act(*(np.asarray(one, np.float64) for one in given)))

    return computed
