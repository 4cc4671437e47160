"""How long runs compile: what is written down, and what is expected of the next one by it."""

import jax
import jax.numpy as jnp
import pytest

from pogospec.checking.check import load
from pogospec.launch.compiling import NAME, covered, expected, key_of, noted
from pogospec.runs import cache
from pogospec.spec.shipped import spec_path
from pogospec.types import Space

SPACE = Space(3, 1, (-1.0,), (1.0,))


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """The file in an empty folder of compiled programs."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    folder = cache.place()
    assert folder is not None
    folder.mkdir()
    return folder / NAME


def spec(name, *overrides):
    return load(spec_path(name), list(overrides))


def test_stretches_that_overlap_count_once():
    assert covered([]) == 0
    assert covered([(5, 6), (0, 4), (1, 2), (3, 4.5)]) == 5.5


def test_keys_are_of_programs():
    one = key_of(spec("td3_bc"), SPACE, 1)
    same = [("optimizer.learning_rate", "1e-2"), ("seeds", "[7]"), ("data.dataset", "pocket/hopper-mixed")]
    assert one == key_of(spec("td3_bc", *same, ("schedule.steps[*].updates", "5")), SPACE, 1)
    others = [
        key_of(spec("td3_bc", ("policy.hidden", "[8]")), SPACE, 1),
        key_of(spec("td3_bc", ("seeds", "2")), SPACE, 1),
        key_of(spec("td3_bc"), Space(4, 1, (-1.0,), (1.0,)), 1),
        key_of(spec("td3_bc"), SPACE, 2),
    ]
    assert len({one, *others}) == 5


def test_what_was_compiled_is_expected_again(rows):
    one, two = spec("td3_bc"), spec("pogo_w_two_step")
    assert expected(one, SPACE) is None
    rows.write_text(f"{key_of(one, SPACE, 1)},1,30\nother,2,20\nhalf,2\nbad,x,1\nbad,1,nan\n,0,5\n")
    assert expected(two, SPACE) == 2 * 20.0, "two steps, of 30 and 10 seconds in the middle"
    assert expected(one, SPACE) is None, "it is kept, and how long that takes to read nobody knows yet"
    with rows.open("a") as file:
        file.write("other,2,4\n")
    assert expected(one, SPACE) == 2.0
    with rows.open("a") as file:
        file.write(f"{key_of(one, SPACE, 1)},1,3\n" * 2 + f"{key_of(one, SPACE, 1)},1,9\n")
    assert expected(one, SPACE) == 3.0


def test_what_is_compiled_is_written_down(rows, monkeypatch):
    one = spec("td3_bc")
    with noted([one], SPACE):
        jax.jit(lambda x: jnp.tanh(x @ x).sum())(jnp.ones((3, 3))).block_until_ready()
    key, steps, seconds = rows.read_text().strip().split(",")
    assert (key, steps) == (key_of(one, SPACE, 1), "1")
    assert float(seconds) > 0
    with pytest.raises(ValueError, match="no"), noted([one], SPACE):
        raise ValueError("no")
    with noted([one], SPACE):
        pass  # nothing to compile
    assert [line.split(",")[2] for line in rows.read_text().splitlines()] == [seconds, "0.00"]
    monkeypatch.setenv(cache.VARIABLE, "off")
    with noted([one], SPACE):
        pass
    assert expected(one, SPACE) is None
