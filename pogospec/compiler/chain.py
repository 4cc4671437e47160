"""A chain of actors that train at once beside one critic, each near the actor before it as it is now.

An update is that of the first step, whole: critic, behaviour, policy and slow copies, with the keys of a sequential
run, so that the first actor and the critic are those of that step alone. Then each further actor takes the update of
its own step on the same batch, with the same critic and slow copies as the first, near the actor before it, which has
just moved. All begin with the weights of the first: each starts at its reference, at distance 0, as a step does that
follows another. (The authors' code updates its actors in this order too, but draws the weights of each.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax

from pogospec.compiler.averages import averaged
from pogospec.compiler.program import Actor, Stage, State, together
from pogospec.types import Batch, Key

KEYS = 2_000_003
"""Folded with the number of a further actor into the key of the stage or the update: apart from all other keys."""
OF = ": "
"""Between the label of a further actor and the name of a number of its updates."""


def joined(steps: Sequence[Stage], place: int) -> Stage:
    """The stage in which several steps train at once; `place`: that of the first among all steps of the program."""
    first, *others = steps
    further = [_further(step._replace(source=place + n), n) for n, step in enumerate(others, 1)]

    def enter(numbers, state: State, data: Batch | list[Batch], key: Key) -> State:
        each = data if isinstance(data, list) else [data] * len(steps)  # of rows in a file, those that each looks at
        own = keys_at_begin(len(steps), key)
        state = first.enter(numbers, state._replace(chain=()), each[0], own[0])
        for number, actor in enumerate(further, 1):
            state = actor.enter(numbers, state, each[number], own[number])
        return state

    def update(
        numbers, state: State, batch: Batch, key: Key, index, for_behavior: Batch | None = None
    ) -> tuple[State, dict]:
        slow = state.critic_target
        new, info = first.update(numbers, state._replace(chain=()), batch, key, index, for_behavior)
        new = new._replace(chain=state.chain)
        for number, actor in enumerate(further, 1):
            mine = jax.random.fold_in(key, KEYS + number)
            seen, part = actor.update(numbers, new._replace(critic_target=slow), batch, mine, index)
            new = new._replace(chain=seen.chain)
            info |= {f"{actor.label}{OF}{name}": value for name, value in part.items()}
        return new, info

    label = together([step.label for step in steps])
    return first._replace(label=label, enter=enter, update=update, chain=(first, *further))


def keys_at_begin(actors: int, key: Key) -> list[Key]:
    """The key of each of so many actors where a stage begins, from that of the stage."""
    return [key, *(jax.random.fold_in(key, KEYS + number) for number in range(1, actors))]


def _further(step: Stage, number: int) -> Stage:
    """A step as an actor of a chain: its functions on what the actor sees of the state, where 1 is the second actor."""

    def enter(numbers, state: State, data: Batch, key: Key) -> State:
        before = state._replace(policy=state.policies[number - 1], optimizer={}, chain=(), average={})
        return _kept(state, number, step.enter(numbers, before, data, key))

    def update(numbers, state: State, batch: Batch, key: Key, index) -> tuple[State, dict]:
        new, info = step.update(numbers, seen_by(state, number), batch, key, index)
        return _kept(state, number, new), info

    def actor_gradient(numbers, state: State, batch: Batch, key: Key):
        return step.actor_gradient(numbers, seen_by(state, number), batch, key)

    def measure(numbers, state: State, batch: Batch, key: Key) -> dict:
        return step.measure(numbers, seen_by(averaged(state), number), batch, key)

    return step._replace(enter=enter, update=update, actor_gradient=actor_gradient, measure=measure)


def seen_by(state: State, number: int) -> State:
    """The state as a further actor sees it: its own policy and what it learns, and the actor before as `previous`."""
    own = state.chain[number - 1]
    return state._replace(**own._asdict(), reference=state.policies[number - 1], chain=())


def _kept(state: State, number: int, new: State) -> State:
    """The state with what a further actor has made of its own part."""
    own = Actor(*(getattr(new, name) for name in Actor._fields))
    return state._replace(chain=(*state.chain[: number - 1], own, *state.chain[number:]))


def by_actor(stage: Stage, info: dict[str, Any]) -> Iterator[tuple[Stage, dict[str, Any]]]:
    """What updates of a stage tell of each step that trains there; the first has what is told of the critic."""
    parts = {name: name.rpartition(OF) for name in info}
    for number, actor in enumerate(stage.actors):
        label = actor.label if number else ""
        yield actor, {own: info[name] for name, (of, _, own) in parts.items() if of == label}
