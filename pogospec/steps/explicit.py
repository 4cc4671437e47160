"""The explicit Euler step: a retraction of -tau grad E at the reference, projected back onto the policy family.

Fisher-Rao and its kin: pi_next is proportional to pi_ref^(1 - tau lambda) exp(tau Q), projected by forward KL, that is
weighted maximum likelihood on points of pi_ref with weights pi_ref^(-tau lambda) exp(tau Q), normalised in each state.
Of n samples count n_eff = 1 / sum w^2 (Kong 1992), and the estimate is off by about 1/n_eff of what the step changes. A
step that splits itself takes points of the policy as it is, with weights pi_next / pi to a power of at most 1 at which
enough of them count: an intermediate density on the way from policy to pi_next (tempering; Neal 2001). The policy
follows, the power becomes 1, and where the family holds pi_next all weights are the same in the end.
From data the logged action is the one point of its state, which leaves no density, and nothing to normalise by: its
weight is exp(tau (Q - V)), as in AWR, AWAC (tau = 1/lambda) and IQL (tau = beta).
Wasserstein: points of pi_ref move along the velocity grad Q - lambda grad log pi_ref for a time tau, and the policy's
quantiles are regressed on them, up to the sign of each normal, or a rotation of those behind a full covariance. With a
kernel the velocity is Stein's, which asks for no density, so that points may move several times within a step:
`pogospec/steps/transport.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from pogospec.energies.base import Context
from pogospec.policies.base import Sample, coupled
from pogospec.spec.fields import Within
from pogospec.steps.base import AbstractScheme, Problem, Proximal, divergences, potential, slope_of
from pogospec.steps.points import Hermite, count_of, noise_at, too_many
from pogospec.steps.transport import Kernel, Mover, carried, stein
from pogospec.types import Actions, Key, Params, Scalar, Values


class Explicit(AbstractScheme):
    """The exponentiated step of a density geometry, or the transport step of Wasserstein."""

    at_reference: ClassVar[bool] = True

    actions: Annotated[
        Sample | Hermite | None,
        "points of the reference in each state: {sample: n}, or a grid {hermite: n} of n^d nodes; default: 16 samples, "
        "and from data the logged action",
    ] = None
    clip: Annotated[
        float | None,
        Within(gt=1.0),
        "largest weight of a point beside its mean weight, default: none; from data the largest weight, default: 100; "
        "density geometries only",
    ] = None
    split: Annotated[
        float | None,
        Within(gt=0.0, lt=1.0),
        "least share of the points that must count, such as 0.5: the step splits itself until so many do, with points "
        "of the policy as it is; default: points of the reference, in one go; density geometries only",
    ] = None
    kernel: Annotated[
        Kernel,
        "none: points move along the gradient of Q, less that of the entropy's density; stein: along Stein's velocity, "
        "whose entropy needs no density, the kernel as wide as the points are apart; {stein: h}: of width h; "
        "wasserstein2 only",
    ] = "none"
    moves: Annotated[
        int, Within(ge=1, le=10_000), "moves in which points cover tau, each of tau/moves; wasserstein2 only"
    ] = 1
    mover: Annotated[
        Mover,
        "euler: a move is tau/moves times the velocity; adam: a step of Adam along it, of learning rate tau/moves "
        "(VGF); wasserstein2 only",
    ] = "euler"
    bound: Annotated[
        Literal["none", "clip"], "clip: points are clipped to [-1, 1] after each move (VGF); wasserstein2 only"
    ] = "none"

    @property
    def points(self) -> Sample | Hermite:
        """Where a reference with a density is looked at."""
        return Sample(16) if self.actions is None else self.actions

    @property
    def limit(self) -> float:
        """The largest weight of a logged action."""
        return 100.0 if self.clip is None else self.clip

    def count(self, act_dim: int) -> int:
        """Points in a state."""
        return count_of(self.points, act_dim)

    def compares(self, act_dim: int) -> bool:
        """Whether its points are weighed against each other."""
        return True

    def too_large(self, act_dim: int) -> str | None:
        """Why the grid is larger than memory should hold."""
        return too_many(self.points, act_dim)

    def gradient(
        self,
        problem: Problem,
        parameters: Callable[[Params], Any],
        network: Params,
        references: tuple[Any, ...],
        context: Context,
        key: Key,
    ) -> tuple[Params, dict]:
        """Gradient through the heads, where a natural gradient acts, into the network."""
        heads, pull_back = jax.vjp(parameters, network)
        (term,), (reference,) = problem.proximal, references
        project = self._logged if term.reference == "data" else self._reweight
        project = self._transport if term.reference != "data" and not self._weighs(term) else project
        loss = lambda heads: project(problem, term, heads, reference, context, key)  # noqa: E731
        (value, info), gradient = jax.value_and_grad(loss, has_aux=True)(heads)
        gradient = problem.gradient.precondition(problem.proximal, heads, gradient)
        info = {"objective": value} | info
        if term.reference != "data" and term.geometry.supports(type(heads), type(reference)):
            info["distance"] = divergences(problem, heads, references, context, key)[0].mean()
        return pull_back(gradient)[0], info

    def minimised(
        self, problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
    ) -> Scalar | None:
        """The weighted negative log-likelihood of the logged actions, where they are the points."""
        (term,), (reference,) = problem.proximal, references
        logged = term.reference == "data"
        return self._logged(problem, term, parameters, reference, context, key)[0] if logged else None

    def health(
        self, problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
    ) -> dict:
        """Effective sample size of the weights, and what their clip takes away."""
        (term,), (reference,) = problem.proximal, references
        if term.reference == "data":
            return self._logged(problem, term, parameters, reference, context, key)[1]
        return self._reweight(problem, term, parameters, reference, context, key)[1] if self._weighs(term) else {}

    @property
    def one_gradient(self) -> bool:
        """Whether points move once, by a multiple of the gradient."""
        return (self.kernel, self.moves, self.mover, self.bound) == ("none", 1, "euler", "none")

    def carried(
        self,
        problem: Problem,
        points: Actions,
        shares: Values,
        context: Context,
        reference: Any = None,
        moves: int | None = None,
    ) -> Actions:
        """Points [n, ..., act] with shares [n] after they have moved, each time by the length that a step has.

        `moves`: how often, default: as often as a step does. `reference`: what they were drawn from, whose density an
        energy may ask for where they move once.
        """
        (term,) = problem.proximal
        geometry: Any = term.geometry
        length = term.tau / geometry.weight * geometry.speed(points.shape[-1]) / self.moves
        kept = self.kernel == "none"
        energy = {name: part for name, part in problem.energy.items() if kept or not part.entropic}
        heat = sum((part.weight for part in problem.energy.values() if part.entropic), 0.0)
        seen = problem._replace(energy=energy)

        def velocity(actions):
            forces = -slope_of(seen, reference, actions, context, context.before)
            return forces if kept else stein(self.kernel, actions, forces, heat, shares)

        return carried(points, velocity, length, moves or self.moves, self.mover, self.bound == "clip")

    def _weighs(self, term: Proximal) -> bool:
        return term.geometry.retraction == "reweight"

    def _reweight(
        self, problem: Problem, term: Proximal, heads: Any, reference: Any, context: Context, key: Key
    ) -> tuple[Scalar, dict]:
        """Weighted negative log-likelihood of points, and the health of the weights."""
        source = reference if self.split is None else jax.lax.stop_gradient(heads)
        z, shares = noise_at(self.points, source, key)
        shares = shares.reshape(-1, *(1,) * (z.ndim - 2))
        actions, seen = source.at(z), context._replace(before=_before(source, z))
        log_weight = -term.tau / term.geometry.weight * potential(problem, reference, actions, seen)
        if self.split is not None:
            log_weight += seen.log_likelihood(reference, actions) - seen.log_likelihood(source, actions)
        weights, cut = self._normalised(log_weight, shares)
        info = {"effective_samples": (1 / jnp.square(weights).sum(0)).mean(), "clipped": cut.mean()}
        if self.split is not None:
            weights, _ = self._normalised(_power(log_weight, shares, self.split) * log_weight, shares)
        actions, seen, weights = jax.lax.stop_gradient((actions, seen.before, weights))
        seen = context._replace(before=seen)
        return -(weights * seen.log_likelihood(heads, actions)).sum(0).mean(), info

    def _normalised(self, log_weight: Values, shares: Values) -> tuple[Values, Values]:
        """Weights [n, ...] of sum 1, and the share of their sum that the clip has taken away."""
        weights = shares * jnp.exp(log_weight - _log_mean(log_weight, shares))
        if self.clip is None:
            return weights / weights.sum(0), jnp.zeros_like(weights[0])
        kept = jnp.minimum(weights, shares * self.clip)
        return kept / kept.sum(0), 1 - kept.sum(0)

    def _logged(
        self, problem: Problem, term: Proximal, heads: Any, reference: Any, context: Context, key: Key
    ) -> tuple[Scalar, dict]:
        """Weighted negative log-likelihood of the logged actions, and the health of the weights."""
        exponent = potential(problem, reference, context.actions, context)
        for index, (name, part) in enumerate(problem.energy.items()):
            seen = context._replace(fixed=context.fixed.get(name))
            exponent -= part.weight * part.offset(heads, seen, jax.random.fold_in(key, index))
        weights = jnp.exp(-term.tau / term.geometry.weight * exponent)
        kept = jax.lax.stop_gradient(jnp.minimum(weights, self.limit))
        effective = jnp.square(kept.sum()) / jnp.square(kept).sum()
        info = {"effective_samples": effective, "clipped": (weights > self.limit).mean(dtype=kept.dtype)}
        return -(kept * context.policy.log_likelihood(heads, context.actions)).mean(), info

    def _transport(
        self, problem: Problem, term: Proximal, heads: Any, reference: Any, context: Context, key: Key
    ) -> tuple[Scalar, dict]:
        """Half the squared distance of the policy's quantiles from the moved points."""
        z, shares = noise_at(self.points, reference, key)
        actions, before = reference.at(z), _before(reference, z)
        if not self.one_gradient:
            own = problem._replace(proximal=(term,))
            moved = self.carried(own, actions, shares, context._replace(before=before), reference)
            return _regressed(heads, reference, z, shares, actions, moved - actions)
        velocity = -slope_of(problem, reference, actions, context, before)
        geometry: Any = term.geometry
        speed = term.tau / geometry.weight * geometry.speed(actions.shape[-1])
        return _regressed(heads, reference, z, shares, actions, speed * velocity)


def _regressed(
    heads: Any, reference: Any, z: Actions, shares: Values, actions: Actions, change: Actions
) -> tuple[Scalar, dict]:
    """Half the squared distance of the policy's points from those of the reference after a change."""
    actions, change = jax.lax.stop_gradient((actions, change))
    gaps = coupled(heads, reference, z, change, shares) - (actions + change)
    gaps = jnp.square(gaps).sum(-1) / 2
    return jnp.tensordot(shares, gaps, 1).mean(), {}


def _before(parameters: Any, z: Actions) -> Actions | None:
    """Pre-activations of the actions at z, of a family that squashes them."""
    return parameters.before(z) if hasattr(parameters, "before") else None


def _log_mean(log_weight: Values, shares: Values) -> Values:
    """Log of the mean weight by shares; [n, ...] -> [...]."""
    return jax.scipy.special.logsumexp(log_weight, 0, b=shares)


def _power(log_weight: Values, shares: Values, least: Any) -> Values:
    """The largest power of the weights, at most 1, at which (sum w)^2 / (n sum w^2) is not below the least."""

    def enough(power):
        mean, square = (_log_mean(k * power * log_weight, shares) for k in (1, 2))
        return 2 * mean - square >= jnp.log(least)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) / 2
        healthy = enough(middle)
        return jnp.where(healthy, middle, low), jnp.where(healthy, high, middle)

    one = jnp.ones_like(log_weight[0])
    low, _ = jax.lax.fori_loop(0, 20, halve, (0 * one, one))
    return jnp.where(enough(one), one, low)
