"""Which rows belong to which episode, where episodes begin, which critics may see them, and what is resampled."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pogospec.errors import UsageError
from pogospec.types import Transitions

ORDER = 1
"""Seed of the folds: always the same, so that all runs on a dataset are read in the same episodes."""


BLOCKS = 64
"""Groups of episodes in a fold, at most, which the bootstrap draws; fewer episodes are drawn one by one."""
LONGEST = 2048
"""Rows that are looked at together."""


class Episodes(NamedTuple):
    """N rows of E episodes in G blocks, in the order of the data."""

    of: Any  # [N] int32: number of the episode of each row
    time: Any  # [N] int32: steps since its first row
    first: Any  # [E] int32: its first row
    fold: Any  # [E] int32: the fold whose critic has not seen it
    rows: Any  # [folds, N] int32: rows of the episodes of all other folds, then the rest
    count: Any  # [folds] int32: how many of them are of other folds
    block: Any  # [E] int32: the block of each episode; those of a fold come one after another
    block_fold: Any  # [G] int32: the fold of each block
    pieces: Any  # [pieces, length] int32: the rows of each block in pieces; N where a piece is shorter
    piece_block: Any  # [pieces] int32: the block of each piece

    @property
    def size(self) -> int:
        """How many episodes there are."""
        return len(self.first)


def episodes_of(transitions: Transitions, folds: int) -> Episodes:
    """The episodes of transitions, dealt to folds at random, always alike.

    Raises UsageError where no episode would be held out, or none would be left to fit on.
    """
    if folds < 2:
        raise UsageError(f"folds: found {folds}, allowed 2 or more: with fewer no episode is held out from the critic")
    numbers, first, of = np.unique(transitions.episodes, return_index=True, return_inverse=True)
    if len(numbers) < 2 * folds:
        have = "1 episode" if len(numbers) == 1 else f"{len(numbers)} episodes"
        raise UsageError(
            f"found {have} in the data, allowed {2 * folds} or more with {folds} folds: values are read in episodes "
            "that their critic has not seen, two or more in each fold, whose spread is the standard error"
        )
    fold = np.random.default_rng(ORDER).permutation(len(numbers)) % folds
    own = fold[of]
    rows = np.stack([np.concatenate([np.flatnonzero(own != k), np.flatnonzero(own == k)]) for k in range(folds)])
    count = np.array([(own != k).sum() for k in range(folds)])
    time = np.arange(len(of)) - first[of]
    block, block_fold = _blocks(fold, folds)
    pieces = _pieces(block[of])
    columns = (of, time, first, fold, rows, count, block, block_fold, *pieces)
    return Episodes(*(column.astype(np.int32) for column in columns))


def _blocks(fold: np.ndarray, folds: int) -> tuple[np.ndarray, np.ndarray]:
    """The block of each episode, and the fold of each block; blocks of a fold differ by one episode at most."""
    block, owners = np.zeros(len(fold), int), []
    for k in range(folds):
        mine = np.flatnonzero(fold == k)
        size = min(BLOCKS, len(mine))
        block[mine] = len(owners) + np.arange(len(mine)) % size
        owners += [k] * size
    return block, np.array(owners)


def _pieces(block_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each block in pieces of one length, and the block of each piece."""
    order = np.argsort(block_of, kind="stable")
    sizes = np.bincount(block_of)
    length = int(min(LONGEST, sizes.max()))
    pieces, owners, begin = [], [], 0
    for number, size in enumerate(sizes):
        for start in range(begin, begin + size, length):
            rows = order[start : min(start + length, begin + size)]
            pieces.append(np.pad(rows, (0, length - len(rows)), constant_values=len(block_of)))
            owners.append(number)
        begin += size
    return np.stack(pieces), np.array(owners)
