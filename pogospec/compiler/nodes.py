"""What a stage is made of: its nodes, whose floats are numbers of the program, and a plan that is fixed at compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx

from pogospec.policies.carried import CarriedParticles
from pogospec.spec.geometries import metric_of_behavior
from pogospec.spec.schema import ProximalSpec, Spec, StepSpec
from pogospec.steps.base import Problem, Proximal
from pogospec.steps.multiplier import Multiplier


class Nodes(NamedTuple):
    """The parts of one stage; floats are leaves of the program, all else is fixed at compile."""

    policy: Any
    behavior: Any
    critic: Any
    target: Any  # the known energy, in the place of a critic
    scheme: Any
    problem: Problem
    fit: Problem  # of the behaviour: no terms, the geometry and the gradient of its loss
    multiplier: Multiplier | None  # what learns the step size
    optimizer: dict[str, Any]


class StageNodes:
    """The static skeleton of a stage, to be joined with numbers inside a trace."""

    def __init__(self, index: int, skeleton: Nodes):
        self.index, self.skeleton = index, skeleton

    def __call__(self, numbers) -> Nodes:
        """The nodes, whose floats are those of the numbers of the program."""
        nodes = eqx.combine(numbers[self.index], self.skeleton)
        return nodes._replace(policy=whole(nodes))


def whole(nodes: Nodes) -> Any:
    """The policy family of a stage; one without networks of its own with behaviour, critic and step, if it moves."""
    if not nodes.policy.borrows or nodes.scheme is None:
        return nodes.policy
    (term,) = nodes.problem.proximal
    step = nodes.problem.energy, term.geometry, nodes.scheme, term.tau
    return CarriedParticles(nodes.policy, nodes.behavior, nodes.critic, *step)


class Plan(NamedTuple):
    """What a stage is, beside its nodes."""

    label: str
    step: StepSpec
    horizons: dict[str, int]  # updates of each learner while its optimiser lives
    targets: bool  # whether slow copies are needed, now or later
    rounded: bool  # whether what geometries learn multiplies numbers rounded to bfloat16
    moving: bool  # whether a critic is learned meanwhile, here or beside the first actor of a chain
    bootstrap: str  # whose next actions the critic learns from: policy, or behavior while no policy was learned
    source: int  # the first repetition of the same step
    entry: int  # the repetition that is entered in the same way
    taken_over: frozenset[str]  # terms of the energy whose measure is that of an earlier step on the same Q


def nodes_of_step(spec: Spec, step: StepSpec, k: int) -> Nodes:
    """The nodes of a step at repetition k, with the numbers of the spec."""
    optimizer = {name: getattr(step.optimizer, name) for name in step.learn}
    problem = Problem(step.energy or {}, tuple(proximal_terms(step, k)), step.gradient)
    metric = metric_of_behavior(spec, step)
    fit = Problem({}, tuple(Proximal(geometry, "behavior", 1.0) for geometry in metric), step.behavior_gradient)
    law = step.tau if step.proximal is None else step.proximal[0].tau
    multiplier = law if isinstance(law, Multiplier) else None
    families = spec.policy, spec.behavior, spec.critic, spec.target
    return Nodes(*families, step.scheme, problem, fit, multiplier, optimizer)


def proximal_terms(step: StepSpec, k: int = 0) -> Iterator[Proximal]:
    """The proximal terms of a step at repetition k; a weighted sum of geometries is a term for each."""
    terms = step.proximal or ()
    if step.from_ is not None:
        terms = (ProximalSpec(step.from_, step.geometry, step.tau),)
    for term in terms:
        tau: Any = term.tau
        tau = tau if isinstance(tau, float) else tau.at(k)
        parts = term.geometry.values() if isinstance(term.geometry, dict) else (term.geometry,)
        yield from (Proximal(geometry, term.reference, tau) for geometry in parts)
