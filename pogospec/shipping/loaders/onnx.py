"""Reads a policy that pogospec exported as .onnx; needs ONNX Runtime and NumPy.

policy = Policy("policy.onnx"); policy(observations) -> actions, [act] or [batch, act], in the environment's bounds.
"""

import numpy as np
import onnxruntime

TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64}


class Policy:
    """A policy; `seed`: of the noise of its samples, where it samples and no noise is given."""

    def __init__(self, path, seed=0):
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.draw = np.random.default_rng(seed)

    def __call__(self, observation, noise=None):
        """Actions at raw observations, [obs] or [batch, obs]; `noise`: standard normal, of the shape in the card."""
        first, *more = self.session.get_inputs()
        given = {first.name: np.atleast_2d(np.asarray(observation, TYPES[first.type]))}
        _check(given[first.name], first.shape[1])
        for one in more:
            shape = (len(given[first.name]), *one.shape[1:])
            drawn = self.draw.standard_normal(shape) if noise is None else np.reshape(noise, shape)
            given[one.name] = drawn.astype(TYPES[one.type])
        actions = np.asarray(self.session.run(None, given)[0])
        return actions if np.ndim(observation) == 2 else actions[0]


def _check(rows, size):
    """Raise ValueError for observations that are not `size` numbers each."""
    if rows.ndim != 2 or rows.shape[1] != size:
        found = f"{rows.shape[1]} observations" if rows.ndim == 2 else f"observations of shape {list(rows.shape)}"
        raise ValueError(f"found {found}, the policy takes {size}: [{size}] or [batch, {size}]")
