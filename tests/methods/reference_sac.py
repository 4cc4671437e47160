"""SAC-N, EDAC and CQL written out from their formulas: critic by critic, pair by pair, action by action."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from written_out import forward, member

DISCOUNT, RATE = 0.97, 0.005


class Method(NamedTuple):
    """What tells the three apart, in the numbers of a test."""

    bounds: tuple[float, float]  # of the log-std
    critics: int
    eta: float = 0.0
    soft: bool = True  # entropy in the target
    weight: float = 0.0  # of the conservative term
    actions: int = 0  # of each sort that it looks at
    temperature: float = 1.0
    floor: float = -np.inf
    gap: float | None = None  # that its learned factor aims at
    best_of: int = 1  # actions of the target
    agg: str = "min"
    mean_loss: bool = False


def heads(method, policy, observations):
    """Mean and std before the tanh; a factor and an offset of the log-std, where they are learned, precede bounds."""
    net = getattr(policy, "heads", policy)
    mean, raw = jnp.split(forward(net, observations), 2, -1)
    raw = raw if net is policy else policy.factor * raw + policy.offset
    return mean, jnp.exp(jnp.clip(raw, *method.bounds))


def drawn(method, policy, observations, key, count=1):
    """Actions [count, rows, act] and their log densities, by the change of variables."""
    mean, std = heads(method, policy, observations)
    z = jax.random.normal(key, (count, *mean.shape), float)
    actions = jnp.tanh(mean + std * z)
    gaussian = -(z**2) / 2 - jnp.log(std) - np.log(2 * np.pi) / 2
    return actions, (gaussian - jnp.log(1 - actions**2)).sum(-1)


def entropy(method, policy, observations, key):
    """Of each row: the Gaussian's by its formula, the tanh's part at one sample."""
    mean, std = heads(method, policy, observations)
    slope = 1 - jnp.tanh(mean + std * jax.random.normal(key, (1, *mean.shape), float)[0]) ** 2
    return (jnp.log(std) + (1 + np.log(2 * np.pi)) / 2 + jnp.log(slope)).sum(-1)


def values(nets, count, observations, actions):
    """Of each critic, one after the other, [critics, rows]."""
    inputs = jnp.concatenate([observations, actions], -1)
    return jnp.stack([forward(member(nets, number), inputs)[..., 0] for number in range(count)])


def actor_loss(policy, critic, alpha, method, batch, key):
    """Mean of alpha log pi - min Q; the terms of the energy, in the order of their names, have a key each."""
    actions = drawn(method, policy, batch.observations, jax.random.fold_in(key, 1))[0][0]
    q = values(critic, method.critics, batch.observations, actions).min(0)
    return (-alpha * entropy(method, policy, batch.observations, jax.random.fold_in(key, 0)) - q).mean()


def target(slow, policy, alpha, method, batch, key):
    """y: of several next actions the one whose value is greatest counts, with its own density."""
    actions, densities = drawn(method, policy, batch.next_observations, key, method.best_of)
    seen = [values(slow, method.critics, batch.next_observations, one) for one in actions]
    seen = jnp.stack([one.min(0) if method.agg == "min" else one.mean(0) for one in seen])
    best = seen.argmax(0)
    rows = np.arange(len(best))
    value = seen[best, rows] - (alpha * densities[best, rows] if method.soft else 0)
    return batch.rewards + DISCOUNT * (1 - batch.terminated) * value


def gaps(critic, policy, method, batch, key):
    """T log sum_k exp((Q(s, a_k) - log p(a_k))/T) - Q(s, a) of each critic and row."""
    n, act = method.actions, batch.actions.shape[-1]
    keys = jax.random.split(jax.random.fold_in(key, 1), 3)
    uniform = jax.random.uniform(keys[0], (n, *batch.actions.shape), float, -1, 1)
    sorts = [(uniform, jnp.full((n, len(batch.actions)), np.log(0.5**act)))]
    sorts += [drawn(method, policy, batch.next_observations, keys[1], n)]
    sorts += [drawn(method, policy, batch.observations, keys[2], n)]
    logged = values(critic, method.critics, batch.observations, batch.actions)
    found = 0
    for actions, densities in sorts:
        for one, density in zip(actions, densities, strict=True):
            q = values(critic, method.critics, batch.observations, one)
            found = found + jnp.exp((q - density) / method.temperature)
    return jnp.maximum(method.temperature * jnp.log(found) - logged, method.floor)


def critic_loss(critic, slow, policy, alpha, factor, method, batch, key):
    """The sum over critics of squared errors; EDAC's pairs of gradients, CQL's term with its factor."""
    y = target(slow, policy, alpha, method, batch, key)
    errors = (values(critic, method.critics, batch.observations, batch.actions) - y) ** 2
    losses = errors.mean(1)
    if method.weight:
        term = gaps(critic, policy, method, batch, key).mean(1) - (method.gap or 0)
        losses = losses + factor * method.weight * term
    loss = losses.mean() if method.mean_loss else losses.sum()
    if not method.eta:
        return loss
    units = []
    for number in range(method.critics):
        one = lambda a, s, net: forward(net, jnp.concatenate([s, a]))[0]  # noqa: E731
        slope = jax.vmap(jax.grad(one), (0, 0, None))(batch.actions, batch.observations, member(critic, number))
        units.append(slope / (jnp.sqrt((slope**2).sum(-1, keepdims=True)) + 1e-10))
    pairs = [(i, j) for i in range(method.critics) for j in range(method.critics) if i != j]
    alike = sum((units[i] * units[j]).sum(-1) for i, j in pairs)
    return loss + method.eta / (method.critics - 1) * jnp.mean(jnp.asarray(alike))


def dual_slope(log_factor, critic, policy, method, batch, key) -> Any:
    """d/d log nu of -nu weight (term - gap), the mean over critics."""
    term = gaps(critic, policy, method, batch, key).mean() - method.gap
    return -jnp.exp(log_factor) * method.weight * term
