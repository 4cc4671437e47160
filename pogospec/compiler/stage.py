"""A stage of the program: how one Euler step is entered, updated and measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pogospec.compiler.averages import advance, averaged, begin, taken
from pogospec.compiler.beside import Beside
from pogospec.compiler.beside import beside as both
from pogospec.compiler.nodes import Nodes, Plan, StageNodes
from pogospec.compiler.program import Stage, State
from pogospec.compiler.updates import (
    actor_gradient,
    actor_update,
    as_learned,
    behavior_update,
    borrowed,
    context_of,
    critic_update,
    move_targets,
    on_each,
    references_of,
    temperatures,
)
from pogospec.energies.base import Context
from pogospec.nets import with_products
from pogospec.steps.measure import measure, scales
from pogospec.types import Batch, Key, Space

BEGIN_ROWS = 4096
"""Rows of the data that a term looks at when a step begins."""
ORDERS = {
    "critic_first": ("critic", "behavior", "policy"),
    "policy_first": ("policy", "critic", "behavior"),
    "at_once": ("critic", "behavior", "policy"),
}
"""Order of the learners within an update; at once, all see the weights before it."""
OWN = {
    "critic": ("critic",),
    "behavior": ("behavior",),
    "policy": ("policy", "geometry", "multiplier", "temperature"),
}
"""What each learner changes, beside its optimiser."""
FITTING = 1_000_005
"""Folded into the key of the behaviour's fit, whose samples are not those of critic and policy."""
MINIBATCH = 1_000_017
"""Folded into the key of the minibatch by which a known energy is estimated, likewise."""
POINTS = 2**16
"""Points, of all states together, on which the health of a scheme is measured; at least those of one state."""


def stage_of(plan: Plan, space: Space, nodes_of: StageNodes) -> Stage:
    """Close the pure functions of one Euler step over its skeleton."""

    def enter(numbers, state: State, data: Batch, key: Key) -> State:
        return _enter(plan, nodes_of(numbers), space, state, data, key)

    def update(
        numbers, state: State, batch: Batch, key: Key, index, for_behavior: Batch | None = None
    ) -> tuple[State, dict]:
        return _update(plan, nodes_of(numbers), state, batch, key, index, for_behavior)

    def gradient(numbers, state: State, batch: Batch, key: Key):
        if nodes_of.skeleton.policy.borrows:  # it has no network to be changed
            return None, {}
        return actor_gradient(nodes_of(numbers), state, batch, key)

    def measure(numbers, state: State, batch: Batch, key: Key) -> dict:
        return _measure(plan, nodes_of(numbers), averaged(state), batch, key)

    def beside(question: Callable[[Beside], Any]) -> Callable[..., Any]:
        def asked(numbers, state: State, batch: Batch, key: Key):
            return question(both(plan, nodes_of(numbers), averaged(state), batch, key))

        return asked

    functions = enter, update, gradient, measure
    about = plan.label, plan.step.updates, plan.step.learn, *functions, plan.source, plan.step
    return Stage(*about, entry=plan.entry, beside=beside)


def begin_rows(key: Key, count: int) -> Any:
    """The rows, of so many, that terms look at when a step begins with a key; all, where they are few."""
    return _rows_at_begin(jax.random.split(key, 3)[2], count)


def _rows_at_begin(key: Key, count: int) -> Any:
    return jnp.arange(count) if count <= BEGIN_ROWS else jax.random.randint(key, (BEGIN_ROWS,), 0, count)


def _enter(plan: Plan, nodes: Nodes, space: Space, state: State, data: Batch, key: Key) -> State:
    """Re-centre, start fresh optimisers and let geometries and terms of the energy begin."""
    geometry_key, energy_key, rows_key = jax.random.split(key, 3)
    borrows, state = nodes.policy.borrows, taken(nodes, state)
    if borrows:
        state = state._replace(policy=borrowed(state.critic, state.behavior))
    if plan.step.start == "behavior":
        state = state._replace(policy=state.behavior, policy_target=state.behavior)
    state = begin(nodes, state)
    kept = state.optimizer if plan.step.optimizer_state == "keep" else {}
    fresh = {
        name: kept[name] if name in kept else node.transform(plan.horizons[name]).init(getattr(state, name))
        for name, node in nodes.optimizer.items()
        if not (borrows and name == "policy")
    }
    terms = enumerate(nodes.problem.proximal)
    geometry = tuple(term.geometry.init(jax.random.fold_in(geometry_key, i), space) for i, term in terms)
    geometry = with_products(geometry, plan.rounded)
    multiplier = None if nodes.multiplier is None else nodes.multiplier.init()
    learned = geometry, multiplier, {name: law.init() for name, law in temperatures(nodes).items()}
    if plan.step.optimizer_state == "keep" and _alike(learned, (state.geometry, state.multiplier, state.temperature)):
        learned = state.geometry, state.multiplier, state.temperature
    rows = _rows_at_begin(rows_key, data.rewards.shape[0])
    batch = jax.tree.map(lambda column: column[rows], data)
    energy = {} if plan.moving else dict(state.energy)
    for index, (name, term) in enumerate(nodes.problem.energy.items()):
        if term.begins and not (name in plan.taken_over and name in energy):  # a stage may be entered alone
            parameters = nodes.policy.parameters(state.policy, batch.observations)
            seen = context_of(nodes, state, batch)
            energy[name] = term.begin(parameters, seen, jax.random.fold_in(energy_key, index))
    return state._replace(
        reference=state.policy if "policy" in plan.step.learn and not borrows else state.reference,
        geometry=learned[0],
        multiplier=learned[1],
        temperature=learned[2],
        energy=energy,
        optimizer=state.optimizer | fresh,
        best=state.policy if plan.step.keeps_best else None,
        doubled=(state.policy, state.policy) if plan.step.doubles else (),
    )


def _alike(first: Any, second: Any) -> bool:
    """Whether two trees hold arrays of the same shapes in the same places."""
    shapes = [(jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]) for tree in (first, second)]
    return shapes[0] == shapes[1]


def _update(
    plan: Plan, nodes: Nodes, state: State, batch: Batch, key: Key, index, for_behavior: Batch | None
) -> tuple[State, dict]:
    """What the step learns, in the order that it says; slow copies move with the policy, or on their own."""
    step, info, before = plan.step, {}, state
    if nodes.target is not None:
        alike = nodes.scheme.compares(batch.actions.shape[-1])
        nodes = nodes._replace(target=nodes.target.drawn(jax.random.fold_in(key, MINIBATCH), alike))
    critic_key, actor_key = jax.random.split(key)
    rows = batch if for_behavior is None else for_behavior
    learn = {
        "critic": lambda seen: critic_update(plan, nodes, seen, batch, critic_key),
        "behavior": lambda seen: behavior_update(plan, nodes, seen, rows, jax.random.fold_in(key, FITTING)),
        "policy": lambda seen: actor_update(plan, nodes, seen, batch, actor_key, before.critic),
    }
    borrows = nodes.policy.borrows
    own = "policy" in step.learn and not borrows
    with_policy = step.order == "critic_first" and own and step.target_every is None

    def move(state):
        follow = before if step.slow_policy == "before_update" else state
        return move_targets(nodes, state, follow.policy)

    for name in ORDERS[step.order]:
        if name not in step.learn or (name == "policy" and borrows):
            continue

        def one(state, name=name):
            new, part = learn[name](before if step.order == "at_once" else state)
            state = _joined(state, new, name)
            return (move(state) if name == "policy" and with_policy and plan.targets else state), part

        count = step.actor_every if name == "policy" else 1
        state, part = on_each(count, index, one, state, step.actor_on == "first")
        info |= part
    if plan.targets and not with_policy:
        rhythm = step.actor_every if own else 1
        first = step.target_every is None and step.actor_on == "first"
        state, _ = on_each(step.target_every or rhythm, index, lambda state: (move(state), {}), state, first)
    if borrows and "policy" in step.learn:
        state = state._replace(policy=borrowed(state.critic, state.behavior))
    return advance(nodes, step, state, index), info


def _joined(state: State, new: State, learner: str) -> State:
    """The state with what one learner has made of its own part."""
    own = {name: getattr(new, name) for name in OWN[learner]}
    return state._replace(**own, optimizer=state.optimizer | {learner: new.optimizer[learner]})


def _measure(plan: Plan, nodes: Nodes, state: State, batch: Batch, key: Key) -> dict:
    """Numbers on a set of states; `q_rows` are the values of the logged actions by the first critic."""
    nodes = as_learned(nodes, state)
    found, context = {}, context_of(nodes, state, batch)
    if state.critic is not None:
        found["q_rows"] = nodes.critic.values(state.critic, batch.observations, batch.actions, 1)[0]
    if "policy" not in plan.step.learn:
        return found
    parameters = nodes.policy.parameters(state.policy, batch.observations)
    if plan.moving:
        context = context._replace(fixed=scales(nodes.problem, parameters, context, key))
    start = None if state.behavior is None else nodes.behavior.parameters(state.behavior, batch.observations)
    references = references_of(nodes, state, batch)
    found |= measure(nodes.problem, parameters, references, start, context, batch.episodes, key)
    own = nodes.scheme.minimised(nodes.problem, parameters, references, context, key)
    found |= {} if own is None else {"objective": own}
    return found | _health(nodes, state, batch, context, key)


def _health(nodes: Nodes, state: State, batch: Batch, context: Context, key: Key) -> dict:
    """Whether the scheme of the step can be trusted, on as many of the states as its points allow."""
    rows = max(1, POINTS // nodes.scheme.count(batch.actions.shape[-1]))
    few = jax.tree.map(lambda column: column[:rows], batch)
    seen = context_of(nodes, state, few)._replace(fixed=context.fixed)
    parameters = nodes.policy.parameters(state.policy, few.observations)
    return nodes.scheme.health(nodes.problem, parameters, references_of(nodes, state, few), seen, key)
