"""Averaged weights of learners: kept in an update, put in the place of the last ones where a step is over or looked at.

Within a step everything sees the last weights. What a later step begins with and is near to, what is measured,
evaluated and saved are the averaged ones.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from pogospec.compiler.nodes import Nodes
from pogospec.compiler.program import State
from pogospec.policies.particles import Borrowed
from pogospec.spec.schema import StepSpec


def laws_of(nodes: Nodes) -> dict[str, Any]:
    """How the weights of each learner of a step are averaged, of those that are."""
    laws = {name: getattr(node, "average", None) for name, node in nodes.optimizer.items()}
    return {name: law for name, law in laws.items() if law is not None}


def begin(nodes: Nodes, state: State) -> State:
    """The state of a step that begins, with nothing averaged yet; means of the step before are gone."""
    return state._replace(average={name: law.init(getattr(state, name)) for name, law in laws_of(nodes).items()})


def advance(nodes: Nodes, step: StepSpec, state: State, index: Any) -> State:
    """Take in the weights after an update of a step."""
    found = {}
    for name, law in laws_of(nodes).items():
        count, moved = index + 1, jnp.asarray(True)
        if name == "policy" and step.actor_every > 1:
            count = step.policy_updates(index + 1)
            moved = count > step.policy_updates(index)
        found[name] = law.update(state.average[name], getattr(state, name), count, moved)
    return state._replace(average=found) if found else state


def averaged(state: State) -> State:
    """The state with averaged weights in the place of the last ones, where some are averaged; for one run."""
    means = {name: kept.of(getattr(state, name)) for name, kept in state.average.items()}
    chain = tuple(
        actor._replace(**{name: kept.of(getattr(actor, name)) for name, kept in actor.average.items()})
        for actor in state.chain
    )
    state = state._replace(**means, chain=chain)
    if means and isinstance(state.policy, Borrowed):
        state = state._replace(policy=Borrowed(state.behavior, state.critic))
    return state


def taken(nodes: Nodes, state: State) -> State:
    """What a step leaves to the next: averaged weights, from which the slow copies set out too."""
    found = averaged(state)
    if "policy" in state.average and state.policy_target is not None:
        found = found._replace(policy_target=found.policy)
    if "critic" in state.average:
        found = found._replace(critic_target=nodes.critic.slow(found.critic))
    return found._replace(average={})


def averages(state: State, number: int = 0) -> bool:
    """Whether the policy of an actor, of a concurrent chain the one of this number, has averaged weights."""
    kept = state.chain[number - 1].average if number else state.average
    return "policy" in kept or (bool(kept) and isinstance(state.policy, Borrowed))
