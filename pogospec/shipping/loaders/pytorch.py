"""Reads a policy that pogospec exported as .pt2; needs PyTorch and NumPy.

policy = Policy("policy.pt2"); policy(observations) -> actions, [act] or [batch, act], in the environment's bounds.
policy.module is a function of tensors.
"""

import json

import numpy as np
import torch  # pyright: ignore[reportMissingImports]


class Policy:
    """A policy; `seed`: of the noise of its samples, where it samples and no noise is given."""

    def __init__(self, path, seed=0):
        files = {"about.json": ""}
        self.module = torch.export.load(path, extra_files=files).module()
        self.about, self.draw = json.loads(files["about.json"]), np.random.default_rng(seed)

    def __call__(self, observation, noise=None):
        """Actions at raw observations, [obs] or [batch, obs]; `noise`: standard normal, of the shape in the card."""
        first, *more = self.about["inputs"]
        given = [np.atleast_2d(np.asarray(observation, first["dtype"]))]
        _check(given[0], first["shape"][0])
        for one in more:
            shape = (len(given[0]), *one["shape"])
            drawn = self.draw.standard_normal(shape) if noise is None else np.reshape(noise, shape)
            given.append(drawn.astype(one["dtype"]))
        with torch.no_grad():
            actions = self.module(*map(torch.from_numpy, given)).numpy()
        return actions if np.ndim(observation) == 2 else actions[0]


def _check(rows, size):
    """Raise ValueError for observations that are not `size` numbers each."""
    if rows.ndim != 2 or rows.shape[1] != size:
        found = f"{rows.shape[1]} observations" if rows.ndim == 2 else f"observations of shape {list(rows.shape)}"
        raise ValueError(f"found {found}, the policy takes {size}: [{size}] or [batch, {size}]")
