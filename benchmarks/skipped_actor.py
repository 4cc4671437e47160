"""Does a skipped actor update cost nothing? `python benchmarks/skipped_actor.py [--seeds N] [--rounds N]`.

Two programs in one process, their chunks interleaved: critics and behaviour alone, and the same with a policy that
updates at every thousandth update. Prints the median rate of each with its range, and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from pogospec import data
from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.data.arrays import standardize
from pogospec.training.chunk import chunk_function
from pogospec.types import Transitions

SPEC = Path(__file__).parents[1] / "specs" / "pogo_fr.yaml"
STEP = "schedule.steps[0]"
PROGRAMS = {
    "critics and behaviour": [
        (f"{STEP}.learn", "[critic, behavior]"),
        (f"{STEP}.from", "null"),
        (f"{STEP}.actor_every", "null"),
    ],
    "with a policy, actor_every 1000": [(f"{STEP}.actor_every", "1000")],
}


def prepare(overrides, seeds: int):
    """A function that runs one chunk of 1,000 updates and returns its seconds."""
    spec = load(SPEC, [*overrides, (f"{STEP}.target_every", "1")])
    dataset = data.load(spec.data.dataset)
    program = compile_spec(spec, dataset.space)
    transitions, _ = standardize(dataset.transitions)
    columns = Transitions(*(jnp.asarray(column) for column in transitions))
    roots = jax.vmap(jax.random.key)(jnp.arange(seeds))
    stage = program.stages[0]
    enter = jax.vmap(stage.enter, in_axes=(None, 0, None, 0))
    state = enter(program.numbers, jax.vmap(program.init, in_axes=(None, 0))(program.numbers, roots), columns, roots)
    chunk = chunk_function(stage, spec.train.batch_size)

    def run() -> float:
        clock = time.perf_counter()
        jax.block_until_ready(chunk(program.numbers, columns, state, roots, 0, 1000))
        return time.perf_counter() - clock

    run()
    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    runs = {name: prepare(overrides, options.seeds) for name, overrides in PROGRAMS.items()}
    seconds = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            seconds[name].append(run())
    print(
        f"{options.seeds} seeds, {options.rounds} rounds, {len(os.sched_getaffinity(0))} cores, jax {jax.__version__}"
    )
    for name, taken in seconds.items():
        low, middle, high = (1000 / f(taken) for f in (max, statistics.median, min))
        print(f"{name:<34} {middle:7.1f} updates/s  ({low:.1f} to {high:.1f})")
    first, second = (statistics.median(taken) for taken in seconds.values())
    print(f"rate with the policy / rate without: {first / second:.3f}")


if __name__ == "__main__":
    main()
