"""Collects the embedded sets again: `python -m pogospec.data.pocket.collect [ID ...]`.

pocket/reacher-mixed: Reacher-v4, episodes of 50 steps. Each episode draws a proportional-derivative controller
in joint space through the transposed Jacobian of the two links, with gains below the best, and adds Gaussian
noise to its actions. The best gains without noise are the upper reference.

pocket/hopper-mixed: Hopper-v4. Episodes alternate between two cloned networks, an expert and a medium one (see
`fit.py`), with Gaussian noise on their actions. The reference returns are D4RL's.

pocket/arm-two-modes: a two-link arm of ours (see `pogospec/data/tasks/arm.py`), episodes of 40 actions. Each action
tosses a coin between the two postures that reach its target, forgets gravity, and has Gaussian noise whose std an
episode draws; one in ten is uniform over the bounds, so that critics know what lies between the postures. The upper
reference is the nearest posture, held against gravity and without noise.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pogospec.data.gym import quiet
from pogospec.data.pocket import FOLDER
from pogospec.data.pocket.behaviors import arm_controller, load_clone, reacher_controller
from pogospec.data.tasks import ARM, make
from pogospec.data.tasks.references import D4RL, LABEL, SOURCE

SEED, REFERENCE_EPISODES, REFERENCE_SEED = 7, 100, 10_000
REACHER_NOISE, REACHER_BEST = 0.4, (20.0, 1.0)
HOPPER_NOISE = 0.2
ARM_NOISE, ARM_ASTRAY = (0.1, 0.4), 0.1

Columns = dict[str, np.ndarray]
"""One episode, or a whole set, in the compact layout of the files."""


class Recipe(NamedTuple):
    """How one set is made: episodes are drawn until `transitions` rows are there."""

    environment: str
    transitions: int
    episodes: Callable[[Any], Iterator[Columns]]
    reference: Callable[[Any, float], dict[str, Any]]
    about: str
    collected: str


def _bounds(env: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest actions [act]."""
    return env.action_space.low.astype(float), env.action_space.high.astype(float)


def episode(env: Any, seed: int, act: Callable[[np.ndarray], np.ndarray]) -> Columns:
    """One episode in the compact layout: T rows, and `final_observations` [1, obs] after the last of them."""
    observation, _ = env.reset(seed=seed)
    rows = []
    while True:
        action = np.clip(act(observation), *_bounds(env)).astype(np.float32)
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


def _reacher(env: Any) -> Iterator[Columns]:
    for number in count():
        rng = np.random.default_rng([SEED, number])
        gain, damping = rng.uniform(0.5, 4.0), rng.uniform(0.2, 1.0)

        def act(observation, rng=rng, gain=gain, damping=damping):
            return reacher_controller(observation, gain, damping) + REACHER_NOISE * rng.standard_normal(2)

        yield episode(env, number, act)


def _hopper(env: Any) -> Iterator[Columns]:
    clones = [load_clone("hopper-expert"), load_clone("hopper-medium")]
    for number in count():
        rng = np.random.default_rng([SEED, number])

        def act(observation, rng=rng, clone=clones[number % 2]):
            return clone(observation) + HOPPER_NOISE * rng.standard_normal(3)

        yield episode(env, number, act)


def _arm(env: Any) -> Iterator[Columns]:
    for number in count():
        rng = np.random.default_rng([SEED, number])
        noise = rng.uniform(*ARM_NOISE)

        def act(observation, rng=rng, noise=noise):
            if rng.random() < ARM_ASTRAY:
                return rng.uniform(*_bounds(env))
            return arm_controller(observation, int(rng.integers(2))) + noise * rng.standard_normal(2)

        yield episode(env, number, act)


def _mean_return(env: Any, act: Callable[[np.ndarray], np.ndarray]) -> float:
    """Mean return over the reference episodes."""
    seeds = range(REFERENCE_SEED, REFERENCE_SEED + REFERENCE_EPISODES)
    return float(np.mean([episode(env, seed, act)["rewards"].sum() for seed in seeds]))


def _reacher_reference(env: Any, random: float) -> dict[str, Any]:
    """Mean returns of uniform random actions and of the best controller without noise."""
    return {
        "low": round(random, 3),
        "high": round(_mean_return(env, lambda o: reacher_controller(o, *REACHER_BEST)), 3),
        "source": f"mean return of uniform random actions and of the noiseless controller with gains {REACHER_BEST}, "
        f"{REFERENCE_EPISODES} episodes each",
        "label": "normalised (0 random actions, 100 good controller)",
    }


def _hopper_reference(env: Any, random: float) -> dict[str, Any]:
    """D4RL's returns."""
    low, high = D4RL["Hopper"]
    return {"low": low, "high": high, "source": SOURCE, "label": LABEL}


def _arm_reference(env: Any, random: float) -> dict[str, Any]:
    """Mean returns of uniform random actions and of the nearest posture, with gravity and without noise."""
    return {
        "low": round(random, 3),
        "high": round(_mean_return(env, lambda o: arm_controller(o, weightless=False)), 3),
        "source": "mean return of uniform random actions and of the nearest posture, held against gravity and without "
        f"noise, {REFERENCE_EPISODES} episodes each",
        "label": "normalised (0 random actions, 100 nearest posture)",
    }


RECIPES = {
    "pocket/reacher-mixed": Recipe(
        "Reacher-v4",
        25_000,
        _reacher,
        _reacher_reference,
        "Reacher-v4, noisy proportional-derivative controllers of mixed gains; 50 steps an episode",
        "an episode draws gain ~ U(0.5, 4) and damping ~ U(0.2, 1) of a controller through the transposed Jacobian; "
        f"action noise N(0, {REACHER_NOISE}^2), clipped; seeds [{SEED}, episode]",
    ),
    "pocket/hopper-mixed": Recipe(
        "Hopper-v4",
        40_000,
        _hopper,
        _hopper_reference,
        "Hopper-v4, noisy expert and medium clones, half of the episodes each; D4RL's reference returns",
        "even episodes by the clone hopper-expert, odd ones by hopper-medium (64 x 64 networks fitted by behaviour "
        f"cloning, see fit.py); action noise N(0, {HOPPER_NOISE}^2), clipped; seeds [{SEED}, episode]",
    ),
    "pocket/arm-two-modes": Recipe(
        ARM,
        20_000,
        _arm,
        _arm_reference,
        "a two-link arm in gravity that reaches each target elbow up or down, by a coin; 40 actions an episode",
        "an episode draws the std of its action noise ~ U(0.1, 0.4) rad; each action tosses a coin between the two "
        "postures that reach its target, and ignores gravity, but for a share of "
        f"{ARM_ASTRAY} that is uniform; clipped; seeds [{SEED}, episode]",
    ),
}


def _random_return(env: Any) -> float:
    """Mean return of uniform random actions over the reference episodes."""
    rng = np.random.default_rng(SEED)
    return _mean_return(env, lambda _: rng.uniform(*_bounds(env)))


def first(dataset_id: str, episodes: int) -> list[Columns]:
    """The first episodes of a set, collected again."""
    recipe = RECIPES[dataset_id]
    with quiet():
        env = make(recipe.environment)
        drawn = list(islice(recipe.episodes(env), episodes))
        env.close()
    return drawn


def collect(dataset_id: str, folder: Path) -> dict[str, Any]:
    """Collect one set into `folder`; returns its entry of the data card."""
    from safetensors.numpy import save

    recipe = RECIPES[dataset_id]
    episodes: list[Columns] = []
    rows = 0
    with quiet():
        env: Any = make(recipe.environment)
        for drawn in recipe.episodes(env):
            episodes.append(drawn)
            rows += len(drawn["rewards"])
            if rows >= recipe.transitions:
                break
        random = _random_return(env)
        reference = recipe.reference(env, random)
        low, high = env.action_space.low.tolist(), env.action_space.high.tolist()
        env.close()
    columns = {name: np.concatenate([e[name] for e in episodes]) for name in episodes[0]}
    raw = save(columns)
    file = dataset_id.removeprefix("pocket/") + ".safetensors"
    (folder / file).write_bytes(raw)
    return {
        "id": dataset_id,
        "about": recipe.about,
        "collected": recipe.collected,
        "environment": recipe.environment,
        "episodes": len(episodes),
        "transitions": rows,
        "mean_return": round(float(np.mean([e["rewards"].sum() for e in episodes])), 3),
        "random_return": round(random, 3),
        "terminated": int(columns["terminated"].sum()),
        "truncated": int(columns["truncated"].sum()),
        "low": low,
        "high": high,
        "reference": reference,
        "collected_with": {name: version(name) for name in ("gymnasium", "mujoco")},
        "file": file,
        "sha256": hashlib.sha256(raw).hexdigest(),
    }


def main(ids: list[str], folder: Path = FOLDER) -> None:
    """Collect the named sets, or all of them, and rewrite their files and their entries of the data card."""
    unknown = [name for name in ids if name not in RECIPES]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; allowed: {', '.join(RECIPES)}")
    card = folder / "card.json"
    known = json.loads(card.read_text()) if card.is_file() else {}
    made = {name: collect(name, folder) for name in ids or RECIPES}
    merged = known | made
    card.write_text(json.dumps({name: merged[name] for name in RECIPES if name in merged}, indent=2) + "\n")
    for name, entry in made.items():
        print(f"{name}: {entry['transitions']} transitions, mean return {entry['mean_return']}, {entry['sha256']}")


if __name__ == "__main__":
    main(sys.argv[1:])
