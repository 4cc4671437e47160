"""What a geometry is, and the table of closed forms that joins geometries and parameter types.

A pair enters the table from the geometry's file, or from the file of a new family:

    @divergence("fisher_rao", DiagonalNormal, DiagonalNormal)
    def _(geometry, p, q): ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax

from pogospec.policies.base import normals
from pogospec.spec.fields import Within
from pogospec.types import Actions, Key, Observations, Space, Values

Formula = tuple[str, str, str]
"""Text, LaTeX and meaning."""
Rewrite = Callable[[Any, Formula], Formula]
"""(geometry, its formula) -> the formula as it is for a pair of parameter types."""

_DIVERGENCES: dict[tuple[str, type, type], Callable[..., Any]] = {}
_ESTIMATES: dict[tuple[str, type, type], Callable[..., Any]] = {}
_WRITTEN: dict[tuple[str, type, type], Rewrite] = {}
_METRICS: dict[tuple[str, type], Callable[..., Any]] = {}
_FRAMES: dict[type, Callable[[Any], Frame]] = {}


class Frame(NamedTuple):
    """Coordinates of the tangent space at some parameters, in which the metrics of all geometries are diagonal."""

    inward: Callable[[Any], Any]  # a gradient with respect to the parameters -> the gradient in the frame
    outward: Callable[[Any], Any]  # a tangent in the frame -> the tangent of the parameters; the adjoint of `inward`


def divergence(kind: str, policy: type, reference: type, *, written: Rewrite | None = None):
    """Register D(policy, reference) of a geometry for a pair of parameter types; [..., act] -> [...].

    `written`: how the formula of the geometry reads for this pair, where it reads otherwise.
    """

    def register(function):
        _DIVERGENCES[kind, policy, reference] = function
        if written is not None:
            _WRITTEN[kind, policy, reference] = written
        return function

    return register


def estimate(kind: str, policy: type, reference: type, *, written: Rewrite):
    """Register D(policy, reference) by samples, for a pair without a closed form: (geometry, p, q, seen) -> [...].

    `written`: how the formula of the geometry, which is that of a closed form, reads for this pair.
    """

    def register(function):
        _ESTIMATES[kind, policy, reference] = function
        _WRITTEN[kind, policy, reference] = written
        return function

    return register


def inverse_metric(kind: str, policy: type):
    """Register the inverse metric: (geometry, parameters, clip) -> factors of the gradient in the type's frame."""

    def register(function):
        _METRICS[kind, policy] = function
        return function

    return register


def frame(policy: type):
    """Register the frame of a parameter type: parameters -> Frame; without one it is the parameters themselves."""

    def register(function):
        _FRAMES[policy] = function
        return function

    return register


def frame_at(policy: Any) -> Frame:
    """The frame at the policy, in which inverse metrics are factors."""
    at = _FRAMES.get(type(policy))
    return Frame(lambda gradient: gradient, lambda tangent: tangent) if at is None else at(policy)


class Seen(NamedTuple):
    """What an estimate by samples looks at beside the two distributions."""

    observations: Observations
    key: Key
    learned: Any = None  # what the geometry's `init` made, as it is now


class AbstractGeometry(eqx.Module):
    """A probability geometry: D = d^2/2 for a metric, the divergence itself otherwise."""

    kind: ClassVar[str]
    needs_density: ClassVar[bool]
    natural_clip: ClassVar[tuple[float, float]]
    retraction: ClassVar[Literal["reweight", "transport"] | None] = None  # how an explicit step moves the reference
    by_samples: ClassVar[bool] = False  # whether D is estimated, by samples that differ from call to call
    learns: ClassVar[bool] = False  # whether `init` makes a state, which `update` trains

    weight: eqx.AbstractVar[Annotated[float, Within(ge=0.0), "factor of this divergence"]]

    def estimated(self) -> bool:
        """Whether D is estimated by samples with these keys."""
        return self.by_samples

    def accuracy(self) -> str:
        """How bias and noise of the estimate fall with its samples, in words; empty where there is none."""
        return ""

    def init(self, key: Key, space: Space) -> Any:
        """State that the geometry learns; none unless a variant says otherwise."""
        return None

    def update(self, policy: Any, reference: Any, seen: Seen) -> tuple[Any, dict]:
        """The learned state after an update of the policy, and numbers for people."""
        return seen.learned, {}

    def learning(self, number: Callable[[float], str]) -> str:
        """How what it learns is trained, in words; `number` writes a number; empty where it learns nothing."""
        return ""

    def supports(self, policy: type, reference: type) -> bool:
        """Whether D is known for the pair of parameter types; in closed form or, where one is registered, estimated."""
        return (self.kind, policy, reference) in _DIVERGENCES or self.estimates(policy, reference)

    def estimates(self, policy: type, reference: type) -> bool:
        """Whether D of the pair is estimated by samples."""
        return self.estimated() or (self.kind, policy, reference) in _ESTIMATES

    def written(self, formula: Formula, policy: type, reference: type) -> Formula:
        """What `formula` gives, as it reads for a pair of parameter types."""
        rewrite = _WRITTEN.get((self.kind, policy, reference))
        return formula if rewrite is None or self.estimated() else rewrite(self, formula)

    def has_metric(self, policy: type) -> bool:
        """Whether natural gradients are known for the parameter type."""
        return (self.kind, policy) in _METRICS

    def divergence(self, policy: Any, reference: Any, seen: Seen | None = None) -> Values:
        """D(policy, reference) of each row; `seen`: for estimates by samples."""
        return self.weight * self.unweighted(policy, reference, seen)

    def unweighted(self, policy: Any, reference: Any, seen: Seen | None) -> Values:
        """D without its weight; the closed form or the estimate of the table unless a variant has its own."""
        pair = self.kind, type(policy), type(reference)
        if pair in _ESTIMATES:
            return _ESTIMATES[pair](self, policy, reference, seen)
        return _DIVERGENCES[pair](self, policy, reference)

    def inverse_metric(self, policy: Any, clip: tuple[float, float] | None) -> Any:
        """Factors of the inverse metric at the policy, in its frame; `clip` bounds the part that varies."""
        factors = _METRICS[self.kind, type(policy)](self, policy, clip or self.natural_clip)
        return jax.tree.map(lambda factor: factor / self.weight, factors)


class AbstractSampled(AbstractGeometry):
    """A geometry whose D is estimated by samples, between any two distributions that can be drawn from."""

    needs_density: ClassVar[bool] = False
    natural_clip: ClassVar[tuple[float, float]] = (1e-3, 1e3)
    by_samples: ClassVar[bool] = True

    def supports(self, policy: type, reference: type) -> bool:
        """Whether both can be drawn from."""
        return has_points(policy, reference)


def drawn(policy: Any, reference: Any, count: int, key: Key) -> tuple[Actions, Actions]:
    """Actions [count, ..., act] of both distributions, independent and differentiable, not clipped."""
    other = jax.random.fold_in(key, 1)
    return policy.at(normals(policy, count, key)), reference.at(normals(reference, count, other))


def drawn_together(policy: Any, reference: Any, count: int, key: Key) -> tuple[Actions, Actions]:
    """Actions [count, ..., act] of both distributions at the same noise, differentiable, not clipped."""
    z = normals(policy, count, key)
    return policy.at(z), reference.at(z)


def has_points(*types: type) -> bool:
    """Whether actions can be drawn from parameters of these types."""
    return all(hasattr(one, "at") for one in types)
