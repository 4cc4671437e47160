"""Hand-made data: three episodes, one that terminates, one that meets its time limit, one that the file cuts."""

import numpy as np

OBSERVATIONS = np.array([0, 1, 2, 10, 11, 12, 20, 21], np.float32)[:, None]
ACTIONS = np.arange(8, dtype=np.float32)[:, None] / 10
REWARDS = np.array([1, 2, 3, 4, 5, 6, 7, 8], np.float32)
TERMINALS = np.array([0, 0, 1, 0, 0, 0, 0, 0], bool)
TIMEOUTS = np.array([0, 0, 0, 0, 0, 1, 0, 0], bool)
NEXT = np.array([1, 2, 3, 11, 12, 13, 21, 22], np.float32)[:, None]
"""What was observed after each step."""
ID, FILE = "d4rl/hopper-medium-v2", "hopper_medium-v2.hdf5"
"""A dataset of D4RL, and its file."""


def columns(**changes):
    """The columns of the data under D4RL's names, with changes; None leaves one out."""
    made = {
        "observations": OBSERVATIONS,
        "actions": ACTIONS,
        "rewards": REWARDS,
        "terminals": TERMINALS,
        "timeouts": TIMEOUTS,
    }
    return {name: column for name, column in (made | changes).items() if column is not None}


def write(path, **changes):
    """Write the data as the suffix says; keys of `changes` as in `columns`."""
    made = columns(**changes)
    if path.suffix == ".npz":
        np.savez(path, **made)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file({name: np.ascontiguousarray(column) for name, column in made.items()}, path)
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        lists = {name: column.tolist() if column.ndim == 2 else column for name, column in made.items()}
        pyarrow.parquet.write_table(pyarrow.table(lists), path)
    else:
        import h5py

        with h5py.File(path, "w") as file:
            for name, column in made.items():
                file[name] = column
    return path


def assert_rows(transitions, rows, following, valid, next_actions, episodes, truncated):
    """The transitions are the given rows of the data, with the given neighbours."""
    np.testing.assert_array_equal(transitions.observations, OBSERVATIONS[rows])
    np.testing.assert_array_equal(transitions.actions, ACTIONS[rows])
    np.testing.assert_array_equal(transitions.rewards, REWARDS[rows])
    np.testing.assert_array_equal(transitions.terminated, TERMINALS[rows])
    np.testing.assert_array_equal(transitions.truncated, truncated)
    np.testing.assert_array_equal(transitions.next_observations[:, 0], following)
    np.testing.assert_array_equal(transitions.next_action_valid, valid)
    np.testing.assert_allclose(transitions.next_actions[:, 0], next_actions, rtol=1e-6)
    np.testing.assert_array_equal(transitions.episodes, episodes)
