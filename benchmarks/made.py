"""Made-up data in the shape of a task; what an update costs does not depend on the values."""

from __future__ import annotations

from typing import Any

import numpy as np

EPISODE = 500


def hopper(rows: int, obs: int = 11, act: int = 3) -> dict[str, Any]:
    """Columns of so many transitions in episodes of 500 steps, float32; observations are standard normal."""
    draw = np.random.default_rng(0)
    observations = draw.standard_normal((rows, obs), np.float32)
    terminated, truncated = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    truncated[EPISODE - 1 :: EPISODE] = truncated[-1] = 1.0
    return {
        "observations": observations,
        "actions": np.tanh(draw.standard_normal((rows, act), np.float32)),
        "rewards": draw.standard_normal(rows, np.float32),
        "next_observations": np.roll(observations, -1, 0),
        "terminated": terminated,
        "truncated": truncated,
    }
