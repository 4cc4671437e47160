"""Normalising flows of two coupling layers in two dimensions: splines by their bins, inverses by halving."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

LEAST = 1e-3
"""The least width of a bin, and the least slope at a knot."""


def bins(raw, knots, interval):
    """Ends of the bins along both axes and slopes there, [..., knots + 2] each."""
    raw = 3 * jnp.tanh(raw / 3)
    ends = []
    for part in (raw[..., : knots + 1], raw[..., knots + 1 : 2 * knots + 2]):
        shares = jnp.exp(part) / jnp.exp(part).sum(-1, keepdims=True)
        widths = LEAST + (2 * interval - LEAST * (knots + 1)) * shares
        ends.append(jnp.concatenate([0 * widths[..., :1], jnp.cumsum(widths, -1)], -1) - interval)
    one = np.log(np.expm1(1 - LEAST))
    return *ends, LEAST + jnp.log1p(jnp.exp(raw[..., 2 * knots + 2 :] + one))


def bend(x, xs, ys, slopes, interval):
    """A monotone rational-quadratic function of one number (Gregory and Delbourgo 1982); straight outside."""
    found = x
    for k in range(len(xs) - 1):
        t, s = (x - xs[k]) / (xs[k + 1] - xs[k]), (ys[k + 1] - ys[k]) / (xs[k + 1] - xs[k])
        over = s + (slopes[k + 1] + slopes[k] - 2 * s) * t * (1 - t)
        inside = ys[k] + (ys[k + 1] - ys[k]) * (s * t * t + slopes[k] * t * (1 - t)) / over
        found = jnp.where((x >= xs[k]) & (x < xs[k + 1]), inside, found)
    return found


def coupled(network, family, rows, location, std, forward):
    """A flow as mean, actions at noise and log density; `forward` is what a perceptron of a layer puts out."""
    size, count = location.shape[-1], 3 * family.knots + 4
    assert (size, family.layers) == (2, 2)

    def parts(layer, x):  # the first layer moves the second dimension, the second the first
        moves = 1 - layer
        net = jax.tree.map(lambda leaf: leaf[layer], network.layers)
        out = forward(net, family.activation, rows, x * (jnp.arange(2) != moves))
        assert out.shape[-1] == count
        return moves, bins(out, family.knots, family.interval)

    def mapped(x, *given):
        function = lambda x, *given: bend(x, *given, interval=family.interval)  # noqa: E731
        return jax.vmap(function)(x.ravel(), *(g.reshape(-1, g.shape[-1]) for g in given)).reshape(x.shape)

    def act(z):
        x = jnp.broadcast_to(z, (*z.shape[:-2], *location.shape))
        for layer in (0, 1):
            moves, given = parts(layer, x)
            x = x.at[..., moves].set(mapped(x[..., moves], *given))
        return location + std * x

    def log_density(a):
        x, volume = (a - location) / std, jnp.log(std).sum(-1)
        for layer in (1, 0):
            moves, given = parts(layer, x)
            aim = x[..., moves]

            def halve(_, ends, given=given, aim=aim):
                middle = (ends[0] + ends[1]) / 2
                short = mapped(middle, *given) < aim
                return jnp.where(short, middle, ends[0]), jnp.where(short, ends[1], middle)

            ends = tuple(jnp.full(aim.shape, sign * (family.interval + 60.0)) for sign in (-1, 1))
            middle = jax.lax.fori_loop(0, 70, halve, ends)[0]
            slope = jax.grad(lambda y, given=given: mapped(y, *given).sum())(middle)
            volume, x = volume + jnp.log(slope), x.at[..., moves].set(middle)
        return -(jnp.square(x) / 2 + 0.5 * np.log(2 * np.pi)).sum(-1) - volume

    mean = act(jnp.zeros(location.shape))
    return SimpleNamespace(mean=mean, std=0 * mean, act=act, log_density=log_density, squashed=False, flows=True)
