"""Every field of every shipped spec changes something: data, networks, an update, the schedule or the evaluation.

Fields that no shipped spec says are tried in further cases, until each field of the language has changed something.
"""

import functools
import itertools
import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest
from observed import Mathematics, loop
from perturbed import Field, all_fields, document, fields, others

from pogospec.checking.check import checked
from pogospec.errors import DataError, SpecError
from pogospec.spec.build import to_plain

SHIPPED = sorted((Path(__file__).parents[1] / "specs").glob("*.yaml"))
SMALL = [(f"{slot}.hidden", "[5]") for slot in ("policy", "behavior", "critic")]
QUIET = [("schedule.steps[*].updates", "6"), ("evaluate.every", "3"), ("train.log_every", "5")]
QUIET += [("train.checkpoint_every", "4"), ("train.batch_size", "7"), ("evaluate.episodes", "2")]
KNOWN = """
target: {kind: quadratic, center: [0.3, -0.2], curvature: [[4.0, 0.3], [0.3, 0.5]]}
policy: gaussian
energy: {q: {actions: quadrature}, entropy: {weight: 0.1}}
geometry: fisher_rao
schedule: {defaults: {tau: 0.5}, steps: [{updates: 6}]}
"""
Overrides = tuple[tuple[str, str], ...]


class Case(NamedTuple):
    """A spec, a file or text, with overrides."""

    source: Path | str
    more: Overrides = ()


def shipped(stem: str, *more: tuple[str, str]) -> Case:
    return Case(SHIPPED[0].with_name(f"{stem}.yaml"), more)


def known(*more: tuple[str, str]) -> Case:
    return Case(KNOWN, more)


def judged(kind: str, *more: tuple[str, str]) -> Case:
    own = {"fqe": FITTED, "cross_fitted": FITTED, "ensemble_bound": "z: 0.5, "}.get(kind, "")
    judge = f"{{kind: {kind}, {own}errors: 1.0, margin: 0.1}}"
    critic = [("critic", "{kind: ensemble, members: 3, target_actions: smoothed_mean}")]
    given = ("data.holdout", "0.3"), ("schedule.steps[1].judge", judge)
    return shipped("pogo_w_two_step", *given, *(critic if kind == "ensemble_bound" else []), *more)


FITTED = "updates: 20, hidden: [4], batch_size: 8, learning_rate: 0.01, "
CASES = {path.stem: shipped(path.stem) for path in SHIPPED} | {
    "tanh with entropy": shipped("kl_brac", ("energy.entropy.weight", "0.1")),
    "shared std": shipped("pogo_fr_two_step", ("policy.std", "shared"), ("geometry", "{kl: {}, wasserstein2: {}}")),
    "sampled": shipped("pogo_w_two_step", ("energy.q.actions", "{sample: 2}"), ("energy.action_norm.weight", "0.2")),
    "settled scale": shipped("pogo_w_two_step", ("schedule.steps[1].energy.q.scale", "step")),
    "long form": shipped(
        "pogo_w_two_step",
        ("schedule.steps[1].from", "null"),
        ("schedule.steps[1].tau", "null"),
        ("schedule.steps[1].proximal", "[{reference: behavior, geometry: kl, tau: 1.25}]"),
    ),
    "repeated": shipped(
        "pogo_w_two_step",
        ("schedule.steps[1].repeat", "3"),
        ("schedule.steps[1].tau", "{kind: geometric, start: 2, factor: 2}"),
        ("optimizer.policy.decay", "cosine"),
        ("schedule.steps[1].optimizer_state", "keep"),
        ("data.holdout", "0.3"),
    ),
    "all geometries": shipped(
        "pogo_w_two_step", ("geometry", "{fisher_rao: {}, gaussian_fisher_rao: {}, kl: {}, hellinger: {}}")
    ),
    "own geometry": shipped("pogo_w_two_step", ("schedule.steps[1].geometry", "kl")),
    "normalised": shipped("rebrac", ("critic.layer_norm", "{place: after, eps: 0.1}")),
    "squared error": shipped("bc", ("policy", "dirac"), ("energy", "{squared_error: {weight: 0.5}}")),
    "natural behaviour": shipped("pogo_fr", ("schedule.steps[0].behavior_gradient", "natural")),
    "mmd": shipped("kl_brac", ("geometry", "{kind: mmd, bandwidth: 0.5, samples: 2}")),
    "sinkhorn": shipped("kl_brac", ("geometry", "{kind: sinkhorn, samples: 3, epsilon: 0.3}")),
    "sinkhorn with its bias": shipped("kl_brac", ("geometry", "{kind: sinkhorn, debiased: false, unit: absolute}")),
    "sliced": shipped("kl_brac", ("geometry", "{kind: sliced_wasserstein2, samples: 3, bases: 2, debiased: true}")),
    "energy distance": shipped("kl_brac", ("geometry", "{kind: energy_distance, samples: 3}")),
    "shared noise": shipped("kl_brac", ("geometry", "{kind: wasserstein2, coupling: {shared_noise: 2}}")),
    "dual critic": shipped("w_brac", ("geometry.hidden", "[5]"), ("geometry.learning_rate", "0.5")),  # steep at once
    "multiplier": shipped(
        "kl_brac",
        ("schedule.steps[2].tau", "{kind: multiplier, start: 0.5, divergence: 0.3, learning_rate: 0.2, most: 2.1}"),
    ),
    "temperature": shipped("sac_n", ("energy.entropy.temperature", "{start: 0.5, entropy: -1.0, learning_rate: 0.2}")),
    "best of several": shipped("sac_n", ("critic.target_actions.samples", "3"), ("critic.reduction", "mean")),
    "hard": shipped("edac", ("critic.backup_entropy", "false"), ("critic.target_actions", "smoothed_mean")),
    "dual factor": shipped("cql", ("critic.lagrange", "{gap: 0.8, start: 2.0}"), ("critic.floor", "0.3")),
    "soft": shipped("kl_brac", ("energy.entropy.weight", "0.1"), ("critic.backup_entropy", "true")),
    "low rank": shipped("pogo_w", ("policy", "{kind: low_rank_gaussian, rank: 1}"), ("behavior", "low_rank_gaussian")),
    "full": shipped("pogo_w", ("policy", "full_gaussian"), ("behavior", "full_gaussian")),
    "vgf": shipped(  # points of other behaviours leave the bounds at once; the distance is one that is measured
        "vgf", ("behavior", "gaussian"), ("schedule.steps[0].tau", "0.1")
    ),
    "moved": shipped(
        "pogo_map",
        ("geometry", "{kind: wasserstein2, coupling: {shared_noise: 2}}"),
        ("schedule.steps[0].scheme", "{kind: explicit, actions: {sample: 3}, kernel: {stein: 0.5}, moves: 2}"),
        ("schedule.steps[1].scheme", "{kind: explicit, actions: {sample: 3}, moves: 2, mover: adam, bound: clip}"),
    ),
    "components": shipped(
        "pogo_w",
        ("policy", "{kind: gaussian_mixture, components: 3, action: heaviest, logit: 0.5}"),
        ("behavior", "gaussian_mixture"),
        ("energy.q.actions", "{sample: 2}"),
        ("geometry", "{kind: kl, samples: 2}"),
        ("schedule.defaults.gradient", "euclidean"),
    ),
    "coupled": shipped(
        "pogo_w",
        ("policy", "{kind: normalizing_flow, layers: 2, knots: 3, interval: 4, conditioner: [4]}"),
        ("behavior", "gaussian"),
        ("energy.q.actions", "{sample: 2}"),
        ("energy.entropy", "{weight: 0.1}"),
        ("geometry", "{kind: kl, samples: 2}"),
        ("schedule.defaults.gradient", "euclidean"),
    ),
    "map": shipped(
        "pogo_w",
        ("policy", "{kind: transport_map, noise: 2, action: {average: 3}}"),
        ("behavior", "{kind: transport_map, fit_samples: 3, activation: tanh}"),
        ("energy", "{q: {actions: {sample: 2}}}"),
        ("geometry", "mmd"),
        ("schedule.defaults.gradient", "euclidean"),
    ),
    "flow": shipped(
        "pogo_w",
        ("policy", "{kind: flow_matching, steps: 3, bound: none}"),
        ("behavior", "{kind: flow_matching, steps: 2}"),
        ("energy", "{q: {actions: {sample: 2}}}"),
        ("geometry", "mmd"),
        ("schedule.defaults.gradient", "euclidean"),
    ),
    "settled": shipped(
        "pogo_w_two_step",
        ("data.holdout", "0.3"),
        ("schedule.steps[0].until", "{kind: critic_settled, every: 2, window: 2, spread: 0.3, drift: 0.045}"),
        ("schedule.steps[1].until", "{kind: energy_settled, every: 2, window: 2, tolerance: 0.3}"),
        ("schedule.steps[*].updates", "24"),
        ("train.checkpoint_every", "6"),
    ),
    "by trial": shipped(
        "pogo_w_two_step",
        ("data.holdout", "0.6"),
        ("schedule.steps[1].tau", "{kind: backtracking, start: 1.7, factor: 0.5, tries: 2, errors: 1.6}"),
    ),
    "doubled": known(
        ("schedule.steps[0].tau", "{kind: doubling, start: 0.5, time: 16, tolerance: 1, most: 1.5, longest: 1.4}"),
        ("schedule.steps[0].tau.safety", "0.9"),
        ("schedule.steps[0].repeat", "5"),
    ),
    "doubled, too large at first": known(
        ("schedule.steps[0].tau", "{kind: doubling, start: 2, time: 11, tolerance: 1, least: 0.6}"),
        ("schedule.steps[0].repeat", "4"),
    ),
    "pogo_w_judged": shipped(
        "pogo_w_judged", ("schedule.steps[1].until.every", "2"), ("schedule.steps[*].updates", "24")
    ),
    **{f"judged by {kind}": judged(kind) for kind in ("fqe", "cross_fitted", "second_critic", "ensemble_bound")},
    "judged by inequality": judged("proximal", ("schedule.steps[1].tau", "0.85")),
    "chosen by a judge": judged("proximal", ("schedule.steps[1].tau", "{kind: choice, of: [0.5, 0.8]}")),
    "averaged": shipped(
        "pogo_w_two_step",
        ("optimizer.policy.average", "{window: 2}"),
        ("optimizer.critic.average", "{decay: 0.5}"),
    ),
    "branched": shipped("kl_brac", ("schedule.branch", "{step: 0, at: [2, 4]}")),
    "known": known(("start.mean", "0.1"), ("start.std", "0.7")),
    "explicit": known(("schedule.defaults.scheme", "{kind: explicit, actions: {hermite: 5}, clip: 1.2}")),
    "split": known(("schedule.defaults.scheme", "{kind: explicit, actions: {hermite: 5}, split: 0.9}")),
    "forward-backward": known(
        ("geometry", "wasserstein2"),
        ("schedule.defaults.scheme", "{kind: forward_backward, actions: {hermite: 5}, curvature: exact}"),
        ("schedule.steps[0].updates", "1"),
    ),
    "natural": known(
        ("schedule.defaults.scheme", "{kind: natural, actions: {antithetic: 3}, curvature: plane}"),
        ("schedule.defaults.tau", "{kind: geometric, start: 0.5, factor: 0.5, least: 0.2}"),
        ("schedule.steps[0]", "{repeat: 3}"),
    ),
    "rotated": known(
        ("schedule.defaults.scheme", "{kind: natural, actions: {rotated: 2}}"), ("schedule.steps[0]", "{repeat: 3}")
    ),
    "batch and match": known(
        ("geometry", "{kind: kl, direction: reference_to_policy}"),
        ("schedule.defaults.scheme", "{kind: batch_and_match, actions: {antithetic: 2}}"),
        ("schedule.steps[0].updates", "1"),
    ),
    "advantage": shipped(
        "kl_brac", ("energy", "{advantage: {actions: {sample: 1}, baseline: {sample: 2}, copies: slow, weight: 0.5}}")
    ),
    "mixture": known(("target", "{kind: mixture, means: [-1.0, 1.0], stds: [0.5, 0.6], weights: [1.0, 2.0]}")),
    "banana": known(("target", "{kind: banana, bend: 0.5, scale: [1.0, 0.4]}")),
    "model": known(("target", "{kind: numpyro, model: conjugate_normal}")),
}


def overrides(case: Case) -> Overrides:
    """The overrides of a case, small networks and few updates among them; those of a known energy have one size."""
    if case.source == KNOWN:
        return case.more
    spec = checked(document(case.source, case.more))
    small = [pair for pair in SMALL if hasattr(getattr(spec, pair[0].partition(".")[0]), "hidden")]
    return (*QUIET, *case.more, *small)


LOOPED = {"train", "evaluate", "data", "seeds"}
RULES = {"BranchSpec", "CriticSettled", "EnergySettled", "Judged", "Backtracking", "Choice", "Doubling"}
RULES |= {"FQE", "CrossFitted", "SecondCritic", "EnsembleBound", "ProximalInequality"}
RULED = {
    "StepSpec.until",
    "StepSpec.repeat_until",
    "StepSpec.judge",
    "GaussianMixturePolicy.action",
    "TransportMapPolicy.action",
}
RULED |= {f"ParticlesPolicy.{key}" for key in ("moves", "action", "critics")}


MEASURED = {
    (case, "energy.q.actions")
    for case in ("explicit", "split", "forward-backward", "natural", "rotated", "batch and match")
}
MEASURED |= {("vgf", "geometry.coupling"), ("vgf", "geometry.coupling.shared_noise")}
"""Where a field decides what is measured alone: such a step looks at Q at its points, whatever the term says."""

EQUAL = {("iql", "geometry"), ("awac", "geometry"), ("by trial", "data.holdout")}
"""Where all values are one: geometries of densities have the same explicit step from data, which takes no distance; of
three episodes all shares that may be held out are two."""

HEARD = {"TrainSpec.track", "WandB.project", "MLflow.project", "Trackio.project", "DataSpec.rows"}
"""What trackers are told, and where; `tests/tracking/` sees that they are. Where rows lie: `test_rows_on_disk.py`."""


class Probe:
    """The unperturbed spec of a case, and what was found of its fields."""

    def __init__(self, name: str, folder: Path):
        case, self.name = CASES[name], name
        self.source, self.given, self.folder = case.source, overrides(case), folder
        self.document, self.count = document(self.source, self.given), itertools.count()
        self.spec = checked(self.document)

    @functools.cached_property
    def mathematics(self) -> Mathematics:
        return Mathematics(self.spec)

    @functools.cached_property
    def looped(self) -> list:
        return loop(self.spec, self.folder / "before")

    def active(self, field: Field) -> bool | None:
        """Whether the field changes something: with any other value, or each entry of a tuple; None: no other value."""
        if (self.name, field.path) in EQUAL:
            return None
        whole = isinstance(field.value, tuple)
        found = []
        for text in others(field.value, field.annotation):
            try:
                changed = checked(document(self.source, [*self.given, (field.path, text)]))
                if to_plain(changed) == to_plain(self.spec):
                    continue
                found.append(self.differs(field, changed))
            except (SpecError, DataError):
                continue
            if found[-1] != whole:
                break
        return (all(found) if whole else any(found)) if found else None

    def differs(self, field: Field, changed) -> bool:
        """Whether another spec is another run: rules and the loop are asked what they do, the rest what it computes."""
        if field.path.split(".")[0] in LOOPED or field.owner.partition(".")[0] in RULES or field.owner in RULED:
            return loop(changed, self.folder / str(next(self.count))) != self.looped
        if (self.name, field.path) in MEASURED:
            return self.mathematics.measures_differently(changed)
        return self.mathematics.differs(changed)


class Probes:
    """Probes of the cases, each made when it is first asked for, and what was found with them, which workers share."""

    def __init__(self, make_folder, found: Path):
        self.make_folder, self.found = make_folder, found
        self.probe, self.written = functools.cache(self._probe), functools.cache(self._written)

    def _probe(self, name: str) -> Probe:
        return Probe(name, self.make_folder(name.replace(" ", "_")))

    def _written(self, name: str) -> dict[str, tuple[str, bool | None]]:
        """Fields that the file or an override says: path -> owner, and whether it is active."""
        file = self.found / f"{name}.json"
        if not file.exists():
            probe = self.probe(name)
            found = {f.path: (f.owner, probe.active(f)) for f in fields(probe.document) if f.written}
            part = file.with_suffix(f".{os.getpid()}")  # another worker may look
            part.write_text(json.dumps(found))
            part.replace(file)
        return json.loads(file.read_text())


@pytest.fixture(scope="session")
def probes(tmp_path_factory, of_all_workers) -> Probes:
    return Probes(tmp_path_factory.mktemp, of_all_workers)


@pytest.mark.thinned(("bc", "known"), "traces a program for each value of each field")
@pytest.mark.parametrize("name", CASES)
def test_no_option_is_inert(name, probes):
    assert [path for path, (_, active) in probes.written(name).items() if active is False] == []


@pytest.mark.exhaustive("needs what every case found")
def test_every_field_is_active_somewhere(probes):
    active = {owner for name in CASES for owner, found in probes.written(name).values() if found}
    for name in CASES:
        for field in fields(probes.probe(name).document):
            if field.owner not in active | HEARD and probes.probe(name).active(field):
                active.add(field.owner)
    assert sorted(all_fields() - active - HEARD) == [], "add a case to CASES in which these fields change something"
