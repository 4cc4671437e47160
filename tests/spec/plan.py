"""The shapes of a whole run: networks, entry and one update of every step, without any arithmetic."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.compiler.compile import compile_spec
from pogospec.data.known import known
from pogospec.spec.schema import Spec
from pogospec.types import Space, Transitions

SPACE = Space(3, 2, (-1.0, -1.0), (1.0, 1.0))
ROWS = 5


def rows(space: Space, count: int) -> Transitions:
    """Shapes of so many transitions."""
    wide = {"observations": space.obs_dim, "next_observations": space.obs_dim}
    wide |= {"actions": space.act_dim, "next_actions": space.act_dim}
    shape = {name: (count, wide[name]) if name in wide else (count,) for name in Transitions._fields}
    types = {name: jnp.int32 if name == "episodes" else float for name in Transitions._fields}
    return Transitions(**{name: jax.ShapeDtypeStruct(shape[name], jnp.dtype(types[name])) for name in shape})


def shapes(spec: Spec, measure: bool = True) -> list[dict[str, Any]]:
    """Trace what a run would compute; what each step reports. Asserts that an update keeps the state's shapes."""
    with jax.enable_x64(spec.train.precision == "float64"):  # type: ignore[attr-defined]
        space = SPACE if spec.target is None else known(spec.target, "known").space
        program = compile_spec(spec, space)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(program.numbers))
        key = jax.eval_shape(lambda: jax.random.key(0))
        state, found, done = jax.eval_shape(program.init, program.numbers, key), [], set()
        for number, stage in enumerate(program.stages):
            if stage.source in done:
                continue
            done.add(stage.source)
            numbers = program.numbers_of(number)
            state = jax.eval_shape(stage.enter, numbers, state, rows(space, ROWS), key)
            update = functools.partial(jax.eval_shape, stage.update, numbers)
            batch, index = rows(space, spec.train.batch_size), jax.ShapeDtypeStruct((), jnp.int32)
            after, info = update(state, batch, key, index)
            assert jax.tree.structure(after) == jax.tree.structure(state)
            assert all(
                jax.tree.leaves(jax.tree.map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, after, state))
            )
            assert all(leaf.shape == () for leaf in info.values())
            found.append({"info": sorted(info)})
            if measure:
                measured = jax.eval_shape(stage.measure, numbers, state, rows(space, ROWS), key)
                found[-1]["measured"] = sorted(measured)
        return found
