"""IQL and AWAC written out from their formulas on plain arrays, and what both references need."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from written_out import moved

from pogospec.data import load as load_data
from pogospec.types import Transitions

CLIP = 100.0


def logged(rows: int = 96) -> tuple[Transitions, Any]:
    """Embedded transitions in double precision, some of them last of their episodes; and their space."""
    dataset = load_data("pocket/hopper-mixed")
    columns = Transitions(*(np.asarray(column, float) for column in dataset.transitions))
    rng = np.random.default_rng(0)
    chosen = [rng.integers(0, len(columns.rewards), rows - 16), rng.choice(np.flatnonzero(columns.terminated), 16)]
    return Transitions(*(jnp.asarray(column[np.concatenate(chosen)]) for column in columns)), dataset.space


def plain(net: Any, member: int | None = None) -> list[tuple[Any, Any]]:
    """Weights and biases of the layers of a network, or of one of an ensemble."""
    return [tuple(x if member is None else x[member] for x in (layer.weight, layer.bias)) for layer in net.layers]


def pair(net: Any) -> list[Any]:
    """Both networks of two critics."""
    return [plain(net, 0), plain(net, 1)]


def forward(layers: Any, x: Any) -> Any:
    """ReLU layers and a linear end."""
    for weight, bias in layers[:-1]:
        x = jnp.maximum(x @ weight + bias, 0)
    return x @ layers[-1][0] + layers[-1][1]


class Actor(NamedTuple):
    """A network of means, and a log-std for all states."""

    mean: Any
    log_std: Any

    @classmethod
    def of(cls, network: Any) -> "Actor":
        """That of a policy's networks, or of a gradient with respect to them."""
        return cls(plain(network.mean), network.log_std)


def log_prob(mean: Any, log_std: Any, actions: Any) -> Any:
    """Log density of a Gaussian with independent dimensions."""
    whitened = (actions - mean) / jnp.exp(log_std)
    return (-0.5 * whitened**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(-1)


def both(critics: Any, observations: Any, actions: Any) -> list[Any]:
    """Q_1 and Q_2."""
    return [forward(net, jnp.concatenate([observations, actions], -1))[:, 0] for net in critics]


def smaller(critics: Any, observations: Any, actions: Any) -> Any:
    """The smaller of Q_1 and Q_2."""
    return jnp.minimum(*both(critics, observations, actions))


def squared_errors(critics: Any, y: Any, batch: Transitions) -> Any:
    """The sum of both mean squared errors."""
    first, second = both(critics, batch.observations, batch.actions)
    return ((first - y) ** 2).mean() + ((second - y) ** 2).mean()


class Adam:
    """Adam with bias correction; its rate may fall with the number of steps that were taken."""

    def __init__(self, rate: Any, like: Any):
        self.rate, self.count = rate if callable(rate) else lambda count: rate, 0
        self.first = self.second = jax.tree.map(jnp.zeros_like, like)

    def __call__(self, network: Any, gradient: Any) -> Any:
        """The network after a step."""
        rate, self.count = self.rate(self.count), self.count + 1
        network, self.first, self.second = _step(network, gradient, self.first, self.second, self.count, rate)
        return network


@jax.jit
def _step(network: Any, gradient: Any, first: Any, second: Any, count: int, rate: Any) -> Any:
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, gradient)
    one, two = 1 - 0.9**count, 1 - 0.999**count
    step = lambda x, m, v: x - rate * (m / one) / (jnp.sqrt(v / two) + 1e-8)  # noqa: E731
    return jax.tree.map(step, network, first, second), first, second


@jax.jit
def polyak(slow: Any, online: Any, rate: float) -> Any:
    """The moving average of networks."""
    return jax.tree.map(lambda s, o: (1 - rate) * s + rate * o, slow, online)


def apart(state: Any, size: float = 0.2) -> Any:
    """A state whose networks all differ, slow copies from those they follow."""
    names = ("critic", "critic_target", "policy")
    keys = jax.random.split(jax.random.key(5), len(names))
    return state._replace(**{n: moved(getattr(state, n), k, size) for n, k in zip(names, keys, strict=True)})


def difference(found: Any, expected: Any) -> float:
    """The largest difference of two trees, each leaf in units of its largest entry."""
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert all(leaf.dtype == jnp.float64 for leaf in found)
    gaps = [np.abs(np.asarray(a) - b).max() / np.abs(b).max() for a, b in zip(found, expected, strict=True)]
    return float(max(gaps))


def first_gradient(optimizer: Any) -> Any:
    """What a fresh Adam was given at its one step."""
    return jax.tree.map(lambda leaf: np.asarray(leaf) / 0.1, optimizer[0].mu)
