"""The explicit Euler step: a retraction of -tau grad E at the reference, projected back onto the policy family.

Fisher-Rao and its kin: pi_next is proportional to pi_ref^(1 - tau lambda) exp(tau Q), projected by forward KL, that is
weighted maximum likelihood on points of pi_ref with weights pi_ref^(-tau lambda) exp(tau Q), normalised in each state.
From data the logged action is the one point of its state, which leaves no density, and nothing to normalise by: its
weight is exp(tau (Q - V)), as in AWR, AWAC (tau = 1/lambda) and IQL (tau = beta).
Wasserstein: points of pi_ref move along the velocity grad Q - lambda grad log pi_ref for a time tau, and the policy's
quantiles are regressed on them, up to a rotation of the normals behind a full covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.energies.base import Context
from pogospec.policies.base import Sample, coupled
from pogospec.spec.fields import Within
from pogospec.steps.base import AbstractScheme, Problem, Proximal
from pogospec.types import Actions, Key, Params, Scalar, Values

MOST_NODES = 1_000_000
"""Nodes of a grid in one state, at most."""


class Hermite(eqx.Module):
    """Expectations over a policy by a tensor grid of Gauss-Hermite nodes."""

    hermite: Annotated[int, Within(ge=2, le=128), "nodes along each action dimension"]


class Explicit(AbstractScheme):
    """The exponentiated step of a density geometry, or the transport step of Wasserstein."""

    actions: Annotated[
        Sample | Hermite | None,
        "points of the reference in each state: {sample: n}, or a grid {hermite: n} of n^d nodes; default: 16 samples, "
        "and from data the logged action",
    ] = None
    clip: Annotated[
        float,
        Within(gt=1.0),
        "largest weight of a point beside its mean weight, from data the largest weight; density geometries only",
    ] = 100.0

    @property
    def points(self) -> Sample | Hermite:
        """Where a reference with a density is looked at."""
        return Sample(16) if self.actions is None else self.actions

    def too_large(self, act_dim: int) -> str | None:
        """Why the grid is larger than memory should hold."""
        if isinstance(self.points, Sample) or self.points.hermite**act_dim <= MOST_NODES:
            return None
        grid = f"found a grid of {self.points.hermite}^{act_dim} nodes in {act_dim} dimensions"
        return f"{grid}, allowed up to {MOST_NODES:,}; use fewer, or {{sample: n}}"

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
        project = self._reweight if term.geometry.retraction == "reweight" else self._transport
        project = self._logged if term.reference == "data" else project
        loss = lambda heads: project(problem, term, heads, reference, context, key)  # noqa: E731
        value, gradient = jax.value_and_grad(loss)(heads)
        gradient = problem.gradient.precondition(problem.proximal, heads, gradient)
        info = {"objective": value}
        if term.reference != "data":
            info["distance"] = term.geometry.divergence(heads, reference).mean()
        return pull_back(gradient)[0], info

    def minimised(
        self, problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
    ) -> Scalar | None:
        """The weighted negative log-likelihood of the logged actions, where they are the points."""
        (term,), (reference,) = problem.proximal, references
        logged = term.reference == "data"
        return self._logged(problem, term, parameters, reference, context, key) if logged else None

    def _points(self, reference: Any, key: Key) -> tuple[Actions, Values]:
        """Standard normal points [n, ..., d] and their weights [n]."""
        size, dtype = reference.mean.shape[-1], reference.mean.dtype
        if isinstance(self.points, Sample):
            count = self.points.sample
            return jax.random.normal(key, (count, *reference.mean.shape), dtype), jnp.full(count, 1 / count, dtype)
        nodes, weights = np.polynomial.hermite_e.hermegauss(self.points.hermite)
        grid = np.stack(np.meshgrid(*[nodes] * size, indexing="ij"), -1).reshape(-1, size)
        shares = np.prod(np.stack(np.meshgrid(*[weights / weights.sum()] * size, indexing="ij"), -1), -1).ravel()
        z = jnp.asarray(grid, dtype).reshape(-1, *(1,) * (reference.mean.ndim - 1), size)
        return jnp.broadcast_to(z, (len(grid), *reference.mean.shape)), jnp.asarray(shares, dtype)

    def _reweight(
        self, problem: Problem, term: Proximal, heads: Any, reference: Any, context: Context, key: Key
    ) -> Scalar:
        """Weighted negative log-likelihood of points of the reference."""
        z, shares = self._points(reference, key)
        actions = jax.lax.stop_gradient(reference.at(z))
        tau = term.tau / term.geometry.weight
        log_weight = -tau * potential(problem, reference, actions, context)
        shares = shares.reshape(-1, *(1,) * (log_weight.ndim - 1))
        log_weight = log_weight - jax.scipy.special.logsumexp(log_weight, 0, b=shares)
        weights = shares * jnp.minimum(jnp.exp(log_weight), self.clip)
        weights = jax.lax.stop_gradient(weights / weights.sum(0))
        return -(weights * context.policy.log_likelihood(heads, actions)).sum(0).mean()

    def _logged(
        self, problem: Problem, term: Proximal, heads: Any, reference: Any, context: Context, key: Key
    ) -> Scalar:
        """Weighted negative log-likelihood of the logged actions."""
        exponent = potential(problem, reference, context.actions, context)
        for index, (name, part) in enumerate(problem.energy.items()):
            seen = context._replace(fixed=context.fixed.get(name))
            exponent -= part.weight * part.offset(heads, seen, jax.random.fold_in(key, index))
        weights = jnp.minimum(jnp.exp(-term.tau / term.geometry.weight * exponent), self.clip)
        return -(jax.lax.stop_gradient(weights) * context.policy.log_likelihood(heads, context.actions)).mean()

    def _transport(
        self, problem: Problem, term: Proximal, heads: Any, reference: Any, context: Context, key: Key
    ) -> Scalar:
        """Half the squared distance of the policy's quantiles from the moved points."""
        z, shares = self._points(reference, key)
        actions = reference.at(z)
        total = lambda a: potential(problem, reference, a, context).sum()  # noqa: E731
        velocity = -jax.grad(total)(actions)
        geometry: Any = term.geometry
        speed = term.tau / geometry.weight * geometry.speed(actions.shape[-1])
        actions, change = jax.lax.stop_gradient((actions, speed * velocity))
        gaps = coupled(heads, reference, z, change, shares) - (actions + change)
        gaps = jnp.square(gaps).sum(-1) / 2
        return jnp.tensordot(shares, gaps, 1).mean()


def potential(problem: Problem, reference: Any, actions: Actions, context: Context) -> Values:
    """First variation of the energy at the reference, up to a constant: -Q(a) + lambda log pi_ref(a) + …."""
    total = jnp.zeros(actions.shape[:-1], actions.dtype)
    for name, term in problem.energy.items():
        seen = context._replace(fixed=context.fixed.get(name))
        total += term.weight * term.potential(actions, reference, seen)
    return total
