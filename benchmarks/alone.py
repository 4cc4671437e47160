"""In processes of their own: `python alone.py write FILE ROWS`, `… load FILE`, `… rollout EPISODES STEPS`."""

from __future__ import annotations

from protocol import clock  # isort: skip  # pins the process
import json
import os
import resource
import sys
from pathlib import Path

import made
import numpy as np


def load(file: str) -> dict:
    """Load a file in D4RL's layout."""
    os.environ["POGOSPEC_DATA_DIR"] = str(Path(file).parent)
    import h5py  # noqa: F401

    from pogospec import data
    from pogospec.data import formats  # noqa: F401
    from pogospec.data.sources import d4rl  # noqa: F401

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with clock() as spent:
        found = data.load("d4rl/hopper-medium-v2")
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    arrays = sum(column.nbytes for column in found.transitions)
    return {"seconds": spent[0], "peak": peak, "arrays": arrays, "rows": len(found.transitions.rewards)}


def write(name: str, rows: str) -> dict:
    """Columns as D4RL's files have them, those that nothing reads too; a file that is there is kept."""
    import h5py

    file = Path(name)
    if file.exists():
        return {}
    file.parent.mkdir(parents=True, exist_ok=True)
    part, columns = file.with_suffix(".part"), made.hopper(int(rows))
    columns["terminals"] = columns.pop("terminated").astype(bool)
    columns["timeouts"] = columns.pop("truncated").astype(bool)
    columns |= {f"infos/{name}": columns["observations"][:, :6].astype(np.float64) for name in ("qpos", "qvel")}
    columns["infos/action_log_probs"] = columns["rewards"]
    with h5py.File(part, "w") as stored:
        for name, column in columns.items():
            stored.create_dataset(name, data=column, compression="gzip")
    os.replace(part, file)
    return {}


def rollout(episodes: str, steps: str) -> dict:
    """Roll a fresh policy out where hopper goes on when it has fallen."""
    import gymnasium
    import jax
    import jax.numpy as jnp

    from pogospec.data.arrays import identity_normalizer
    from pogospec.policies.gaussian import GaussianPolicy
    from pogospec.runs.saved import SavedPolicy
    from pogospec.training.rollout import Evaluator
    from pogospec.types import Space

    gymnasium.register(
        "Endless-v0",
        "gymnasium.envs.mujoco.hopper_v4:HopperEnv",
        max_episode_steps=int(steps),
        kwargs={"terminate_when_unhealthy": False},
    )
    space, family = Space(11, 3, (-1.0,) * 3, (1.0,) * 3), GaussianPolicy(hidden=(256, 256))
    network = jax.vmap(lambda key: family.init(key, space))(jax.vmap(jax.random.key)(jnp.arange(1)))
    saved = SavedPolicy(family, network, identity_normalizer(11), space)
    evaluator = Evaluator("Endless-v0", int(episodes), 1000, space)
    with clock() as spent:
        evaluator.rollout(saved.batched(), 1)
    assert (evaluator.lengths == int(steps)).all()
    return {"seconds": spent[0]}


if __name__ == "__main__":
    print(json.dumps({"write": write, "load": load, "rollout": rollout}[sys.argv[1]](*sys.argv[2:])))
