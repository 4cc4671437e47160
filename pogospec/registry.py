"""Slot -> kind -> class, loaded when it is named; third parties add kinds by entry points.

A third-party package adds a kind with an entry point of the group `pogospec.kinds` named `slot.kind`, in its
pyproject.toml for example `"geometry.my_distance" = "my_package.geometry:MyDistance"`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

BUILT_IN: dict[str, dict[str, str]] = {
    "policy": {
        "dirac": "pogospec.policies.dirac:DiracPolicy",
        "gaussian": "pogospec.policies.gaussian:GaussianPolicy",
        "full_gaussian": "pogospec.policies.full_gaussian:FullGaussianPolicy",
        "low_rank_gaussian": "pogospec.policies.low_rank_gaussian:LowRankGaussianPolicy",
        "tanh_gaussian": "pogospec.policies.tanh_gaussian:TanhGaussianPolicy",
        "gaussian_mixture": "pogospec.policies.gaussian_mixture:GaussianMixturePolicy",
        "transport_map": "pogospec.policies.transport_map:TransportMapPolicy",
        "flow_matching": "pogospec.policies.flow_matching:FlowMatchingPolicy",
        "normalizing_flow": "pogospec.policies.normalizing_flow:NormalizingFlowPolicy",
        "particles": "pogospec.policies.particles:ParticlesPolicy",
    },
    "energy": {
        "q": "pogospec.energies.q:QTerm",
        "entropy": "pogospec.energies.entropy:EntropyTerm",
        "log_likelihood": "pogospec.energies.log_likelihood:LogLikelihoodTerm",
        "squared_error": "pogospec.energies.squared_error:SquaredErrorTerm",
        "advantage": "pogospec.energies.advantage:AdvantageTerm",
        "action_norm": "pogospec.energies.action_norm:ActionNormTerm",
    },
    "geometry": {
        "wasserstein2": "pogospec.geometries.wasserstein2:Wasserstein2",
        "fisher_rao": "pogospec.geometries.fisher_rao:FisherRao",
        "gaussian_fisher_rao": "pogospec.geometries.gaussian_fisher_rao:GaussianFisherRao",
        "kl": "pogospec.geometries.kl:KL",
        "hellinger": "pogospec.geometries.hellinger:Hellinger",
        "sinkhorn": "pogospec.geometries.sinkhorn:Sinkhorn",
        "sliced_wasserstein2": "pogospec.geometries.sliced_wasserstein2:SlicedWasserstein2",
        "energy_distance": "pogospec.geometries.energy_distance:EnergyDistance",
        "mmd": "pogospec.geometries.mmd:MMD",
        "wasserstein1": "pogospec.geometries.wasserstein1:Wasserstein1",
    },
    "critic": {
        "clipped_double_q": "pogospec.critics.clipped_double_q:ClippedDoubleQ",
        "expectile": "pogospec.critics.expectile:Expectile",
        "ensemble": "pogospec.critics.ensemble:Ensemble",
        "conservative": "pogospec.critics.conservative:Conservative",
    },
    "target_actions": {
        "smoothed_mean": "pogospec.critics.target_actions:SmoothedMean",
        "policy_sample": "pogospec.critics.target_actions:PolicySample",
    },
    "target_penalty": {
        "squared_distance": "pogospec.critics.target_penalty:SquaredDistance",
        "divergence": "pogospec.critics.target_penalty:DivergencePenalty",
    },
    "gradient": {
        "euclidean": "pogospec.steps.gradient:Euclidean",
        "natural": "pogospec.steps.gradient:Natural",
        "pogo_printed": "pogospec.steps.gradient:PogoPrinted",
    },
    "scheme": {
        "implicit": "pogospec.steps.implicit:Implicit",
        "explicit": "pogospec.steps.explicit:Explicit",
        "forward_backward": "pogospec.steps.forward_backward:ForwardBackward",
        "natural": "pogospec.steps.natural:Natural",
        "batch_and_match": "pogospec.steps.batch_and_match:BatchAndMatch",
    },
    "tau": {
        "geometric": "pogospec.steps.schedule:Geometric",
        "backtracking": "pogospec.steps.schedule:Backtracking",
        "multiplier": "pogospec.steps.multiplier:Multiplier",
        "choice": "pogospec.steps.schedule:Choice",
        "doubling": "pogospec.steps.schedule:Doubling",
    },
    "until": {
        "critic_settled": "pogospec.steps.until:CriticSettled",
        "energy_settled": "pogospec.steps.until:EnergySettled",
        "judged": "pogospec.steps.until:Judged",
    },
    "judge": {
        "fqe": "pogospec.judges.fqe:FQE",
        "cross_fitted": "pogospec.judges.cross_fitted:CrossFitted",
        "second_critic": "pogospec.judges.second_critic:SecondCritic",
        "ensemble_bound": "pogospec.judges.ensemble_bound:EnsembleBound",
        "proximal": "pogospec.judges.proximal:ProximalInequality",
    },
    "optimizer": {"adam": "pogospec.steps.optimizer:Adam"},
    "target": {
        "quadratic": "pogospec.targets.quadratic:QuadraticTarget",
        "mixture": "pogospec.targets.mixture:MixtureTarget",
        "banana": "pogospec.targets.banana:BananaTarget",
        "numpyro": "pogospec.targets.numpyro:NumpyroTarget",
    },
    "tracker": {
        "tensorboard": "pogospec.tracking.tensorboard:TensorBoard",
        "wandb": "pogospec.tracking.wandb:WandB",
        "mlflow": "pogospec.tracking.mlflow:MLflow",
        "trackio": "pogospec.tracking.trackio:Trackio",
    },
}
"""Slots of the language: a key of a spec holds a node of one of their kinds."""

BESIDE: dict[str, dict[str, str]] = {
    "carried": {"particles": "pogospec.policies.carried:CarriedParticles"},
    "source": {
        "pocket": "pogospec.data.sources.pocket:Pocket",
        "d4rl": "pogospec.data.sources.d4rl:D4RL",
        "ogbench": "pogospec.data.sources.ogbench:OGBench",
        "file": "pogospec.data.sources.file:File",
        "imported": "pogospec.data.sources.imported:Imported",
        "minari": "pogospec.data.sources.minari:Minari",
    },
    "export": {
        "onnx": "pogospec.shipping.formats.onnx:Onnx",
        "stablehlo": "pogospec.shipping.formats.stablehlo:StableHLO",
        "torch": "pogospec.shipping.formats.pytorch:Torch",
        "npz": "pogospec.shipping.formats.npz:Npz",
    },
    "engine": {
        "local": "pogospec.engines.local:Local",
        "ray": "pogospec.engines.ray:Ray",
        "slurm": "pogospec.engines.slurm:Slurm",
    },
}
"""Slots beside the language, whose kinds no key of a spec names: policies that a step makes whole, which are saved so;
sources of data, to which the id of a dataset leads; formats that policies are exported in; engines that train."""


def table(slot: str) -> dict[str, str]:
    """All kinds of a slot, built in and third-party, as kind -> "module:Class"."""
    kinds = dict((BUILT_IN | BESIDE)[slot])
    for name, where in third_party():
        own, _, kind = name.partition(".")
        if own == slot and kind not in kinds:
            kinds[kind] = where
    return kinds


@cache
def third_party() -> tuple[tuple[str, str], ...]:
    """What installed packages add: slot.kind and "module:Class"; to ask them all takes milliseconds."""
    return tuple((point.name, point.value) for point in entry_points(group="pogospec.kinds"))


def slots() -> tuple[str, ...]:
    """Names of all slots of the language, in the order of the language page."""
    return tuple(BUILT_IN)


def load(slot: str, kind: str) -> type[Any]:
    """Import and return the class of a kind; raises KeyError for an unknown kind."""
    module, _, name = table(slot)[kind].partition(":")
    return getattr(import_module(module), name)


def kind_of(slot: str, cls: type) -> str:
    """The kind under which a class is registered in a slot."""
    for kind, target in table(slot).items():
        if target == f"{cls.__module__}:{cls.__qualname__}":
            return kind
    raise KeyError(f"{cls.__qualname__} is not registered as a {slot}")


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name closest to a misspelt one, or None where none is as alike as `cutoff` (1: the same)."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None
