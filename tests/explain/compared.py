"""The printed mathematics of a step, worked out by hand, against its compiled loss, in double precision."""

import functools

import jax
import jax.numpy as jnp
import pytest
from printed import Symbols, inside, looked, of_actor, parsed, printed_q
from printed_explicit import Printed

from pogospec.explain.mathematics.blocks import block, meanings
from pogospec.explain.mathematics.formula import objective
from pogospec.explain.stages import stages
from pogospec.policies.base import TanhNormal
from pogospec.spec.shipped import shipped_specs

SPECS = [path for path in shipped_specs() if path.parent.name != "flows"]
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
TWO = "gaussian_mixture, components: 2"
NUMBER = r"([\d.e-]+)"
EXPECTILE = "{kind: expectile, expectile: 0.8, discount: 0.9, hidden: [16]}"


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
