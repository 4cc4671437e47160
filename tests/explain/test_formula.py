"""The printed mathematics against the compiled losses, symbol by symbol, in double precision."""

import functools
import itertools
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from printed import Symbols, groups, inside, lone_batch, looked, of_actor, parsed, printed_q, real_batch, written
from printed_explicit import Printed

from pogospec import registry
from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.energies.base import AbstractTerm
from pogospec.explain.mathematics.blocks import block, meanings
from pogospec.explain.mathematics.formula import objective
from pogospec.explain.mathematics.latex import latex
from pogospec.explain.numbers import number
from pogospec.explain.numbers import number as number_of
from pogospec.explain.stages import groups as steps_of
from pogospec.explain.stages import stages
from pogospec.policies.base import TanhNormal
from pogospec.spec.shipped import shipped_specs
from pogospec.steps.implicit import Implicit
from pogospec.types import Space

SPECS = [path for path in shipped_specs() if path.parent.name != "flows"]
SMALL = [("policy.hidden", "[16]"), ("behavior.hidden", "[16]")]

TEXT = """
data: {{dataset: pocket/reacher-mixed}}
policy: {{kind: {policy}, hidden: [16]}}
energy: {energy}
geometry: {geometry}
critic: {{kind: clipped_double_q, hidden: [16]}}
schedule:
  defaults: {{tau: 0.7}}
  steps:
    - {{from: behavior, learn: [critic, behavior, policy], updates: 6}}
    - {{{step}, learn: [policy], updates: 6}}
"""
DENSITY = ("fisher_rao", "gaussian_fisher_rao", "hellinger", "kl", "{kind: kl, direction: reference_to_policy}")
WASSERSTEIN = ("wasserstein2", "{kind: wasserstein2, reduction: mean, weight: 0.3}")
SAMPLED = (
    "mmd",
    "{kind: mmd, kernel: gaussian, bandwidth: 0.7, samples: 3, estimate: unbiased, weight: 0.3}",
    "{kind: wasserstein1, hidden: [8]}",
    "{far: {kind: mmd, samples: 2}, near: {kind: wasserstein1, hidden: [8], samples: 3, weight: 2}}",
    "{energy_distance: {samples: 3}, sliced_wasserstein2: {samples: 3, bases: 2, weight: 0.3}}",
    "{kind: energy_distance, samples: 2, estimate: biased}",
    "{kind: sliced_wasserstein2, samples: 4, bases: 1, debiased: false}",
    "{kind: sinkhorn, samples: 3, epsilon: 0.7}",
    "{kind: sinkhorn, samples: 4, epsilon: 2, unit: absolute, debiased: false}",
    "{kind: wasserstein2, coupling: shared_noise}",
    "{kind: wasserstein2, coupling: {shared_noise: 3}, reduction: mean, weight: 2}",
)
SUM = "{far: {kind: wasserstein2, weight: 2}, near: {kind: kl, weight: 0.5}}"
PROXIMAL = (
    "proximal: [{reference: data, geometry: wasserstein2, tau: 0.3}, {reference: previous, tau: 2.5e-4}], name: both"
)
TURNS = (("data", "behavior"), ("behavior", "data"))
GEOMETRIES = [
    *itertools.product(("gaussian", "tanh_gaussian"), (*DENSITY, *WASSERSTEIN, SUM), ("from: previous",)),
    *itertools.product(
        ("full_gaussian",), (*(g for g in DENSITY if "gaussian" not in g), *WASSERSTEIN), ("from: previous",)
    ),
    *itertools.product(("gaussian", "tanh_gaussian", "dirac"), WASSERSTEIN, ("from: data", "from: behavior", PROXIMAL)),
    *itertools.product(("tanh_gaussian", "full_gaussian"), SAMPLED, ("from: previous",)),
    *(
        (family, sampled, f"from: {origin}")
        for place, sampled in enumerate(SAMPLED)
        for family, origin in zip(("gaussian", "dirac"), TURNS[place % 2], strict=True)
    ),
]
ENERGIES = [
    f"{{q: {{critics: {critics}, actions: {actions}, scale: {scale}, weight: 0.3}}}}"
    for critics, actions, scale in [
        ("min", "quadrature", "none"),
        ("first", "{sample: 3}", "batch"),
        ("mean", "{sample: 1}", "batch"),
        ("min", "mean", "step"),
        ("mean", "quadrature", "step"),
    ]
] + [
    "{q: {}, entropy: {weight: 1.5e-3}, log_likelihood: {weight: 0.25}, action_norm: {}}",
    "{squared_error: {weight: 0.3}, total: {kind: squared_error, reduction: sum}}",
    "{advantage: {critics: min, copies: slow, actions: quadrature, baseline: {sample: 2}, weight: 0.3}, q: {}}",
    "{advantage: {critics: mean, actions: {sample: 1}, baseline: {sample: 1}}}",
    "{advantage: {critics: first, copies: slow, baseline: quadrature}, entropy: {weight: 0.1}}",
    "{norm: {kind: action_norm, actions: quadrature}, again: {kind: action_norm, actions: {sample: 4}, weight: 3}}",
]


TWO = "gaussian_mixture, components: 2"
COUPLED = "normalizing_flow, layers: 2, knots: 3, conditioner: [5]"
WIDER = [
    (TWO, "{q: {actions: {sample: 3}}, entropy: {weight: 0.3}, log_likelihood: {}}", "{kl: {samples: 3}}", "previous"),
    (TWO, "{q: {}, squared_error: {}}", "{kind: wasserstein2, reduction: mean, weight: 0.3}", "behavior"),
    (TWO, "{q: {actions: {sample: 1}}}", "wasserstein2", "data"),
    (
        COUPLED,
        "{q: {actions: {sample: 3}}, entropy: {weight: 0.3}, log_likelihood: {}}",
        "{kl: {samples: 3}}",
        "previous",
    ),
    (COUPLED, "{q: {}, action_norm: {actions: {sample: 2}}}", SAMPLED[9], "behavior"),
    ("transport_map", "{q: {actions: {sample: 2}, scale: batch}, action_norm: {}}", "mmd", "previous"),
    ("transport_map", "{q: {}, action_norm: {actions: {sample: 3}}}", SAMPLED[2], "data"),
    ("flow_matching", "{q: {actions: {sample: 2}}, squared_error: {}}", SAMPLED[1], "behavior"),
]
"""Families that are no single Gaussian: family, energy, geometry and reference."""


@pytest.fixture(scope="module")
def data():
    with jax.enable_x64(True):
        yield real_batch()


def measured(step):
    """What the compiled loss of a step is made of."""
    return looked(step.actor_gradient)


def compare(spec, number, data):
    """The printed objective of a stage, evaluated by hand, is the compiled one."""
    batch, space = data
    stage = stages(spec)[number]
    printed = dict(block(spec, stage, space.act_dim).rows)["policy"]
    program, state = inside(spec, number, batch, space)
    assert program.steps[number].label == stage.label
    key = jax.random.key(7)
    info = measured(program.steps[number])(program.numbers, state, batch, key)
    energies = list(stage.step.energy)
    places = [sorted(energies).index(name) for name in energies]  # a pytree sorts the terms, whose samples follow

    @jax.jit
    def values(state, batch, key):
        symbols = symbols_of(spec, stage, state, batch, key)
        return [
            symbols.value(symbol, *((places[i], None) if i < len(places) else (i, i - len(places))))
            for i, (_, symbol) in enumerate(parsed(printed))
        ]

    found = map(float, values(of_actor(program, state, number), batch, key))
    terms = [(coefficient, value) for (coefficient, _), value in zip(parsed(printed), found, strict=True)]
    assert len(terms) == len(objective(stage))
    found = sum(coefficient * value for coefficient, value in terms)
    assert info["objective"].dtype == jnp.float64
    by_quadrature = spec.policy.parameter_type is TanhNormal and ("W₂" in printed or "E_π[|a|²]" in printed)
    tolerance = 1e-6 if by_quadrature else 1e-9
    if "S(" in printed or "OT(" in printed:
        tolerance = 1e-3  # the iterations end before the digits do
    assert found == pytest.approx(float(info["objective"]), rel=tolerance, abs=tolerance)
    for (coefficient, value), term in zip(terms, objective(stage), strict=True):
        assert coefficient == pytest.approx(term.coefficient, rel=1e-11)
        if term.key.startswith("energy."):
            assert coefficient * value == pytest.approx(float(info[term.key]), rel=tolerance, abs=tolerance)


def symbols_of(spec, stage, state, batch, key):
    """The symbols of a stage; on a known energy Q is what the legend says, and π₀ what the reference is."""
    said = meanings([stage], batch.actions.shape[-1])
    start = state.behavior if stage.step.from_ == "behavior" else state.reference
    return Symbols(spec, state, batch, key, start, None if spec.target is None else printed_q(said), dict(said))


def compare_explicit(spec, number, data):
    """The printed lines of an explicit step, evaluated by hand, give the compiled loss, also at another policy."""
    batch, space = data
    stage = stages(spec)[number]
    printed = dict(block(spec, stage, space.act_dim).rows)["policy"]
    program, state = inside(spec, number, batch, space)
    key, info_of = jax.random.key(7), measured(program.steps[number])
    lower = functools.partial(jax.tree.map, lambda leaf: leaf - 0.05)
    chain = tuple(actor._replace(policy=lower(actor.policy)) for actor in state.chain)
    place = sorted(stage.step.energy).index("advantage") if "advantage" in stage.step.energy else 0
    for moved in (state, state._replace(policy=lower(state.policy), chain=chain)):
        info = info_of(program.numbers, moved, batch, key)
        symbols = symbols_of(spec, stage, of_actor(program, moved, number), batch, key)
        lines = Printed(printed, symbols, key, place)
        found = lines.value(symbols.p)
        assert info["objective"].dtype == jnp.float64
        assert float(found) == pytest.approx(float(info["objective"]), rel=lines.tolerance, abs=lines.tolerance)


def compare_particles(spec, number, data):
    """The printed moves of particles, taken by hand, are those of the program."""
    batch, space = data
    stage = stages(spec)[number]
    printed = dict(block(spec, stage, space.act_dim).rows)["policy"]
    program, state = inside(spec, number, batch, space)
    symbols = symbols_of(spec, stage, state, batch, jax.random.key(7))
    z, ends, times = Printed(printed, symbols, jax.random.key(7)).particles()
    network = state.policy._replace(behavior=state.behavior, critic=state.critic)
    found = jax.jit(lambda z: program.steps[number].policy.parameters(network, batch.observations).at(z))(z)
    assert jnp.abs(found - ends).max() < 1e-5  # of Adam's steps
    assert jnp.abs(found - symbols.act(symbols.reference("π_β"), z)).max() > 0.05
    moves = spec.policy.moves
    acting = f"{number_of(moves * stage.step.tau / stage.step.scheme.moves)} in {moves} moves where it acts"
    assert times == f"flow time {number_of(stage.step.tau)} while the critic learns, {acting}"


@pytest.mark.thinned(("td3_bc", "awac", "pogo_fr_two_step", "td3_bc_two"), "compiles a program for each")
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_printed_objective_of_a_shipped_spec_is_the_compiled_one(path, data, float64):
    two = [(f"{slot}.components", "2") for slot in ("policy", "behavior") if path.stem == "pogo_mixture"]
    own = [one for one in SMALL if path.stem != "vgf" or one[0] != "policy.hidden"]
    spec = load(path, [*own, *two])
    for stage in stages(spec):
        explicit = compare_particles if spec.policy.borrows else compare_explicit
        if stage.learns_policy:
            (compare if isinstance(stage.step.scheme, Implicit) else explicit)(spec, stage.index, data)


@pytest.mark.thinned(3, "compiles a program for each combination")
@pytest.mark.parametrize(("policy", "geometry", "step"), GEOMETRIES)
def test_every_geometry_is_printed_as_it_is_computed(policy, geometry, step, data, float64):
    compare(written(TEXT.format(policy=policy, energy="{q: {}}", geometry=geometry, step=step)), 1, data)


@pytest.mark.thinned(2, "compiles a program for each combination")
@pytest.mark.parametrize(("policy", "energy", "geometry", "reference"), WIDER)
def test_families_of_other_shapes_are_printed_as_they_are_computed(policy, energy, geometry, reference, data, float64):
    step = f"from: {reference}"
    compare(written(TEXT.format(policy=policy, energy=energy, geometry=geometry, step=step)), 1, data)


@pytest.mark.thinned(3, "compiles a program for each combination")
@pytest.mark.parametrize(
    ("policy", "energy"), list(itertools.product(("gaussian", "tanh_gaussian", "full_gaussian"), ENERGIES))
)
def test_every_energy_is_printed_as_it_is_computed(policy, energy, data, float64):
    text = TEXT.format(
        policy=policy, energy="{action_norm: {}}", geometry="kl", step="from: previous, energy: " + energy
    )
    spec = written(
        text.replace("energy: {action_norm: {}}\n", "")
        .replace("- {from: behavior,", "- {from: behavior, energy: {action_norm: {}},")
        .replace("policy: {kind", "energy: {entropy: {weight: 0.01}}\npolicy: {kind")
    )
    compare(spec, 1, data)


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


EXPECTILE = "{kind: expectile, expectile: 0.8, discount: 0.9, hidden: [16]}"
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


def test_the_printed_losses_of_an_expectile_critic_are_the_compiled_ones(data, float64):
    text = TEXT.format(policy="gaussian", energy="{q: {}}", geometry="kl", step="from: behavior")
    spec, (batch, space) = written(text.replace("{kind: clipped_double_q, hidden: [16]}", EXPECTILE)), data
    assert spec.critic is not None
    loss, target, asymmetric = dict(block(spec, stages(spec)[0], space.act_dim).rows)["critic"].split("\n")
    assert loss.startswith("minimise  Σ_i E[(Q_i(s, a) − y)²] + E[L(min_i Q̄_i(s, a) − V(s))];")
    (discount,) = groups(rf"y = r \+ {NUMBER} \(1 − terminated\) V\(s'\), V after its update", target)
    (level,) = groups(rf"L\(u\) = \|{NUMBER} − 1\[u < 0\]\| u²", asymmetric)
    program, state = inside(spec, 0, batch, space)
    new, info = jax.jit(program.stages[0].update)(program.numbers, state, batch, jax.random.key(5), jnp.int32(0))
    values, state_values = spec.critic.values, spec.critic.state_values
    following = state_values(new.critic, batch.next_observations)
    y = batch.rewards + float(discount) * (1 - batch.terminated) * following
    q = values(state.critic, batch.observations, batch.actions)
    u = values(state.critic_target, batch.observations, batch.actions).min(0)
    u = u - state_values(state.critic, batch.observations)
    expected = ((q - y) ** 2).mean(1).sum() + (jnp.abs(float(level) - (u < 0)) * u**2).mean()
    assert float(expected) == pytest.approx(float(info["critic_loss"]), rel=1e-9)


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
    ("full_gaussian", "wasserstein2", "from: behavior, scheme: forward_backward"),
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


def test_the_cases_cover_every_registered_kind():
    text = " ".join([*ENERGIES, *map(str, GEOMETRIES), *map(str, WIDER), TEXT])
    for slot in ("policy", "energy", "geometry"):
        classes = {kind: registry.load(slot, kind) for kind in registry.table(slot)}
        own = [kind for kind, cls in classes.items() if not getattr(cls, "borrows", False)]  # else in a shipped spec
        assert all(kind in text for kind in own), slot


CRITICS = [
    ("policy", "{target_actions: {kind: smoothed_mean, noise: 0.3, clip: 0.4}, discount: 0.9}"),
    ("policy", "{target_actions: policy_sample, target_penalty: {weight: 0.25}}"),
    ("policy", "{target_penalty: {reference: next_action, weight: 0.125}}"),
    ("policy", "{target_penalty: {kind: divergence, geometry: {kind: kl, weight: 2}, weight: 0.25}}"),
    ("behavior", "{target_actions: policy_sample}"),
    ("behavior", "{target_penalty: {weight: 0.5}}"),
]
NUMBER = r"([\d.e-]+)"


@pytest.mark.thinned(3, "compiles a program for each combination")
@pytest.mark.parametrize(("bootstrap", "critic"), CRITICS)
@pytest.mark.parametrize("policy", ["gaussian", "tanh_gaussian"])
def test_the_printed_losses_of_critic_and_behaviour_are_the_compiled_ones(policy, bootstrap, critic, data, float64):
    learn = "[critic, behavior]" if bootstrap == "behavior" else "[critic, behavior, policy]"
    text = TEXT.format(policy=policy, energy="{q: {}}", geometry="kl", step="from: behavior")
    if bootstrap == "behavior":
        text = text.replace("from: behavior, learn: [critic, behavior, policy]", f"learn: {learn}")
    spec = written(
        text.replace("{kind: clipped_double_q, hidden: [16]}", "{kind: clipped_double_q, hidden: [16], " + critic[1:])
    )
    assert spec.critic is not None
    batch, space = data
    stage = stages(spec)[0]
    rows = dict(block(spec, stage, space.act_dim).rows)
    program, state = inside(spec, 0, batch, space)
    key = jax.random.key(5)
    info = looked(program.stages[0].update)(program.numbers, state, batch, key, jnp.int32(0))
    symbols = Symbols(spec, state, batch, None)
    loss, target, action = rows["critic"].split("\n")
    assert loss.startswith("minimise  Σ_i E[(Q_i(s, a) − y)²];")
    discount, penalty = groups(rf"y = r \+ {NUMBER} \(1 − terminated\) \[min_i Q̄_i\(s', a'\)(?: − (.+))?\]", target)
    chosen = printed_action(symbols, action, jax.random.split(key)[0])
    taken = printed_penalty(symbols, penalty, chosen)
    target_values = spec.critic.values(state.critic_target, batch.next_observations, chosen).min(0) - taken
    y = batch.rewards + float(discount) * (1 - batch.terminated) * target_values
    q = spec.critic.values(state.critic, batch.observations, batch.actions)
    assert float(((q - y) ** 2).mean(1).sum()) == pytest.approx(float(info["critic_loss"]), rel=1e-9)
    assert rows["behaviour"].startswith("minimise  E[−log π_β(a|s)];")
    density = symbols.log_density(spec.behavior, symbols.heads(spec.behavior, state.behavior))
    assert float(-density.mean()) == pytest.approx(float(info["behavior_loss"]), rel=1e-9)


def printed_action(symbols, text, key):
    """The next action as printed: of the slow policy, the policy, or the behaviour."""
    state, spec, following = symbols.state, symbols.spec, symbols.batch.next_observations
    networks = {
        "μ̄(s')": (spec.policy, state.policy_target),
        "π(·|s')": (spec.policy, state.policy),
        "μ_β(s')": (spec.behavior, state.behavior),
        "π_β(·|s')": (spec.behavior, state.behavior),
    }
    smoothed = re.fullmatch(rf"a' = clip\((.+?) \+ clip\({NUMBER} ξ, ±{NUMBER}\), ±1\), ξ ~ N\(0, I\)", text)
    if smoothed:
        p = symbols.heads(*networks[smoothed[1]], following)
        noise = float(smoothed[2]) * jax.random.normal(key, p.mean.shape, float)
        bound = float(smoothed[3])
        return jnp.clip(jnp.clip(symbols.act(p, 0.0), -1, 1) + jnp.clip(noise, -bound, bound), -1, 1)
    (sampled,) = groups(r"a' ~ (.+), clipped to ±1", text)
    p = symbols.heads(*networks[sampled], following)
    return jnp.clip(symbols.act(p, jax.random.normal(key, (1, *p.mean.shape), float)[0]), -1, 1)


def printed_penalty(symbols, text, action):
    """What the target takes off, as printed."""
    if text is None:
        return 0.0
    batch, spec, state = symbols.batch, symbols.spec, symbols.state
    weight, symbol = groups(rf"{NUMBER} · (.+)", text)
    behavior = symbols.heads(spec.behavior, state.behavior, batch.next_observations)
    if symbol == "|a' − μ_β(s')|²":
        value = ((action - jnp.clip(symbols.act(behavior, 0.0), -1, 1)) ** 2).sum(-1)
    elif symbol == "1[a'_data exists] |a' − a'_data|²":
        value = batch.next_action_valid * ((action - batch.next_actions) ** 2).sum(-1)
    else:
        assert symbol == "KL(π(·|s') ‖ π_β(·|s'))"
        value = symbols.divergence(symbol, symbols.heads(spec.policy, state.policy, batch.next_observations), behavior)
    return float(weight) * value


def test_a_dirac_behaviour_is_fitted_as_printed(data, float64):
    spec = written(TEXT.format(policy="dirac", energy="{q: {}}", geometry="wasserstein2", step="from: data"))
    batch, space = data
    assert dict(block(spec, stages(spec)[0], 2).rows)["behaviour"].startswith("minimise  E[|μ_β(s) − a|²/d];")
    program, state = inside(spec, 0, batch, space)
    info = looked(program.stages[0].update)(program.numbers, state, batch, jax.random.key(0), jnp.int32(0))
    mean = spec.behavior.parameters(state.behavior, batch.observations).mean
    assert float(((mean - batch.actions) ** 2).sum(1).mean() / 2) == pytest.approx(float(info["behavior_loss"]))


class Curiosity(AbstractTerm):
    """Rewards what is new."""

    needs_density = False
    needs_critic = False
    weight: float = 0.25

    def value(self, parameters, context, key):
        return jnp.zeros(len(context.observations))


def test_a_class_without_a_formula_is_written_by_its_name():
    spec = written(
        TEXT.format(policy="gaussian", energy="{q: {}}", geometry="kl", step="from: data, geometry: wasserstein2")
    )
    energy = spec.schedule.steps[1].energy
    assert energy is not None
    energy["new"] = Curiosity()
    terms = objective(stages(spec)[1])
    assert str(terms[1]) == "+ 0.25 · Curiosity[π](s)"
    assert terms[1].meaning == "Curiosity: Rewards what is new."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20.0, "20"),
        (0.4167, "0.4167"),
        (1e-5, "1e-5"),
        (3e-4, "3e-4"),
        (0.01, "0.01"),
        (0.0, "0"),
        (1.25, "1.25"),
        (2.5e-3, "0.0025"),
        (2.5e-4, "2.5e-4"),
        (0.99, "0.99"),
    ],
)
def test_numbers_are_short_and_read_back(value, text):
    assert number(value) == text
    assert float(number(value / 3)) == pytest.approx(value / 3, rel=1e-11)


FACTORS = [
    ("gaussian", "fisher_rao", "natural", "natural gradient (σ² on the mean, ½ on log σ)"),
    ("tanh_gaussian", "kl", "natural", "natural gradient (σ² on the mean before tanh, ½ on log σ)"),
    ("gaussian", "{kind: kl, weight: 0.5}", "natural", "natural gradient (2 σ² on the mean, 1 on log σ)"),
    (
        "gaussian",
        "{kind: wasserstein2, reduction: mean}",
        "{kind: natural, clip: [1.0e-9, 1.0e+9]}",
        "natural gradient (3 on the mean, 3/σ² on log σ)",
    ),
    (
        "gaussian",
        "wasserstein2",
        "natural",
        "natural gradient (1 on the mean, 1/σ² on log σ, held by the clip where log σ is outside [-3.45, 2])",
    ),
    ("dirac", "wasserstein2", "natural", "natural gradient (1 on the mean)"),
    (
        "full_gaussian",
        "fisher_rao",
        "natural",
        "natural gradient (σ² on the mean, 1 on the whitened shape; σ²: eigenvalues of the covariance)",
    ),
    (
        "full_gaussian",
        "{kind: wasserstein2, reduction: mean}",
        "{kind: natural, clip: [1.0e-9, 1.0e+9]}",
        "natural gradient (3 on the mean, 6/σ² on the whitened shape; σ²: eigenvalues of the covariance)",
    ),
    ("gaussian", "fisher_rao", "euclidean", "euclidean gradient"),
]


@pytest.mark.parametrize(("policy", "geometry", "gradient", "expected"), FACTORS)
def test_a_natural_gradient_is_printed_as_facts_say(policy, geometry, gradient, expected):
    from pogospec.explain.mathematics.blocks import gradient as printed

    step = f"from: previous, gradient: {gradient}"
    spec = written(TEXT.format(policy=policy, energy="{q: {}}", geometry=geometry, step=step))
    assert printed(spec, stages(spec)[1], 3) == expected


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_labels_are_those_of_the_program(path):
    spec = load(path)
    program = compile_spec(spec, Space(4, 2, (-1.0,) * 2, (1.0,) * 2))
    assert [stage.label for stage in stages(spec)] == [stage.label for stage in program.steps]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_latex_is_sound(path):
    from matplotlib.mathtext import MathTextParser

    firsts = [group.first for group in steps_of(stages(load(path)))]  # repetitions are a line of words
    text = latex(load(path), stages(load(path)))
    head, _, rest = text.partition("\\begin{align*}\n")
    body, end, _ = rest.partition("\n\\end{align*}")
    assert head.startswith("%")
    assert end
    averaged = sum(step.learns_policy and not step.policy.borrows for step in firsts)
    assert body.count(r"\Big[") == body.count(r"\Big]") == averaged
    parser = MathTextParser("agg")
    for row in body.split("\\\\\n"):
        assert row.count("&") == 1, row
        for cell in row.split("&"):
            plain = re.sub(r"\\([bB]ig)", "", cell.strip()).replace("tfrac", "frac").replace(r"\textbf", r"\mathbf")
            parser.parse(f"${plain.replace(chr(92) + 'text{', chr(92) + 'mathrm{')}$" if plain else "x")


def test_a_repeated_step_is_re_centred_at_the_one_before():
    text = TEXT.format(
        policy="gaussian",
        energy="{q: {}}",
        geometry="kl",
        step="from: previous, repeat: 3, tau: {kind: geometric, start: 8, factor: 0.5}",
    )
    plan = stages(written(text))
    assert [str(objective(stage)[-1]) for stage in plan[1:]] == [
        "+ (1/8) · KL(π ‖ π₁)",
        "+ (1/4) · KL(π ‖ π₂)",
        "+ (1/2) · KL(π ‖ π₃)",
    ]
    assert eqx.tree_equal(plan[1].step, plan[3].step)
