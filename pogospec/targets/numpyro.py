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

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro import handlers

from pogospec.modules import allow as allow
from pogospec.modules import allowed
from pogospec.modules import allowing as allowing
from pogospec.registry import nearest
from pogospec.targets.base import AbstractTarget
from pogospec.targets.traced import Model, Site, bound, constrained, joint, said, unconstrained
from pogospec.types import Actions, Values

GROUP = "pogospec.models"
MADE = "a function without arguments that returns a NumPyro model, or (model, args, kwargs)"


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
        model = _load(_place(self.model), bool(jax.config.read("jax_enable_x64")))
        if model.plates:
            plate = next(iter(model.plates))
            why = "is subsampled, which makes the density random"
            raise ValueError(f"the plate {plate} {why}; allowed whole plates, or pogospec.flow from Python")
        return model

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
        return self._rows(lambda vector: joint(self._model, self.split(vector)).astype(vector.dtype), actions)

    def constrain(self, actions: Actions) -> dict[str, Array]:
        """Sites in their own spaces, deterministic ones too: [..., d] -> name: [..., *shape of the site].

        Left out are deterministic sites in subsampled plates, and all of a model whose discrete sites are summed out.
        """
        return self._rows(lambda vector: constrained(self._model, self.split(vector)), actions)

    def unconstrain(self, values: dict[str, Array]) -> Actions:
        """One vector [d] from one value of every latent site."""
        model = self._model
        seeded = handlers.seed(model.function, jax.random.key(0))
        found = unconstrained(handlers.substitute(seeded, values), model.args, model.kwargs)
        return self.joined(found)

    def joined(self, values: dict[str, Array]) -> Actions:
        """One vector [d] from one unconstrained value of every latent site."""
        return jnp.concatenate([jnp.ravel(values[site.name]) for site in self.sites])

    def split(self, vector: Array) -> dict[str, Array]:
        """The unconstrained value of every latent site from one vector [d]."""
        return {site.name: vector[site.start : site.stop].reshape(site.shape) for site in self.sites}

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""
        names = ", ".join(site.name for site in self.sites)
        meaning = f"x(a): the sites {names} of the model {self.model}, from unconstrained space"
        latex = r"\log p(\mathrm{data}, x(a)) + \log|\det \partial x/\partial a|"
        return "log p(data, x(a)) + log |det ∂x/∂a|", latex, meaning

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
        raise ValueError(f"the model {place} could not be made: {said(error)}; allowed {MADE}") from error
    function, args, kwargs = made if isinstance(made, tuple) and len(made) == 3 else (made, (), {})
    if not callable(function) or not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise ValueError(f"{place} returned {made!r}, allowed {MADE}")
    return bound(place, function, args, kwargs)
