"""How critics are fitted for an evaluation; fixes their programs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Numbers of fitted Q evaluation; hashable, since they are static in its programs.

    Each fold's critic is fitted on the episodes of the other folds, and read in its own. `fits` critics of each fold
    differ in what they are drawn from, and are averaged.
    """

    discount: float = 0.99
    updates: int = 10_000
    hidden: tuple[int, ...] = (128, 128)
    batch_size: int = 256
    learning_rate: float = 1e-3
    target_rate: float = 0.02
    folds: int = 2
    fits: int = 1
    resamples: int = 100
