"""Array aliases and the named tuples that travel between the layers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from pogospec.lapack import in_parts

in_parts()  # here, since all that computes imports this module

Key = PRNGKeyArray
Scalar = Float[Array, ""]
Observations = Float[Array, "*batch obs"]
Actions = Float[Array, "*batch act"]
Values = Float[Array, "*batch"]
Params = Any
"""A pytree of network weights, or the leaves of an optimiser state."""


class Space(NamedTuple):
    """Sizes and bounds of a task; `low` and `high` are the environment's action bounds."""

    obs_dim: int
    act_dim: int
    low: tuple[float, ...]
    high: tuple[float, ...]


class Transitions(NamedTuple):
    """All transitions of a dataset, actions scaled to [-1, 1]; N rows.

    Columns are float32; observations and rewards that float32 would blur are float64 until they are standardised.
    `terminated` marks true terminations, the only thing that cuts the bootstrap; `truncated` marks time
    limits and other cuts. `next_observations` never crosses an episode. `next_actions` is the action taken
    at the next observation; at the last row of an episode it is zero and `next_action_valid` is 0.
    """

    observations: Any  # [N, obs_dim]
    actions: Any  # [N, act_dim]
    rewards: Any  # [N]
    next_observations: Any  # [N, obs_dim]
    terminated: Any  # [N], 0 or 1
    truncated: Any  # [N], 0 or 1
    next_actions: Any  # [N, act_dim]
    next_action_valid: Any  # [N], 0 or 1
    episodes: Any  # [N] int32, the episode each row belongs to


Batch = Transitions
"""A minibatch: the rows of some transitions, in the same columns."""


class Normalizer(NamedTuple):
    """Standardisation of observations: (observation - mean) / scale, each of shape [obs_dim]."""

    mean: Any
    scale: Any


class Dataset(NamedTuple):
    """What a data source yields: transitions, their task, and where they came from."""

    id: str
    transitions: Transitions
    space: Space
    environment: str | None  # gymnasium id, with its arguments as JSON behind it
    sha256: str
    reference: Reference | None
    changes: tuple[str, ...] = ()  # rows that are not as they were logged, for people
    stored: Any = None  # the file that holds the transitions, whose columns read it then (data/stored.py)


class Reference(NamedTuple):
    """Reference returns behind a normalised score: 100 (R - low) / (high - low), and their source."""

    low: float
    high: float
    source: str
    label: str  # what the score is called: "D4RL-normalised" for D4RL data only

    def score(self, returns):
        """Normalised score of raw returns; accepts numbers and arrays."""
        return 100.0 * (np.asarray(returns) - self.low) / (self.high - self.low)


Indices = Int[Array, " batch"]
