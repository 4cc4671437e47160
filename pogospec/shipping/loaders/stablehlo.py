"""Reads a policy that pogospec exported as .stablehlo; needs JAX alone.

policy = Policy("policy.stablehlo"); policy(observations) -> actions, [act] or [batch, act], in the bounds of the task.
"""

import jax
import numpy as np
from jax import export


class Policy:
    """A policy; `seed`: of the noise of its samples, where it samples and no noise is given."""

    def __init__(self, path, seed=0):
        with open(path, "rb") as file:
            self.program = export.deserialize(bytearray(file.read()))
        self.call, self.draw = jax.jit(self.program.call), np.random.default_rng(seed)

    def __call__(self, observation, noise=None):
        """Actions at raw observations, [obs] or [batch, obs]; `noise`: standard normal, of the shape in the card."""
        first, *more = self.program.in_avals
        given = [np.atleast_2d(np.asarray(observation, first.dtype))]
        _check(given[0], first.shape[1])
        for one in more:
            shape = (len(given[0]), *one.shape[1:])
            drawn = self.draw.standard_normal(shape) if noise is None else np.reshape(noise, shape)
            given.append(drawn.astype(one.dtype))
        with jax.enable_x64(first.dtype == np.float64):
            actions = np.asarray(self.call(*given))
        return actions if np.ndim(observation) == 2 else actions[0]


def _check(rows, size):
    """Raise ValueError for observations that are not `size` numbers each."""
    if rows.ndim != 2 or rows.shape[1] != size:
        found = f"{rows.shape[1]} observations" if rows.ndim == 2 else f"observations of shape {list(rows.shape)}"
        raise ValueError(f"found {found}, the policy takes {size}: [{size}] or [batch, {size}]")
