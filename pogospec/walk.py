"""The steps of a flow from Python: one after the other, by step doubling, or those in closed form all at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.program import Program, State
from pogospec.errors import RunError
from pogospec.policies.base import normals, row_of
from pogospec.spec.schema import Spec
from pogospec.steps.schedule import Doubling
from pogospec.targets.base import AbstractTarget
from pogospec.training.chunk import INIT, SECOND, UPDATE, chunk_function, fold, stream
from pogospec.types import Key, Transitions

BOUNDED = "let the flow run on a variable without bounds, as NumPyro models do, and add the log of the slope"
DRAWN = 1024
"""Actions of the start at which the log density must be finite."""
RISE = 1e-4
"""How far the last energy may lie above the first, relative: rounding, and an optimiser that wanders about the end."""
NOISE = 0.05
"""The same in units of the temperature: nats, about which a flow that starts at its end moves by its samples."""
NOT_FINITE = "ended in numbers that are not finite; try a smaller"


def walk(
    spec: Spec, program: Program, data: Transitions, root: Key, check: Callable[[Any], None]
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Parameters, measured energies and flow times at the start and after each step; `check` looks at the start.

    Keys are those of the same seed in a run. Raises RunError for numbers that are not finite.
    """
    step = program.stages[0].step
    if step.scheme.closed and step.repeat_until is None and not isinstance(step.tau, Doubling):
        return _at_once(spec, program, data, root, check)
    steps = _Steps(spec, program, data, root)
    heads = jax.jit(lambda state: _heads(spec, jax.tree.map(lambda x: x[0], state), data))
    state, tau, rule = steps.start(), step.tau, step.repeat_until
    path, measured, times = [heads(state)], [steps.begun(state)], [0.0]
    check(path[0])
    taken = _adapted(steps, state, tau) if isinstance(tau, Doubling) else _in_turn(steps, state)
    for number, time, state in taken:
        path.append(heads(state))
        measured.append(steps.look(number, state)["energy"])
        times.append(time)
        if not np.isfinite(measured[-1]).all():
            raise RunError(f"flow: step {number + 1} ended where the log density is not finite; {BOUNDED}")
        if rule is not None and rule.settled({"objective": np.asarray(measured[1:], np.float64)}).all():
            break
    if isinstance(tau, Doubling) and times[-1] < tau.time:
        warnings.warn(
            f"flow: {len(program.stages)} attempts reach flow time {times[-1]:.4g} of {tau.time:.6g}; more steps, or a "
            "larger tolerance of tau",
            RuntimeWarning,
            stacklevel=4,
        )
    parameters = jax.tree.map(lambda *leaves: jnp.stack(leaves), *path)
    return parameters, np.asarray(measured, np.float64)[:, 0], np.asarray(times)


def _at_once(
    spec: Spec, program: Program, data: Transitions, root: Key, check: Callable[[Any], None]
) -> tuple[Any, np.ndarray, np.ndarray]:
    """The same of closed steps in one program; energies alone where there is no entropy, else they are found later."""
    start, go_all = closed_path(spec, program, data)
    check(_heads(spec, jax.jit(start)(root), data))
    path, measured = jax.jit(go_all)(root)
    whole = [np.isfinite(leaf).reshape(len(leaf), -1).all(-1) for leaf in map(np.asarray, jax.tree.leaves(path))]
    lost = np.flatnonzero(~np.all(whole, axis=0))
    if len(lost):
        raise RunError(f"flow: step {lost[0]} {NOT_FINITE} {_slower(spec)}")
    sizes = [_size(program, number) for number in range(len(program.stages))]
    return path, np.asarray(measured, np.float64), np.cumsum([0.0, *sizes])


def closed_path(
    spec: Spec, program: Program, data: Transitions
) -> tuple[Callable[[Key], State], Callable[[Key], tuple[Any, Any]]]:
    """Closed steps as functions of a root key: the state at the start; parameters and energies of all steps."""
    first, same = program.stages[0], jax.random.key(0)
    each = jax.tree.map(lambda *leaves: jnp.stack(leaves), *program.numbers)

    def start(root: Key) -> State:
        return program.init(program.numbers, stream(fold(root, 0), INIT, 0))

    def seen(numbers: Any, state: State) -> Any:
        measured = {} if "entropy" in spec.energy else first.measure(numbers, state, data, same)
        return _heads(spec, state, data), measured.get("energy", jnp.zeros(()))

    def go_all(root: Key) -> tuple[Any, Any]:
        def go(state: State, now: tuple[Any, Any]) -> tuple[State, Any]:
            numbers, number = (now[0],), now[1]  # of the first stage, whose functions are those of all
            here = fold(root, number)
            state = first.enter(numbers, state, data, stream(here, INIT, 1))
            state, _ = first.update(numbers, state, data, stream(here, UPDATE, 0), 0)
            return state, seen(numbers, state)

        begun = first.enter(program.numbers, start(root), data, same)
        _, found = jax.lax.scan(go, begun, (each, jnp.arange(len(program.stages))))
        return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), seen(program.numbers, begun), found)

    return start, go_all


class _Steps:
    """Takes steps of a program for one seed; `number`: of the repetition, whose keys they draw from."""

    def __init__(self, spec: Spec, program: Program, data: Transitions, root: Key):
        first, self.spec = program.stages[0], spec
        self.program, self.data, self.root, self._chunk = program, data, root, chunk_function(first, 1)
        self._enter, self._look = (
            jax.jit(jax.vmap(f, in_axes=(None, 0, None, 0))) for f in (first.enter, first.measure)
        )

    def start(self) -> State:
        """The state before any step."""
        init = jax.jit(jax.vmap(self.program.init, in_axes=(None, 0)))
        return init(self.program.numbers, stream(fold(self.root, 0), INIT, 0)[None])

    def begun(self, state: State) -> Any:
        """The energy where the first step begins."""
        return self.look(0, self.enter(0, state))["energy"]

    def enter(self, number: int, state: State, tau: float | None = None) -> State:
        """The state at the beginning of a step."""
        keys = stream(fold(self.root, number), INIT, 1)[None]
        return self._enter(self._numbers(number, tau), state._replace(doubled=()), self.data, keys)

    def look(self, number: int, state: State) -> dict[str, Any]:
        """What is measured of the policy."""
        return self._look(self._numbers(number), state, self.data, jax.random.key(0)[None])

    def take(self, number: int, entered: State, tau: float | None = None, second: bool = False) -> State:
        """A step from where it was entered; raises RunError for numbers that are not finite."""
        key = fold(self.root, number)
        key = fold(key, SECOND) if second else key
        updates = self.program.stages[number].updates
        state, _, _, _, whole = self._chunk(self._numbers(number, tau), self.data, entered, key[None], 0, updates)
        if not whole.all():
            raise RunError(f"flow: step {number + 1} {NOT_FINITE} {_slower(self.spec)}")
        return state

    def doubled(self, number: int, state: State, tau: float) -> tuple[State, float]:
        """The state after two steps, and how far it is from that after one of twice the size."""
        whole = self.take(number, self.enter(number, state, 2 * tau), 2 * tau)
        first = self.take(number, self.enter(number, state, tau), tau)
        entered = self.enter(number, first, tau)._replace(energy=first.energy)
        second = self.take(number, entered, tau, second=True)
        apart = self.look(number, second._replace(reference=whole.policy))["distance"]
        return second, float(np.sqrt(2 * np.maximum(np.asarray(apart, np.float64), 0.0))[0])

    def _numbers(self, number: int, tau: float | None = None) -> Any:
        numbers = self.program.numbers_of(number)
        if tau is None:
            return numbers
        sizes = lambda n: [term.tau for term in n[0].problem.proximal]  # noqa: E731
        return eqx.tree_at(sizes, numbers, replace_fn=lambda leaf: jnp.asarray(tau, leaf.dtype))


def _in_turn(steps: _Steps, state: State) -> Iterator[tuple[int, float, State]]:
    """The steps whose sizes are known before: number, flow time and state after each."""
    time = 0.0
    for number in range(len(steps.program.stages)):
        state = steps.take(number, steps.enter(number, state))
        time += _size(steps.program, number)
        yield number, time, state


def _adapted(steps: _Steps, state: State, rule: Doubling) -> Iterator[tuple[int, float, State]]:
    """The attempts by step doubling that are kept, likewise."""
    time, wanted = 0.0, rule.start
    for number in range(len(steps.program.stages)):
        left = rule.time - time
        tau = rule.tau(wanted, left)
        new, error = steps.doubled(number, state, tau)
        wanted = rule.following(tau, error)
        if error <= rule.tolerance:
            state, time = new, rule.time if 2 * tau >= left else time + 2 * tau
            yield number, time, state
        if time >= rule.time:
            return


def _size(program: Program, number: int) -> float:
    """The step size of a repetition whose sizes are known before."""
    tau: Any = program.stages[number].step.tau
    return tau if isinstance(tau, float) else tau.at(number)


def _heads(spec: Spec, state: State, data: Transitions) -> Any:
    """The parameters of the one state."""
    return row_of(spec.policy.parameters(state.policy, data.observations), 0)


def _slower(spec: Spec) -> str:
    """What to make smaller where a step ends in numbers that are not finite."""
    scheme: Any = spec.schedule.steps[0].scheme
    return "tau" if scheme.closed else "learning_rate"


def check_start(target: AbstractTarget, start: Any) -> None:
    """Raise RunError where the log density is not finite at an action that the start draws."""
    actions = start.at(normals(start, DRAWN, jax.random.key(0)))
    values = np.asarray(jax.jit(target.log_density)(actions))
    lost = np.count_nonzero(~np.isfinite(values))
    if not lost:
        return
    what = " or ".join(name for name, found in _KINDS.items() if found(values).any())
    where = f"flow: start: the log density is {what} at {lost:,} of {DRAWN:,} actions that the start draws"
    if lost == DRAWN:
        raise RunError(f"{where}; look for NaN in its data, or start where it is finite: start=(mean, std)")
    raise RunError(f"{where}; {BOUNDED}")


_KINDS = {"NaN": np.isnan, "-inf": np.isneginf, "inf": np.isposinf}


def check_energies(energies: np.ndarray, temperature: float, last: int | None = None) -> None:
    """Raise RunError for energies that are not finite, and warn of an end above the start; `last`: its number."""
    lost = np.flatnonzero(~np.isfinite(energies))
    if len(lost):
        where = "the start" if lost[0] == 0 else f"step {lost[0] if last is None else last}"
        wide = "a narrower or nearer start, or jax.enable_x64(True) where it only overflows"
        raise RunError(f"flow: the energy of {where} is not finite: the density is 0 in its tails; {BOUNDED}; {wide}")
    rise = energies[-1] - energies[0]
    if rise > max(RISE * max(1.0, abs(energies[0])), NOISE * temperature):
        warnings.warn(
            f"flow: it has diverged: the energy is {energies[-1]:.4g} at the end and was {energies[0]:.4g} at the "
            "start; a smaller tau or learning_rate, or more updates",
            RuntimeWarning,
            stacklevel=4 if last is None else 5,
        )
