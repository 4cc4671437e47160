"""The printed mathematics against the compiled losses, symbol by symbol, in double precision."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from compared import SPECS, TEXT, TWO, compare, compare_explicit, symbols_of
from printed import inside, written
from printed_explicit import Printed

from pogospec import registry
from pogospec.checking.check import load
from pogospec.explain.mathematics.blocks import block
from pogospec.explain.numbers import number as number_of
from pogospec.explain.stages import stages
from pogospec.steps.implicit import Implicit

SMALL = [("policy.hidden", "[16]"), ("behavior.hidden", "[16]")]
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
    *itertools.product(("low_rank_gaussian",), ("kl", "hellinger", "wasserstein2"), ("from: previous",)),
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


def test_the_cases_cover_every_registered_kind():
    text = " ".join([*ENERGIES, *map(str, GEOMETRIES), *map(str, WIDER), TEXT])
    for slot in ("policy", "energy", "geometry"):
        classes = {kind: registry.load(slot, kind) for kind in registry.table(slot)}
        own = [kind for kind, cls in classes.items() if not getattr(cls, "borrows", False)]  # else in a shipped spec
        assert all(kind in text for kind in own), slot
