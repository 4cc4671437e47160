"""The parts of an update beside its networks, each in a loop of its own; a part of the worker `ours`."""

from __future__ import annotations

from protocol import clock  # isort: skip
from typing import Any

import jax
import jax.numpy as jnp
import optax

from pogospec.nets import polyak
from pogospec.training.chunk import BATCH, UPDATE, stream

TINY = 1e-3


def sampling(made, data):
    """Draw indices, gather the rows of a batch."""
    size, root = made.spec.train.batch_size, made.roots[0]

    def body(index, total):
        rows = jax.random.randint(stream(root, BATCH, index), (size,), 0, data.rewards.shape[0])
        return jax.tree.map(lambda t, column: t + column[rows], total, data)

    return jax.tree.map(lambda column: jnp.zeros((size, *column.shape[1:]), column.dtype), data), body


def random_numbers(made, data):
    """The keys of an update, and the noise of its target actions."""
    shape, root = (made.spec.train.batch_size, data.actions.shape[1]), made.roots[0]

    def body(index, total):
        critic, _ = jax.random.split(stream(root, UPDATE, index))
        return total + jax.random.normal(critic, shape)

    return jnp.zeros(shape), body


def optimiser(made, data):
    """Adam on the critics, and on the policy at every second update."""
    state, step = jax.tree.map(lambda leaf: leaf[0], made.state), made.stage.step
    adams = {name: getattr(step.optimizer, name).transform(step.updates) for name in ("critic", "policy")}

    def one(name, network, moments):
        gradient = jax.tree.map(lambda leaf: TINY * leaf, network)
        changes, moments = adams[name].update(gradient, moments)
        return optax.apply_updates(network, changes), moments

    def body(index, carry):
        critic, policy = carry
        policy = jax.lax.cond((index + 1) % step.actor_every == 0, lambda p: one("policy", *p), lambda p: p, policy)
        return one("critic", *critic), policy

    return tuple((getattr(state, name), state.optimizer[name]) for name in ("critic", "policy")), body


def targets(made, data):
    """The slow copies, at every second update."""
    state, every = jax.tree.map(lambda leaf: leaf[0], made.state), made.stage.step.actor_every
    fast, rate = (state.critic, state.policy), made.spec.critic.target_rate

    def body(index, slow):
        moved = lambda slow: polyak(slow, jax.tree.map(lambda leaf: leaf + TINY * index, fast), rate)  # noqa: E731
        return jax.lax.cond((index + 1) % every == 0, moved, lambda slow: slow, slow)

    return (state.critic_target, state.policy_target), body


def metrics(made, data):
    """Sums of the metrics, and the first update at which one was not finite."""
    names = ("critic_loss", "q", "energy", "energy.q", "distance", "objective")
    zeros = {name: jnp.float32(0) for name in names}

    def body(index, carry):
        sums, squares, bad = carry
        info = {name: jnp.sin(jnp.float32(index) + k) for k, name in enumerate(names)}
        sums = jax.tree.map(jnp.add, sums, info)
        bad = {n: jnp.where((bad[n] < 0) & ~jnp.isfinite(v), index, bad[n]) for n, v in info.items()}
        return sums, squares + info["critic_loss"] ** 2, bad

    return (zeros, jnp.float32(0), {name: jnp.int32(-1) for name in names}), body


PARTS = {function.__name__: function for function in (sampling, random_numbers, optimiser, targets, metrics)}


def prepare(made: Any, part: str):
    """Compile a loop over one part."""

    def many(start, stop, data, begin):
        _, body = PARTS[part](made, data)
        return jax.lax.fori_loop(start, stop, body, begin)

    held = [PARTS[part](made, made.data)[0], 0]
    with clock() as compiling:
        program = jax.jit(many, donate_argnums=3).lower(0, 1, made.data, held[0]).compile()
    held[0] = jax.tree.map(jnp.copy, held[0])

    def run(updates: int) -> float:
        with clock() as spent:
            held[0] = jax.block_until_ready(program(held[1], held[1] + updates, made.data, held[0]))
        held[1] += updates
        return spent[0]

    return {"compile": compiling[0]}, run
