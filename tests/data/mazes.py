"""A few episodes of the real AntMaze, by a planner that tries random pushes and takes the one that ends nearest."""

import contextlib
import io
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np

from pogospec.data.gym import quiet

ID, D4RL = "D4RL/antmaze/tiny-v1", "d4rl/antmaze-umaze-v2"
FILE = "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5"
MAP = [[1, 1, 1, 1], [1, "r", "g", 1], [1, 1, 1, 1]]
STEPS, EPISODES = 90, 4


def made():
    """The environment as Minari's scripts make it: it goes on at the goal, which stays where it is."""
    with contextlib.redirect_stderr(io.StringIO()):
        import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    arguments = {"continuing_task": True, "reset_target": False, "max_episode_steps": STEPS}
    env: Any = gymnasium.make("AntMaze_UMaze-v4", maze_map=MAP, **arguments)
    Path(env.unwrapped.tmp_xml_file_path).unlink()
    return env


def plan(env, draw, tries=10, horizon=15):
    """Actions [horizon, 8], the best of some, simulated ahead; the state is put back."""
    ant, goal = env.unwrapped.ant_env, env.unwrapped.goal
    state = ant.data.qpos.copy(), ant.data.qvel.copy()
    found = []
    for _ in range(tries):
        push = np.sin(draw.uniform(0, 6.3, 8) + draw.uniform(0.2, 1.0) * np.arange(horizon)[:, None])
        near = []
        for action in push:
            ant.do_simulation(action, ant.frame_skip)
            near.append(np.linalg.norm(ant.data.qpos[:2] - goal))
        ant.set_state(*state)
        found.append((min(near), push.astype(np.float32)))
    return min(found, key=lambda pair: pair[0])[1]


def play(env, draw):
    """Whole episodes, to their time limits."""
    for seed in range(EPISODES):
        env.reset(seed=seed)
        actions, over = [], False
        while not over:
            actions = actions or list(plan(env, draw))
            *_, terminated, truncated, _ = env.step(actions.pop(0))
            over = terminated or truncated


def collect():
    """Collect the dataset into the folder of MINARI_DATASETS_PATH."""
    about = dict.fromkeys(("algorithm_name", "author", "author_email", "code_permalink", "description"), "a test")
    with quiet():
        env = minari.DataCollector(made())
        play(env, np.random.default_rng(0))
        env.create_dataset(ID, eval_env=None, **about)
        env.close()


def logged():
    """The episodes as Minari reads them."""
    with quiet():
        return list(minari.load_dataset(ID).iterate_episodes())


def write_d4rl(path, episodes):
    """The same steps in D4RL's layout: every row at the goal is a termination, a time-out ends the trajectory."""
    observed = [e.observations for e in episodes]
    rows = [np.concatenate([o["achieved_goal"], o["observation"]], 1)[:-1].astype(np.float32) for o in observed]
    rewards = np.concatenate([e.rewards for e in episodes]).astype(np.float32)
    columns = {
        "observations": np.concatenate(rows),
        "actions": np.concatenate([e.actions for e in episodes]),
        "rewards": rewards,
        "terminals": rewards == 1,
        "timeouts": np.concatenate([e.truncations for e in episodes]),
        "infos/goal": np.concatenate([o["desired_goal"][:-1] for o in observed]),
    }
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[name] = column
    return columns
