"""What a model predicts with draws of a flow, and these draws as InferenceData of ArviZ."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpyro import handlers
from numpyro.infer import Predictive, log_likelihood

from pogospec.errors import UsageError
from pogospec.extras import Needs, lacking
from pogospec.targets.given import GivenModel, as_jax
from pogospec.targets.traced import Rows, said
from pogospec.types import Key

ARVIZ = Needs("arviz", "arviz")


def predictive(
    target: GivenModel, draws: dict[str, Any], key: Key, arguments: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Draws of all sites that are not latent, for each draw of those that are; raises UsageError where a model fails.

    With arguments: those of the model in their place. Without: the observed sites anew at the arguments of the flow.
    """
    model = target.bound
    latent = {site.name: draws[site.name] for site in target.sites}
    if arguments or kwargs:
        run: Callable[..., Any] = Rows(model.function)
        given: tuple[Any, Any] = jax.tree.map(as_jax, (arguments, dict(kwargs)))
    else:
        run, given = handlers.uncondition(Rows(model.function)), (model.args, model.kwargs)
    try:
        return Predictive(run, latent)(key, *given[0], **given[1])
    except Exception as error:
        what = f"the model {target.model} fails with these arguments: {said(error)}"
        allowed = "allowed all arguments of the model, with None for what it observes"
        raise UsageError(f"predictive: {what}; {allowed}") from error


def to_arviz(target: GivenModel, draws: dict[str, Any], key: Key) -> Any:
    """InferenceData: posterior, posterior predictive, log likelihood and observed data; one chain of draws.

    Dimensions are named by the plates of the model. Raises UsageError without ArviZ.
    """
    missing = lacking([ARVIZ])
    if missing:
        raise UsageError(f"to_arviz: {missing}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what ArviZ will be
        import arviz
    model = target.bound
    latent = {site.name: draws[site.name] for site in target.sites}
    seeded = handlers.seed(Rows(model.function), jax.random.key(0))
    trace = handlers.trace(handlers.substitute(seeded, {name: x[0] for name, x in latent.items()})).get_trace(
        *model.args, **model.kwargs
    )
    seen = {name: site for name, site in trace.items() if site["type"] == "sample" and site["is_observed"]}
    seen = {name: site for name, site in seen.items() if not site["infer"].get("is_auxiliary")}
    predicted = predictive(target, draws, key, (), {})
    groups = {"posterior": draws, "posterior_predictive": {name: predicted[name] for name in seen}}
    if not model.summed:  # else it is that of values of the discrete sites
        likelihood = log_likelihood(Rows(model.function), latent, *model.args, **model.kwargs)
        groups["log_likelihood"] = {name: likelihood[name] for name in seen}
    chains: dict[str, Any] = {
        group: {k: np.asarray(x)[None] for k, x in values.items()} for group, values in groups.items()
    }
    dims, coords = _dimensions(trace)
    kept = {name: names for name, names in dims.items() if name in draws or name in seen}
    observed = {name: np.asarray(site["value"]) for name, site in seen.items()}
    return arviz.from_dict(**chains, observed_data=observed, dims=kept, coords=coords)


def _dimensions(trace: dict[str, Any]) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Names of the dimensions of sites that lie in plates, and the rows of the plates."""
    dims, coords = {}, {}
    for name, site in trace.items():
        if site["type"] not in ("sample", "deterministic"):
            continue
        shape = np.shape(site["value"])
        event = site["fn"].event_dim if site["type"] == "sample" else 0
        own = [f"{name}_dim_{index}" for index in range(len(shape))]
        for frame in site.get("cond_indep_stack", ()):
            place = len(shape) - event + frame.dim
            if 0 <= place < len(shape) and shape[place] == frame.size:
                own[place], coords[frame.name] = frame.name, np.arange(frame.size)
        dims[name] = own
    return dims, coords
