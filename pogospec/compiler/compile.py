"""Spec + space -> Program: the schedule unrolled into stages, each with its nodes, its numbers and its plan."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from pogospec.compiler.chain import joined
from pogospec.compiler.nodes import Plan, StageNodes, nodes_of_step, whole
from pogospec.compiler.program import Program, State
from pogospec.compiler.stage import stage_of
from pogospec.compiler.updates import borrowed
from pogospec.errors import DataError
from pogospec.nets import with_products
from pogospec.spec.schema import Spec, StepSpec
from pogospec.types import Key, Space


def compile_spec(spec: Spec, space: Space) -> Program:
    """Compile a checked spec for a task; no arrays are made but the numbers of the spec.

    >>> program = pogospec.compile(pogospec.load("pogo_w_two_step"), Space(3, 2, low=(-1, -1), high=(1, 1)))
    >>> [stage.label for stage in program.stages]
    ['step 1', 'step 2']

    `Space` is that of `pogospec.types`, or of a policy. Raises DataError where a step is too large for the task.
    """
    for index, step in enumerate(spec.schedule.steps):
        large = None if step.scheme is None else step.scheme.too_large(space.act_dim)
        if large is not None:
            raise DataError(f"schedule.steps[{index}].scheme.actions: {large}")
    steps = [(step, k) for step in spec.schedule.steps for k in range(step.repeat)]
    plain = [step for step, _ in steps]
    horizons, learned, measured = _horizons(plain), set(), {}
    last = max((index for index, step in enumerate(plain) if "critic" in step.learn), default=-1)
    first = len(plain) - spec.schedule.at_once  # of the actors that train at once
    numbers, nodes, plans, stages = [], [], [], []
    euler = 0
    for index, (step, k) in enumerate(steps):
        parts = nodes_of_step(spec, step, k)
        floats, skeleton = eqx.partition(parts, lambda leaf: isinstance(leaf, float))
        numbers.append(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), floats))
        nodes.append(StageNodes(index, skeleton))
        euler += "policy" in step.learn and step.name is None
        label = step.name or (f"step {euler}" if "policy" in step.learn else "warm-up")
        label = f"{step.name} {k + 1}" if step.name and step.repeat > 1 else label
        learned |= set(step.learn)
        moving = "critic" in step.learn or (index > first and "critic" in plain[first].learn)
        own = {name: type(term) for name, term in (step.energy or {}).items() if term.begins}
        taken_over = frozenset(name for name, kind in own.items() if not moving and measured.get(name) is kind)
        measured = {} if moving else measured | own
        plan = Plan(
            label=label,
            step=step,
            horizons=horizons[index],
            targets=index <= last,
            rounded=spec.train.precision == "bfloat16_matmul",
            moving=moving,
            bootstrap="policy" if "policy" in learned or "behavior" not in learned else "behavior",
            source=index - k,
            entry=index - k + (k > 0 and taken_over != plans[index - k].taken_over),
            taken_over=taken_over,
        )
        plans.append(plan)
        stages.append(stage_of(plan, space, nodes[index])._replace(policy=whole(parts)))
    if spec.schedule.at_once > 1:
        stages[first:] = [joined(stages[first:], first)]
    init = _init(spec, plain, space, nodes[0])
    return Program(space, tuple(numbers), init, tuple(stages), spec.policy, spec.behavior)


def _horizons(steps: list[StepSpec]) -> list[dict[str, int]]:
    """Updates of each learner from its fresh optimiser to the end of the last step that keeps it."""
    chains: dict[str, list[int]] = {}
    found: list[dict[str, list[int]]] = []
    for step in steps:
        for name in step.learn:
            if step.optimizer_state == "reset" or name not in chains:
                chains[name] = []
            chains[name].append(step.policy_updates(step.updates) if name == "policy" else step.updates)
        found.append({name: chains[name] for name in step.learn})
    return [{name: max(1, sum(chain)) for name, chain in chains.items()} for chains in found]


def _init(spec: Spec, steps: list[StepSpec], space: Space, nodes_of: StageNodes):
    learned, rounded = {name for step in steps for name in step.learn}, spec.train.precision == "bfloat16_matmul"

    def init(numbers, key: Key) -> State:
        keys, nodes = jax.random.split(key, 3), nodes_of(numbers)
        if spec.target is not None:
            begin = nodes.policy.placed(nodes.policy.init(keys[2], space), *spec.start.moments(space.act_dim))
            return State(None, None, begin, begin, None, begin, (), {}, {})
        critic = slow = None
        if "critic" in learned and nodes.critic is not None:
            critic = nodes.critic.init(keys[0], space)
            slow = nodes.critic.slow(critic)
        behavior = nodes.behavior.init(keys[1], space) if "behavior" in learned else None
        if spec.policy.borrows:
            state = State(critic, slow, behavior, borrowed(critic, behavior), None, None, (), {}, {})
            return with_products(state, rounded)
        policy = nodes.policy.init(keys[2], space) if learned & {"policy", "critic"} else None
        state = State(critic, slow, behavior, policy, policy, policy if "policy" in learned else None, (), {}, {})
        return with_products(state, rounded)

    return init
