"""Shapes and parameters of the networks, and the memory of a program."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.compile import compile_spec
from pogospec.compiler.program import State
from pogospec.explain.costs.operations import batch_shapes, intermediates
from pogospec.spec.geometries import geometries
from pogospec.spec.schema import Spec
from pogospec.training.stream import piece_of
from pogospec.types import Dataset, Space

TASKS = {
    "hopper": (11, 3),
    "halfcheetah": (17, 6),
    "walker2d": (17, 6),
    "antmaze": (29, 8),
    "pen": (45, 24),
    "door": (39, 28),
    "hammer": (46, 26),
    "relocate": (39, 30),
    "reacher": (10, 2),
}
"""Observations and actions of well-known tasks, for data that are not at hand."""
NETWORKS = ("policy", "behavior", "critic")
COPIES = ("critic", "critic_target", "behavior", "policy", "policy_target", "reference", "geometry")


@dataclass(frozen=True)
class Network:
    """The shapes of one network."""

    name: str
    shape: str
    members: int
    parameters: int


@dataclass(frozen=True)
class Memory:
    """Bytes on the device while a run trains; those of all seeds together, but for the data, which seeds share."""

    weights: int  # networks, their slow copies and the frozen reference
    optimizers: int
    data: int | None
    activations: int  # of one update; results of matrix products, or what the compiler reserves
    averages: int = 0  # what is kept for averaged weights

    @property
    def total(self) -> int:
        """All of it; what evolves twice, since a chunk of updates reads one copy and writes another."""
        return 2 * (self.weights + self.optimizers + self.averages) + (self.data or 0) + self.activations


def known_space(dataset_id: str) -> Space | None:
    """Sizes of the task that an id names, for data that are not at hand; None where it is unknown."""
    for name, (observations, actions) in TASKS.items():
        if name in dataset_id.lower():
            return Space(observations, actions, (-1.0,) * actions, (1.0,) * actions)
    return None


def networks(spec: Spec, space: Space) -> list[Network]:
    """The networks that a program makes, for one seed; on a known energy the behaviour is the start, none of them."""
    program = compile_spec(spec, space)
    state = jax.eval_shape(program.init, program.numbers, jax.random.key(0))
    names = NETWORKS if spec.target is None else ("policy",)
    names = [name for name in names if not (name == "policy" and spec.policy.borrows)]
    parts = [part for name in names for part in _parts(name, getattr(state, name))]
    if spec.schedule.at_once > 1:
        parts[0] = f"policy, each of {spec.schedule.at_once}", state.policy
    found = [_network(name, network) for name, network in parts if any(x.ndim > 1 for x in jax.tree.leaves(network))]
    learning = [node for step in spec.schedule.steps for _, node in geometries(step) if node.learns]
    duals = [jax.eval_shape(lambda key, node=node: node.init(key, space), jax.random.key(0)) for node in learning]
    return [*found, *dict.fromkeys(_network("dual critic", dual.network) for dual in duals)]


def _parts(name: str, network: Any) -> list[tuple[str, Any]]:
    """The networks of a learner that has several, each under its name, or the one."""
    fields = getattr(network, "_fields", ())
    return [(f"{name} {field.upper()}", getattr(network, field)) for field in fields] or [(name, network)]


def _network(name: str, network: Any) -> Network:
    leaves = jax.tree.leaves(network)
    weights = [leaf.shape for leaf in leaves if leaf.ndim >= 2 and min(leaf.shape[-2:]) >= 1]
    members = max((shape[0] for shape in weights if len(shape) == 3), default=1)
    matrices = [shape[-2:] for shape in weights if len(shape) == (3 if members > 1 else 2)]
    chain = all(a[1] == b[0] for a, b in zip(matrices, matrices[1:], strict=False))
    widths = [*(a for a, _ in matrices), *(b for _, b in matrices[-1:])]
    shape = " → ".join(map(str, widths)) if chain else ", ".join(f"{a}x{b}" for a, b in matrices)
    return Network(name, shape, members, sum(math.prod(leaf.shape) for leaf in leaves))


def memory(spec: Spec, space: Space, dataset: Dataset | None, reserved: int | None = None) -> Memory:
    """The largest of the stages; `reserved`: what the compiler sets aside for an update, where that was measured."""
    program = compile_spec(spec, space)
    batch, key = batch_shapes(space, spec.train.batch_size), jax.random.key(0)
    state: State = jax.eval_shape(program.init, program.numbers, key)
    weights = optimizers = activations = averages = 0
    for stage in (stage for index, stage in enumerate(program.stages) if stage.source == index):
        state = jax.eval_shape(stage.enter, program.numbers, state, batch, key)
        further = [bytes_of((actor.policy, actor.geometry)) for actor in state.chain]
        weights = max(weights, sum(bytes_of(getattr(state, name)) for name in COPIES) + sum(further))
        optimizers = max(optimizers, bytes_of([state.optimizer, *(actor.optimizer for actor in state.chain)]))
        averages = max(averages, bytes_of([state.average, *(actor.average for actor in state.chain)]))
        jaxpr = jax.make_jaxpr(stage.update)(program.numbers, state, batch, key, jnp.int32(0))
        activations = max(activations, intermediates(jaxpr.jaxpr))
    data = None if dataset is None else bytes_of_data(spec, dataset, spec.seed_count)
    activations = spec.seed_count * activations if reserved is None else reserved
    return Memory(
        spec.seed_count * weights, spec.seed_count * optimizers, data, activations, spec.seed_count * averages
    )


def bytes_of_data(spec: Spec, dataset: Dataset, runs: int) -> int:
    """Bytes of all rows, or of rows in a file those that are held at once for so many runs."""
    if dataset.stored is None:
        return sum(np.asarray(column).nbytes for column in dataset.transitions)
    size = dataset.stored.bytes_of_row
    steps = [(1 + (step.behavior_batch == "own" and "behavior" in step.learn), step) for step in spec.schedule.steps]
    rows = [(runs * batches * spec.train.batch_size, step.updates) for batches, step in steps]
    return 3 * max(each * size * piece_of(size, each, most) for each, most in rows)


def bytes_of(tree: Any) -> int:
    """Bytes of the arrays of a tree, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
