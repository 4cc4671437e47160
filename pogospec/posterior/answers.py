"""What a flow can be asked once it has ended; `pogospec.flow.Flow` is one."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.errors import UsageError
from pogospec.posterior import guide as guides
from pogospec.posterior import predicted
from pogospec.posterior.guide import NutsStart
from pogospec.posterior.summary import Summary
from pogospec.posterior.weights import FEWEST, Estimate, ParetoK, elbo, log_weights, pareto_k, smoothed
from pogospec.targets.base import AbstractTarget
from pogospec.targets.given import GivenModel
from pogospec.types import Key

LOOKED = frozenset({"energies", "_looked"})
"""Names under which a flow keeps energies that have been taken."""


class Answers:
    """Draws, guides, estimates and summaries of the path of a policy; `step` counts from 0, -1 is the end."""

    parameters: Any
    times: np.ndarray
    temperature: float
    target: AbstractTarget

    if TYPE_CHECKING:

        def posterior_samples(self, key: Key, n: int = 1, step: int = -1) -> dict[str, Any]:
            """That of the flow."""
            ...

    def at(self, step: int = -1) -> Any:
        """The parameters after a step, without their leading axis."""
        if not -len(self.times) <= step < len(self.times):
            raise UsageError(f"found step {step}, allowed {-len(self.times)} to {len(self.times) - 1}")
        return jax.tree.map(lambda leaf: leaf[step], self.parameters)

    @property
    def at_hand(self) -> bool:
        """Whether the energies of the whole path have been taken, so that a summary may show them at no cost."""
        return not LOOKED.isdisjoint(vars(self))

    def predictive(self, key: Key, n: int, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Posterior predictive draws `[n, *shape]` of all sites that are not latent, deterministic ones too.

        With arguments the model is run with these in the place of its own, as NumPyro's `Predictive` does: inputs that
        were not seen, and None for what is observed. Without any, the observed sites are drawn anew at the arguments of
        the flow. Subsampled plates are whole. Raises UsageError where the model fails with the arguments.
        """
        target, (first, second) = self._model("predictive"), jax.random.split(key)
        draws = self.posterior_samples(first, _count("predictive", n))
        return predicted.predictive(target, draws, second, args, kwargs)

    def guide(self, step: int = -1) -> Any:
        """A guide of NumPyro that draws from the distribution after a step; `guide.params` are its parameters.

        An AutoMultivariateNormal or AutoDiagonalNormal for Gaussians, which SVI may train on; of other families an
        automatic guide with nothing to train. For `Predictive(model, guide=guide, params=guide.params, num_samples=n)`,
        `Trace_ELBO().loss(key, guide.params, model, guide, *args)` and `SVI(model, guide, optimizer, Trace_ELBO())`.
        """
        return guides.guide(self._model("guide"), self.at(step))

    def nuts_start(self, key: Key | None = None, chains: int = 1) -> NutsStart:
        """Where NUTS starts and what its mass matrix is, of the end of the flow.

        Without a key the start is the mean; with a key each chain starts at a draw. To be passed as
        `NUTS(model, inverse_mass_matrix=start.inverse_mass_matrix, dense_mass=start.dense_mass)` and
        `MCMC(…, num_chains=chains).run(key, *args, init_params=start.init_params)`.
        """
        target = self._model("nuts_start")
        if isinstance(chains, bool) or not isinstance(chains, int) or chains < 1:
            raise UsageError(f"nuts_start: chains: found {chains!r}, allowed a whole number >= 1")
        if key is None and chains > 1:
            raise UsageError(f"nuts_start: found {chains} chains and no key, allowed a key, so that they start apart")
        return guides.nuts_start(target, self.at(), key, chains)

    def elbo(self, key: Key, n: int, step: int = -1) -> Estimate:
        """The evidence lower bound E[Q/temperature - log pi] by n draws, with its Monte Carlo standard error, in nats.

        At temperature 1 that of the model; all rows of subsampled plates are looked at.
        """
        return elbo(self._weighed("elbo", key, n, step, 2)[1])

    def pareto_k(self, key: Key, n: int, step: int = -1) -> ParetoK:
        """The shape k of the largest of n importance weights, a number that prints with what it means.

        Below 0.5 the distribution is good and `weighted_samples` correct it; up to 0.7 it is usable; beyond, tails of
        the density are missed: take a richer family. Vehtari et al. (JMLR 2024).
        """
        return pareto_k(self._weighed("pareto_k", key, n, step, FEWEST)[1])

    def weighted_samples(self, key: Key, n: int, step: int = -1) -> tuple[dict[str, Any], Any]:
        """Samples of every site as `posterior_samples` gives them, and their Pareto smoothed importance weights [n].

        The weights sum to 1: where `pareto_k` is below 0.7, (weights * x).sum() is the mean of x under the posterior
        itself, not under the family of the flow. Vehtari et al. (JMLR 2024).
        """
        target = self._model("weighted_samples")
        actions, log_weight = self._weighed("weighted_samples", key, n, step, FEWEST)
        return target.constrain(actions), jnp.exp(jnp.asarray(smoothed(log_weight)[0], actions.dtype))

    def to_arviz(self, key: Key, n: int) -> Any:
        """InferenceData of ArviZ with n draws in one chain: posterior, posterior predictive, log likelihood, data.

        Raises UsageError where the extra `arviz` is not installed.
        """
        target, (first, second) = self._model("to_arviz"), jax.random.split(key)
        return predicted.to_arviz(target, self.posterior_samples(first, _count("to_arviz", n)), second)

    def __str__(self) -> str:
        return "\n  ".join(self._summary.lines())

    def _repr_html_(self) -> str:
        return self._summary.html()

    @cached_property
    def _summary(self) -> Summary:
        return Summary(self)

    def _weighed(self, asked: str, key: Key, n: int, step: int, least: int) -> tuple[Any, Any]:
        try:
            return log_weights(self.target, self.temperature, self.at(step), key, _count(asked, n, least))
        except UsageError as error:
            raise UsageError(f"{asked}: {str(error).removeprefix(f'{asked}: ')}") from error

    def _model(self, asked: str) -> GivenModel:
        if not isinstance(self.target, GivenModel):
            raise UsageError(f"{asked}: allowed for flows of NumPyro models that are given as functions")
        return self.target


def _count(asked: str, n: int, least: int = 1) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < least:
        raise UsageError(f"{asked}: n: found {n!r}, allowed a whole number >= {least}")
    return n
