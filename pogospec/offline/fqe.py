"""Fitted Q evaluation of policies, cross-fitted: each episode is read by critics that have not seen it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pogospec.nets import MLP
from pogospec.offline import critic
from pogospec.offline.closing import Closed, closed, closing, levelled, moments
from pogospec.offline.episodes import Episodes
from pogospec.offline.settings import Settings
from pogospec.types import Key, Transitions

PARTS, LEVELLED = 20, (5, 10, 15)
"""Calls in which the updates are made, between which someone may look or stop; after which last layers are levelled."""
ROWS = 2048
"""Rows that are looked at together."""

Layout = Callable[[Callable, tuple[int | None, ...]], Callable]
"""How a function of one critic becomes one of many: the function, and which of its arguments have a row for each."""


class Candidate(NamedTuple):
    """Actions of P policies as they would act, scaled to [-1, 1] and clipped; `points` of them in each place."""

    following: Any  # [P, N, points, act]: at the next observations
    first: Any  # [P, E, points, act]: at the first observations of the episodes


class Reading(NamedTuple):
    """What critics say of P policies in episodes that they have not seen, in the units of the rewards.

    `values` are means over the episodes of V(s_0) + sum_t omega_t (r_t + discount V(s_t+1) - Q_t); the first holds each
    episode once, the others are resamples: of all policies the same ones, so that differences are paired. `gap` is how
    far a looser ridge moves the first, an error of the critics that no resample sees.
    """

    values: Any  # [P, 1 + resamples]
    gap: Any  # [P]
    plain: Any  # [P]: means of V(s_0) alone
    networks: MLP  # [P, folds x fits]: critics in units of `unit`
    unit: Any

    def of(self, rows: slice) -> Reading:
        """What is said of some of the policies."""
        values, gap, plain, networks = (jax.tree.map(lambda leaf: leaf[rows], part) for part in self[:4])
        return Reading(values, gap, plain, networks, self.unit)

    @property
    def errors(self) -> Float[np.ndarray, " P"]:
        """The error of each value: of sampling, and of the critics."""
        return np.sqrt(np.var(np.asarray(self.values)[..., 1:], -1, ddof=1) + np.square(np.asarray(self.gap)))


def side_by_side(function: Callable, axes: tuple[int | None, ...]) -> Callable:
    """The layout of one device: all critics at once."""
    return jax.jit(jax.vmap(function, in_axes=axes))


def fitted(
    settings: Settings,
    data: Transitions,
    episodes: Episodes,
    candidate: Candidate,
    key: Key,
    layout: Layout = side_by_side,
    tick: Callable[[float], None] = lambda share: None,
) -> Reading:
    """Fit the critics of all policies at once, and read them.

    Args:
        settings: how; `folds` are those of `episodes`.
        data: transitions whose observations are of about unit size, and whose rewards are those to be valued.
        episodes: `episodes_of` these transitions.
        candidate: what the policies would do.
        key: of networks and minibatches.
        layout: `Batching.jit`, for example.
        tick: told the share of the updates that is done, between the calls that make them.

    """
    policies, critics = len(candidate.following), settings.folds * settings.fits
    which = np.repeat(np.arange(policies, dtype=np.int32), critics)
    fold = np.tile(_folds(settings), policies)
    keys = jax.random.split(key, (critics, 2))[np.tile(np.arange(critics), policies)]  # of all policies the same draws
    data = Transitions(*map(_on_device, data))
    unit = critic.unit_of(data.rewards, settings.discount)
    data = data._replace(rewards=data.rewards / unit)
    following, first = map(_on_device, candidate)
    begin, advance, summed = programs(settings, layout)
    counts, own = resampled(episodes, settings.resamples), episodes.block_fold == fold[:, None]

    def each(network, function, *more) -> list[Any]:
        """A function of the moments of critics, a policy at a time, as these are large; in double precision."""
        said = []
        for start in range(0, len(which), critics):
            mine = slice(start, start + critics)
            networks = jax.tree.map(lambda leaf: np.asarray(leaf)[mine], network)  # noqa: B023
            found = summed(data, following, first, episodes, which[mine], networks)
            with jax.enable_x64(True):
                found = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float64)), found)
                said.append(jax.tree.map(np.asarray, function(settings, found, own[mine], *more)))
        return said

    fit = begin(data, keys[:, 0])
    for part in range(PARTS):
        start, stop = (settings.updates * (part + more) // PARTS for more in (0, 1))
        fit = advance(data, following, episodes.rows, episodes.count, which, fold, keys[:, 1], fit, start, stop)
        jax.block_until_ready(fit)
        if part + 1 in LEVELLED:
            fit = critic.levelled(fit, jnp.asarray(np.concatenate(each(fit.network, _levelled))))
        tick((part + 1) / PARTS)
    together = jax.tree.map(lambda *leaves: np.stack(leaves), *each(fit.network, _closed, counts))
    networks = jax.tree.map(lambda leaf: leaf.reshape(policies, critics, *leaf.shape[1:]), fit.network)
    networks = jax.vmap(jax.vmap(closing))(networks, together.change.astype(data.rewards.dtype))
    values, gap, plain = (np.asarray(column) * float(unit) for column in _means(settings, together))
    return Reading(values, gap, plain, networks, float(unit))


@functools.lru_cache(maxsize=16)
def programs(settings: Settings, layout: Layout) -> tuple[Callable, Callable, Callable]:
    """Beginning, updates and moments of many critics; made once, so that runs on one dataset share them."""

    def begin(data, key):
        return critic.begin(settings, data, key)

    def advance(data, following, rows, count, which, fold, key, fit, start, stop):
        return critic.advance(settings, data, following, which, rows, count, fold, key, fit, start, stop)

    def summed(data, following, first, episodes, which, network):
        return moments(settings, data, episodes, following, first, which, network)

    return (
        layout(begin, (None, 0)),
        layout(advance, (None, None, None, None, 0, 0, 0, 0, None, None)),
        side_by_side(summed, (None, None, None, None, 0, 0)),
    )


def evaluated(
    settings: Settings,
    data: Transitions,
    episodes: Episodes,
    following: Float[Array, "N points act"],
    first: Float[Array, "E points act"],
    key: Key,
) -> Reading:
    """The same of one policy in one traced function, without a leading axis; for programs that it is a part of.

    In double precision, which solving the last layer wants.
    """
    unit = critic.unit_of(data.rewards, settings.discount)
    data = data._replace(rewards=data.rewards / unit)
    counts, start = jnp.asarray(resampled(episodes, settings.resamples)), following[None]
    episodes = Episodes(*map(jnp.asarray, episodes))

    def one(fold, keys):
        own, rows = episodes.block_fold == fold, (episodes.rows, episodes.count)

        def on(fit, begin, end):
            fit = critic.advance(settings, data, start, 0, *rows, fold, keys[1], fit, begin, end)
            return fit, moments(settings, data, episodes, start, first[None], 0, fit.network)

        def stretch(fit, ends):
            fit, found = on(fit, *ends)
            return critic.levelled(fit, levelled(settings, found, own)), None

        stops = settings.updates * np.array((0, *LEVELLED, PARTS)) // PARTS
        fit = critic.begin(settings, data, keys[0])
        fit, _ = jax.lax.scan(stretch, fit, jnp.asarray(np.stack([stops[:-2], stops[1:-1]], 1)))
        fit, found = on(fit, stops[-2], stops[-1])
        said = closed(settings, found, own, counts)
        return said, closing(fit.network, said.change)

    fold = jnp.asarray(_folds(settings))
    said, networks = jax.lax.map(lambda pair: one(*pair), (fold, jax.random.split(key, (len(fold), 2))))
    values, gap, plain = _means(settings, said)
    return Reading(values * unit, gap * unit, plain * unit, networks, unit)


def resampled(episodes: Episodes, resamples: int) -> np.ndarray:
    """How often each block is drawn, [1 + resamples, G]: once, and then as many of each fold as it has, at random."""
    draw, fold = np.random.default_rng(0), np.asarray(episodes.block_fold)
    sizes = np.bincount(fold)
    drawn = [draw.multinomial(size, np.full(size, 1 / size), resamples) for size in sizes]
    return np.concatenate([np.ones((1, len(fold))), np.concatenate(drawn, 1)])


def rows_of(
    settings: Settings, data: Transitions, episodes: Episodes, following: Array, networks: MLP, unit: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Q of the logged actions and V of the next observations, [N] each, of one policy with its closed critics.

    Each row is read by the critics of its own fold; V is 0 after the end of an episode.
    """
    q, after = np.zeros(len(data.rewards)), np.zeros(len(data.rewards))
    own = np.asarray(episodes.fold)[np.asarray(episodes.of)]
    fold = _folds(settings)
    for begin in range(0, len(q), ROWS):
        at = slice(begin, begin + ROWS)
        actions = np.swapaxes(np.asarray(following[at]), 0, 1)
        found = _values(networks, data.observations[at], data.actions[at], data.next_observations[at], actions)
        mine = (fold[:, None] == own[at]) / settings.fits
        q[at], after[at] = ((mine * np.asarray(x)).sum(0) for x in found)
    return q * unit, after * unit * (1 - np.asarray(data.terminated))


def initial(
    settings: Settings, data: Transitions, episodes: Episodes, first: Array, networks: MLP, unit: Any
) -> np.ndarray:
    """V of the first observations [E], each by the critics that have not seen its episode."""
    found = _starts(networks, np.asarray(data.observations)[np.asarray(episodes.first)], np.swapaxes(first, 0, 1))
    own = _folds(settings)[:, None] == np.asarray(episodes.fold)
    return (own * np.asarray(found)).sum(0) * unit / settings.fits


@jax.jit
def _values(networks: MLP, observations, actions, following_observations, following) -> tuple[Array, Array]:
    def one(network):
        return critic.value(network, observations, actions), critic.value(
            network, following_observations, following
        ).mean(0)

    return jax.vmap(one)(networks)


@jax.jit
def _starts(networks: MLP, observations, actions) -> Array:
    return jax.vmap(lambda network: critic.value(network, observations, actions).mean(0))(networks)


@functools.partial(jax.jit, static_argnums=0)
def _levelled(settings: Settings, found: Any, own: Array) -> Array:
    return jax.lax.map(lambda pair: levelled(settings, pair[0], pair[1]), (found, own))


@functools.partial(jax.jit, static_argnums=0)
def _closed(settings: Settings, found: Any, own: Array, counts: Array) -> Closed:
    return jax.lax.map(lambda pair: closed(settings, pair[0], pair[1], counts), (found, own))


def _means(settings: Settings, said: Closed) -> tuple[Any, Any, Any]:
    """Values, gap and plain of what critics [..., folds x fits] say of their folds: means over episodes and fits."""
    episodes = said.episodes.sum(-2)
    loose, once = said.loose.sum(-2) / episodes, episodes[..., 0]
    value, plain = (column.sum(-1) / once for column in (said.corrected, said.plain))
    gap = loose[..., 0] - value
    return loose - gap[..., None], gap, plain


def _folds(settings: Settings) -> np.ndarray:
    return np.repeat(np.arange(settings.folds, dtype=np.int32), settings.fits)


def _on_device(column: Any) -> Array:
    """A column in the floating-point type of the program."""
    column = np.asarray(column)
    return jnp.asarray(column, float if np.issubdtype(column.dtype, np.floating) else None)
