"""What a NumPyro model is to a flow: its latent sites in unconstrained space, and their joint log density.

Discrete latent sites with finitely many values are summed out, as NumPyro does it with funsor: log sum_k p(data, x, k).
A plate that is subsampled has an unbiased estimate by some of its rows, scaled by all rows/rows taken; `joint` without
a key takes all of them. The rows of a minibatch are drawn one from each of B runs of neighbours of about the same
length, from a random row on: each row is as likely as any other, and none is taken twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from traceback import walk_tb
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions import Delta, biject_to
from numpyro.infer import init_to_uniform
from numpyro.infer.util import constrain_fn, potential_energy
from numpyro.primitives import Messenger

from pogospec.extras import Needs, lacking
from pogospec.types import Key

FUNSOR = Needs("funsor", "enumerate")


class Site(NamedTuple):
    """A latent site: its part of the vector, and its unconstrained shape."""

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


class Plate(NamedTuple):
    """Rows of a subsampled plate, and rows of a minibatch of it."""

    size: int
    taken: int


class Model(NamedTuple):
    """A NumPyro model with its arguments, and where its latent sites lie in the vector."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sites: tuple[Site, ...]
    plates: dict[str, Plate] = {}  # the subsampled ones
    summed: tuple[str, ...] = ()  # discrete latent sites
    nesting: int = 0  # batch dimensions that plates and distributions take, to the left of which values are listed
    local: frozenset[str] = frozenset()  # deterministic sites in subsampled plates


class Rows(Messenger):
    """Sets which rows subsampled plates take: all of them without a key, else a minibatch."""

    def __init__(self, function: Callable[..., Any], key: Key | None = None):
        self.key = key
        super().__init__(function)

    def process_message(self, msg: dict[str, Any]) -> None:
        """The rows of one plate."""
        if msg["type"] != "plate":
            return
        size, taken = msg["args"]
        if taken is None or taken == size:
            return
        if self.key is None:
            msg["value"], msg["args"] = jnp.arange(size), (size, size)
        else:
            msg["value"] = minibatch(jax.random.fold_in(self.key, crc32(msg["name"].encode())), size, taken)


def minibatch(key: Key, size: int, taken: int) -> Array:
    """Rows [taken] of a plate of so many rows; each row as likely as any other, none of them twice."""
    first, within = jax.random.split(key)
    low = (np.arange(taken) * size) // taken
    high = np.append(low[1:], size)
    rows = jax.random.randint(within, (taken,), low, high)
    return (rows + jax.random.randint(first, (), 0, size)) % size


def joint(model: Model, values: dict[str, Array], key: Key | None = None) -> Array:
    """Log p(data, sites) + log |det d(sites)/d(values)| in nats, of one unconstrained value of every latent site.

    `key`: of the minibatch that stands for subsampled plates; without one it is that of all their rows.
    """
    function = model.function
    if model.summed:
        from numpyro.contrib.funsor import config_enumerate, enum

        function = enum(config_enumerate(function), -model.nesting - 1)
    if model.plates:
        function = Rows(function, key)
    return jnp.asarray(-potential_energy(function, model.args, model.kwargs, values, enum=bool(model.summed)), float)


def constrained(model: Model, values: dict[str, Array]) -> dict[str, Array]:
    """Sites in their own spaces, from one unconstrained value of every latent site."""
    function = Rows(model.function) if model.plates else model.function
    function = handlers.seed(function, jax.random.key(0)) if model.summed else function
    found = constrain_fn(function, model.args, model.kwargs, values, return_deterministic=not model.summed)
    return {name: value for name, value in found.items() if name not in model.local}


def bound(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Model:
    """A model with its arguments and its latent sites; ValueError, which calls it `name`, where it cannot be used."""
    try:
        model = _looked_at(function, args, kwargs)
        _evaluate(model)
        return model
    except ValueError as error:
        raise ValueError(f"the model {name} cannot be used: {error}") from error
    except Exception as error:
        site = _asking(error)
        if isinstance(error, _Asked) or site is not None:
            raise ValueError(f"the model {name} cannot be used: {_random(site)}") from error
        raise ValueError(f"the model {name} fails: {said(error)}") from error


def said(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


class _Asked(Exception):
    """A random key was asked for."""


class _Keyless(Messenger):
    """Refuses statements that ask for a random key."""

    def process_message(self, msg: dict[str, Any]) -> None:
        """Raise where the density would be random."""
        if msg["type"] == "prng_key":
            raise _Asked


def _random(site: str | None) -> str:
    """Why a density is random: a statement that asks for a key, or a site that does."""
    if site is None:
        asks = "it asks for a random key (numpyro.prng_key), which makes its density random"
        return f"{asks}; allowed models that sample their latent sites alone"
    why = "has no value in the density and is drawn anew each time, for which there is no key"
    return f"the site {site} {why}: handlers.block hides it, or it has another name in each run; let it be seen"


def _asking(error: Exception) -> str | None:
    """The site that was to be sampled without a key; None where the error is another."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    primitives = [frame for frame in frames if frame.f_globals.get("__name__") == "numpyro.primitives"]
    asked = [frame.f_locals for frame in primitives if frame.f_code.co_name == "sample"]
    inside = frames[-1].f_globals.get("__name__", "").startswith("numpyro.distributions")
    return asked[-1].get("name") if asked and (inside or isinstance(error, _Asked)) else None


def _evaluate(model: Model) -> None:
    """Ask for the density once, on shapes alone, as a flow does."""
    sites = {site.name: jax.ShapeDtypeStruct(site.shape, float) for site in model.sites}
    try:
        jax.eval_shape(lambda values: joint(model, values), sites)
    except Exception as error:
        if not model.plates:
            raise
        what = f"with all rows of the plate {next(iter(model.plates))} it fails: {said(error)}"
        do = "give it all data, and take rows by the plate's indices or numpyro.subsample"
        raise ValueError(f"{what}; {do}") from error
    if model.plates:
        jax.eval_shape(lambda values: joint(model, values, jax.random.key(0)), sites)


def _looked_at(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Model:
    """The model with all that is to be known of it, by running it on shapes alone."""
    seen: dict[str, dict[str, Any]] = {}

    def run(key):
        # values come from a strategy, as improper priors cannot be sampled
        ready = handlers.substitute(handlers.seed(_Keyless(function), key), substitute_fn=init_to_uniform())
        seen.update(handlers.trace(ready).get_trace(*args, **kwargs))
        return _raw(seen)  # the order of the model is that of `seen`; a trace of JAX hands dictionaries back sorted

    shapes = jax.eval_shape(run, jax.random.key(0))
    plates = _subsampled(seen)
    latent = [name for name, site in seen.items() if _is_latent(site, plates)]
    if not latent:
        raise ValueError("it has no latent sites" + " that are continuous" * any(map(_is_discrete, seen.values())))
    sites, start = [], 0
    for name in latent:
        shape = shapes[name].shape
        sites.append(Site(name, start, start + math.prod(shape), shape))
        start = sites[-1].stop
    summed = tuple(name for name, site in seen.items() if _is_discrete(site))
    if summed and plates:
        plate = f"the plate {next(iter(plates))} is subsampled and the discrete site {summed[0]} summed out"
        why = "whose logarithm minibatches do not estimate without bias"
        raise ValueError(f"{plate}, {why}; allowed whole plates, or dist.MixtureSameFamily in the place of the site")
    local = [n for n, s in seen.items() if s["type"] == "deterministic" and _plate_of(s, plates) is not None]
    return Model(function, args, kwargs, tuple(sites), plates, summed, _nesting(seen), frozenset(local))


def unconstrained(ready: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Array]:
    """Latent sites in unconstrained space, in the order of the model, from one run of a model that has its values."""
    return _raw(handlers.trace(ready).get_trace(*args, **kwargs))


def _raw(trace: dict[str, dict[str, Any]]) -> dict[str, Array]:
    latent = {name: site for name, site in trace.items() if _is_latent(site, {})}
    return {name: biject_to(site["fn"].support).inv(site["value"]) for name, site in latent.items()}


def _subsampled(trace: dict[str, dict[str, Any]]) -> dict[str, Plate]:
    plates = {name: Plate(*site["args"]) for name, site in trace.items() if site["type"] == "plate"}
    return {name: plate for name, plate in plates.items() if plate.taken not in (None, plate.size)}


def _plate_of(site: dict[str, Any], plates: dict[str, Plate]) -> str | None:
    """The subsampled plate that a site lies in."""
    return next((frame.name for frame in site.get("cond_indep_stack", ()) if frame.name in plates), None)


def _nesting(trace: dict[str, dict[str, Any]]) -> int:
    """Batch dimensions of all sites and plates."""
    sites = [site for site in trace.values() if site["type"] == "sample"]
    dims = [-frame.dim for site in sites for frame in site["cond_indep_stack"]]
    return max([0, *dims, *(len(site["fn"].batch_shape) for site in sites)])


def _is_discrete(site: dict[str, Any]) -> bool:
    """Whether a site is latent with values that can be listed; ValueError where it is discrete and they cannot."""
    if site["type"] != "sample" or site["is_observed"] or site["fn"].support is None:
        return False
    if not site["fn"].support.is_discrete:
        return False
    name, kind = site["name"], type(_inmost(site["fn"])).__name__
    if not site["fn"].has_enumerate_support:
        what = f"the latent site {name} is discrete ({kind}), with values that cannot all be listed to be summed out"
        raise ValueError(f"{what}; allowed continuous sites, and discrete ones of finitely many values")
    why = lacking([FUNSOR])
    if why:
        raise ValueError(f"the latent site {name} is discrete ({kind}), and what sums it out is missing: {why}")
    return True


def _inmost(fn: Any) -> Any:
    """A distribution without what expands or masks it."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return fn


def _is_latent(site: dict[str, Any], plates: dict[str, Plate]) -> bool:
    """Whether a site is latent and continuous; ValueError where it has no density of its own in the vector."""
    name = site["name"]
    if site["type"] == "param":
        raise ValueError(f"the site {name} is a parameter; allowed sampled and observed sites")
    if site["type"] != "sample" or site["is_observed"]:
        return False
    if site["fn"].support is None:
        raise ValueError(f"the latent site {name} has no support; allowed continuous sites")
    if _is_discrete(site):
        return False
    if isinstance(site["fn"], Delta):
        raise ValueError(f"the latent site {name} is a Delta, which has no density; use numpyro.deterministic")
    plate = _plate_of(site, plates)
    if plate is not None:
        why = "of which a minibatch would have others each time"
        raise ValueError(f"the latent site {name} lies in the subsampled plate {plate}, {why}; allowed the whole plate")
    return True
