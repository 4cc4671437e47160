"""Flows on known energies as they are printed, against the compiled losses."""

import pytest
from compared import compare, compare_explicit
from printed import lone_batch, written

KNOWN = """
target: {target}
start: {{mean: 0.4, std: 0.6}}
policy: {policy}
energy: {energy}
geometry: {geometry}
schedule: {{defaults: {{tau: 0.7, updates: 6}}, steps: [{{{step}}}, {{{step}}}]}}
"""
TARGETS = {
    "quadratic": "{kind: quadratic, center: [1, -0.5], curvature: [[4, 0.25], [0.25, 0.5]]}",
    "diagonal": "{kind: quadratic, center: [1, -0.5, 2], curvature: [4, 0.5, 1.5]}",
    "mixture": "{kind: mixture, means: [-2, 2], stds: [0.5, 0.8], weights: [1, 2]}",
    "points": "{kind: mixture, means: [[-2, 0], [2, 1]], stds: [[0.5, 0.6], 0.8]}",
    "banana": "{kind: banana, bend: 0.7, scale: [1, 0.3]}",
}
KNOWN_ENERGIES = [
    "{q: {}}",
    "{q: {actions: quadrature}, entropy: {weight: 0.5}}",
    "{q: {actions: {sample: 3}, critics: mean, scale: step}, entropy: {}}",
    "{q: {actions: {sample: 1}, critics: first, scale: batch}, action_norm: {weight: 0.1}}",
]
KNOWN_STEPS = [
    ("gaussian", "wasserstein2", ""),
    ("full_gaussian", "kl", ""),
    ("full_gaussian", "fisher_rao", "from: behavior"),
    ("gaussian", "{far: {kind: wasserstein2, weight: 2}, near: {kind: kl, weight: 0.5}}", "from: behavior"),
]
KNOWN_EXPLICIT = [
    ("gaussian", "fisher_rao", "scheme: {kind: explicit, actions: {hermite: 5}}"),
    ("full_gaussian", "kl", "from: behavior, scheme: explicit"),
    ("full_gaussian", "wasserstein2", "scheme: {kind: explicit, actions: {sample: 4}}"),
    ("gaussian", "wasserstein2", "from: behavior, scheme: {kind: explicit, actions: {hermite: 3}}"),
]


@pytest.mark.thinned(2, "compiles a program for each combination")
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(("policy", "geometry", "step"), KNOWN_STEPS)
def test_flows_on_known_energies_are_printed_as_they_are_computed(policy, geometry, step, place, float64):
    energy, targets = KNOWN_ENERGIES[place], list(TARGETS.values())
    target = targets[(place + KNOWN_STEPS.index((policy, geometry, step))) % len(targets)]
    spec = written(KNOWN.format(target=target, policy=policy, energy=energy, geometry=geometry, step=step))
    for index in (0, 1):
        compare(spec, index, lone_batch(spec))


@pytest.mark.thinned(1, "compiles a program for each combination")
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize(("policy", "geometry", "step"), KNOWN_EXPLICIT)
def test_explicit_steps_on_known_energies_are_printed_as_they_are_computed(policy, geometry, step, target, float64):
    energy = "{q: {scale: step, weight: 0.5}, entropy: {weight: 0.3}}"
    spec = written(KNOWN.format(target=target, policy=policy, energy=energy, geometry=geometry, step=step))
    for index in (0, 1):
        compare_explicit(spec, index, lone_batch(spec))
