"""TD3+BC of d3rlpy, sampling and update as its `fit` does them, without its logging: a worker, on one thread."""

from __future__ import annotations

from protocol import clock, serve  # isort: skip  # pins the process
import os

import d3rlpy
import made
import torch


def prepare(task):
    """Nothing is compiled; its default networks are two layers of 256, as the task's."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    columns = made.hopper(task["rows"])
    names = ("observations", "actions", "rewards", "terminated", "truncated")
    observations, actions, rewards, terminated, truncated = (columns[name] for name in names)
    data = d3rlpy.dataset.MDPDataset(observations, actions, rewards[:, None], terminated, truncated)
    learner = d3rlpy.algos.TD3PlusBCConfig(batch_size=task["batch"]).create(device="cpu:0")
    learner.build_with_dataset(data)

    def run(updates):
        with clock() as spent:
            for _ in range(updates):
                learner.update(data.sample_transition_batch(task["batch"]))
        return spent[0]

    run(4)
    about = {"d3rlpy": d3rlpy.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    return {"compile": 0.0, **about}, run


if __name__ == "__main__":
    serve(prepare)
