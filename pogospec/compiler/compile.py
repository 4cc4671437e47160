"""Spec + space -> Program; the only file that joins the families."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from pogospec.checking.rules import metric_of_behavior
from pogospec.compiler.chain import joined
from pogospec.compiler.program import Program, Stage, State
from pogospec.critics.base import Views
from pogospec.energies.base import Context
from pogospec.errors import DataError
from pogospec.nets import polyak, with_products
from pogospec.policies.base import Point
from pogospec.spec.schema import ProximalSpec, Spec, StepSpec
from pogospec.steps.base import Problem, Proximal, divergences, learn
from pogospec.steps.measure import measure, scales
from pogospec.steps.multiplier import Multiplier
from pogospec.types import Batch, Key, Space


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


class _StageNodes:
    """The static skeleton of a stage, to be joined with numbers inside a trace."""

    def __init__(self, index: int, skeleton: Nodes):
        self.index, self.skeleton = index, skeleton

    def __call__(self, numbers) -> Nodes:
        return eqx.combine(numbers[self.index], self.skeleton)


BEGIN_ROWS = 4096
"""Rows of the data that a term looks at when a step begins."""
LEARNING = 1_000_003
"""Folded into the key of what geometries learn, whose samples are not those of the policy's update."""


def compile_spec(spec: Spec, space: Space) -> Program:
    """Compile a checked spec for a task; no arrays are made but the numbers of the spec.

    Raises DataError where a step is too large for the task.
    """
    for index, step in enumerate(spec.schedule.steps):
        large = None if step.scheme is None else step.scheme.too_large(space.act_dim)
        if large is not None:
            raise DataError(f"schedule.steps[{index}].scheme.actions: {large}")
    steps = [(step, k) for step in spec.schedule.steps for k in range(step.repeat)]
    plain = [step for step, _ in steps]
    horizons, learned = _horizons(plain), set()
    last = max((index for index, step in enumerate(plain) if "critic" in step.learn), default=-1)
    first = len(plain) - spec.schedule.at_once  # of the actors that train at once
    numbers, nodes, stages = [], [], []
    euler = 0
    for index, (step, k) in enumerate(steps):
        floats, skeleton = eqx.partition(_nodes(spec, step, k), lambda leaf: isinstance(leaf, float))
        numbers.append(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), floats))
        nodes.append(_StageNodes(index, skeleton))
        euler += "policy" in step.learn and step.name is None
        label = step.name or (f"step {euler}" if "policy" in step.learn else "warm-up")
        label = f"{step.name} {k + 1}" if step.name and step.repeat > 1 else label
        learned |= set(step.learn)
        plan = _Plan(
            label=label,
            step=step,
            horizons=horizons[index],
            targets=index <= last,
            rounded=spec.train.precision == "bfloat16_matmul",
            moving="critic" in step.learn or (index > first and "critic" in plain[first].learn),
            bootstrap="policy" if "policy" in learned or "behavior" not in learned else "behavior",
            source=index - k,
        )
        stages.append(_stage(plan, space, nodes[index]))
    if spec.schedule.at_once > 1:
        stages[first:] = [joined(stages[first:], first)]
    init = _init(spec, plain, space, nodes[0])
    return Program(space, tuple(numbers), init, tuple(stages), spec.policy, spec.behavior)


class _Plan(NamedTuple):
    """What a stage is, beside its nodes."""

    label: str
    step: StepSpec
    horizons: dict[str, int]  # updates of each learner while its optimiser lives
    targets: bool  # whether slow copies are needed, now or later
    rounded: bool  # whether what geometries learn multiplies numbers rounded to bfloat16
    moving: bool  # whether a critic is learned meanwhile, here or beside the first actor of a chain
    bootstrap: str  # whose next actions the critic learns from: policy, or behavior while no policy was learned
    source: int  # the first repetition of the same step


def _nodes(spec: Spec, step: StepSpec, k: int) -> Nodes:
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


def _horizons(steps: list[StepSpec]) -> list[dict[str, int]]:
    """Updates of each learner from its fresh optimiser to the end of the last step that keeps it."""
    chains: dict[str, list[int]] = {}
    found: list[dict[str, list[int]]] = []
    for step in steps:
        for name in step.learn:
            if step.optimizer_state == "reset" or name not in chains:
                chains[name] = []
            chains[name].append(step.updates // (step.actor_every if name == "policy" else 1))
        found.append({name: chains[name] for name in step.learn})
    return [{name: max(1, sum(chain)) for name, chain in chains.items()} for chains in found]


def _init(spec: Spec, steps: list[StepSpec], space: Space, nodes_of: _StageNodes):
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
        policy = nodes.policy.init(keys[2], space) if learned & {"policy", "critic"} else None
        state = State(critic, slow, behavior, policy, policy, policy if "policy" in learned else None, (), {}, {})
        return with_products(state, rounded)

    return init


def _stage(plan: _Plan, space: Space, nodes_of: _StageNodes) -> Stage:
    """Close the pure functions of one Euler step over its skeleton."""
    step = plan.step

    def enter(numbers, state: State, data: Batch, key: Key) -> State:
        return _enter(plan, nodes_of(numbers), space, state, data, key)

    def actor_gradient(numbers, state: State, batch: Batch, key: Key):
        return _actor_gradient(nodes_of(numbers), state, batch, key)

    def update(numbers, state: State, batch: Batch, key: Key, index) -> tuple[State, dict]:
        nodes = nodes_of(numbers)
        critic_key, actor_key = jax.random.split(key)
        info = {}
        if "critic" in step.learn:
            state, part = _critic_update(plan, nodes, state, batch, critic_key)
            info |= part
        if "behavior" in step.learn:
            state, part = _behavior_update(plan, nodes, state, batch)
            info |= part
        if "policy" in step.learn:

            def act(state):
                gradient, part = _actor_gradient(nodes, state, batch, actor_key)
                new, more = _proximal_update(nodes, _apply(plan, nodes, "policy", state, gradient), batch, actor_key)
                part |= more
                return (_move_targets(nodes, new) if step.target_every is None and plan.targets else new), part

            state, part = _every(step.actor_every, index, act, state)
            info |= part
        if plan.targets and (step.target_every is not None or "policy" not in step.learn):
            every = step.target_every or 1
            state, _ = _every(every, index, lambda state: (_move_targets(nodes, state), {}), state)
        return state, info

    def measure(numbers, state: State, batch: Batch, key: Key) -> dict:
        return _measure(plan, nodes_of(numbers), state, batch, key)

    functions = enter, update, actor_gradient, measure
    return Stage(plan.label, step.updates, step.learn, *functions, plan.source, step)


def _enter(plan: _Plan, nodes: Nodes, space: Space, state: State, data: Batch, key: Key) -> State:
    """Re-centre, start fresh optimisers and let geometries and terms of the energy begin."""
    geometry_key, energy_key, rows_key = jax.random.split(key, 3)
    if plan.step.start == "behavior":
        state = state._replace(policy=state.behavior, policy_target=state.behavior)
    kept = state.optimizer if plan.step.optimizer_state == "keep" else {}
    fresh = {
        name: kept[name] if name in kept else node.transform(plan.horizons[name]).init(getattr(state, name))
        for name, node in nodes.optimizer.items()
    }
    terms = enumerate(nodes.problem.proximal)
    geometry = tuple(term.geometry.init(jax.random.fold_in(geometry_key, i), space) for i, term in terms)
    geometry = with_products(geometry, plan.rounded)
    learned = geometry, None if nodes.multiplier is None else nodes.multiplier.init()
    if plan.step.optimizer_state == "keep" and _alike(learned, (state.geometry, state.multiplier)):
        learned = state.geometry, state.multiplier
    count = data.rewards.shape[0]
    rows = jnp.arange(count) if count <= BEGIN_ROWS else jax.random.randint(rows_key, (BEGIN_ROWS,), 0, count)
    batch = jax.tree.map(lambda column: column[rows], data)
    energy = {}
    for index, (name, term) in enumerate(nodes.problem.energy.items()):
        parameters = nodes.policy.parameters(state.policy, batch.observations)
        energy[name] = term.begin(parameters, _context(nodes, state, batch), jax.random.fold_in(energy_key, index))
    return state._replace(
        reference=state.policy if "policy" in plan.step.learn else state.reference,
        geometry=learned[0],
        multiplier=learned[1],
        energy=energy,
        optimizer=state.optimizer | fresh,
    )


def _alike(first: Any, second: Any) -> bool:
    """Whether two trees hold arrays of the same shapes in the same places."""
    shapes = [(jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]) for tree in (first, second)]
    return shapes[0] == shapes[1]


def _every(count: int, index, function, state):
    """Run on the last of each `count` updates; the index is not batched, so nothing is computed otherwise."""
    if count == 1:
        return function(state)
    _, shapes = eqx.filter_eval_shape(function, state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.cond((index + 1) % count == 0, function, lambda state: (state, zeros), state)


def _apply(plan: _Plan, nodes: Nodes, name: str, state: State, gradient) -> State:
    transform = nodes.optimizer[name].transform(plan.horizons[name])
    updates, optimizer = transform.update(gradient, state.optimizer[name])
    network = optax.apply_updates(getattr(state, name), updates)
    return state._replace(**{name: network}, optimizer=state.optimizer | {name: optimizer})


def _within(actions):
    """Actions inside the bounds, where they enter a critic or the environment."""
    return jnp.clip(actions, -1.0, 1.0)


def _views(plan: _Plan, nodes: Nodes, state: State, batch: Batch) -> Views:
    """What the critic sees of the policies at the next observations."""
    nexts, behavior = batch.next_observations, state.behavior
    if plan.bootstrap == "policy":
        family, online, slow = nodes.policy, state.policy, state.policy_target
    else:
        family, online, slow = nodes.behavior, behavior, behavior
    return Views(
        target_mean=lambda: _within(family.mean_action(family.parameters(slow, nexts))),
        online_sample=lambda key: _within(family.sample(family.parameters(online, nexts), key)),
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
    )


def _critic_update(plan: _Plan, nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    views = _views(plan, nodes, state, batch)
    step = lambda gradient: _apply(plan, nodes, "critic", state, gradient).critic  # noqa: E731
    gradient, info = nodes.critic.gradient(state.critic, state.critic_target, batch, views, key, step)
    return _apply(plan, nodes, "critic", state, gradient), info


def _behavior_update(plan: _Plan, nodes: Nodes, state: State, batch: Batch) -> tuple[State, dict]:
    heads = lambda network: nodes.behavior.parameters(network, batch.observations)  # noqa: E731
    parameters, pull_back = jax.vjp(heads, state.behavior)
    loss = lambda parameters: nodes.behavior.fit_loss(parameters, batch.actions).mean()  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(parameters)
    if nodes.fit.proximal:
        gradient = nodes.fit.gradient.precondition(nodes.fit.proximal, parameters, gradient)
    return _apply(plan, nodes, "behavior", state, pull_back(gradient)[0]), {"behavior_loss": value}


def _context(nodes: Nodes, state: State, batch: Batch) -> Context:
    def q(actions, count=None, slow=False):
        network = state.critic_target if slow else state.critic
        return nodes.critic.values(network, batch.observations, _within(actions), count)

    known = None if state.critic is None else q
    if nodes.target is not None:
        known = lambda actions, count=None, slow=False: nodes.target.log_density(actions)[None]  # noqa: E731
    v = lambda: nodes.critic.state_values(state.critic, batch.observations)  # noqa: E731
    return Context(batch.observations, batch.actions, nodes.policy, known, state.energy, state.geometry, v)


def _references(nodes: Nodes, state: State, batch: Batch) -> tuple:
    """Parameters of the reference of each proximal term, at the observations of a batch."""

    def reference(name: str):
        if name == "data":
            return Point(batch.actions)
        if name == "behavior":
            return jax.lax.stop_gradient(nodes.behavior.parameters(state.behavior, batch.observations))
        return jax.lax.stop_gradient(nodes.policy.parameters(state.reference, batch.observations))

    return tuple(reference(term.reference) for term in nodes.problem.proximal)


def _actor_gradient(nodes: Nodes, state: State, batch: Batch, key: Key):
    nodes = _at_tau(nodes, state)
    heads = lambda network: nodes.policy.parameters(network, batch.observations)  # noqa: E731
    context = _context(nodes, state, batch)
    return nodes.scheme.gradient(nodes.problem, heads, state.policy, _references(nodes, state, batch), context, key)


def _at_tau(nodes: Nodes, state: State) -> Nodes:
    """The nodes with the step size as it is now, where it is learned."""
    if nodes.multiplier is None:
        return nodes
    tau = nodes.multiplier.tau(state.multiplier)
    proximal = tuple(term._replace(tau=tau) for term in nodes.problem.proximal)
    return nodes._replace(problem=nodes.problem._replace(proximal=proximal))


def _proximal_update(nodes: Nodes, state: State, batch: Batch, key: Key) -> tuple[State, dict]:
    """Train what geometries and step size learn, beside the policy as it is now."""
    if nodes.multiplier is None and not any(term.geometry.learns for term in nodes.problem.proximal):
        return state, {}
    parameters, context = nodes.policy.parameters(state.policy, batch.observations), _context(nodes, state, batch)
    key, references = jax.random.fold_in(key, LEARNING), _references(nodes, state, batch)
    learned, info = learn(nodes.problem, parameters, references, context, key)
    state, context = state._replace(geometry=learned), context._replace(learned=learned)
    if nodes.multiplier is not None:
        key = jax.random.fold_in(key, LEARNING)
        distances = divergences(nodes.problem, parameters, references, context, key)
        total = sum((rows.mean() for rows in distances), jnp.zeros(()))
        state = state._replace(multiplier=nodes.multiplier.update(state.multiplier, total))
    return state, info


def _measure(plan: _Plan, nodes: Nodes, state: State, batch: Batch, key: Key) -> dict:
    """Numbers on a set of states; `q_rows` are the values of the logged actions by the first critic."""
    nodes = _at_tau(nodes, state)
    found, context = {}, _context(nodes, state, batch)
    if state.critic is not None:
        found["q_rows"] = nodes.critic.values(state.critic, batch.observations, batch.actions, 1)[0]
    if "policy" not in plan.step.learn:
        return found
    parameters = nodes.policy.parameters(state.policy, batch.observations)
    if plan.moving:
        context = context._replace(fixed=scales(nodes.problem, parameters, context, key))
    start = None if state.behavior is None else nodes.behavior.parameters(state.behavior, batch.observations)
    references = _references(nodes, state, batch)
    found |= measure(nodes.problem, parameters, references, start, context, key)
    own = nodes.scheme.minimised(nodes.problem, parameters, references, context, key)
    return found if own is None else found | {"objective": own}


def _move_targets(nodes: Nodes, state: State) -> State:
    if nodes.critic is None:
        return state
    rate = nodes.critic.target_rate
    return state._replace(
        critic_target=polyak(state.critic_target, nodes.critic.slow(state.critic), rate),
        policy_target=None if state.policy is None else polyak(state.policy_target, state.policy, rate),
    )
