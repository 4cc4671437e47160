"""The shipped chains on eight methods' critics: their first step is the method, their distances have the weight 10."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from written_out import real_transitions

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.energies.q import QTerm
from pogospec.geometries.base import Seen
from pogospec.policies.base import DiagonalNormal, Point, TanhNormal
from pogospec.spec.build import to_plain
from pogospec.spec.shipped import shipped_specs, spec_path

METHODS = ("td3_bc", "rebrac", "iql", "awac", "cql", "sac_n", "edac", "fql")
WEIGHT = 10.0
SMALL = [("train.batch_size", "8"), *((f"{slot}.hidden", "[6]") for slot in ("policy", "behavior", "critic"))]


def small(method, word):
    more = [("critic.members", "3")] if method in ("sac_n", "edac") else []
    more += [("critic.samples", "2")] if method == "cql" else []
    return load(spec_path(f"chains/{method}_{word}"), [*SMALL, *more])


def test_there_are_two_for_each_method():
    names = {path.stem for path in shipped_specs() if path.parent.name == "chains"}
    assert names == {f"{method}_{word}" for method in METHODS for word in ("two", "four")}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dataset", [None, "d4rl/hopper-medium-v2", "d4rl/antmaze-large-play-v2"])
def test_the_first_step_is_the_method_and_the_others_are_one(method, dataset):
    where = [] if dataset is None else [("data.dataset", dataset)]
    own, two, four = (load(spec_path(name), where) for name in (method, f"{method}_two", f"{method}_four"))
    plain = [to_plain(spec) for spec in (own, two, four)]
    for spec in plain[1:]:
        assert spec["schedule"]["mode"] == "concurrent"
        assert spec["schedule"]["steps"][0] == plain[0]["schedule"]["steps"][0]
        rest = [
            {key: value for key, value in one.items() if key not in ("name", "about", "schedule")}
            for one in (spec, plain[0])
        ]
        assert rest[0] == rest[1]
    (_, further), (_, last) = (spec["schedule"]["steps"] for spec in plain[1:])
    assert last == further | {"repeat": 3}
    assert (two.schedule.at_once, four.schedule.at_once) == (2, 4)


FACTORS = {"td3_bc": 1 / 2.5, "cql": 0.5, "sac_n": 0.5, "edac": 0.5}
"""What the squared distance is multiplied by, beside the weight: half of it in the divergence, the loss over 2.5."""


@pytest.mark.thinned(5, "compiles transports")
@pytest.mark.parametrize("method", METHODS)
def test_a_squared_distance_has_the_weight_of_the_authors_code(method, float64):
    step: Any = load(spec_path(f"{method}_two")).schedule.steps[1]
    draw = np.random.default_rng(0)
    one, other = jnp.asarray(draw.normal(size=(2, 5, 3)) * 0.4)
    thin = jnp.full_like(one, np.log(1e-6))
    squares = jnp.square(one - other).sum(-1)
    if method in ("td3_bc", "rebrac"):
        pair = Point(one), Point(other)
    elif method in ("iql", "awac"):
        pair = DiagonalNormal(one, thin + 12), DiagonalNormal(other, thin + 12.5)
        squares += jnp.square(jnp.exp(thin + 12) - jnp.exp(thin + 12.5)).sum(-1)
    else:  # points but for what a divergence by samples needs
        pair = TanhNormal(jnp.arctanh(jnp.tanh(one)), thin), TanhNormal(other, thin)
        squares = jnp.square(jnp.tanh(one) - jnp.tanh(other)).sum(-1)
    seen = Seen(jnp.zeros((5, 1)), jax.random.key(0))
    found = jax.jit(step.geometry.divergence)(*pair, seen) / step.tau
    np.testing.assert_allclose(found, WEIGHT * FACTORS.get(method, 1.0) * squares, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_further_policies_maximise_q_alone_or_with_their_entropy(method):
    (first, second) = load(spec_path(f"{method}_two")).schedule.steps
    whole = load(spec_path(method))
    energy = second.energy or whole.energy
    assert isinstance(energy["q"], QTerm)
    assert set(energy) == ({"q", "entropy"} if method in ("cql", "sac_n", "edac") else {"q"})
    assert energy["q"].critics == {"td3_bc": "first", "fql": "mean"}.get(method, "min")
    assert second.from_ == "previous"
    assert (second.actor_every, first.actor_every) in ((1, 1), (2, 2))


@pytest.mark.thinned(("td3_bc-two",), "compiles a program of several policies for each")
@pytest.mark.parametrize("word", ["two", "four"])
@pytest.mark.parametrize("method", METHODS)
def test_a_few_updates_are_finite_and_move_every_policy(method, word):
    spec, (columns, space) = small(method, word), real_transitions(24)
    rows = jax.tree.map(
        lambda column: jnp.asarray(column, jnp.float32) if column.dtype.kind == "f" else column, columns
    )
    program = compile_spec(spec, space)
    stage, numbers = program.stages[-1], program.numbers
    state = stage.enter(numbers, program.init(numbers, jax.random.key(0)), rows, jax.random.key(1))
    before = state.policies
    assert len(before) == spec.schedule.at_once

    @jax.jit
    def moved(state):
        def body(state, index):
            return stage.update(numbers, state, rows, jax.random.fold_in(jax.random.key(2), index), index)

        return jax.lax.scan(body, state, jnp.arange(4))

    after, info = moved(state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after.policies, after.critic, info)))
    for one, other in zip(before, after.policies, strict=True):
        assert max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)) > 0
    firsts, seconds = (jax.tree.leaves(policy) for policy in after.policies[:2])
    assert any((a != b).any() for a, b in zip(firsts, seconds, strict=True))
