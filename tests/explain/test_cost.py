"""Operations against a count by hand, and the documents against the language."""

from pathlib import Path

import pytest

from pogospec.checking.check import load
from pogospec.explain import matrix_rate, operations
from pogospec.explain.overview import judging, seconds
from pogospec.spec.shipped import shipped_specs
from pogospec.types import Space

ROOT = Path(__file__).parents[2]
SPACE = Space(11, 2, (-1.0,) * 2, (1.0,) * 2)


def test_operations_of_td3_bc_are_those_counted_by_hand():
    rows = 2 * 256  # a multiply-add is two operations
    critic_in, critic = rows * 13 * 128, rows * (13 * 128 + 128 * 128 + 128)
    policy_in, policy = rows * 11 * 128, rows * (11 * 128 + 128 * 128 + 128 * 2)
    # target action and both targets; both critics forward; their weights; what flows back, but not to the inputs
    critics = policy + 2 * critic + 2 * critic + 2 * critic + 2 * (critic - critic_in)
    # the first critic alone, forward and back to the action; the policy's weights
    actor = policy + critic + critic + policy + (policy - policy_in)
    spec = load(ROOT / "specs" / "td3_bc.yaml")
    assert operations(spec, SPACE) == [pytest.approx(critics + actor / 2, rel=1e-12)]


def test_the_estimate_grows_with_updates_and_seeds():
    once = load(ROOT / "specs" / "pogo_w_two_step.yaml")
    more = load(ROOT / "specs" / "pogo_w_two_step.yaml", [("seeds", "8"), ("schedule.steps[*].updates", "160_000")])
    counts = operations(once, SPACE)
    assert len(counts) == 2
    assert counts[1] < counts[0]
    assert seconds(more, counts, SPACE) > 8 * seconds(once, counts, SPACE)
    assert matrix_rate(repeats=10) > 1e8


def test_the_estimate_counts_the_critics_of_judges():
    asked = [("data.holdout", "0.2"), ("schedule.steps[1].judge", "{kind: fqe, updates: 1_000_000}")]
    spec = load(ROOT / "specs" / "pogo_w_two_step.yaml", asked)
    steps, counts = spec.schedule.in_turn, [5.0, 4.0]
    judge = steps[1].judge
    assert judge is not None
    fitted = 4 * 1_000_000 * judge.work(SPACE)  # of both policies, on both halves of the held-out episodes
    assert judging(steps, counts, [1e-3, 1e-3], SPACE) == pytest.approx(fitted / 4.0 * 1e-3)
    without = load(ROOT / "specs" / "pogo_w_two_step.yaml")
    assert judging(without.schedule.in_turn, counts, [1e-3, 1e-3], SPACE) == 0
    counts = operations(spec, SPACE)
    assert seconds(spec, counts, SPACE) > 2 * seconds(without, counts, SPACE)


@pytest.mark.parametrize(
    "path", [path for path in shipped_specs() if path.parent.name != "flows"], ids=lambda path: path.stem
)
def test_shipped_specs_are_fine_and_say_what_they_are(path):
    spec = load(path)
    assert spec.name.replace("-", "_") == path.stem
    assert spec.about
    header = path.read_text().partition("\nname:")[0].splitlines()
    assert all(line.startswith("# ") for line in header)
    assert any("Sized for the embedded data" in line for line in header)


def test_the_spec_in_the_readme_is_fine(tmp_path):
    readme = (ROOT / "README.md").read_text()
    path = tmp_path / "spec.yaml"
    path.write_text(readme.partition("```yaml\n")[2].partition("```")[0])
    assert len(load(path).schedule.steps) == 2
