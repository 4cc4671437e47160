"""The posterior of a NumPyro model as a target: its log density over the latent sites in unconstrained space.

The vector of actions holds the latent sites in the order in which the model samples them, each in row-major order of
its unconstrained value. A spec names a model that a package registers,

    [project.entry-points."pogospec.models"]
    eight_schools = "pogospec.targets.models:eight_schools"

or `module:function`, which is imported only if the user has allowed that module in this process: reading a spec runs
no code that the user did not ask for. The function takes no arguments and returns a NumPyro model without arguments,
or (model, args, kwargs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions import Delta, biject_to
from numpyro.infer import init_to_uniform
from numpyro.infer.util import constrain_fn, potential_energy
from numpyro.primitives import Messenger

from pogospec.modules import allow as allow
from pogospec.modules import allowed
from pogospec.modules import allowing as allowing
from pogospec.registry import nearest
from pogospec.targets.base import AbstractTarget
from pogospec.types import Actions, Values

GROUP = "pogospec.models"
MADE = "a function without arguments that returns a NumPyro model, or (model, args, kwargs)"


class Site(NamedTuple):
    """A latent site: its part of the vector, and its unconstrained shape."""

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


class Model(NamedTuple):
    """A NumPyro model with its arguments, and where its latent sites lie in the vector."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sites: tuple[Site, ...]


@cache
def registered() -> dict[str, str]:
    """Names of the registered models -> "module:function"."""
    return {point.name: point.value for point in entry_points(group=GROUP)}


class NumpyroTarget(AbstractTarget):
    """Log density of a NumPyro model over its latent sites in unconstrained space, |det J| included."""

    any_precision: ClassVar[bool] = False

    model: Annotated[str, "a registered model, or module:function of a module allowed with --allow-module"]

    def __check_init__(self):
        self._model  # noqa: B018 - an unknown, refused or unusable model is an error where it is named

    @property
    def _model(self) -> Model:
        return _load(_place(self.model), bool(jax.config.read("jax_enable_x64")))

    @property
    def dimensions(self) -> int:
        """Length of the vector of all latent sites."""
        return self.sites[-1].stop

    @property
    def sites(self) -> tuple[Site, ...]:
        """The latent sites in the order of the vector."""
        return self._model.sites

    def log_density(self, actions: Actions) -> Values:
        """Log joint density in nats of each row: log p(data, sites) + log |det d(sites)/d(actions)|."""
        function, args, kwargs, _ = self._model

        def single(vector: Array) -> Array:
            return jnp.asarray(-potential_energy(function, args, kwargs, self._split(vector)), vector.dtype)

        return self._rows(single, actions)

    def constrain(self, actions: Actions) -> dict[str, Array]:
        """Sites in their own spaces, deterministic ones too: [..., d] -> name: [..., *shape of the site]."""
        function, args, kwargs, _ = self._model

        def single(vector: Array) -> dict[str, Array]:
            return constrain_fn(function, args, kwargs, self._split(vector), return_deterministic=True)

        return self._rows(single, actions)

    def unconstrain(self, values: dict[str, Array]) -> Actions:
        """One vector [d] from one value of every latent site."""
        function, args, kwargs, sites = self._model
        seeded = handlers.seed(function, jax.random.key(0))
        found = _unconstrained(handlers.substitute(seeded, values), args, kwargs)
        return jnp.concatenate([jnp.ravel(found[site.name]) for site in sites])

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""
        names = ", ".join(site.name for site in self.sites)
        meaning = f"x(a): the sites {names} of the model {self.model}, from unconstrained space"
        latex = r"\log p(\mathrm{data}, x(a)) + \log|\det \partial x/\partial a|"
        return "log p(data, x(a)) + log |det ∂x/∂a|", latex, meaning

    def _split(self, vector: Array) -> dict[str, Array]:
        return {site.name: vector[site.start : site.stop].reshape(site.shape) for site in self.sites}

    def _rows(self, single: Callable[[Array], Any], actions: Actions) -> Any:
        """Apply a function of one vector to every row."""
        actions = jnp.asarray(actions)
        batch = actions.shape[:-1]
        found = jax.vmap(single)(actions.reshape(-1, self.dimensions))
        return jax.tree.map(lambda leaf: leaf.reshape(batch + leaf.shape[1:]), found)


def _place(name: str) -> str:
    """The "module:function" that a name of a model means; ValueError where it is unknown or not allowed."""
    module, colon, _ = name.partition(":")
    if colon:
        if module not in allowed():
            raise ValueError(
                f"found the model {name}, whose module is not allowed; if you trust it, run with "
                f"--allow-module {module}, or in Python call pogospec.modules.allow('{module}')"
            )
        return name
    known = registered()
    if name not in known:
        close = nearest(name, known)
        hint = f", did you mean {close}?" if close else ""
        raise ValueError(f"found unknown model '{name}', allowed {', '.join(known)}, or module:function{hint}")
    return known[name]


@cache
def _load(place: str, double: bool) -> Model:
    """Import a model and find its latent sites; ValueError where it cannot be used.

    Made anew for each float type, `double` or not: JAX remembers the type that it once gave to a NumPy array.
    """
    module, _, name = place.partition(":")
    try:
        made = getattr(import_module(module), name)()
    except Exception as error:
        raise ValueError(f"the model {place} could not be made: {_said(error)}; allowed {MADE}") from error
    function, args, kwargs = made if isinstance(made, tuple) and len(made) == 3 else (made, (), {})
    if not callable(function) or not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise ValueError(f"{place} returned {made!r}, allowed {MADE}")
    return bound(place, function, args, kwargs)


def bound(name: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Model:
    """A model with its arguments and its latent sites; ValueError, which calls it `name`, where it cannot be used."""
    try:
        model = Model(function, args, kwargs, _latent_sites(function, args, kwargs))
        _evaluate(model)
        return model
    except ValueError as error:
        raise ValueError(f"the model {name} cannot be used: {error}") from error
    except Exception as error:
        raise ValueError(f"the model {name} fails: {_said(error)}") from error


class _Keyless(Messenger):
    """Refuses statements that ask for a random key."""

    def process_message(self, msg: dict[str, Any]) -> None:
        """ValueError where the density would be random."""
        if msg["type"] == "prng_key":
            asks = "it asks for a random key (numpyro.prng_key), which makes its density random"
            raise ValueError(f"{asks}; allowed models that sample their latent sites alone")


def _evaluate(model: Model) -> None:
    """Ask for the density once, on shapes alone, as a flow does."""
    sites = {site.name: jax.ShapeDtypeStruct(site.shape, float) for site in model.sites}
    jax.eval_shape(lambda values: potential_energy(model.function, model.args, model.kwargs, values), sites)


def _said(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _latent_sites(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Site, ...]:
    """Names and unconstrained shapes, by running the model on shapes alone."""
    names: list[str] = []

    def run(key):
        # values come from a strategy, as improper priors cannot be sampled
        ready = handlers.substitute(handlers.seed(_Keyless(function), key), substitute_fn=init_to_uniform())
        found = _unconstrained(ready, args, kwargs)
        names.extend(found)  # the order of the model; a trace of JAX hands dictionaries back sorted
        return found

    shapes = jax.eval_shape(run, jax.random.key(0))
    if not names:
        raise ValueError("it has no latent sites")
    sites, start = [], 0
    for name in names:
        shape = shapes[name].shape
        sites.append(Site(name, start, start + math.prod(shape), shape))
        start = sites[-1].stop
    return tuple(sites)


def _unconstrained(ready: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Array]:
    """Latent sites in unconstrained space, in the order of the model, from one run of a model that has its values."""
    trace = handlers.trace(ready).get_trace(*args, **kwargs)
    latent = {name: site for name, site in trace.items() if _is_latent(site)}
    return {name: biject_to(site["fn"].support).inv(site["value"]) for name, site in latent.items()}


def _is_latent(site: dict[str, Any]) -> bool:
    """Whether a site is latent; ValueError where its density is not a function of continuous sites."""
    name = site["name"]
    if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
        raise ValueError(f"the plate {name} is subsampled, which makes the density random; allowed whole plates")
    if site["type"] == "param":
        raise ValueError(f"the site {name} is a parameter; allowed sampled and observed sites")
    if site["type"] != "sample" or site["is_observed"]:
        return False
    if site["fn"].support is None or site["fn"].support.is_discrete:
        raise ValueError(f"the latent site {name} is discrete; allowed continuous sites, or sum it out")
    if isinstance(site["fn"], Delta):
        raise ValueError(f"the latent site {name} is a Delta, which has no density; use numpyro.deterministic")
    return True
