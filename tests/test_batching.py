import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from test_compile import transitions

from pogospec.checking.check import load
from pogospec.compiler.compile import compile_spec
from pogospec.training.batching import Batching
from pogospec.training.chunk import chunk_function
from pogospec.types import Space

SPACE = Space(3, 2, (-1.0, -1.0), (1.0, 1.0))
SLOW = pytest.mark.exhaustive("compiles more programs in a process of its own")
COLLECTIVES = re.compile("all-gather|all-reduce|all-to-all|collective|reduce-scatter|partition-id")
SMALL = [("policy.hidden", "[4]"), ("behavior.hidden", "[4]"), ("critic.hidden", "[4]"), ("train.batch_size", "8")]


def exchanged(name, runs, rows):
    """What devices exchange in the programs of a spec; `rows`: side by side on each."""
    spec = load(name, SMALL)
    program, data = compile_spec(spec, SPACE), transitions(20, 3, 2)
    how, roots = Batching("shard", runs), jax.vmap(jax.random.key)(jnp.arange(runs))
    assert len(how.devices) == 2
    how.in_turn = how.in_turn and not rows
    stage, numbers = program.stages[0], how.shared(program.numbers_of(0))
    data, enter = how.shared(data), how.jit(program.stages[0].enter, (None, 0, None, 0))
    template = jax.eval_shape(how.jit(program.init, (None, 0)), numbers, roots)
    inside = jax.eval_shape(enter, numbers, template, data, roots)
    chunk = chunk_function(stage, 8, None, how, donate=True)
    lowered = enter.lower(numbers, template, data, roots), chunk.lower(numbers, data, inside, roots, 0, 1)
    return [found for each in lowered for found in COLLECTIVES.findall(str(each.compile().as_text()))]


@pytest.mark.parametrize(
    ("name", "runs", "rows"),
    [
        ("td3_bc", 3, False),
        pytest.param("pogo_map", 3, False, marks=SLOW),
        pytest.param("pogo_map", 2, False, marks=SLOW),
        pytest.param("pogo_map", 2, True, marks=SLOW),
        pytest.param("pogo_mixture", 3, False, marks=SLOW),
    ],
)
def test_devices_exchange_nothing(name, runs, rows):
    """Each computes its own runs; one that waits for another that is late would have XLA end the process."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_batching as tests; "
    code += f"print(tests.exchanged({name!r}, {runs}, {rows}))"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "[]"
