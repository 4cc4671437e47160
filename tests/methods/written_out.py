"""What references written out by hand share: plain networks, Adam, moving averages, real transitions."""

import functools
from collections.abc import Callable
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.data import load as load_data
from pogospec.types import Transitions


def real_transitions(rows: int = 96) -> tuple[Transitions, Any]:
    """Embedded transitions in double precision, a third of them last rows of their episodes; and their space."""
    dataset = load_data("pocket/hopper-mixed")
    columns = Transitions(*(np.asarray(column, float) for column in dataset.transitions))
    ends, rng = np.flatnonzero(columns.next_action_valid == 0), np.random.default_rng(0)
    cut = ends[columns.terminated[ends] == 0]
    chosen = [rng.integers(0, len(columns.rewards), rows - rows // 3), rng.choice(ends, rows // 3 - 4), cut[:4]]
    return Transitions(*(jnp.asarray(column[np.concatenate(chosen)]) for column in columns)), dataset.space


def forward(net: Any, x: Any) -> Any:
    """ReLU layers, each followed by its layer normalisation where there is one; a linear end."""
    for index, layer in enumerate(net.layers[:-1]):
        x = jnp.maximum(x @ layer.weight + layer.bias, 0)
        if net.norms:
            x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
            x = x * net.norms[index].scale + net.norms[index].offset
    return x @ net.layers[-1].weight + net.layers[-1].bias


def member(nets: Any, number: int) -> Any:
    """One network of an ensemble."""
    return jax.tree.map(lambda leaf: leaf[number], nets)


def both_q(nets: Any, observations: Any, actions: Any) -> Any:
    """Values of two critics, [2, rows]."""
    inputs = jnp.concatenate([observations, actions], -1)
    return jnp.stack([forward(member(nets, number), inputs)[..., 0] for number in range(2)])


@functools.cache
def grad(loss: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient of a loss in its first argument, compiled once."""
    return equinox.filter_jit(jax.grad(loss))


@functools.cache
def value_and_grad(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Value and gradient of a loss in its first argument, compiled once."""
    return equinox.filter_jit(jax.value_and_grad(loss))


class Adam:
    """Adam with bias correction, as its paper writes it."""

    def __init__(self, rate: float, like: Any):
        self.rate, self.count = rate, 0
        self.first = self.second = jax.tree.map(jnp.zeros_like, like)

    def __call__(self, network: Any, gradient: Any) -> Any:
        """The network after a step."""
        self.count += 1
        network, self.first, self.second = _step(network, gradient, self.first, self.second, self.count, self.rate)
        return network


@jax.jit
def _step(network: Any, gradient: Any, first: Any, second: Any, count: int, rate: float) -> Any:
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    one, two = 1 - 0.9**count, 1 - 0.999**count
    move = lambda x, m, v: x - rate * (m / one) / (jnp.sqrt(v / two) + 1e-8)  # noqa: E731
    return jax.tree.map(move, network, first, second), first, second


@jax.jit
def averaged(slow: Any, online: Any, rate: float) -> Any:
    """Polyak's moving average."""
    return jax.tree.map(lambda s, o: (1 - rate) * s + rate * o, slow, online)


def moved(tree: Any, key: Any, size: float = 0.05) -> Any:
    """The same networks with noise on every weight, drawn by NumPy, which has nothing to compile."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    return jax.tree.map(lambda x: jnp.asarray(x + size * rng.normal(size=x.shape), x.dtype), tree)


def same(found: Any, expected: Any, tolerance: float) -> None:
    """Both trees hold the same numbers, in double precision."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == jnp.float64
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1e-6, np.abs(b).max()))


def gradient_of(optimizer: Any) -> Any:
    """The first gradient that a fresh Adam has seen."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) / 0.1, optimizer[0].mu)
