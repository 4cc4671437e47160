"""What is measured along a flow: the energy at one scale, distances, entropy, and the proximal inequality.

With a scale taken from each minibatch the energy of a step is not one function. Everything here uses one scale: where
the critic is frozen that of all steps on it, else the mean |Q| of the states at hand, which is reported.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from pogospec.energies.base import Context
from pogospec.steps.base import Problem, divergences, seen_by
from pogospec.types import Key, Values


def energy_rows(problem: Problem, parameters: Any, context: Context, key: Key) -> Values:
    """The energy of each state at a fixed scale; `context.fixed` maps the names of terms to their scales.

    Terms that ask for a density are left out of that of a policy without one.
    """
    total = jnp.zeros(context.observations.shape[0])
    for index, (name, term) in enumerate(problem.energy.items()):
        if term.needs_density and not context.policy.has_density:
            continue
        seen = context._replace(fixed=context.fixed.get(name))
        total += term.weight * term.settled().value(parameters, seen, jax.random.fold_in(key, index))
    return total


def scales(problem: Problem, parameters: Any, context: Context, key: Key) -> dict[str, Any]:
    """What each term's `begin` measures on these states."""
    return {
        name: term.begin(parameters, context, jax.random.fold_in(key, index))
        for index, (name, term) in enumerate(problem.energy.items())
    }


def measure(
    problem: Problem,
    parameters: Any,
    references: tuple[Any, ...],
    start: Any,
    context: Context,
    episodes: Any,
    key: Key,
) -> dict[str, Any]:
    """Means over the states: numbers of a policy beside its references and the policy that the flow started from.

    `gap` is E[pi] + sum_i D_i/tau_i - E[reference], with its standard error over the `episodes` that the states belong
    to: the proximal inequality says that it is not positive. `effective_tau` = 2 D / (E[reference] - E[pi]) is tau to
    first order where the step was solved. Entries that have no meaning here are missing.
    """
    rows = energy_rows(problem, parameters, context, key)
    found = {"energy": rows.mean(), "objective": rows.mean()}
    if context.policy.has_density:
        found["entropy"] = context.policy.entropy(parameters, key).mean()
    scale = [context.fixed[name] for name, term in problem.energy.items() if term.begins]
    if len(scale) == 1:
        found["scale"] = scale[0]
    if not problem.proximal:
        return found
    found["tau"] = problem.proximal[0].tau
    first = problem.proximal[0].geometry
    if start is not None and first.supports(type(parameters), type(start)):
        found["start_distance"] = first.divergence(parameters, start, seen_by(problem, 0, context, key)).mean()
    pairs = list(zip(problem.proximal, references, strict=True))
    if not all(term.geometry.supports(type(parameters), type(reference)) for term, reference in pairs):
        return found
    distances = divergences(problem, parameters, references, context, key)
    proximal = sum((d / t.tau for t, d in zip(problem.proximal, distances, strict=True)), jnp.zeros(()))
    found |= {"distance": sum(distances, jnp.zeros(())).mean(), "objective": (rows + proximal).mean()}
    known = [r for term, r in pairs if term.reference != "data" and isinstance(r, type(parameters))]
    if known:
        before = energy_rows(problem, known[0], context, key)
        gap = rows + proximal - before
        found |= {"reference_energy": before.mean(), "gap": gap.mean(), "gap_error": standard_error(gap, episodes)}
        drop = before.mean() - rows.mean()
        found["effective_tau"] = jnp.where(drop > 0, 2 * found["distance"] / jnp.where(drop > 0, drop, 1.0), jnp.nan)
    return found


def standard_error(values: Values, episodes: Any) -> Any:
    """Standard error of the mean of rows that come in independent episodes, each of which is alike within.

    The sums of the deviations of G episodes vary independently: sqrt(G/(G - 1) sum_g (sum_i in g (x_i - mean))^2) / n
    (Liang and Zeger, "Longitudinal data analysis using generalized linear models", 1986). Where each row is an episode
    it is std / sqrt(n). 0 for one row; NaN where several rows are of one episode, which says nothing of others.
    """
    count = values.shape[0]
    if count == 1:
        return jnp.zeros(())
    _, own = jnp.unique(episodes, return_inverse=True, size=count)
    sums, groups = jax.ops.segment_sum(values - values.mean(), own, count), own.max() + 1
    return jnp.where(groups > 1, jnp.sqrt(jnp.square(sums).sum() * groups / (groups - 1)) / count, jnp.nan)
