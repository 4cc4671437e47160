"""The implicit Euler (JKO) step: minimise E[E_s[pi] + D(pi, reference)/tau] over the states of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pogospec.energies.base import Context
from pogospec.steps.base import AbstractScheme, Problem, divergences
from pogospec.types import Key, Params, Scalar


def objective(
    problem: Problem, parameters: Any, references: tuple[Any, ...], context: Context, key: Key
) -> tuple[Scalar, dict]:
    """Batch mean of energy plus proximal terms, and each of its parts."""
    info, parts, distances = {}, [], []
    for index, (name, term) in enumerate(problem.energy.items()):
        seen = context._replace(fixed=context.fixed.get(name))
        part = term.weight * term.value(parameters, seen, jax.random.fold_in(key, index)).mean()
        info[f"energy.{name}"] = part
        parts.append(part)
    for term, rows in zip(problem.proximal, divergences(problem, parameters, references, context, key), strict=True):
        distances.append(rows.mean())
        parts.append(rows.mean() / term.tau)
    if problem.energy:
        info["energy"] = sum(parts[: len(problem.energy)], jnp.zeros(()))
    if distances:
        info["distance"] = sum(distances, jnp.zeros(()))
    total = sum(parts, jnp.zeros(()))
    return total, info | {"objective": total}


class Implicit(AbstractScheme):
    """The proximal step, by stochastic gradient descent on its objective."""

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
        gradient, info = jax.grad(objective, argnums=1, has_aux=True)(problem, heads, references, context, key)
        if problem.proximal:
            gradient = problem.gradient.precondition(problem.proximal, heads, gradient)
        return pull_back(gradient)[0], info
