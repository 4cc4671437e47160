"""What came out of a flow, in five lines: from where to where, the sites in their own spaces, how far to trust it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pogospec.policies.base import normals
from pogospec.posterior.weights import Estimate, ParetoK, elbo, log_weights, pareto_k
from pogospec.targets.base import AbstractTarget
from pogospec.targets.numpyro import NumpyroTarget
from pogospec.text import html_table

DRAWS = 1000
"""Of the end, from which means, standard deviations and Pareto k of a summary are found."""
SHOWN, PARTS, ROWS = 6, 3, 24
"""Sites of a line, numbers of a site there, and rows of a table."""


class Moment(NamedTuple):
    """Mean and standard deviation of one number of a site."""

    name: str
    mean: float
    std: float


class Summary:
    """Five lines of a flow, found once."""

    def __init__(self, flow: Any):
        self.flow, self.target = flow, flow.target

    @cached_property
    def weighed(self) -> Any:
        """Log weights [n] of draws of the end; None without a density, or of one by minibatches."""
        flow = self.flow
        if flow.temperature == 0 or getattr(self.target, "estimated", False):
            return None
        return log_weights(self.target, flow.temperature, flow.at(-1), jax.random.key(0), DRAWS)[1]

    @cached_property
    def sites(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Mean and standard deviation of each site in its own space; of each dimension where there are no sites."""
        parameters = self.flow.at(-1)
        half = normals(parameters, DRAWS // 2, jax.random.key(1))
        half = half / jnp.sqrt(jnp.square(half).mean(0))  # so that moments of what is linear are exact
        one = jax.tree.map(lambda leaf: leaf[None], parameters)
        actions = one.at(jnp.concatenate([half, -half])[:, None])[:, 0]
        if isinstance(self.target, NumpyroTarget):
            means, stds = _moments(self.target, actions)
            names = [site.name for site in self.target.sites]
            names += [name for name in means if name not in names]
        else:
            names, (means, stds) = ["x"], ({"x": part} for part in (actions.mean(0), actions.std(0)))
        return {name: (np.asarray(means[name]), np.asarray(stds[name])) for name in names}

    def energies(self) -> tuple[str, str]:
        """The energy at start and end; by the draws of a summary where nobody has asked for the whole path."""
        if self.flow.at_hand or self.flow.temperature == 0:  # where they were measured on the way
            return f"{self.flow.energies[0]:.4g}", f"{self.flow.energies[-1]:.4g}"
        return self.drawn

    @cached_property
    def drawn(self) -> tuple[str, str]:
        """Both by draws, with their errors."""
        heat = self.flow.temperature
        ends = [elbo(log_weights(self.target, heat, self.flow.at(i), jax.random.key(0), DRAWS)[1]) for i in (0, -1)]
        first, last = (Estimate(-heat * end.value, heat * end.error) for end in ends)
        return str(first), str(last)

    def lines(self) -> list[str]:
        """The five lines."""
        return [self.title(), self.path(), f"sites: {self.told()}", self.trust(), self.further()]

    def title(self) -> str:
        """What flowed, and how far."""
        flow, size = self.flow, self.target.dimensions
        kind = type(self.target).__name__.removesuffix("Target").lower()
        what = f"the model {self.target.model}" if isinstance(self.target, NumpyroTarget) else kind
        steps = f"{len(flow)} step{'s'[: len(flow) != 1]}, flow time {flow.times[-1]:.4g}"
        end = type(flow.distribution()).__name__
        return f"Flow on {what}: {size} dimension{'s'[: size > 1]}, {steps}, ends at {end}"

    def path(self) -> str:
        """Energy, and KL where it is known."""
        if not self.flow.at_hand and getattr(self.target, "estimated", False):
            return "energy: flow.energies, by minibatches"
        first, last = self.energies()
        known = self.flow.kl if self.flow.at_hand else None
        return f"energy: {first} to {last}" + (
            "" if known is None else f"; KL to the optimum: {known[0]:.4g} to {known[-1]:.4g} nats"
        )

    def told(self) -> str:
        """Mean and standard deviation of the sites on a line."""
        told = []
        for name, (mean, std) in list(self.sites.items())[:SHOWN]:
            if mean.size <= PARTS:
                told += [f"{part.name} {part.mean:.3g} ± {part.std:.2g}" for part in parts(name, mean, std)]
            else:
                shape = "×".join(map(str, mean.shape))
                span = f"{mean.min():.3g} to {mean.max():.3g} ± {std.min():.2g} to {std.max():.2g}"
                told.append(f"{name} [{shape}] {span}")
        more = len(self.sites) - SHOWN
        return ", ".join(told) + (f", and {more} more" if more > 0 else "") + " (mean ± standard deviation)"

    def trust(self) -> str:
        """The evidence lower bound and Pareto k, or how to get them."""
        if self.flow.temperature == 0:
            return "temperature 0: the end is a point, to which no weights belong"
        if self.weighed is None:
            return "how far to trust it: flow.elbo(key, n) and flow.pareto_k(key, n) look at all data"
        k: ParetoK = pareto_k(self.weighed)
        return f"ELBO: {elbo(self.weighed)} nats; Pareto k: {k}, by {DRAWS:,} draws"

    def further(self) -> str:
        """What to ask next."""
        if not isinstance(self.target, NumpyroTarget):
            return "next: flow.distribution().sample(key, (n,)), flow.energies, flow.pareto_k(key, n)"
        return "next: flow.posterior_samples(key, n), .predictive(key, n), .guide(), .nuts_start(), .to_arviz(key, n)"

    def html(self) -> str:
        """The lines as tables for notebooks: of the sites, and of the path."""
        every = [part for name, (mean, std) in self.sites.items() for part in parts(name, mean, std)]
        rows = [[part.name, f"{part.mean:.3g}", f"{part.std:.2g}"] for part in every[:ROWS]]
        left = [f"and {len(every) - ROWS} more"] if len(every) > ROWS else []
        below = [*left, self.path(), self.trust(), self.further()]
        sites = html_table(["site", "mean", "standard deviation"], rows, self.title(), below)
        return f"{sites}\n{self.steps()}" if self.flow.at_hand else sites

    def steps(self) -> str:
        """Some steps of the path as a table: flow time, energy, and KL where it is known."""
        flow, known = self.flow, self.flow.kl
        columns = {"flow time": flow.times, "energy": flow.energies}
        columns |= {} if known is None else {"KL to the optimum": known}
        shown = sorted({*range(0, len(flow) + 1, max(1, len(flow) // 10)), len(flow)})
        rows = [[str(step), *(f"{column[step]:.4g}" for column in columns.values())] for step in shown]
        return html_table(["step", *columns], rows)


def parts(name: str, mean: np.ndarray, std: np.ndarray) -> list[Moment]:
    """Each number of a site, named as Python would index it."""
    if mean.ndim == 0:
        return [Moment(name, float(mean), float(std))]
    places = [(f"{name}[{','.join(map(str, index))}]", index) for index in np.ndindex(mean.shape)]
    return [Moment(told, float(mean[index]), float(std[index])) for told, index in places]


@eqx.filter_jit
def _moments(target: AbstractTarget, actions: Any) -> Any:
    sites = target.constrain(actions)  # type: ignore[attr-defined]
    return {name: x.mean(0) for name, x in sites.items()}, {name: x.std(0) for name, x in sites.items()}
