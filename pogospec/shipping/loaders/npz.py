"""Reads a policy that pogospec exported as .npz; needs NumPy alone.

policy = Policy("policy.npz"); policy(observations) -> actions, [act] or [batch, act], in the environment's bounds.
"""

import json
import math

import numpy as np

PLAIN = """add subtract multiply divide maximum minimum negative exp log log1p expm1 tanh sqrt abs sign floor sin cos
power square equal not_equal less less_equal greater greater_equal logical_and logical_or logical_not where matmul
reshape broadcast_to transpose sum max min prod argmax argmin sort take"""
OPERATIONS = {name: getattr(np, name) for name in PLAIN.split()} | {
    "erf": lambda x: np.vectorize(math.erf, [x.dtype])(x),
    "erfc": lambda x: np.vectorize(math.erfc, [x.dtype])(x),
    "cast": lambda x, to: x.astype(to),
    "count": lambda shape: np.arange(shape[0]),
    "slice": lambda x, axis, start, stop, step: x[(slice(None),) * axis + (slice(start, stop, step),)],
    "concatenate": lambda *x, axis: np.concatenate(x, axis),
}


class Policy:
    """A policy; `seed`: of the noise of its samples, where it samples and no noise is given."""

    def __init__(self, path, seed=0):
        with np.load(path) as file:
            self.arrays = {name: file[name] for name in file.files}
        self.about, self.draw = json.loads(str(self.arrays.pop("about"))), np.random.default_rng(seed)

    def __call__(self, observation, noise=None):
        """Actions at raw observations, [obs] or [batch, obs]; `noise`: standard normal, of the shape in the card."""
        first, *more = self.about["inputs"]
        rows = np.atleast_2d(np.asarray(observation, first["dtype"]))
        _check(rows, first["shape"][0])
        values = self.arrays | {"observation": rows}
        for one in more:
            shape = (len(rows), *one["shape"])
            drawn = self.draw.standard_normal(shape) if noise is None else np.reshape(noise, shape)
            values[one["name"]] = drawn.astype(one["dtype"])
        with np.errstate(all="ignore"):
            for name, out, given, options in self.about["operations"]:
                options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
                if "shape" in options:  # -k is k times the rows
                    options["shape"] = tuple(-k * len(rows) if k < 0 else k for k in options["shape"])
                values[out] = OPERATIONS[name](*[values[one] for one in given], **options)
        return values[self.about["output"]] if np.ndim(observation) == 2 else values[self.about["output"]][0]


def _check(rows, size):
    """Raise ValueError for observations that are not `size` numbers each."""
    if rows.ndim != 2 or rows.shape[1] != size:
        found = f"{rows.shape[1]} observations" if rows.ndim == 2 else f"observations of shape {list(rows.shape)}"
        raise ValueError(f"found {found}, the policy takes {size}: [{size}] or [batch, {size}]")
