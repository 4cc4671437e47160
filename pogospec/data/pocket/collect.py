"""Collects the embedded sets again: `python -m pogospec.data.pocket.collect [FOLDER]`.

pocket/reacher-mixed: Reacher-v4, episodes of 50 steps. Each episode draws a proportional-derivative controller
in joint space through the transposed Jacobian of the two links (0.1 m and 0.11 m), with gains below the best,
and adds Gaussian noise to its actions. The best gains without noise are the upper reference.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

EPISODES, NOISE, SEED, REFERENCE_EPISODES = 500, 0.4, 7, 100
BEST = (20.0, 1.0)


def controller(observation: np.ndarray, gain: float, damping: float) -> np.ndarray:
    """Torque towards the target: gain times J^T (target - fingertip) minus damping times joint velocity."""
    cos, sin = observation[0:2], observation[2:4]
    angles = np.arctan2(sin, cos)
    elbow = angles.sum()
    jacobian = np.array(
        [
            [-0.1 * sin[0] - 0.11 * np.sin(elbow), -0.11 * np.sin(elbow)],
            [0.1 * cos[0] + 0.11 * np.cos(elbow), 0.11 * np.cos(elbow)],
        ]
    )
    force = -observation[8:10]
    return gain * jacobian.T @ force - damping * 0.1 * observation[6:8]


def episode(env, seed: int, act) -> dict[str, np.ndarray]:
    """One episode as arrays; the last observation apart."""
    observation, _ = env.reset(seed=seed)
    rows = []
    while True:
        action = np.clip(act(observation), -1.0, 1.0).astype(np.float32)
        following, reward, terminated, truncated, _ = env.step(action)
        rows.append((observation, action, reward, terminated, truncated))
        observation = following
        if terminated or truncated:
            break
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    names = ("observations", "actions", "rewards", "terminated", "truncated")
    kinds = (np.float32, np.float32, np.float32, np.uint8, np.uint8)
    packed = {name: column.astype(kind) for name, column, kind in zip(names, columns, kinds, strict=True)}
    return packed | {"final_observations": observation[None].astype(np.float32)}


def reacher_mixed(count: int = EPISODES) -> list[dict[str, np.ndarray]]:
    """The first `count` episodes of the set."""
    env = _environment()
    episodes = []
    for number in range(count):
        rng = np.random.default_rng([SEED, number])
        gain, damping = rng.uniform(0.5, 4.0), rng.uniform(0.2, 1.0)
        noise = lambda rng=rng: NOISE * rng.standard_normal(2)  # noqa: E731
        episodes.append(episode(env, number, lambda o, g=gain, d=damping, n=noise: controller(o, g, d) + n()))
    env.close()
    return episodes


def _environment():
    import warnings

    import gymnasium

    gymnasium.logger.min_level = gymnasium.logger.ERROR
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return gymnasium.make("Reacher-v4")


def main(folder: Path) -> None:
    """Collect the sets into a folder, with their data card."""
    from importlib.metadata import version

    from safetensors.numpy import save

    episodes = reacher_mixed()
    columns = {name: np.concatenate([e[name] for e in episodes]) for name in episodes[0]}
    raw = save(columns)
    env = _environment()
    rng = np.random.default_rng(SEED)
    seeds = range(10_000, 10_000 + REFERENCE_EPISODES)
    random = [episode(env, s, lambda _: rng.uniform(-1, 1, 2))["rewards"].sum() for s in seeds]
    best = [episode(env, s, lambda o: controller(o, *BEST))["rewards"].sum() for s in seeds]
    returns = [e["rewards"].sum() for e in episodes]
    card = {
        "about": "Reacher-v4, noisy proportional-derivative controllers of mixed gains; 50 steps an episode",
        "environment": "Reacher-v4",
        "episodes": len(episodes),
        "transitions": len(columns["rewards"]),
        "mean_return": round(float(np.mean(returns)), 3),
        "terminated": int(columns["terminated"].sum()),
        "truncated": int(columns["truncated"].sum()),
        "low": [-1.0, -1.0],
        "high": [1.0, 1.0],
        "reference": {
            "low": round(float(np.mean(random)), 3),
            "high": round(float(np.mean(best)), 3),
            "source": f"mean return of uniform random actions and of the noiseless controller with gains {BEST}, "
            f"{REFERENCE_EPISODES} episodes each",
            "label": "normalised (0 random actions, 100 good controller)",
        },
        "collected_with": {name: version(name) for name in ("gymnasium", "mujoco")},
        "sha256": hashlib.sha256(raw).hexdigest(),
    }
    (folder / "reacher-mixed.safetensors").write_bytes(raw)
    (folder / "card.json").write_text(json.dumps({"pocket/reacher-mixed": card}, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
