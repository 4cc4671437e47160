"""The rate of updates, from a few dozen real ones of every stage."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.compile import compile_spec
from pogospec.compiler.program import Program, State
from pogospec.data.arrays import standardize
from pogospec.explain.costs.operations import matrix_rate, stage_seconds
from pogospec.spec.schema import Spec
from pogospec.training.batching import Batching
from pogospec.training.chunk import as_floats, chunk_function, double
from pogospec.types import Dataset, Space, Transitions

BUDGET = 15.0
"""Seconds that a measurement may take in all."""
SLICE = 1.0
"""Seconds of updates that are timed in a stage, at most."""
FIRST = 20
THREADS = 2
"""Stages that are compiled at once."""
ROWS = 2048
"""Rows of made-up data, where the data are not at hand."""


@dataclass(frozen=True)
class Rate:
    """Updates a second of all seeds together in one stage, and how that is known."""

    stage: str
    per_second: float
    updates: int  # that were timed; 0: estimated from operations
    compiling: float | None  # seconds
    reserved: int | None  # bytes that the compiler sets aside for temporaries


def estimate(spec: Spec, labels: list[str], operations: list[float]) -> list[Rate]:
    """Rates from operations and the matrix rate of the device, measured now."""
    costs = stage_seconds(spec, operations, matrix_rate())
    return [Rate(label, 1 / each, 0, None, None) for label, (_, each) in zip(labels, costs, strict=True)]


def measure(
    spec: Spec, space: Space, dataset: Dataset | None, operations: list[float], budget: float = BUDGET
) -> list[Rate]:
    """Compile and run every stage for a moment; stages of the same learners and operations, or of one step, count once.

    Stages that the budget leaves no time to compile take the rate of another one, by their operations. Weights are
    made up: the time does not depend on them.
    """
    began = time.perf_counter()
    program, batching, wide = (
        compile_spec(spec, space),
        Batching.of(spec.train.batch_runs, spec.seed_count),
        double(spec),
    )
    data = batching.shared(_data(spec, space, dataset))
    alike = [
        (stage.learn, count, stage.source if spec.target is not None else None)
        for stage, count in zip(program.stages, operations, strict=True)
    ]
    firsts = [alike.index(sort) for sort in dict.fromkeys(alike)]
    templates = _templates(program, spec.seed_count, data)

    def compiled(number: int) -> tuple[Any, float] | None:
        late = time.perf_counter() - began > budget / 3
        with jax.enable_x64(wide):  # a context of the thread
            if late and number != firsts[0]:
                return None
            return _compiled(program, number, spec, data, templates[number], batching)

    with ThreadPoolExecutor(THREADS) as pool:
        ready = dict(zip(firsts, pool.map(compiled, firsts), strict=True))
    known: dict[int, Rate] = {}
    for number, found in ready.items():
        if found is not None:
            left = max(0.1, min(SLICE, budget - (time.perf_counter() - began)))
            made = [batching.own(jax.tree.map(_made, templates[number]))]
            run = functools.partial(_run, found[0], batching, batching.shared(program.numbers), data, made)
            known[number] = _timed(program.stages[number].label, *found, run, left)
    rates = []
    for number, stage in enumerate(program.stages):
        source = alike.index(alike[number])
        if source in known:
            rates.append(replace(known[source], stage=stage.label))
        else:
            nearest = min(known, key=lambda other: abs(other - number))
            share = operations[nearest] / max(operations[number], 1.0)
            rates.append(Rate(stage.label, known[nearest].per_second * share, 0, None, None))
    return rates


def _templates(program: Program, seeds: int, data: Transitions) -> list[State]:
    """Shapes of the states of all seeds inside each stage."""
    roots = jax.eval_shape(jax.vmap(jax.random.key), jnp.arange(seeds))
    state = jax.eval_shape(jax.vmap(program.init, in_axes=(None, 0)), program.numbers, roots)
    found: list[State] = []
    for index, stage in enumerate(program.stages):
        if stage.source != index:
            found.append(found[stage.source])
            continue
        enter = jax.vmap(stage.enter, in_axes=(None, 0, None, 0))
        state = jax.eval_shape(enter, program.numbers, state, data, roots)
        found.append(state)
    return found


def _made(leaf: Any) -> Any:
    return jnp.full(leaf.shape, 0.01 if jnp.issubdtype(leaf.dtype, jnp.floating) else 0, leaf.dtype)


def _compiled(
    program: Program, number: int, spec: Spec, data: Transitions, state: State, batching: Batching
) -> tuple[Any, float]:
    """The program of a chunk of one stage, and the seconds that compiling took."""
    clock = time.perf_counter()
    roots = jax.eval_shape(jax.vmap(jax.random.key), jnp.arange(spec.seed_count))
    function = chunk_function(program.stages[number], spec.train.batch_size, None, batching, donate=True)
    chunk = function.lower(batching.shared(program.numbers), data, state, roots, 0, 1).compile()
    return chunk, time.perf_counter() - clock


def _run(chunk: Any, batching: Batching, numbers: Any, data: Transitions, made: list[State], count: int) -> float:
    """Seconds of so many updates of the state that `made` holds."""
    roots = batching.own(jax.vmap(jax.random.key)(jnp.arange(batching.runs)))
    clock = time.perf_counter()
    made[0], *_ = jax.block_until_ready(chunk(numbers, data, made[0], roots, 0, count))
    return time.perf_counter() - clock


def _timed(label: str, chunk: Any, compiling: float, run: Callable[[int], float], seconds: float) -> Rate:
    """Run a few updates, then as many as fit into the time."""
    analysis = chunk.memory_analysis()
    run(2)
    first = run(FIRST)
    count = max(FIRST, int(seconds * FIRST / first) // FIRST * FIRST)
    taken = run(count) if count > FIRST else first
    return Rate(label, count / taken, count, compiling, None if analysis is None else analysis.temp_size_in_bytes)


def _data(spec: Spec, space: Space, dataset: Dataset | None) -> Transitions:
    """The data as training sees them, or made-up data of the same widths."""
    if dataset is not None:
        columns = dataset.transitions
        if dataset.stored is not None:
            columns = dataset.stored.take(np.arange(min(ROWS, dataset.stored.count)))
        columns = standardize(columns)[0] if spec.data.normalize_observations else columns
        return Transitions(*(as_floats(column) for column in columns))
    draw = np.random.default_rng(0)
    wide, actions = draw.normal(size=(2, ROWS, space.obs_dim)), draw.uniform(-1, 1, (2, ROWS, space.act_dim))
    zeros, ones = np.zeros(ROWS), np.ones(ROWS)
    columns = (wide[0], actions[0], draw.normal(size=ROWS), wide[1], zeros, zeros, actions[1], ones, zeros)
    return Transitions(*(as_floats(column) for column in columns))
