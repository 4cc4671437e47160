"""Gaussians fitted to a posterior by natural flows, NumPyro and BlackJAX, one way to call each: for `posteriors.py`.

A fit takes a key and returns means [checks, d] and factors of covariances [checks, d, d]; it says how many gradients of
the log joint density are taken until each check. A column of a Hessian counts as one, and so do three values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import (
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)

from pogospec.flow import closed_flow
from pogospec.policies.base import FullNormal
from pogospec.targets.given import GivenModel

RATES = (0.1, 0.03, 0.01)
"""Learning rates at the start of a cosine; the best for each problem is told."""
BUDGETS = ((1, 2000), (8, 4000))
"""Samples in a gradient of the ELBO, and updates."""
CHECKS = 50
"""Looks at a fit by updates."""
SCALE = 0.1
"""Standard deviation of NumPyro's and BlackJAX's start, NumPyro's default."""


class Fit(NamedTuple):
    """A compiled way to fit a Gaussian; `choice` tells the variants of a method apart."""

    method: str
    choice: str
    run: Callable[[Any], tuple[Any, Any]]  # key -> means and factors
    gradients: np.ndarray  # until each check


def fits(target: GivenModel, family: str, names: set[str]) -> Iterator[Fit]:
    """All fits of a family, those that are asked for."""
    for name, make in METHODS.items():
        if name in names:
            yield from make(target, family)


def natural(target: GivenModel, family: str) -> Iterator[Fit]:
    """The defaults of `pogospec.flow(model, scheme="natural")`."""
    steps = closed_flow(target, family=family, scheme="natural")
    points, size = steps.scheme.count(target.dimensions), target.dimensions
    each = steps.scheme.gradients(size) + points  # at most three values a point

    def run(key: Any) -> tuple[Any, Any]:
        path = jax.tree.map(lambda leaf: leaf[1:], steps.path(key)[0])
        return path.mean, _factors(path)

    yield Fit("natural flow", "defaults", jax.jit(run), each * np.arange(1, steps.count + 1))


def svi(target: GivenModel, family: str) -> Iterator[Fit]:
    """NumPyro's SVI with the guide of the family, all budgets."""
    for budget in BUDGETS:
        yield from _svi(target, AutoNormal if family == "gaussian" else AutoMultivariateNormal, budget)


def low_rank(target: GivenModel, family: str) -> Iterator[Fit]:
    """NumPyro's SVI with a guide between both families, the larger budget."""
    if family == "full_gaussian":
        yield from _svi(target, AutoLowRankMultivariateNormal, BUDGETS[-1])


def _svi(target: GivenModel, guide: Any, budget: tuple[int, int]) -> Iterator[Fit]:
    """Adam and a cosine, all rates."""
    model, arguments, known = target._model[:3]
    particles, updates = budget

    def run(key: Any, rate: Any) -> Any:
        loss = Trace_ELBO(num_particles=particles, vectorize_particles=True)
        optimizer = optax.adam(lambda k: rate * optax.cosine_decay_schedule(1.0, updates, 1e-3)(k))
        inference = SVI(model, guide(model, init_scale=SCALE), optimizer, loss)

        def part(state: Any, _: Any) -> Any:
            one = lambda s, _: (inference.update(s, *arguments, **known)[0], None)  # noqa: E731
            state, _ = jax.lax.scan(one, state, length=updates // CHECKS)
            return state, _guided(target, inference.get_params(state))

        return jax.lax.scan(part, inference.init(key, *arguments, **known), length=CHECKS)[1]

    compiled, name = jax.jit(run), f"SVI {guide.__name__}"
    for rate in RATES:
        gradients = particles * (updates // CHECKS) * np.arange(1, CHECKS + 1)
        yield Fit(name, f"rate {rate:g}, {particles} x {updates:,}", lambda key, r=rate: compiled(key, r), gradients)


def laplace(target: GivenModel, family: str) -> Iterator[Fit]:
    """NumPyro's Laplace approximation at the mode that 2,000 updates of Adam find."""
    if family != "full_gaussian":
        return
    model, arguments, known = target._model[:3]
    updates = 2000

    def run(key: Any) -> Any:
        guide = AutoLaplaceApproximation(model)
        inference = SVI(model, guide, optax.adam(optax.cosine_decay_schedule(0.05, updates, 1e-3)), Trace_ELBO())
        state = inference.init(key, *arguments, **known)
        one = lambda s, _: (inference.update(s, *arguments, **known)[0], None)  # noqa: E731
        state, _ = jax.lax.scan(one, state, length=updates)
        mode, _ = _ordered(target, inference.get_params(state)["auto_loc"], jnp.eye(target.dimensions))
        precision = -jax.hessian(target.log_density)(mode)
        return mode[None], jnp.linalg.cholesky(jnp.linalg.inv(precision))[None]

    yield Fit("AutoLaplace", "2,000 updates", jax.jit(run), np.array([updates + target.dimensions]))


def pathfinder(target: GivenModel, family: str) -> Iterator[Fit]:
    """BlackJAX's Pathfinder with its defaults; a bound of its gradients: 30 iterations, 200 values at each."""
    if family != "full_gaussian":
        return
    from blackjax.optimizers.lbfgs import lbfgs_inverse_hessian_formula_1
    from blackjax.vi import pathfinder as path

    def run(key: Any) -> Any:
        start, draws = jax.random.split(key)
        first = jax.random.uniform(start, (target.dimensions,), minval=-2.0, maxval=2.0)
        found, _ = path.approximate(draws, target.log_density, first)
        covariance = lbfgs_inverse_hessian_formula_1(found.alpha, found.beta, found.gamma)
        # bfgs_sample draws about x - Sigma grad, where grad is that of minus the log density
        mean = found.position - covariance @ found.grad_position
        return mean[None], jnp.linalg.cholesky(covariance)[None]

    yield Fit("Pathfinder", "defaults", jax.jit(run), np.array([30 + 30 * 200 // 3]))


def blackjax_vi(target: GivenModel, family: str) -> Iterator[Fit]:
    """BlackJAX's mean-field and full-rank variational inference, 8 samples a gradient."""
    from blackjax.vi import fullrank_vi, meanfield_vi

    particles, updates = BUDGETS[-1]
    full = family == "full_gaussian"
    size = target.dimensions

    def run(key: Any, rate: Any) -> Any:
        optimizer = optax.adam(lambda k: rate * optax.cosine_decay_schedule(1.0, updates, 1e-3)(k))
        vi = (fullrank_vi if full else meanfield_vi).as_top_level_api(target.log_density, optimizer, particles)

        def part(state: Any, keys: Any) -> Any:
            state, _ = jax.lax.scan(lambda s, k: (vi.step(k, s)[0], None), state, keys)
            if full:
                return state, (state.mu, fullrank_vi._unflatten_cholesky(state.chol_params, size))
            return state, (state.mu, jnp.diag(jnp.exp(state.rho)))

        keys = jax.random.split(key, (CHECKS, updates // CHECKS))
        return jax.lax.scan(part, vi.init(jnp.zeros(size)), keys)[1]

    compiled = jax.jit(run)
    for rate in RATES:
        gradients = particles * (updates // CHECKS) * np.arange(1, CHECKS + 1)
        name = "BlackJAX fullrank_vi" if full else "BlackJAX meanfield_vi"
        yield Fit(name, f"rate {rate:g}, {particles} x {updates:,}", lambda k, r=rate: compiled(k, r), gradients)


METHODS: dict[str, Callable[[GivenModel, str], Iterator[Fit]]] = {
    "natural": natural,
    "svi": svi,
    "low_rank": low_rank,
    "laplace": laplace,
    "pathfinder": pathfinder,
    "blackjax_vi": blackjax_vi,
}


def _factors(path: Any) -> Any:
    if isinstance(path, FullNormal):
        return path.factor()
    return jnp.exp(path.log_std)[..., None] * jnp.eye(path.mean.shape[-1], dtype=path.mean.dtype)


def _guided(target: GivenModel, found: dict[str, Any]) -> tuple[Any, Any]:
    """Mean and factor of a guide, in the order of the target's vector."""
    if "auto_scale_tril" in found:
        return _ordered(target, found["auto_loc"], found["auto_scale_tril"])
    if "auto_cov_factor" in found:
        # AutoLowRankMultivariateNormal: scale (W W^T + I) scale, of its parameters as NumPyro holds them
        scale = found["auto_scale"]
        wide = found["auto_cov_factor"] * scale[:, None]
        return _ordered(target, found["auto_loc"], jnp.linalg.cholesky(wide @ wide.T + jnp.diag(scale**2)))
    mean, std = (
        jnp.concatenate([jnp.ravel(found[f"{site.name}_auto_{part}"]) for site in target.sites])
        for part in ("loc", "scale")
    )
    return mean, jnp.diag(std)


def _ordered(target: GivenModel, mean: Any, factor: Any) -> tuple[Any, Any]:
    """From NumPyro's order of sites, that of their names, to the target's, which is that of the model."""
    sites = sorted(target.sites, key=lambda site: site.name)
    places = np.argsort(np.concatenate([np.arange(site.start, site.stop) for site in sites]))
    return mean[places], jnp.linalg.cholesky(factor[places] @ factor[places].T)
