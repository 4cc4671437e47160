"""A flow beside NumPyro's SVI with the same family, and NUTS as the truth: `python benchmarks/numpyro_svi.py`.

Two posteriors (eight schools, a logistic regression), two families (diagonal and full Gaussian), in double precision.
Printed for each method: the evidence lower bound (ELBO) that it ends with, by one set of samples for all; how far that
is below the best of the family, which L-BFGS finds on the same samples; gradients of the log joint density in all, and
until the gap was first below 0.02 nats; seconds without XLA's compilation, and those of it; and the largest error of a
mean and a standard deviation of the unconstrained sites, both in standard deviations by NUTS.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from rich.console import Console
from rich.table import Table

import pogospec
from pogospec.policies.base import DiagonalNormal, FullNormal
from pogospec.targets.base import free_energy
from pogospec.targets.models import eight_schools, logistic_regression
from pogospec.targets.numpyro import NumpyroTarget

MODELS = {"eight_schools": eight_schools, "logistic_regression": logistic_regression}
GEOMETRIES = ("wasserstein2", "gaussian_fisher_rao", "kl")
SAMPLES = 64
NEAR = 0.02
COMPILING = [0.0]


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="Euler steps of a flow")
    parser.add_argument("--updates", type=int, default=200, help="updates of Adam in each step")
    parser.add_argument("--draws", type=int, default=4000, help="of NUTS, after 1000 for warm-up")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.monitoring.register_event_duration_secs_listener(_listen)
    console = Console(width=None if sys.stdout.isatty() else 132)
    for model in MODELS:
        target = NumpyroTarget(model)
        with _clock() as spent:
            truth = nuts(target, options.draws)
        console.print(f"{model}: NUTS, {options.draws} draws in {spent[0]:.1f} s and {spent[1]:.1f} s of compilation")
        table = Table("family", "method", "ELBO", "gap", "gradients", f"to {NEAR}", "s", "compile s", "mean", "std")
        for family in ("gaussian", "full_gaussian"):
            best, elbo = optimum(target, family)
            table.add_row(family, "best (L-BFGS)", f"{elbo(best):.3f}", "", "", "", "", "", *errors(best, truth))
            for geometry in GEOMETRIES:
                with _clock() as spent:
                    path = flow(target, family, geometry, options)
                _row(table, f"flow, {geometry}", path, SAMPLES * options.updates, elbo, best, spent, truth)
            for decay in (True, False):
                with _clock() as spent:
                    path = svi(target, family, options.steps, options.steps * options.updates, decay)
                rate = "cosine" if decay else "constant rate"
                _row(table, f"SVI, {rate}", path, SAMPLES * options.updates, elbo, best, spent, truth)
        console.print(table)


def nuts(target: NumpyroTarget, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the posterior in unconstrained space, [dimensions] each."""
    chains = 4
    sampler = MCMC(
        NUTS(potential_fn=lambda z: -target.log_density(z)),
        num_warmup=1000,
        num_samples=draws // chains,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    sampler.run(jax.random.key(0), init_params=jax.random.normal(jax.random.key(1), (chains, target.dimensions)))
    found = np.asarray(sampler.get_samples())
    return found.mean(0), found.std(0)


def optimum(target: NumpyroTarget, family: str) -> tuple[Any, Callable[[Any], float]]:
    """The best parameters of a family by L-BFGS on fixed samples, and the ELBO on the same samples."""
    size = target.dimensions
    flat = np.zeros(2 * size if family == "gaussian" else 2 * size + size * (size - 1) // 2)

    def shaped(values: Any) -> Any:
        mean, log_std, below = values[:size], values[size : 2 * size], values[2 * size :]
        return DiagonalNormal(mean, log_std) if family == "gaussian" else FullNormal(mean, log_std, below)

    loss = jax.jit(lambda p: free_energy(target, 1.0, p, jax.random.key(9)))
    slope = jax.jit(jax.value_and_grad(lambda values: loss(shaped(values))))
    found = scipy.optimize.minimize(
        lambda values: tuple(np.asarray(x, float) for x in slope(jnp.asarray(values))),
        flat,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 3000, "maxfun": 5000, "ftol": 1e-13, "gtol": 1e-7},
    )
    return shaped(jnp.asarray(found.x)), lambda p: -float(loss(p))


def flow(target: NumpyroTarget, family: str, geometry: str, options: argparse.Namespace) -> list[Any]:
    """Parameters after each step of a flow."""
    path = pogospec.flow(
        target,
        family=family,
        geometry=geometry,
        tau=1.0,
        steps=options.steps,
        updates=options.updates,
        actions={"sample": SAMPLES},
        learning_rate=0.05,
    ).parameters
    return [jax.tree.map(lambda leaf, k=k: leaf[k], path) for k in range(1, options.steps + 1)]


def svi(target: NumpyroTarget, family: str, parts: int, updates: int, decay: bool) -> list[Any]:
    """Parameters of NumPyro's guide of the same family after each of so many equal parts of its updates."""
    model, arguments, known = MODELS[target.model]()
    guide = (AutoNormal if family == "gaussian" else AutoMultivariateNormal)(model)
    rate = optax.cosine_decay_schedule(0.05, updates, 1e-3) if decay else 0.01
    inference = SVI(model, guide, optax.adam(rate), Trace_ELBO(num_particles=SAMPLES, vectorize_particles=True))
    state = inference.init(jax.random.key(0), *arguments, **known)
    each = updates // parts
    chunk = jax.jit(
        lambda state: jax.lax.scan(lambda s, _: (inference.update(s, *arguments, **known)[0], None), state, length=each)
    )
    path = []
    for _ in range(parts):
        state, _ = chunk(state)
        found = inference.get_params(state)
        if family == "gaussian":
            mean, std = (
                jnp.concatenate([jnp.ravel(found[f"{site.name}_auto_{part}"]) for site in target.sites])
                for part in ("loc", "scale")
            )
            path.append(DiagonalNormal(mean, jnp.log(std)))
        else:
            factor = found["auto_scale_tril"]
            below = factor[np.tril_indices(target.dimensions, -1)]
            path.append(FullNormal(found["auto_loc"], jnp.log(jnp.diagonal(factor)), below))
    return jax.block_until_ready(path)


def errors(found: Any, truth: tuple[np.ndarray, np.ndarray]) -> tuple[str, str]:
    """The largest error of a mean and of a standard deviation, in true standard deviations."""
    here = found.distribution()
    gaps = np.abs(here.mean - truth[0]) / truth[1], np.abs(np.sqrt(here.variance) - truth[1]) / truth[1]
    return f"{gaps[0].max():.2f}", f"{gaps[1].max():.2f}"


def _row(
    table: Table,
    name: str,
    path: list[Any],
    each: int,
    elbo: Callable[[Any], float],
    best: Any,
    spent: list[float],
    truth: tuple[np.ndarray, np.ndarray],
) -> None:
    gaps = [elbo(best) - elbo(here) for here in path]
    near = next((each * (k + 1) for k, gap in enumerate(gaps) if gap < NEAR), None)
    table.add_row(
        "",
        name,
        f"{elbo(path[-1]):.3f}",
        f"{gaps[-1]:.4f}",
        f"{each * len(path):,}",
        "never" if near is None else f"{near:,}",
        f"{spent[0]:.2f}",
        f"{spent[1]:.2f}",
        *errors(path[-1], truth),
    )


@contextmanager
def _clock() -> Iterator[list[float]]:
    """Seconds of what is inside, filled in at its end: without XLA's compilation, and those of it."""
    spent, before, start = [0.0, 0.0], COMPILING[0], time.perf_counter()
    yield spent
    spent[1] = COMPILING[0] - before
    spent[0] = time.perf_counter() - start - spent[1]


def _listen(event: str, duration_secs: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        COMPILING[0] += duration_secs


if __name__ == "__main__":
    main()
