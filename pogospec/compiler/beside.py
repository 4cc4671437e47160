"""A step's policy beside the one that the step began with, on states: what judges ask about."""

from __future__ import annotations

from typing import Any, NamedTuple

from pogospec.compiler.nodes import Nodes, Plan
from pogospec.compiler.program import State
from pogospec.compiler.updates import as_learned, context_of
from pogospec.energies.base import Context
from pogospec.steps.base import Problem
from pogospec.steps.measure import energy_rows, scales
from pogospec.types import Batch, Key, Values


class Beside(NamedTuple):
    """Both policies at the observations of a batch, of one run."""

    problem: Problem
    context: Context  # the critics as they are now, and the one scale of the energy
    policy: Any  # parameters
    reference: Any  # those of the policy that the step began with
    episodes: Any  # of the rows
    key: Key

    def fall(self, context: Context) -> Values:
        """How much lower the energy of the policy is than that of its reference, in each row, by the same samples."""
        before, now = (energy_rows(self.problem, p, context, self.key) for p in (self.reference, self.policy))
        return before - now


def beside(plan: Plan, nodes: Nodes, state: State, batch: Batch, key: Key) -> Beside:
    """Both policies of a state whose averaged weights are taken."""
    nodes = as_learned(nodes, state)
    context = context_of(nodes, state, batch)
    policy, reference = (nodes.policy.parameters(net, batch.observations) for net in (state.policy, state.reference))
    if plan.moving:
        context = context._replace(fixed=scales(nodes.problem, policy, context, key))
    return Beside(nodes.problem, context, policy, reference, batch.episodes, key)
