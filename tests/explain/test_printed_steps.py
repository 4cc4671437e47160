"""Explicit and closed steps, moved maps and chains as they are printed, against the compiled losses."""

import itertools

import pytest
from compared import EXPECTILE, TEXT, TWO, compare, compare_explicit
from printed import written

from pogospec.explain.mathematics.blocks import block
from pogospec.explain.stages import stages

EXPLICIT = [
    ("gaussian", "fisher_rao", "{critics: first}", "{actions: {sample: 5}}"),
    (
        "gaussian",
        "{kind: kl, weight: 2}",
        "{critics: mean, scale: batch, weight: 0.7}",
        "{actions: {hermite: 3}, clip: 1.01}",
    ),
    ("tanh_gaussian", "hellinger", "{critics: min, scale: step}", "{actions: {sample: 1}}"),
    ("full_gaussian", "fisher_rao", "{critics: min}", "{actions: {hermite: 4}}"),
    ("tanh_gaussian", "kl", "{critics: min}", "{actions: {sample: 6}, split: 0.4}"),
    ("gaussian", "wasserstein2", "{critics: first}", "{actions: {sample: 5}}"),
    ("tanh_gaussian", "{kind: wasserstein2, reduction: mean}", "{scale: step}", "{actions: {hermite: 3}}"),
    ("full_gaussian", "{kind: wasserstein2, weight: 0.5}", "{critics: mean, scale: batch}", "{}"),
    (TWO, "kl", "{critics: min}", "{actions: {sample: 6}, split: 0.4}"),
    (TWO, "{kind: kl, samples: 2}", "{critics: first}", "{clip: 2}"),
    ("gaussian", "wasserstein2", "{critics: mean}", "{kernel: stein, actions: {sample: 3}, moves: 2, mover: adam}"),
    ("gaussian", "{kind: wasserstein2, weight: 2}", "{}", "{kernel: {stein: 0.7}, actions: {sample: 3}}"),
]
MORE = ("", "entropy: {weight: 0.3}, action_norm: {weight: 0.2}")


@pytest.mark.thinned(2, "compiles a program for each combination")
@pytest.mark.parametrize(
    ("policy", "geometry", "q", "scheme", "more"),
    [(*one, MORE[place % 2]) for place, one in enumerate(EXPLICIT)],
)
def test_explicit_steps_are_printed_as_they_are_computed(policy, geometry, q, scheme, more, data, float64):
    step = f"from: previous, scheme: {{kind: explicit, {scheme[1:]}, energy: {{q: {q}, {more}}}"
    text = TEXT.format(policy=policy, energy="{action_norm: {}}", geometry=geometry, step=step)
    compare_explicit(written(text), 1, data)


FORWARD_BACKWARD = [
    ("gaussian", "wasserstein2", "{critics: first}", "{}"),
    ("gaussian", "{kind: wasserstein2, reduction: mean, weight: 0.5}", "{scale: step}", "{actions: {hermite: 3}}"),
    ("full_gaussian", "{kind: wasserstein2, reduction: mean}", "{critics: mean, scale: batch}", "{}"),
    ("full_gaussian", "{kind: wasserstein2, weight: 2}", "{critics: min}", "{actions: {sample: 5}}"),
]


@pytest.mark.thinned(2, "compiles a program for each combination")
@pytest.mark.parametrize(
    ("policy", "geometry", "q", "scheme", "more"),
    [(*one, MORE[(place // 2 + place) % 2]) for place, one in enumerate(FORWARD_BACKWARD)],
)
def test_forward_backward_steps_are_printed_as_they_are_computed(policy, geometry, q, scheme, more, data, float64):
    step = f"from: previous, scheme: {{kind: forward_backward, {scheme[1:]}, energy: {{q: {q}, {more}}}"
    text = TEXT.format(policy=policy, energy="{action_norm: {}}", geometry=geometry, step=step)
    compare_explicit(written(text), 1, data)


MATCHED = [
    ("gaussian", "{actions: {sample: 5}}", "{critics: first}"),
    ("full_gaussian", "{actions: {hermite: 3}}", "{critics: mean, scale: batch}"),
]


@pytest.mark.thinned(1, "compiles a program for each")
@pytest.mark.parametrize(("policy", "scheme", "q"), MATCHED)
def test_batch_and_match_is_printed_as_it_is_computed(policy, scheme, q, data, float64):
    step = (
        f"from: previous, scheme: {{kind: batch_and_match, {scheme[1:]}, energy: {{q: {q}, entropy: {{weight: 0.3}}}}"
    )
    geometry = "{kind: kl, direction: reference_to_policy, weight: 2}"
    text = TEXT.format(policy=policy, energy="{action_norm: {}}", geometry=geometry, step=step)
    compare_explicit(written(text), 1, data)


MOVED = ["moves: 3", "kernel: stein, moves: 2, bound: clip", "kernel: {stein: 0.4}, mover: adam"]


@pytest.mark.thinned(1, "compiles a program for each")
@pytest.mark.parametrize("scheme", MOVED)
@pytest.mark.parametrize("family", ["transport_map", "flow_matching"])
def test_maps_are_printed_as_they_move(family, scheme, data, float64):
    step = f"from: previous, scheme: {{kind: explicit, actions: {{sample: 4}}, {scheme}}}"
    heat = ", energy: {q: {critics: mean}, entropy: {weight: 0.3}}" if "kernel" in scheme else ", energy: {q: {}}"
    geometry = "{kind: wasserstein2, coupling: shared_noise}"
    text = TEXT.format(policy=family, energy="{action_norm: {}}", geometry=geometry, step=step + heat)
    compare_explicit(written(text), 1, data)


CHAIN = """
data: {{dataset: pocket/reacher-mixed}}
policy: {{kind: gaussian, hidden: [16]}}
energy: {{q: {{actions: {{sample: 2}}}}, entropy: {{weight: 0.1}}}}
geometry: wasserstein2
critic: {{kind: clipped_double_q, hidden: [16]}}
schedule:
  mode: concurrent
  defaults: {{tau: {{kind: geometric, start: 0.7, factor: 2}}, updates: 6}}
  steps:
    - {{learn: [behavior], updates: 4}}
    - {{from: behavior}}
    - {{{step}, learn: [policy], repeat: 2}}
"""
LAST = [
    "from: previous, geometry: kl",
    "from: behavior, geometry: {kind: wasserstein1, hidden: [8]}",
    "tau: null, proximal: [{reference: previous, geometry: mmd, tau: 0.3}, {reference: data, tau: 0.4}]",
    "from: previous, scheme: explicit",
    "from: data, scheme: explicit, geometry: kl, energy: {q: null, entropy: null, advantage: {baseline: mean}}",
]


@pytest.mark.thinned(2, "compiles chains")
@pytest.mark.parametrize("step", LAST)
def test_every_policy_of_a_chain_is_printed_as_it_is_computed(step, data, float64):
    spec = written(CHAIN.format(step=step))
    for place in (1, 2, 3):
        explicit = place > 1 and "explicit" in step
        (compare_explicit if explicit else compare)(spec, place, data)
    first, *_, last = stages(spec)[1:]
    assert first.beside is None
    assert last.beside is not None
    said = dict(block(spec, last, 2).rows)
    assert said["critic"] == "that of step 1, learned in the same updates"
    assert "slow copies" not in said
    if "previous" in step:
        assert said["centred at"].startswith(("π₂: the policy of step 2 as it is now", "δ_a"))


WEIGHTED = [
    ("gaussian", "kl", "{}", "{critics: min, copies: slow, weight: 2.5}", EXPECTILE),
    ("tanh_gaussian", "{kind: fisher_rao, weight: 2}", "{clip: 1.5}", "{critics: mean, baseline: value}", EXPECTILE),
    ("full_gaussian", "hellinger", "{}", "{critics: first, baseline: {sample: 3}}", EXPECTILE),
    ("gaussian", "kl", "{clip: 3}", "{baseline: {sample: 1}}", "{kind: clipped_double_q, hidden: [16]}"),
    ("gaussian", "kl", "{}", "{copies: slow, baseline: mean}", "{kind: clipped_double_q, hidden: [16]}"),
    ("gaussian", "kl", "{}", "{critics: first, baseline: quadrature}", "{kind: clipped_double_q, hidden: [16]}"),
    (TWO, "kl", "{}", "{critics: min, copies: slow}", EXPECTILE),
]


@pytest.mark.thinned(2, "compiles a program for each combination")
@pytest.mark.parametrize(("place", "origin"), list(itertools.product(range(len(WEIGHTED)), ("data", "previous"))))
def test_steps_on_the_advantage_are_printed_as_they_are_computed(place, origin, data, float64):
    policy, geometry, scheme, advantage, critic = WEIGHTED[place]
    more = ("", "action_norm: {weight: 0.2}", "q: {scale: batch, weight: 0.1}")[(place + (origin == "data")) % 3]
    step = f"from: {origin}, scheme: {{kind: explicit, {scheme[1:]}, energy: {{advantage: {advantage}, {more}}}"
    text = TEXT.format(policy=policy, energy="{action_norm: {}}", geometry=geometry, step=step)
    compare_explicit(written(text.replace("{kind: clipped_double_q, hidden: [16]}", critic)), 1, data)
