"""TD3+BC written by hand in JAX, for this algorithm alone: a worker. No library but JAX.

One loop over updates on the device, data on the device, Adam on the tree of weights; several seeds by vmap, or one
after another.
"""

from __future__ import annotations

from protocol import clock, serve  # isort: skip  # pins the process
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import made

DISCOUNT, RATE, NOISE, CLIP, ALPHA, STEP = 0.99, 0.005, 0.2, 0.5, 2.5, 3e-4


class State(NamedTuple):
    """All that is learned."""

    actor: list
    critics: list
    slow_actor: list
    slow_critics: list
    actor_moments: tuple
    critic_moments: tuple


def layers(key, sizes):
    """Weights and biases of a perceptron, uniform within 1/sqrt(inputs)."""
    found = []
    for k, (i, o) in zip(jax.random.split(key, len(sizes) - 1), zip(sizes[:-1], sizes[1:], strict=True), strict=True):
        a, b = jax.random.split(k)
        bound = i**-0.5
        found.append((jax.random.uniform(a, (i, o), minval=-bound, maxval=bound), jax.random.uniform(b, (o,)) * bound))
    return found


def forward(network, x):
    """The perceptron with ReLU."""
    for w, b in network[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = network[-1]
    return x @ w + b


def policy(network, s):
    """The action at each state."""
    return jnp.tanh(forward(network, s))


def value(network, s, a):
    """Q of each row."""
    return forward(network, jnp.concatenate([s, a], 1))[:, 0]


def adam(weights, gradient, moments):
    """One step of Adam."""
    m, v, t = moments
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
    scale = STEP * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return jax.tree.map(lambda w, m, v: w - scale * m / (jnp.sqrt(v) + 1e-8), weights, m, v), (m, v, t)


def follow(slow, fast):
    """Slow copies, moved."""
    return jax.tree.map(lambda s, f: (1 - RATE) * s + RATE * f, slow, fast)


def begin(key, task):
    """Fresh weights and moments."""
    hidden, keys = [task["width"]] * task["layers"], jax.random.split(key, task["critics"] + 1)
    actor = layers(keys[0], [task["obs"], *hidden, task["act"]])
    critics = [layers(k, [task["obs"] + task["act"], *hidden, 1]) for k in keys[1:]]
    fresh = lambda w: (jax.tree.map(jnp.zeros_like, w), jax.tree.map(jnp.zeros_like, w), jnp.float32(0))  # noqa: E731
    return State(actor, critics, actor, critics, fresh(actor), fresh(critics))


def update(state, batch, key, index):
    """One update of the critics, and at every second of the actor and the slow copies."""
    s, a, r, s2, done = batch
    noise = jnp.clip(NOISE * jax.random.normal(key, a.shape), -CLIP, CLIP)
    a2 = jnp.clip(policy(state.slow_actor, s2) + noise, -1, 1)
    y = r + DISCOUNT * (1 - done) * jnp.min(jnp.stack([value(q, s2, a2) for q in state.slow_critics]), 0)
    loss = lambda critics: sum(jnp.square(value(q, s, a) - y).mean() for q in critics)  # noqa: E731
    lost, gradient = jax.value_and_grad(loss)(state.critics)
    critics, moments = adam(state.critics, gradient, state.critic_moments)
    state = state._replace(critics=critics, critic_moments=moments)

    def act(state):
        def loss(actor):
            pi = policy(actor, s)
            q = value(state.critics[0], s, pi)
            return -ALPHA / jax.lax.stop_gradient(jnp.abs(q).mean()) * q.mean() + jnp.square(pi - a).mean()

        actor, moments = adam(state.actor, jax.grad(loss)(state.actor), state.actor_moments)
        slow = follow(state.slow_actor, actor), follow(state.slow_critics, state.critics)
        return State(actor, state.critics, *slow, moments, state.critic_moments)

    return jax.lax.cond(index % 2 == 1, act, lambda state: state, state), lost


def chunk(size, state, data, key, start, stop):
    """Updates start..stop, and the sum of the critics' losses."""

    def one(index, carry):
        state, total = carry
        rows_key, noise_key = jax.random.split(jax.random.fold_in(key, index))
        rows = jax.random.randint(rows_key, (size,), 0, data[2].shape[0])
        state, lost = update(state, tuple(column[rows] for column in data), noise_key, index)
        return state, total + lost

    return jax.lax.fori_loop(start, stop, one, (state, jnp.float32(0)))


def prepare(task):
    """Compile; the seconds of it, and how to run updates."""
    columns = made.hopper(task["rows"], task["obs"], task["act"])
    names = ("observations", "actions", "rewards", "next_observations", "terminated")
    data = tuple(jnp.asarray(columns[name]) for name in names)
    keys = jax.vmap(jax.random.key)(jnp.arange(task["seeds"]))
    one = partial(chunk, task["batch"])
    if task["seeds"] == 1:
        many, keys = one, keys[0]
        every = jax.jit(partial(begin, task=task))(keys)
    else:
        every = jax.jit(jax.vmap(partial(begin, task=task)))(keys)
        many = jax.vmap(one, in_axes=(0, None, 0, None, None))
    if task.get("in_turn"):

        def many(state, data, keys, start, stop):
            return jax.lax.map(lambda run: one(run[0], data, run[1], start, stop), (state, keys))

    many = jax.jit(many, donate_argnums=0)
    with clock() as compiling:
        program = many.lower(every, data, keys, 0, 1).compile()
    held = [every, 0]

    def run(updates):
        with clock() as spent:
            held[0], _ = jax.block_until_ready(program(held[0], data, keys, held[1], held[1] + updates))
        held[1] += updates
        return spent[0]

    return {"compile": compiling[0], "jax": jax.__version__}, run


if __name__ == "__main__":
    serve(prepare)
