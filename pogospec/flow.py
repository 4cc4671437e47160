"""Flows on known energies from Python: a log density or a NumPyro model in, the path of a policy family out.

The same steps as those of a spec with a target, compiled by the same functions; no file is read or written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist

from pogospec import registry
from pogospec.checking.check import checked
from pogospec.compiler.compile import compile_spec
from pogospec.data.known import lone_state
from pogospec.errors import RunError, SpecError, UsageError
from pogospec.policies.base import normals
from pogospec.posterior.answers import Answers
from pogospec.posterior.curvature import lacks_curvature
from pogospec.posterior.drift import warn_of_drift
from pogospec.posterior.start import Start, begun, found
from pogospec.spec.resolve import read_text
from pogospec.spec.schema import Spec
from pogospec.steps.closed import log_size
from pogospec.steps.schedule import Backtracking
from pogospec.targets.base import AbstractTarget, free_energy
from pogospec.targets.given import given
from pogospec.targets.numpyro import NumpyroTarget
from pogospec.training.chunk import as_floats
from pogospec.types import Key, Transitions
from pogospec.walk import DRAWN, check_energies, check_start, closed_path, walk

if TYPE_CHECKING:
    from pogospec.report.figures import Motion

SAMPLES = {"implicit": 64, "explicit": 256, "forward_backward": 256}
"""Actions over which expectations are taken where nobody says how."""
OPTIMISED = {"geometry": "wasserstein2", "tau": 0.5, "steps": 20}
"""What a flow is where nobody says otherwise."""
NATURAL = {
    "geometry": "kl",
    "tau": {"kind": "geometric", "start": 1.0, "factor": 0.96, "least": 0.01},
    "steps": 150,
}
"""Likewise of natural steps: whole ones first, at the end so short that the noise of their points is averaged."""
MATCHED = {
    "geometry": {"kind": "kl", "direction": "reference_to_policy"},
    "tau": {"kind": "geometric", "start": 10.0, "factor": 0.96, "least": 0.03},
    "steps": 200,
}
"""Likewise of batch and match, whose steps are whole where tau is large."""
USUAL = {"natural": NATURAL, "batch_and_match": MATCHED}
"""The same by scheme."""
ARGUMENTS = {
    "target": "dimensions",
    "start": "start",
    "policy": "family",
    "behavior": "family",
    "geometry": "geometry",
    "energy.q": "actions",
    "energy.entropy": "temperature",
    "optimizer": "learning_rate",
    "tau": "tau",
    "updates": "updates",
    "repeat_until": "until_settled",
    "repeat": "steps",
    "scheme.actions": "actions",
    "scheme": "scheme",
}
"""Paths of the spec, or of its one step, and the arguments that they come from; the first that fits counts."""


@dataclass(frozen=True, repr=False)
class Flow(Answers):
    """The path of a policy along a flow; arrays have a leading axis of steps, the start first."""

    parameters: Any  # of the distributions: mean and log_std [steps + 1, d] of a Gaussian, for example
    times: np.ndarray  # flow time, the sum of the step sizes
    temperature: float
    target: AbstractTarget = field(repr=False)
    measured: np.ndarray = field(repr=False)  # -E[Q] on the way, of a flow without entropy
    spec: Spec = field(repr=False)  # whose steps were taken; its target is the one above

    @property
    def energies(self) -> np.ndarray:
        """-E[Q] - temperature H of each policy, [steps + 1]; taken when first asked for."""
        return self._looked[0]

    @property
    def kl(self) -> np.ndarray | None:
        """KL(policy || exp(Q/temperature)/Z) in nats, [steps + 1]; None where Z is unknown."""
        return self._looked[1]

    @cached_property
    def _looked(self) -> tuple[np.ndarray, np.ndarray | None]:
        return _energies(self.target, self.temperature, self.parameters, self.measured)

    def __len__(self) -> int:
        """Steps that were taken."""
        return len(self.times) - 1

    def __repr__(self) -> str:
        kind = type(self.target).__name__.removesuffix("Target").lower()
        ends = [f"energy {self.energies[0]:.4g} to {self.energies[-1]:.4g}"] if self.at_hand else []
        known = self.kl if self.at_hand else None
        ends += [] if known is None else [f"KL to the optimum {known[0]:.4g} to {known[-1]:.4g} nats"]
        where = f"{self.target.dimensions} dimension{'s'[: self.target.dimensions > 1]}"
        return (
            f"Flow on {kind} in {where}: {len(self)} steps, {', '.join([f'flow time {self.times[-1]:.4g}', *ends])}; "
            f"ends at {self.distribution()}"
        )

    def distribution(self, step: int = -1) -> dist.Distribution:
        """The NumPyro distribution after a step; 0 is the start, -1 the end."""
        return self.at(step).distribution()

    def posterior_samples(self, key: Key, n: int = 1, step: int = -1) -> dict[str, Any]:
        """So many samples of every site of a NumPyro model, `[n, *shape]` in its own space, deterministic ones too."""
        if not isinstance(self.target, NumpyroTarget):
            raise UsageError("posterior_samples: allowed for flows of NumPyro models; use distribution(step).sample")
        samples: Any = self.distribution(step).sample(key, (n,))
        return self.target.constrain(samples)

    def motion(self) -> Motion:
        """The path as `pogospec.animate` shows it, named by geometry and scheme."""
        from pogospec.report.figures import of_path

        step: Any = self.spec.schedule.steps[0]
        scheme = registry.kind_of("scheme", type(step.scheme))
        name = step.geometry.kind + (f", {scheme}" if scheme != "implicit" else "")
        return of_path(self.spec, self.parameters, self.times, self.energies, self.kl, name)

    def animate(self, out: str | Path, **options: Any) -> Path:
        """Film the path into a file .gif or .mp4 (extra film); options are those of `pogospec.animate`."""
        from pogospec.report.figures import animate

        return animate(self, out, **options)


def flow(
    energy: Callable[..., Any] | AbstractTarget,
    *arguments: Any,
    model_kwargs: Mapping[str, Any] | None = None,
    dimensions: int | None = None,
    family: str | Mapping[str, Any] = "gaussian",
    geometry: str | Mapping[str, Any] | None = None,
    tau: float | Mapping[str, Any] | None = None,
    steps: int | None = None,
    temperature: float = 1.0,
    scheme: str | Mapping[str, Any] = "implicit",
    actions: str | Mapping[str, Any] | None = None,
    updates: int | None = None,
    learning_rate: float | None = None,
    start: str | tuple[Any, Any] = (0.0, 1.0),
    seed: int = 0,
    until_settled: bool = False,
) -> Flow:
    """Run a gradient flow of -E[Q] - temperature H from a Gaussian to the density exp(Q/temperature)/Z.

    Floats are those of JAX: wrap the call in `jax.enable_x64(True)` for double precision.

    Args:
        energy: a NumPyro model; or with `dimensions` a log density of a vector, not normalised; or a target.
        arguments: of the model or of the log density, after its vector.
        model_kwargs: more arguments of the model, by name.
        dimensions: length of the vector that a log density takes; leave it out for a NumPyro model.
        family: a kind of policy: gaussian, full_gaussian, dirac, …, or a mapping with `kind` and its keys.
        geometry: a kind of geometry: wasserstein2 (default), fisher_rao, kl (default of natural; from the reference to
            the policy that of batch_and_match), …, or a mapping with `kind` and its keys.
        tau: size of a step, in flow time, or {"kind": "geometric", "start": …, "factor": …}; default 0.5, of natural
            steps 0.96^k, not below 0.01; or {"kind": "doubling", "start": …, "tolerance": …, "time": …}: chosen
            by the local error as the flow goes, until that time.
        steps: how many; the most there may be with `until_settled`, and of attempts with doubling; default 20, of
            natural steps 150.
        temperature: weight of the entropy; 0 leaves it out.
        scheme: implicit, explicit, forward_backward, natural or batch_and_match; the last three set a Gaussian in
            closed form.
        actions: how expectations are taken: {"sample": n}, or "quadrature" (exact for quadratic log densities) in
            implicit and {"hermite": n} in other steps, {"antithetic": n} pairs in closed ones; default 64 and 256
            samples, of natural steps {"rotated": 1}: d axes in random directions.
        updates: of Adam in each step, whose rate falls from `learning_rate` to 0 by a cosine; default 500. Closed
            steps have no optimiser.
        learning_rate: of Adam; default 0.05.
        start: mean and standard deviation of the start, numbers or lists; "map": a maximum of the log density, by
            L-BFGS, and its curvature there (Laplace's approximation; 1 along directions that do not bend down); or
            (guide, params): what an automatic guide of NumPyro has learned; params may be the result of SVI.
        seed: of what is sampled on the way.
        until_settled: end when the energy changes little over three steps.

    Raises:
        UsageError: an argument that cannot be used; the message names it.
        RunError: a log density that is not finite where the flow starts, or a step that ended in such numbers.

    Warns:
        RuntimeWarning: an end at a higher energy than the start, or before the flow time of doubling is reached.

    Example:
        >>> import jax, numpyro, numpyro.distributions as dist, pogospec
        >>> def model(readings):
        ...     mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
        ...     numpyro.sample("y", dist.Normal(mu, 1.0), obs=readings)
        >>> flow = pogospec.flow(model, jax.numpy.array([1.2, 0.4, 2.1, 1.6, 0.9]), tau=1.0, steps=5)
        >>> len(flow), flow.parameters.mean.shape
        (5, (6, 1))
        >>> samples = flow.posterior_samples(jax.random.key(0), 1000)
        >>> bool(abs(samples["mu"].mean() - 6.2 / 5.25) < 0.1)
        True

    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"flow: seed: found {seed!r}, allowed a whole number from 0 to 2^32 - 1")
    named = {"family": family, "geometry": geometry, "tau": tau, "steps": steps, "temperature": temperature}
    named |= {"scheme": scheme, "actions": actions, "updates": updates, "learning_rate": learning_rate}
    try:
        target = given(energy, arguments, model_kwargs, dimensions)
        heat = temperature if isinstance(temperature, int | float) else 1.0  # what else it is, is told below
        place = found(start, target, heat, jax.random.key(seed))
    except (UsageError, RunError) as error:
        raise type(error)(f"flow: {error}") from error
    pair = start if place is None else (place.mean, place.std)
    return _run(_spec(target, start=pair, until_settled=until_settled, **named), float(temperature), seed, place)


class Steps(NamedTuple):
    """Closed steps that have not been taken yet, for whoever compiles them once and takes them from many seeds."""

    path: Callable[[Key], tuple[Any, Any]]  # of a root key: parameters with a leading axis, and measured energies
    count: int
    scheme: Any


def closed_flow(target: AbstractTarget, **options: Any) -> Steps:
    """The steps of `flow` with a closed scheme as a function of `jax.random.key(seed)`; options are those of `flow`."""
    spec = _spec(target, **options)
    rows, space = lone_state(target.dimensions)
    program = compile_spec(spec, space)
    _, path = closed_path(spec, program, Transitions(*map(as_floats, rows)))
    return Steps(path, len(program.stages), spec.schedule.steps[0].scheme)


def _spec(
    target: AbstractTarget,
    family: Any = "gaussian",
    geometry: Any = None,
    tau: Any = None,
    steps: Any = None,
    temperature: Any = 1.0,
    scheme: Any = "implicit",
    actions: Any = None,
    updates: Any = None,
    learning_rate: Any = None,
    start: Any = (0.0, 1.0),
    until_settled: bool = False,
) -> Spec:
    """The spec of a flow on a target; without second derivatives closed steps lay a plane, unless somebody asks."""
    kind = dict(scheme) if isinstance(scheme, Mapping) else {"kind": scheme}
    energies, kind = _expectations(target, family, kind, actions, temperature)
    schedule = geometry, tau, steps, updates, learning_rate, until_settled
    plain = {
        "target": {"kind": "quadratic", "center": [0.0] * target.dimensions, "curvature": [1.0] * target.dimensions},
        "start": {"mean": start[0], "std": start[1]},
        "policy": family,
        "energy": energies,
        **_steps(kind, *schedule),
    }
    # the language knows no functions: the rest of the spec is checked with a target of the same size in its place
    spec = _checked(plain)
    if lacks_curvature(target, spec.schedule.steps[0].scheme):
        spec = _checked(plain | _steps(kind | {"curvature": "plane"}, *schedule))
    return replace(spec, target=target)


def _steps(
    scheme: dict[str, Any], geometry: Any, tau: Any, steps: Any, updates: Any, rate: Any, until_settled: bool
) -> dict[str, Any]:
    """Geometry, optimiser and schedule; an optimiser of closed steps only where somebody asks for one."""
    kind = scheme.get("kind")
    usual = USUAL.get(kind, OPTIMISED) if isinstance(kind, str) else OPTIMISED
    step = {"tau": usual["tau"] if tau is None else tau, "repeat": usual["steps"] if steps is None else steps}
    step |= {"scheme": scheme} | ({"repeat_until": "energy_settled"} if until_settled else {})
    closed = kind in registry.table("scheme") and registry.load("scheme", kind).closed
    if not closed or updates is not None:
        step["updates"] = 500 if updates is None else updates
    found = {"geometry": usual["geometry"] if geometry is None else geometry, "schedule": {"steps": [step]}}
    if not closed or rate is not None:
        rate = 0.05 if rate is None else rate
        found["optimizer"] = {"kind": "adam", "learning_rate": rate, "decay": "cosine"}
    return found


def _expectations(
    target: AbstractTarget, family: Any, scheme: dict[str, Any], actions: Any, temperature: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The energy and the scheme, with where they look at the policy."""
    kind = family.get("kind") if isinstance(family, Mapping) else family
    looks = ("quadrature", "sample")
    if isinstance(kind, str) and kind in registry.table("policy"):
        looks = registry.load("policy", kind).looks
    plain = "quadrature" if target.gaussian and "quadrature" in looks else {"sample": SAMPLES["implicit"]}
    plain = plain if "sample" in looks else "mean"
    own = scheme.get("kind")
    own = own if isinstance(own, str) and own in registry.table("scheme") and own != "implicit" else None
    if own is not None:  # has points of its own
        usual = SAMPLES.get(own)
        scheme = ({} if usual is None else {"actions": {"sample": usual}}) | scheme
        scheme |= {} if actions is None else {"actions": actions}
    energy = {"q": {"actions": plain if own is not None or actions is None else actions}}
    return (energy if temperature == 0 else energy | {"entropy": {"weight": temperature}}), scheme


def _checked(plain: dict[str, Any]) -> Spec:
    """The spec of plain data; its mistakes are those of the arguments; raises UsageError."""
    try:
        spec = checked(read_text(json.dumps(plain, default=_jsonable)))
    except SpecError as error:
        told = dict.fromkeys(f"flow: {_argument(problem.path)}: {problem.message}" for problem in error.problems)
        raise UsageError("\n".join(told)) from None
    if isinstance(spec.schedule.steps[0].tau, Backtracking):
        raise UsageError("flow: tau: found backtracking, allowed a number, or a rule that needs no trial; use a spec")
    return spec


def _jsonable(value: Any) -> Any:
    """Numbers and arrays of NumPy and JAX, and mappings, as JSON knows them; what else there is by its name."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else repr(value)


def _argument(path: str) -> str:
    """The argument that a value of the spec comes from."""
    inside = path.removeprefix("schedule.steps[0].")
    return next((name for key, name in ARGUMENTS.items() if f"{inside}.".startswith((f"{key}.", f"{key}["))), path)


def _run(spec: Spec, temperature: float, seed: int, place: Start | None) -> Flow:
    """Take the steps; their keys are those of the same seed in a run."""
    target: Any = spec.target
    rows, space = lone_state(target.dimensions)
    data = Transitions(*map(as_floats, rows))
    start = partial(check_start, target)
    program = begun(compile_spec(spec, space), spec, place)
    path, measured, times = walk(spec, program, data, jax.random.key(seed), start)
    found = Flow(path, times, temperature, target, measured, spec)
    step: Any = spec.schedule.steps[0]
    if step.scheme.closed and temperature != 0:
        _check_ends(found)
    else:
        check_energies(found.energies, temperature)
    warn_of_drift(target, temperature, path)
    return found


def _check_ends(flow: Flow) -> None:
    """The same from a few actions of the first and the last policy: all energies would cost more than closed steps."""
    ends = jax.tree.map(lambda leaf: leaf[np.array([0, -1])], flow.parameters)
    z = normals(jax.tree.map(lambda leaf: leaf[0], ends), DRAWN, jax.random.key(0))

    def look(end: Any) -> Any:
        values = -flow.target.log_density(end.at(z))
        return values.mean() - flow.temperature * log_size(end), values.std() / np.sqrt(DRAWN)

    energies, errors = map(np.asarray, jax.jit(jax.vmap(look))(ends))
    sure = np.abs(energies[1] - energies[0]) > 3 * errors.max()
    if sure or not np.isfinite(energies).all():
        check_energies(energies, flow.temperature, len(flow))


def _energies(
    target: AbstractTarget, temperature: float, parameters: Any, measured: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Energies and KL to the optimum, as precisely as they are known; without entropy as they were measured."""
    if temperature == 0:
        return measured, None
    one = lambda p: free_energy(target, temperature, jax.tree.map(lambda x: x[None], p), jax.random.key(0))[0]  # noqa: E731
    values = np.asarray(jax.jit(lambda path: jax.lax.map(one, path))(parameters), np.float64)
    log_normalizer = target.log_normalizer(temperature)
    return temperature * values, None if log_normalizer is None else values + log_normalizer
