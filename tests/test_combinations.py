"""Whatever the language lets one combine trains in finite numbers; whatever it refuses it says why, and what to do.

Families, geometries and schemes are multiplied out with references, and with gradients. What is independent of them
takes turns: further choices of all kinds, critics, and families of the behaviour, each family being one beside itself
and beside another; but each choice of each term of the energy is there with each family and scheme. (That distances
are finite, with a gradient, between all pairs of families is held in `tests/geometries/`.) Steps of one family train at
once beside one critic, a dozen in a program.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from combined import FAMILIES, REFERENCES, Ground, allowed, grounds, nodes, spec_of, step
from test_compile import transitions

from pogospec.compiler.compile import compile_spec
from pogospec.data.known import lone_state
from pogospec.registry import load, table
from pogospec.types import Space, Transitions

UPDATES, ROWS, BATCH = 200, 64, 8
AT_ONCE = 12
"""Steps of a program: XLA takes longer for many together than for the same in parts."""
TARGETS = [
    {"kind": "quadratic", "center": [0.3, -0.2], "curvature": [[4.0, 0.3], [0.3, 0.5]]},
    {"kind": "mixture", "means": [[-0.5, 0.0], [0.5, 0.2]], "stds": [0.3, 0.2]},
    {"kind": "banana", "bend": 1.0, "scale": [0.5, 0.3]},
]


def trained(ground, steps):
    """Labels of policies whose updates were not all finite, or changed nothing; of the first of them what was found."""
    spec = spec_of(ground.spec(steps, UPDATES))
    known = ground.target is not None
    size = getattr(spec.target, "dimensions", 0)
    rows, space = lone_state(size) if known else (logged(), Space(3, 2, (-1.0,) * 2, (1.0,) * 2))
    program = compile_spec(spec, space)

    def follow(state, number, data, key):
        stage, numbers = program.stages[number], program.numbers
        begun = stage.enter(numbers, state, data, key)

        def one(state, index):
            own = jax.random.fold_in(key, index)
            drawn = jax.random.randint(own, (1 if known else BATCH,), 0, data.rewards.shape[0])
            return stage.update(numbers, state, jax.tree.map(lambda column: column[drawn], data), own, index)

        state, info = jax.lax.scan(one, begun, jnp.arange(UPDATES))
        return state, (begun.policies, state.policies, info)

    def run(data, key):
        state, found = program.init(program.numbers, key), []
        for number in range(len(program.stages)):
            state, part = follow(state, number, data, jax.random.fold_in(key, number))
            found.append(part)
        return found

    data = Transitions(*(jnp.asarray(column, float if column.dtype == float else None) for column in rows))
    found, wrong = jax.device_get(jax.jit(run)(data, jax.random.key(0))), []
    for stage, (before, after, info) in zip(program.stages, found, strict=True):
        lost = {name: int(np.argmin(np.isfinite(v))) for name, v in info.items() if not np.isfinite(v).all()}
        for number, (actor, *networks) in enumerate(zip(stage.actors, before, after, strict=True)):
            first, last = map(jax.tree.leaves, networks)
            finite = all(np.isfinite(leaf).all() for leaf in last)
            still = all(np.array_equal(a, b) for a, b in zip(first, last, strict=True))
            own = [name for name in lost if name.rpartition(": ")[0] == (actor.label if number else "")]
            if not finite or own or still:
                wrong.append((actor.label, "nothing moves" if still else {name: lost[name] for name in own}))
    return wrong


def logged():
    """Transitions, some of whose actions lie on their bounds, as those of real data do."""
    rows = transitions(ROWS, 3, 2)
    bound = np.arange(ROWS)[:, None] % 8 == 0
    return rows._replace(actions=np.where(bound, np.sign(rows.actions), rows.actions))


def assert_trains(ground, steps):
    for begin in range(0, len(steps), AT_ONCE):
        part = steps[begin : begin + AT_ONCE]
        wrong = trained(ground, part)
        named = {f"step {number}": one for number, one in enumerate(part, 2 if ground.target is None else 1)}
        assert not wrong, (wrong[0], named.get(wrong[0][0]), ground)


@pytest.mark.exhaustive("compiles a program of dozens of policies for each family")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_combination_trains(family):
    ground = grounds(family, 0)
    steps = allowed(ground, REFERENCES[:2], FAMILIES.index(family), UPDATES)
    own = load("policy", family).parameter_type
    schemes = {kind for kind in table("scheme") if own in getattr(load("scheme", kind), "families", (own,))}
    assert {one["scheme"]["kind"] for one in steps} == schemes
    assert_trains(ground, steps)


@pytest.mark.exhaustive("compiles a program of dozens of policies for each family")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_combination_trains_beside_a_behaviour_of_another_family(family):
    ground = grounds(family, 1)
    assert_trains(ground, allowed(ground, REFERENCES[2:], FAMILIES.index(family), UPDATES, whole=False))


def test_some_combinations_train():
    ground = grounds("transport_map", 1)
    steps = [
        step("behavior", "energy_distance", "implicit", "euclidean", {"q": {"actions": {"sample": 1}}}, UPDATES),
        step("data", {"kind": "wasserstein2", "coupling": "shared_noise"}, "implicit", "euclidean", {"q": {}}, UPDATES),
    ]
    assert_trains(ground, steps)


PLACED = [family for family in FAMILIES if load("policy", family).can_be_placed()]


@pytest.mark.exhaustive("compiles a stage for each combination")
@pytest.mark.parametrize("family", PLACED)
def test_every_combination_trains_on_known_energies(family):
    for number, target in enumerate(TARGETS):
        ground = Ground(nodes("policy", family)[0] | {"hidden": []}, target=target)
        steps = allowed(ground, REFERENCES[:1], number, UPDATES)[number :: len(TARGETS)]
        assert_trains(ground, steps)
