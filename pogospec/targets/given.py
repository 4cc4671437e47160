"""Targets that are at hand in Python, a log density or a NumPyro model; no kind of the language names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.errors import UsageError
from pogospec.targets.base import AbstractTarget
from pogospec.targets.numpyro import NumpyroTarget
from pogospec.targets.quadrature import Box
from pogospec.targets.traced import Model, bound, joint
from pogospec.types import Actions, Key, Values


class GivenDensity(AbstractTarget):
    """A function of one vector as a known energy."""

    any_precision: ClassVar[bool] = False

    function: Callable[[Any], Any]
    size: int

    @property
    def dimensions(self) -> int:
        """Length of the vector."""
        return self.size

    def log_density(self, actions: Actions) -> Values:
        """Values of the function at each row."""
        actions = jnp.asarray(actions)
        values = jax.vmap(self.function)(actions.reshape(-1, self.size))
        return jnp.asarray(values, actions.dtype).reshape(actions.shape[:-1])

    def formula(self) -> tuple[str, str, str]:
        """Text, LaTeX and meaning of Q(a)."""
        return "f(a)", "f(a)", "f: the given log density"


class Held:
    """A model as one thing, equal to itself alone, so that a target which holds it can be hashed."""

    def __init__(self, model: Model):
        self.model = model


class GivenModel(NumpyroTarget):
    """A NumPyro model with its arguments as a known energy; `model` is what it is called.

    With subsampled plates the density is an unbiased estimate: each row of actions has a minibatch of its own, or all
    of them the same one.
    """

    held: Held
    key: Any = None  # of the minibatches; None: always the same
    alike: bool = False  # whether all rows of actions see the same minibatch
    all_rows: bool = False  # whether subsampled plates are taken whole

    @property
    def _model(self) -> Model:
        return self.held.model

    @property
    def bound(self) -> Model:
        """The model with its arguments."""
        return self.held.model

    @property
    def estimated(self) -> bool:
        """Whether the density is an estimate by minibatches."""
        return bool(self.bound.plates) and not self.all_rows

    def drawn(self, key: Key, alike: bool) -> GivenModel:
        """The same density with other minibatches."""
        return GivenModel(self.model, self.held, key, alike) if self.estimated else self

    def log_density(self, actions: Actions) -> Values:
        """Log joint density in nats of each row, or its estimate by the minibatch of the row."""
        if not self.estimated:
            return super().log_density(actions)
        actions = jnp.asarray(actions)
        rows = actions.reshape(-1, self.dimensions)
        key = jax.random.key(0) if self.key is None else self.key
        one = lambda row, key: joint(self.bound, self.split(row), key).astype(row.dtype)  # noqa: E731
        if self.alike:
            values = jax.vmap(one, (0, None))(rows, key)
        else:
            values = jax.vmap(one)(rows, jax.random.split(key, len(rows)))
        return values.reshape(actions.shape[:-1])

    def whole(self) -> GivenModel:
        """The density with all rows of subsampled plates."""
        return GivenModel(self.model, self.held, all_rows=True) if self.estimated else self

    def box(self, temperature: float) -> Box | None:
        """Where the density has its mass; None of one that is estimated, which would take all data at each node."""
        return None if self.estimated else super().box(temperature)


def given(
    energy: Any, arguments: tuple[Any, ...], model_kwargs: Mapping[str, Any] | None, dimensions: int | None
) -> AbstractTarget:
    """The target of a model, of a log density of so many dimensions, or the target itself; raises UsageError."""
    if isinstance(energy, AbstractTarget):
        if arguments or model_kwargs is not None or dimensions is not None:
            raise UsageError("found a target and arguments or dimensions beside it, allowed the target alone")
        return energy
    # as arrays of JAX in the float type of now; it remembers the type that it once gave to an array of NumPy
    arguments, model_kwargs = jax.tree.map(as_jax, (arguments, model_kwargs))
    if not callable(energy):
        allowed = "a NumPyro model, a log density with dimensions, or a target"
        raise UsageError(f"energy: found {type(energy).__name__}, allowed {allowed}")
    name = getattr(energy, "__name__", type(energy).__name__)
    if dimensions is not None:
        if model_kwargs is not None:
            raise UsageError("found dimensions and model_kwargs, allowed one of them: a log density takes no names")
        return _density(name, energy, arguments, dimensions)
    try:
        return GivenModel(name, Held(bound(name, energy, arguments, dict(model_kwargs or {}))))
    except ValueError as error:
        raise UsageError(f"{error}; for a log density of a vector give dimensions") from error


def as_jax(value: Any) -> Any:
    """An array of JAX from one of numbers of NumPy; anything else as it is."""
    return jnp.asarray(value) if isinstance(value, np.ndarray) and value.dtype.kind in "biufc" else value


def _density(name: str, function: Callable[..., Any], arguments: tuple[Any, ...], dimensions: Any) -> GivenDensity:
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < 1:
        raise UsageError(f"dimensions: found {dimensions!r}, allowed a whole number >= 1")
    density = GivenDensity(lambda vector: function(vector, *arguments), dimensions)
    hint = "allowed one number, by functions of jax.numpy; for a NumPyro model leave dimensions out"
    try:
        found = jax.eval_shape(density.function, jax.ShapeDtypeStruct((dimensions,), float))
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise UsageError(f"{name} fails on a vector of {dimensions} numbers: {said}; {hint}") from error
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        what = f"{found.dtype} of shape {found.shape}" if hasattr(found, "shape") else f"{found!r}"
        raise UsageError(f"{name} returned {what} for a vector of {dimensions} numbers; {hint}")
    return density
