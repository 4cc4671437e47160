"""The end of a flow as NumPyro's guides, and as the start and the mass matrix of its samplers.

A flow joins the latent sites in the order of the model, samplers in that of the alphabet, guides in one of their own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro import handlers
from numpyro.distributions.transforms import PermuteTransform
from numpyro.infer import init_to_value
from numpyro.infer.autoguide import AutoContinuous, AutoDiagonalNormal, AutoMultivariateNormal

from pogospec.policies.base import DiagonalNormal, FullNormal, LowRankNormal, normals
from pogospec.posterior.start import positions
from pogospec.targets.given import GivenModel
from pogospec.types import Key

DRAWS = 16_384
"""Of a family that is no Gaussian, for the covariance of a mass matrix."""


class _Diagonal(AutoDiagonalNormal):
    """NumPyro's guide, which begins at given `params`."""

    params: dict[str, Array]

    def _get_posterior(self) -> Any:
        loc, scale = (f"{self.prefix}_{part}" for part in ("loc", "scale"))
        std = numpyro.param(scale, self.params[scale], constraint=self.scale_constraint, event_dim=0)
        return dist.Normal(numpyro.param(loc, self.params[loc]), std)


class _Full(AutoMultivariateNormal):
    """Likewise with a full covariance."""

    params: dict[str, Array]

    def _get_posterior(self) -> Any:
        loc, scale = (f"{self.prefix}_{part}" for part in ("loc", "scale_tril"))
        factor = numpyro.param(scale, self.params[scale], constraint=self.scale_tril_constraint)
        return dist.MultivariateNormal(numpyro.param(loc, self.params[loc]), scale_tril=factor)


class _Fixed(AutoContinuous):
    """A guide of any other family, which has nothing to learn."""

    params: dict[str, Array]
    posterior: Any

    def _get_posterior(self) -> Any:
        return self.posterior

    def get_posterior(self, params: Any = None) -> Any:
        """The distribution over the vector of the guide."""
        return self.posterior


class NutsStart(NamedTuple):
    """What `MCMC(NUTS(model, inverse_mass_matrix=…, dense_mass=…)).run(key, init_params=…)` takes."""

    init_params: dict[str, Array]  # unconstrained values by site, with a leading axis of chains where there are several
    inverse_mass_matrix: Array  # covariance [d, d], or variances [d] of a family of independent dimensions
    dense_mass: bool


def guide(target: GivenModel, parameters: Any) -> AutoContinuous:
    """The guide of parameters without a batch; its `params` are what SVI would have learned."""
    model = target.bound
    function = model.function
    if model.summed:  # what is summed out is none of the guide's business
        function = handlers.block(handlers.seed(function, jax.random.key(0)), hide=list(model.summed))
    options = {"init_loc_fn": init_to_value(values=target.constrain(_centre(parameters)))}
    kinds: dict[type, type] = {DiagonalNormal: _Diagonal, FullNormal: _Full}
    made: Any = kinds.get(type(parameters), _Fixed)(function, **options)
    with handlers.seed(rng_seed=0):  # it is set up with the data of the flow, and may then be called without
        made._setup_prototype(*model.args, **model.kwargs)
    place = np.argsort(positions(made, target))
    if isinstance(parameters, DiagonalNormal):
        made.params = {"auto_loc": parameters.mean[place], "auto_scale": jnp.exp(parameters.log_std)[place]}
    elif isinstance(parameters, FullNormal):
        covariance = parameters.factor() @ parameters.factor().T
        factor = jnp.linalg.cholesky(covariance[place][:, place])
        made.params = {"auto_loc": parameters.mean[place], "auto_scale_tril": factor}
    else:
        shuffle, made.params = PermuteTransform(jnp.asarray(place)), {}
        made.posterior = dist.TransformedDistribution(parameters.distribution(), shuffle)
    return made


def nuts_start(target: GivenModel, parameters: Any, key: Key | None, chains: int) -> NutsStart:
    """Starts and mass matrix of parameters without a batch: at the centre without a key, else at draws."""
    sites = sorted(target.sites, key=lambda site: site.name)
    place = np.concatenate([np.arange(site.start, site.stop) for site in sites])
    if isinstance(parameters, DiagonalNormal):
        spread, dense = jnp.exp(2 * parameters.log_std)[place], False
    else:
        if isinstance(parameters, FullNormal | LowRankNormal):
            covariance = parameters.factor() @ parameters.factor().T
        else:
            covariance = jnp.atleast_2d(jnp.cov(draws(parameters, jax.random.key(0), DRAWS), rowvar=False))
        spread, dense = covariance[place][:, place], True
    if key is None:
        return NutsStart(target.split(_centre(parameters)), spread, dense)
    rows = [target.split(row) for row in draws(parameters, key, chains)]
    starts = rows[0] if chains == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)
    return NutsStart(starts, spread, dense)


def _centre(parameters: Any) -> Array:
    """The mean of a Gaussian, and of other families that of draws."""
    if isinstance(parameters, DiagonalNormal | FullNormal | LowRankNormal):
        return parameters.mean
    return draws(parameters, jax.random.key(0), DRAWS).mean(0)


def draws(parameters: Any, key: Key, n: int) -> Array:
    """Draws [n, d] of parameters without a batch."""
    one = jax.tree.map(lambda leaf: leaf[None], parameters)
    return one.at(normals(parameters, n, key)[:, None])[:, 0]
