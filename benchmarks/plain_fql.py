"""Flow Q-learning written by hand in JAX, for this algorithm alone: a worker. No library but JAX.

As in `plain_jax.py`. `noises`: 2, Q and the distance have noise of their own, as in `specs/fql.yaml`; 1, they share it,
as in the authors' code, which spares a pass of the one-step policy.
"""

from __future__ import annotations

from protocol import clock, serve  # isort: skip  # pins the process
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import made
from plain_jax import adam, follow, layers

DISCOUNT, FLOW_STEPS, ALPHA, EPS = 0.99, 10, 1.0, 1e-6


class State(NamedTuple):
    """All that is learned; critics and their slow copies are stacked."""

    critics: list
    slow_critics: list
    flow: list
    policy: list
    moments: tuple


def forward(network, x, normalise=False):
    """The perceptron with GELU, layers of critics normalised after it."""
    for w, b, *norm in network[:-1]:
        x = jax.nn.gelu(x @ w + b)
        if normalise:
            scale, offset = norm
            x = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + EPS) * scale + offset
    w, b = network[-1]
    return x @ w + b


def values(critics, s, a):
    """Q of each row by each critic."""
    x = jnp.concatenate([s, a], -1)
    return jax.vmap(lambda critic: forward(critic, x, normalise=True)[:, 0])(critics)


def one_step(policy, s, z):
    """The action that the one-step policy makes of noise."""
    return forward(policy, jnp.concatenate([s, z], -1))


def velocity(flow, s, x, t):
    """The velocity of the flow at actions and times."""
    return forward(flow, jnp.concatenate([s, x, t], -1))


def flowed(flow, s, z):
    """The end of the flow from noise, clipped."""

    def euler(k, x):
        return x + velocity(flow, s, x, jnp.full((len(x), 1), k / FLOW_STEPS)) / FLOW_STEPS

    return jnp.clip(jax.lax.fori_loop(0, FLOW_STEPS, euler, z), -1, 1)


def begin(key, task):
    """Fresh weights and moments."""
    hidden, keys = [task["width"]] * task["layers"], jax.random.split(key, 4)
    obs, act = task["obs"], task["act"]

    def critic(key):
        *inner, last = layers(key, [obs + act, *hidden, 1])
        return [(w, b, jnp.ones_like(b), jnp.zeros_like(b)) for w, b in inner] + [last]

    critics = jax.vmap(critic)(keys[:2])
    flow, policy = layers(keys[2], [obs + act + 1, *hidden, act]), layers(keys[3], [obs + act, *hidden, act])
    fresh = lambda w: (jax.tree.map(jnp.zeros_like, w), jax.tree.map(jnp.zeros_like, w), jnp.float32(0))  # noqa: E731
    return State(critics, critics, flow, policy, tuple(map(fresh, (critics, flow, policy))))


def update(noises, state, batch, key):
    """One update of critics, flow and policy, all at the weights before it."""
    s, a, r, s2, done = batch
    keys = jax.random.split(key, 5)
    z = [jax.random.normal(k, a.shape) for k in keys[:4]]
    t = jax.random.uniform(keys[4], (len(a), 1))
    following = jnp.clip(one_step(state.policy, s2, z[0]), -1, 1)
    y = r + DISCOUNT * (1 - done) * values(state.slow_critics, s2, following).mean(0)

    def critic_loss(critics):
        return jnp.square(values(critics, s, a) - y).mean()

    def flow_loss(flow):
        return jnp.square(velocity(flow, s, (1 - t) * z[1] + t * a, t) - (a - z[1])).mean()

    aims = flowed(state.flow, s, z[2])

    def policy_loss(policy):
        near = one_step(policy, s, z[2])
        made = near if noises == 1 else one_step(policy, s, z[3])
        q = values(state.critics, s, jnp.clip(made, -1, 1)).mean(0)
        return -q.mean() / jax.lax.stop_gradient(jnp.abs(q).mean()) + ALPHA * jnp.square(near - aims).mean()

    lost, found, moments = jnp.float32(0), [], []
    parts = (critic_loss, state.critics), (flow_loss, state.flow), (policy_loss, state.policy)
    for (loss, weights), old in zip(parts, state.moments, strict=True):
        value, gradient = jax.value_and_grad(loss)(weights)
        new, moved = adam(weights, gradient, old)
        lost, found, moments = lost + value, [*found, new], [*moments, moved]
    critics, flow, policy = found
    return State(critics, follow(state.slow_critics, critics), flow, policy, tuple(moments)), lost


def chunk(task, state, data, key, start, stop):
    """Updates start..stop, and the sum of the losses."""

    def one(index, carry):
        state, total = carry
        rows_key, own = jax.random.split(jax.random.fold_in(key, index))
        rows = jax.random.randint(rows_key, (task["batch"],), 0, data[2].shape[0])
        state, lost = update(task["noises"], state, tuple(column[rows] for column in data), own)
        return state, total + lost

    return jax.lax.fori_loop(start, stop, one, (state, jnp.float32(0)))


def prepare(task):
    """Compile; the seconds of it, and how to run updates."""
    columns = made.hopper(task["rows"], task["obs"], task["act"])
    names = ("observations", "actions", "rewards", "next_observations", "terminated")
    data, key = tuple(jnp.asarray(columns[name]) for name in names), jax.random.key(0)
    held = [jax.jit(partial(begin, task=task))(key), 0]
    many = jax.jit(partial(chunk, task), donate_argnums=0)
    with clock() as compiling:
        program = many.lower(held[0], data, key, 0, 1).compile()
    held[0] = jax.tree.map(jnp.copy, held[0])  # slow copies begin as the critics, and memory is given away once

    def run(updates):
        with clock() as spent:
            held[0], _ = jax.block_until_ready(program(held[0], data, key, held[1], held[1] + updates))
        held[1] += updates
        return spent[0]

    return {"compile": compiling[0], "jax": jax.__version__}, run


if __name__ == "__main__":
    serve(prepare)
