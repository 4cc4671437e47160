"""The parts of an update: how the critic, the behaviour, the policy, what it learns beside, and slow copies move."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from pogospec.compiler.nodes import Nodes, Plan
from pogospec.compiler.program import State
from pogospec.critics.base import Views
from pogospec.energies.base import Context
from pogospec.energies.entropy import EntropyTerm
from pogospec.nets import polyak
from pogospec.policies.base import Point, Sample, inside
from pogospec.policies.particles import Borrowed
from pogospec.steps.base import divergences, learn
from pogospec.types import Batch, Key, Params, Scalar

LEARNING = 1_000_003
"""Folded into the key of what geometries learn, whose samples are not those of the policy's update."""
TEMPERATURE = 1_000_004
"""Folded into the key of the entropy that a temperature looks at, likewise."""


def critic_update(plan: Plan, nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    """The critic, against what it sees of the policies at the next observations."""
    views = _views(plan, nodes, state, batch)
    step = lambda gradient: _apply(plan, nodes, "critic", state, gradient).critic  # noqa: E731
    gradient, info = nodes.critic.gradient(state.critic, state.critic_target, batch, views, key, step)
    return _apply(plan, nodes, "critic", state, gradient), info


def behavior_update(plan: Plan, nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    """The behaviour policy, towards the logged actions; its geometry may precondition the gradient."""
    heads = lambda network: nodes.behavior.parameters(network, batch.observations)  # noqa: E731
    parameters, pull_back = jax.vjp(heads, state.behavior)
    loss = lambda parameters: nodes.behavior.fit_loss(parameters, batch.actions, key).mean()  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(parameters)
    if nodes.fit.proximal:
        gradient = nodes.fit.gradient.precondition(nodes.fit.proximal, parameters, gradient)
    return _apply(plan, nodes, "behavior", state, pull_back(gradient)[0]), {"behavior_loss": value}


def actor_update(plan: Plan, nodes: Nodes, state: State, batch: Batch, key: Key, earlier: Params) -> tuple[State, dict]:
    """Temperature, policy, then what geometries and step size learn; `earlier`: the critic before its own update."""
    if nodes.target is not None and nodes.scheme.closed:
        return _set(nodes, state, batch, key)
    warm, info = _temperature_update(nodes, state, batch, key)
    seen = state if plan.step.order == "at_once" else warm
    if "critic" in plan.step.learn:
        seen = seen._replace(critic=nodes.critic.for_policy(earlier, state.critic))
    gradient, part = actor_gradient(nodes, seen, batch, key)
    new, more = _proximal_update(nodes, _apply(plan, nodes, "policy", warm, gradient), batch, key)
    return new, info | part | more


def temperatures(nodes: Nodes) -> dict[str, Any]:
    """The laws of the temperatures that terms of the energy learn, by the names of the terms."""
    laws = {name: getattr(term, "temperature", None) for name, term in nodes.problem.energy.items()}
    return {name: law for name, law in laws.items() if law is not None}


def _temperature_update(nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    """One step of each temperature, beside the policy as it is now, and the temperatures for people."""
    laws = temperatures(nodes)
    if not laws:
        return state, {}
    parameters = nodes.policy.parameters(state.policy, batch.observations)
    entropy = nodes.policy.entropy(parameters, jax.random.fold_in(key, TEMPERATURE)).mean()
    act_dim = batch.actions.shape[-1]
    learned = {name: law.update(state.temperature[name], entropy, act_dim) for name, law in laws.items()}
    state = state._replace(temperature=learned)
    return state, {"temperature": entropy_weight(nodes, state)}


def entropy_weight(nodes: Nodes, state: State) -> Scalar:
    """Lambda, the weight of the entropy in the energy of a step, as it is now."""
    terms = as_learned(nodes, state).problem.energy.values()
    return jnp.asarray(sum(term.weight for term in terms if isinstance(term, EntropyTerm)), float)


def actor_gradient(nodes: Nodes, state: State, batch: Batch, key: Key):
    """The gradient of the policy's network by the scheme of the step, and numbers for people."""
    nodes = as_learned(nodes, state)
    heads = lambda network: nodes.policy.parameters(network, batch.observations)  # noqa: E731
    context = context_of(nodes, state, batch)
    return nodes.scheme.gradient(nodes.problem, heads, state.policy, references_of(nodes, state, batch), context, key)


def _set(nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    """The policy at the end of a closed step on a known energy, which has one state; no optimiser is asked."""
    (reference,), context = references_of(nodes, state, batch), context_of(nodes, state, batch)
    target = nodes.scheme.target(nodes.problem, reference, context, key)
    distance = divergences(nodes.problem, target, (reference,), context, key)[0].mean()
    policy = nodes.policy.assigned(state.policy, jax.tree.map(lambda leaf: leaf[0], target))
    return state._replace(policy=policy), {"distance": distance}


def _proximal_update(nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    """Train what geometries and step size learn, beside the policy as it is now."""
    if nodes.multiplier is None and not any(term.geometry.learns for term in nodes.problem.proximal):
        return state, {}
    parameters, context = nodes.policy.parameters(state.policy, batch.observations), context_of(nodes, state, batch)
    key, references = jax.random.fold_in(key, LEARNING), references_of(nodes, state, batch)
    learned, info = learn(nodes.problem, parameters, references, context, key)
    state, context = state._replace(geometry=learned), context._replace(learned=learned)
    if nodes.multiplier is not None:
        key = jax.random.fold_in(key, LEARNING)
        distances = divergences(nodes.problem, parameters, references, context, key)
        total = sum((rows.mean() for rows in distances), jnp.zeros(()))
        state = state._replace(multiplier=nodes.multiplier.update(state.multiplier, total))
    return state, info


def borrowed(critic: Params, behavior: Params) -> Borrowed | None:
    """The networks of a policy that has none of its own; None before both are there."""
    return None if critic is None or behavior is None else Borrowed(behavior, critic)


def move_targets(nodes: Nodes, state: State, policy: Params) -> State:
    """The slow copies, one step nearer to what they follow; `policy`: the weights that the policy's follows."""
    if nodes.critic is None:
        return state
    rate = nodes.critic.target_rate
    return state._replace(
        critic_target=polyak(state.critic_target, nodes.critic.slow(state.critic), rate),
        policy_target=None if state.policy_target is None else polyak(state.policy_target, policy, rate),
    )


def on_each(count: int, index, function, state, first: bool = False):
    """Run on the last of each `count` updates, or the first; the index is not batched, so nothing is computed else."""
    if count == 1:
        return function(state)
    _, shapes = eqx.filter_eval_shape(function, state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.cond((index if first else index + 1) % count == 0, function, lambda state: (state, zeros), state)


def _apply(plan: Plan, nodes: Nodes, name: str, state: State, gradient) -> State:
    transform = nodes.optimizer[name].transform(plan.horizons[name])
    updates, optimizer = transform.update(gradient, state.optimizer[name])
    network = optax.apply_updates(getattr(state, name), updates)
    return state._replace(**{name: network}, optimizer=state.optimizer | {name: optimizer})


def context_of(nodes: Nodes, state: State, batch: Batch) -> Context:
    """What energies and geometries see of a batch: its columns, the critic or the known energy, what was learned."""
    clipped = inside if hasattr(nodes.scheme, "bound") else _within  # points that move may begin on the bounds

    def q(actions, count=None, slow=False):
        network = state.critic_target if slow else state.critic
        return nodes.critic.values(network, batch.observations, clipped(actions), count)

    known = None if state.critic is None else q
    if nodes.target is not None:
        known = lambda actions, count=None, slow=False: nodes.target.log_density(actions)[None]  # noqa: E731
    v = lambda: nodes.critic.state_values(state.critic, batch.observations)  # noqa: E731
    return Context(batch.observations, batch.actions, nodes.policy, known, state.energy, state.geometry, v)


def references_of(nodes: Nodes, state: State, batch: Batch) -> tuple:
    """Parameters of the reference of each proximal term, at the observations of a batch."""

    def reference(name: str):
        if name == "data":
            return Point(batch.actions)
        if name == "behavior":
            return jax.lax.stop_gradient(nodes.behavior.parameters(state.behavior, batch.observations))
        return jax.lax.stop_gradient(nodes.policy.parameters(state.reference, batch.observations))

    return tuple(reference(term.reference) for term in nodes.problem.proximal)


def as_learned(nodes: Nodes, state: State) -> Nodes:
    """The nodes with step size and temperatures as they are now, where they are learned."""
    problem = nodes.problem
    if nodes.multiplier is not None:
        tau = nodes.multiplier.tau(state.multiplier)
        problem = problem._replace(proximal=tuple(term._replace(tau=tau) for term in problem.proximal))
    energy: dict[str, Any] = dict(problem.energy)
    for name in temperatures(nodes):
        energy[name] = energy[name].at(state.temperature[name])
    return nodes._replace(problem=problem._replace(energy=energy))


def _views(plan: Plan, nodes: Nodes, state: State, batch: Batch) -> Views:
    """What the critic sees of the policies at the next observations."""
    nexts, behavior = batch.next_observations, state.behavior
    if plan.bootstrap == "policy":
        family, online, slow = nodes.policy, state.policy, state.policy_target
    else:
        family, online, slow = nodes.behavior, behavior, behavior

    def sample(network, key, count):
        return _within(family.actions(Sample(count), family.parameters(network, nexts), key))

    def scored(observations, key, count):
        actions, densities = family.scored(family.parameters(online, observations), key, count)
        return _within(actions), densities

    return Views(
        target_mean=lambda: _within(family.mean_action(family.parameters(slow, nexts))),
        online_sample=lambda key, count: sample(online, key, count),
        online=lambda: family.parameters(online, nexts),
        behavior=None if behavior is None else lambda: nodes.behavior.parameters(behavior, nexts),
        behavior_mean=None
        if behavior is None
        else lambda: _within(nodes.behavior.mean_action(nodes.behavior.parameters(behavior, nexts))),
        learned=lambda geometry: next(
            (
                learned
                for term, learned in zip(nodes.problem.proximal, state.geometry, strict=True)
                if term.geometry.kind == geometry.kind
            ),
            None,
        ),
        target_sample=lambda key, count: sample(slow, key, count),
        scored=lambda key, count: scored(nexts, key, count),
        scored_here=lambda key, count: scored(batch.observations, key, count),
        entropy_weight=entropy_weight(nodes, state),
    )


def _within(actions):
    """Actions inside the bounds, where they enter a critic or the environment."""
    return jnp.clip(actions, -1.0, 1.0)
