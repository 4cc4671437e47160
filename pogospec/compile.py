"""Spec + space -> Program; the only file that joins the families."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from pogospec.critics.base import Views
from pogospec.energies.base import Context
from pogospec.nets import polyak
from pogospec.policies.base import Point
from pogospec.program import Program, Stage, State
from pogospec.spec.schema import Spec, StepSpec
from pogospec.steps.base import Problem, Proximal
from pogospec.types import Batch, Key, Space


class Nodes(NamedTuple):
    """The parts of one stage; floats are leaves of the program, all else is fixed at compile."""

    policy: Any
    behavior: Any
    critic: Any
    scheme: Any
    problem: Problem
    optimizer: dict[str, Any]


class _StageNodes:
    """The static skeleton of a stage, to be joined with numbers inside a trace."""

    def __init__(self, index: int, skeleton: Nodes):
        self.index, self.skeleton = index, skeleton

    def __call__(self, numbers) -> Nodes:
        return eqx.combine(numbers[self.index], self.skeleton)


def compile_spec(spec: Spec, space: Space) -> Program:
    """Compile a checked spec for a task; no arrays are made but the numbers of the spec."""
    steps = [step for step in spec.schedule.steps for _ in range(step.repeat)]
    numbers, stages = [], []
    euler = 0
    for index, step in enumerate(steps):
        euler += "policy" in step.learn
        floats, skeleton = eqx.partition(_nodes(spec, step), lambda leaf: isinstance(leaf, float))
        numbers.append(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), floats))
        label = f"step {euler}" if "policy" in step.learn else "warm-up"
        later = any("critic" in s.learn for s in steps[index:])
        stages.append(_stage(label, step, space, _StageNodes(index, skeleton), later))
    return Program(space, tuple(numbers), _init(spec, steps, space), tuple(stages), spec.policy, spec.behavior)


def _nodes(spec: Spec, step: StepSpec) -> Nodes:
    proximal = () if step.geometry is None else (Proximal(step.geometry, step.from_, step.tau),)
    optimizer = {name: getattr(step.optimizer, name) for name in step.learn}
    problem = Problem(step.energy, proximal, step.gradient)
    return Nodes(spec.policy, spec.behavior, spec.critic, step.scheme, problem, optimizer)


def _init(spec: Spec, steps: list[StepSpec], space: Space):
    learned = {name for step in steps for name in step.learn}
    optimizers = {name: getattr(spec.optimizer, name) for step in steps for name in step.learn}
    recentred = any(step.from_ == "previous" for step in steps)

    def init(key: Key) -> State:
        keys = jax.random.split(key, 3)
        critic = spec.critic.init(keys[0], space) if "critic" in learned and spec.critic is not None else None
        behavior = spec.behavior.init(keys[1], space) if "behavior" in learned else None
        policy = spec.policy.init(keys[2], space) if learned & {"policy", "critic"} else None
        networks = {"critic": critic, "behavior": behavior, "policy": policy}
        optimizer = {name: node.transform().init(networks[name]) for name, node in sorted(optimizers.items())}
        return State(critic, critic, behavior, policy, policy, policy if recentred else None, (), optimizer)

    return init


def _stage(label: str, step: StepSpec, space: Space, nodes_of: _StageNodes, targets: bool) -> Stage:
    """Close the pure functions of one Euler step over its skeleton."""

    def enter(numbers, state: State, key: Key) -> State:
        nodes = nodes_of(numbers)
        fresh = {name: node.transform().init(getattr(state, name)) for name, node in nodes.optimizer.items()}
        reference = state.policy if step.from_ == "previous" else state.reference
        geometry = tuple(term.geometry.init(key, space) for term in nodes.problem.proximal)
        return state._replace(reference=reference, geometry=geometry, optimizer=state.optimizer | fresh)

    def actor_gradient(numbers, state: State, batch: Batch, key: Key):
        return _actor_gradient(nodes_of(numbers), state, batch, key)

    def update(numbers, state: State, batch: Batch, key: Key, index) -> tuple[State, dict]:
        nodes = nodes_of(numbers)
        critic_key, actor_key = jax.random.split(key)
        info = {}
        if "critic" in step.learn:
            state, part = _critic_update(nodes, state, batch, critic_key)
            info |= part
        if "behavior" in step.learn:
            state, part = _behavior_update(nodes, state, batch)
            info |= part
        if "policy" in step.learn:

            def act(state):
                new, part = _actor_update(nodes, state, batch, actor_key)
                return (_move_targets(nodes, new) if step.target_every is None and targets else new), part

            state, part = _every(step.actor_every, index, act, state)
            info |= part
        if targets and (step.target_every is not None or "policy" not in step.learn):
            every = step.target_every or 1
            state, _ = _every(every, index, lambda state: (_move_targets(nodes, state), {}), state)
        return state, info

    return Stage(label, step.updates, step.learn, enter, update, actor_gradient)


def _every(count: int, index, function, state):
    """Run on the last of each `count` updates; the index is not batched, so nothing is computed otherwise."""
    if count == 1:
        return function(state)
    _, shapes = eqx.filter_eval_shape(function, state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.cond((index + 1) % count == 0, function, lambda state: (state, zeros), state)


def _apply(nodes: Nodes, name: str, state: State, gradient) -> State:
    updates, optimizer = nodes.optimizer[name].transform().update(gradient, state.optimizer[name])
    network = optax.apply_updates(getattr(state, name), updates)
    return state._replace(**{name: network}, optimizer=state.optimizer | {name: optimizer})


def _critic_update(nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    policy, nexts = nodes.policy, batch.next_observations
    behavior = state.behavior
    views = Views(
        target_mean=lambda: policy.mean_action(policy.parameters(state.policy_target, nexts)),
        online_sample=lambda key: policy.sample(policy.parameters(state.policy, nexts), key),
        behavior_mean=None
        if behavior is None
        else lambda: nodes.behavior.mean_action(nodes.behavior.parameters(behavior, nexts)),
    )
    loss = jax.value_and_grad(nodes.critic.loss, has_aux=True)
    (value, info), gradient = loss(state.critic, state.critic_target, batch, views, key)
    return _apply(nodes, "critic", state, gradient), {"critic_loss": value} | info


def _behavior_update(nodes: Nodes, state: State, batch: Batch) -> tuple[State, dict]:
    def loss(network):
        parameters = nodes.behavior.parameters(network, batch.observations)
        return nodes.behavior.fit_loss(parameters, batch.actions).mean()

    value, gradient = jax.value_and_grad(loss)(state.behavior)
    return _apply(nodes, "behavior", state, gradient), {"behavior_loss": value}


def _actor_gradient(nodes: Nodes, state: State, batch: Batch, key: Key):
    observations = batch.observations

    def reference(name: str):
        if name == "data":
            return Point(batch.actions)
        if name == "behavior":
            return jax.lax.stop_gradient(nodes.behavior.parameters(state.behavior, observations))
        return jax.lax.stop_gradient(nodes.policy.parameters(state.reference, observations))

    q = None
    if state.critic is not None:
        q = functools.partial(nodes.critic.values, state.critic, observations)
    context = Context(observations, batch.actions, q)
    references = tuple(reference(term.reference) for term in nodes.problem.proximal)
    heads = lambda network: nodes.policy.parameters(network, observations)  # noqa: E731
    return nodes.scheme.gradient(nodes.problem, heads, state.policy, references, context, key)


def _actor_update(nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    gradient, info = _actor_gradient(nodes, state, batch, key)
    return _apply(nodes, "policy", state, gradient), info


def _move_targets(nodes: Nodes, state: State) -> State:
    if nodes.critic is None:
        return state
    rate = nodes.critic.target_rate
    return state._replace(
        critic_target=polyak(state.critic_target, state.critic, rate),
        policy_target=None if state.policy is None else polyak(state.policy_target, state.policy, rate),
    )
