"""Steps whose next Gaussian has a closed form, given g = E[grad Q] and H = E[Hess Q] under the reference N(m, S).

On a known energy the policy's parameters are free numbers, and the step sets them: no optimiser, one look at Q. On data
a network of all states is regressed on the Gaussians of a minibatch.

Two estimates of H, S = L L^T. `exact`: second derivatives, forward over reverse along the columns of L, each of about
the cost of a gradient at every point; reverse over reverse where Q has a rule of its own for reverse mode alone
(custom_vjp). `plane`: the plane nearest to grad Q at m + L z, grad Q about g + H (a - m), by
least squares over points z of more than d: Stein's identity H = E[grad Q z^T] L^-1 with the noise of what is linear
taken away. It asks for first derivatives alone and sees the bends of a critic of ReLUs, whose second derivatives are 0
almost everywhere. Both are exact for quadratic Q at any points; of another Q the plane is off by about 1/n at n
samples, and at rotated axes not at all in the mean.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.energies.base import Context
from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, Sample, below
from pogospec.steps.base import AbstractScheme, Problem, divergences, potential, slope_of
from pogospec.steps.points import Antithetic, Hermite, Points, Rotated, count_of, noise_at, too_many
from pogospec.types import Actions, Key, Params, Values

GAUSSIANS = (DiagonalNormal, FullNormal)
"""Parameter types on which such a step has a closed form, whatever the scheme."""
BLOCK = 16
"""Columns of a Hessian that are computed at once."""
NEARER = 8
"""How often at most points without numbers are taken from half as far."""
RISE, TRIES, HASTE = 1.0, 12, 6
"""Rise of the energy in nats above which a step is shortened; how often at most, and after how many times by more."""
Curvature = Literal["exact", "plane"]


class AbstractClosed(AbstractScheme):
    """A step to a Gaussian in closed form."""

    at_reference: ClassVar[bool] = True
    closed: ClassVar[bool] = True
    warm: ClassVar[bool] = False  # whether it asks for entropy in the energy
    families: ClassVar[tuple[type, ...]] = GAUSSIANS  # parameter types on which the step has a closed form

    @abc.abstractmethod
    def points(self, act_dim: int) -> Points:
        """Where the reference is looked at."""

    @abc.abstractmethod
    def look(self, velocity: Callable[[Actions], Actions], reference: Any, z: Actions, shares: Values) -> Any:
        """What the step asks of Q: arrays [..., …] from its gradient at `reference.at(z)` [n, ..., d]."""

    @abc.abstractmethod
    def moved(self, reference: Any, found: Any, length: Any, heat: Any) -> Any:
        """The next Gaussian, of the type of the reference.

        `found`: what `look` returned; `length`: that of the step, a number or [..., 1]; `heat`: lambda.
        """

    def taken(
        self, move: Callable[[Any], Any], length: Any, rise: Callable[[Any], Values], heat: Any, reference: Any
    ) -> Any:
        """The Gaussian that a step of this length, or of a shorter one, is set to.

        `move`: the next Gaussian of a length; `rise` [...]: of the energy from the reference to a Gaussian, at the same
        points, beyond rounding; `heat`: lambda.
        """
        return move(length)

    def compares(self, act_dim: int) -> bool:
        """Whether gradients at several points are held against each other."""
        return True

    def count(self, act_dim: int) -> int:
        """Points in a state."""
        return count_of(self.points(act_dim), act_dim)

    def gradients(self, act_dim: int) -> int:
        """Gradients of Q that a step takes in a state, a column of a Hessian counted as one."""
        return self.count(act_dim)

    def too_large(self, act_dim: int) -> str | None:
        """Why a grid is larger than memory should hold."""
        return too_many(self.points(act_dim), act_dim)

    def gradient(
        self,
        problem: Problem,
        parameters: Callable[[Params], Any],
        network: Params,
        references: tuple[Any, ...],
        context: Context,
        key: Key,
    ) -> tuple[Params, dict]:
        """Gradient of the divergence from the closed form: through the heads, where a natural one acts, inwards."""
        heads, pull_back = jax.vjp(parameters, network)
        (term,), (reference,) = problem.proximal, references
        target, geometry = self.target(problem, reference, context, key), term.geometry
        whole = speed_of(geometry, target.mean.shape[-1])  # of the sum over dimensions beside their mean
        loss = lambda heads: whole * geometry.unweighted(heads, target, None).mean()  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(heads)
        gradient = problem.gradient.precondition(problem.proximal, heads, gradient)
        distance = divergences(problem, heads, references, context, key)[0].mean()
        return pull_back(gradient)[0], {"objective": value, "distance": distance}

    def target(self, problem: Problem, reference: Any, context: Context, key: Key) -> Any:
        """The Gaussian of each row at which the step ends; of the type of the reference, without gradient."""
        (term,) = problem.proximal
        size = reference.mean.shape[-1]
        z, shares = noise_at(self.points(size), reference, key)
        forward = problem._replace(energy={n: t for n, t in problem.energy.items() if not t.entropic})
        velocity = lambda points: -slope_of(forward, reference, points, context)  # noqa: E731
        z, found = self._found(velocity, reference, z, shares)
        length = term.tau / term.geometry.weight * speed_of(term.geometry, size)
        heat = sum((t.weight for t in problem.energy.values() if t.entropic), 0.0)
        move = lambda length: self.moved(reference, found, length, heat)  # noqa: E731
        equal = jnp.abs(shares) / jnp.abs(shares).sum()  # what may be negative would reward a fall of Q
        height = lambda at: jnp.tensordot(equal, potential(forward, reference, at.at(z), context), 1)  # noqa: E731
        before = height(reference)
        blur = 16 * jnp.finfo(before.dtype).eps * jnp.abs(before)  # what rounding alone may make of it
        rise = lambda at: height(at) - before - blur - heat * (log_size(at) - log_size(reference))  # noqa: E731
        return jax.lax.stop_gradient(self.taken(move, length, rise, heat, reference))

    def _found(
        self, velocity: Callable[[Actions], Actions], reference: Any, z: Actions, shares: Values
    ) -> tuple[Actions, Any]:
        """Noise, and what is asked of Q there; where it is no number, from points half as far from the mean, and so on.

        Of many dimensions points lie far out, where a log density may overflow; a plane asks for no distance.
        """
        rows = reference.mean.shape[:-1]

        def nearer(now: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            tries, near, found = now
            near = jnp.where(_numbers(found, rows), near, near / 2)
            return tries + 1, near, self.look(velocity, reference, z * near, shares)

        shapes = jax.eval_shape(lambda: self.look(velocity, reference, z, shares))
        nothing = jax.tree.map(lambda part: jnp.full(part.shape, jnp.nan, part.dtype), shapes)
        start = jnp.zeros((), jnp.int32), jnp.full((*rows, 1), 2.0, z.dtype), nothing
        asks = lambda now: (now[0] < NEARER) & ~_numbers(now[2], rows).all()  # noqa: E731
        _, near, found = jax.lax.while_loop(asks, nearer, start)
        return z * near, found


class AbstractCurved(AbstractClosed):
    """A closed step that asks for E[grad Q] and E[Hess Q], the latter along the columns of the factor: g and H L."""

    actions: Annotated[
        Rotated | Antithetic | Sample | Hermite | None,
        "points of the reference in each state: {rotated: n} times d axes in random directions, {antithetic: n} pairs, "
        "{sample: n}, or a grid {hermite: n} of n^d nodes; a plane asks for more than d (of pairs for d); default: "
        "{rotated: 1} in natural, with exact curvature 8 pairs; samples in forward_backward",
    ] = None
    curvature: Annotated[
        Curvature | None,
        "E[Hess Q] by second derivatives (exact, on known energies), or by the plane nearest to grad Q; default: the "
        "plane, in natural at actions that are not rotated exact up to 256 dimensions",
    ] = None

    @abc.abstractmethod
    def curved(self, act_dim: int) -> Curvature:
        """How H is found in so many dimensions."""

    def look(
        self, velocity: Callable[[Actions], Actions], reference: Any, z: Actions, shares: Values
    ) -> tuple[Actions, Any]:
        """Level g [..., d] and slopes H L [..., d, d], of a Gaussian with independent dimensions H diag(std)."""
        actions = reference.at(z)
        if self.curved(reference.mean.shape[-1]) == "exact":
            return derivatives(velocity, actions, shares, reference)
        return plane(velocity(actions), z, shares)

    def compares(self, act_dim: int) -> bool:
        """Whether a plane is laid through its points."""
        return self.curved(act_dim) == "plane"

    def points(self, act_dim: int) -> Points:
        """Where the reference is looked at."""
        if self.actions is not None:
            return self.actions
        return Antithetic(8) if self.curved(act_dim) == "exact" else Sample(max(16, 2 * act_dim + 2))

    def gradients(self, act_dim: int) -> int:
        """Gradients of Q that a step takes in a state, a column of a Hessian counted as one."""
        return self.count(act_dim) * (1 + act_dim * (self.curved(act_dim) == "exact"))

    def too_large(self, act_dim: int) -> str | None:
        """Why a grid is larger than memory should hold, or points are too few for a plane."""
        points = self.points(act_dim)
        open_ = "which leave the curvature of Q open; allowed"
        if self.curved(act_dim) == "plane" and isinstance(points, Sample) and points.sample <= act_dim:
            return f"found {points.sample} samples in {act_dim} dimensions, {open_} {act_dim + 1} or more"
        if self.curved(act_dim) == "plane" and isinstance(points, Antithetic) and points.antithetic < act_dim:
            return f"found {points.antithetic} pairs in {act_dim} dimensions, {open_} {act_dim} or more"
        return super().too_large(act_dim)


def shortened(move: Callable[[Any], Any], length: Any, rise: Callable[[Any], Values], heat: Any, reference: Any) -> Any:
    """The Gaussian of the longest of length, length/4, ... that raises the energy by no more than a nat, if any.

    Arguments are those of `taken`. Far from the end a few points may tell nothing of where a whole step leads.
    """
    most = RISE * jnp.where(heat > 0, heat, 1.0)
    lost = lambda found: ~(rise(found) <= most)[..., None]  # noqa: E731 - where it is not a number too

    def again(now: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        tries, lengths, found, bad = now
        lengths = jnp.where(bad, lengths / jnp.where(tries < HASTE, 4, 256), lengths)
        found = move(lengths)
        return tries + 1, lengths, found, lost(found)

    lengths = jnp.full((*reference.mean.shape[:-1], 1), length)
    found = move(lengths)
    start = jnp.zeros((), jnp.int32), lengths, found, lost(found)
    *_, found, bad = jax.lax.while_loop(lambda now: (now[0] < TRIES) & now[-1].any(), again, start)
    kept = lambda new: bad.reshape(*bad.shape, *(1,) * (new.ndim - bad.ndim))  # noqa: E731
    return jax.tree.map(lambda new, old: jnp.where(kept(new), old, new), found, reference)


def _numbers(found: Any, rows: tuple[int, ...]) -> Any:
    """Of each row whether all of what was found is finite [..., 1]."""
    whole = [jnp.isfinite(leaf).reshape(*rows, -1).all(-1, keepdims=True) for leaf in jax.tree.leaves(found)]
    return jnp.stack(whole).all(0)


def log_size(gaussian: Any) -> Values:
    """Log |det L| [...], the entropy up to a constant."""
    if isinstance(gaussian, LowRankNormal):
        return gaussian.log_volume()
    return (gaussian.log_diagonal if isinstance(gaussian, FullNormal) else gaussian.log_std).sum(-1)


def speed_of(geometry: Any, size: int) -> Any:
    """The dimensions, of a geometry that takes the mean over them; 1 of others."""
    return geometry.speed(size) if hasattr(geometry, "speed") else 1


def derivatives(
    velocity: Callable[[Actions], Actions], actions: Actions, shares: Values, reference: Any
) -> tuple[Actions, Any]:
    """Mean velocity [..., d], and that of its derivatives [..., d, d] along the columns of the factor."""

    def mean(shift: Actions) -> Actions:
        return jnp.tensordot(shares, velocity(actions + shift), 1)

    here = jnp.zeros_like(reference.mean)
    try:
        level, along = jax.linearize(mean, here)
    except TypeError:  # of a custom_vjp, which knows reverse mode alone; the derivative of a gradient is symmetric
        level, back = jax.vjp(mean, here)
        along = lambda column: back(column)[0]  # noqa: E731
    columns = jnp.moveaxis(factor_of(reference), -1, 0)
    if len(columns) <= BLOCK:
        return level, jnp.moveaxis(jax.vmap(along)(columns), 0, -1)
    return level, jnp.moveaxis(jax.lax.map(along, columns, batch_size=BLOCK), 0, -1)


def factor_of(reference: Any) -> Any:
    """The factor L [..., d, d] of the covariance of a Gaussian."""
    if isinstance(reference, FullNormal):
        return reference.factor()
    return jnp.exp(reference.log_std)[..., None] * jnp.eye(reference.mean.shape[-1], dtype=reference.mean.dtype)


def triangular(root: Any) -> tuple[Actions, Any]:
    """Log-diagonal and lower entries of the Cholesky factor of root root^T."""
    upper = jnp.linalg.qr(jnp.swapaxes(root, -1, -2), mode="r")
    diagonal = jnp.diagonal(upper, axis1=-2, axis2=-1)
    lower = jnp.swapaxes(jnp.where(diagonal < 0, -1.0, 1.0)[..., None] * upper, -1, -2)
    return jnp.log(jnp.abs(diagonal)), below(lower)


def plane(values: Actions, z: Actions, shares: Values) -> tuple[Actions, Any]:
    """Level [..., d] at z = 0 and slopes [..., d, d] of the plane nearest to values [n, ..., d] at points z alike."""
    weights = shares.reshape(-1, *(1,) * (z.ndim - 1))
    middle, mean = (weights * z).sum(0), (weights * values).sum(0)
    centred = z - middle
    spread = jnp.einsum("n,n...i,n...j->...ij", shares, centred, centred)
    products = jnp.einsum("n,n...i,n...j->...ij", shares, values - mean, centred)
    slopes = products @ jnp.linalg.pinv(spread, rtol=1e-4, hermitian=True)
    return mean - (slopes @ middle[..., None])[..., 0], slopes
