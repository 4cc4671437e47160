"""Numbers that are written as fractions of two: what they are, where they may stand, and what is said of bad ones."""

import json
import math
import random
from fractions import Fraction
from typing import Any

import jsonschema
import pytest

from pogospec.checking.check import checked, load
from pogospec.errors import SpecError
from pogospec.launch.sweep import groups_of, jobs_of
from pogospec.spec.build import dump
from pogospec.spec.fields import Within
from pogospec.spec.json_parts import number
from pogospec.spec.resolve import read_cells, read_text
from pogospec.spec.sweep import cell_title
from pogospec.spec.yaml import fraction

SPEC = """\
policy: {kind: gaussian, log_std: [-5/1, 1/2]}
energy:
  q: {critics: first}
  entropy: {weight: 1e-1/3}
geometry: {kind: wasserstein2, weight: 2/3}
critic: {kind: clipped_double_q, discount: 99/100}
data: {dataset: pocket/reacher-mixed, reward: {shift: -1 / 3, return_range: 1_000/7}}
schedule:
  defaults: {gradient: {kind: natural, clip: [1/1000, 1000/1]}}
  steps:
    - {from: behavior, tau: 1/2.4, updates: 10}
    - {from: previous, learn: [policy], tau: {kind: geometric, start: 1/3, factor: 2/3}, updates: 10, repeat: 2}
about: 1/2
"""


def test_fractions_stand_wherever_numbers_do(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    spec: Any = load(path)
    first, second = spec.schedule.steps
    assert spec.policy.log_std == (-5.0, 0.5)
    assert (spec.energy["entropy"].weight, spec.geometry.weight, spec.critic.discount) == (1 / 30, 2 / 3, 0.99)
    assert (spec.data.reward.shift, spec.data.reward.return_range) == (-1 / 3, float(Fraction(1000, 7)))
    assert first.gradient.clip == (0.001, 1000.0)
    assert (first.tau, second.tau.start, second.tau.factor) == (float(Fraction(10, 24)), 1 / 3, 2 / 3)
    assert spec.about == "1/2"
    again = checked(read_text(dump(spec)))
    assert again == spec
    target = (
        "target: {kind: quadratic, center: [1/3, 0], curvature: [[2/3, 0], [0, 1]]}\nstart: {mean: 1/3, std: [1/3, 2]}"
    )
    body = "\npolicy: gaussian\nenergy: {q: {}}\ngeometry: kl\nschedule: {steps: [{tau: 1/2, updates: 1}]}"
    known: Any = checked(read_text(target + body))
    assert known.target.center == (1 / 3, 0.0)
    assert known.target.curvature == ((2 / 3, 0.0), (0.0, 1.0))
    assert (known.start.mean, known.start.std) == (1 / 3, (1 / 3, 2.0))


def test_a_fraction_is_the_number_nearest_to_it():
    rng = random.Random(0)
    texts = ["1/2.4", "-1.5e-3/7", "1_000 / 3", ".5/3.", "1e300/1e299", "0/3", "+2/-3", "0.1/0.3"]
    texts += [f"{rng.uniform(-9, 9):.{rng.randint(0, 17)}f}/{10 ** rng.uniform(-9, 9)!r}" for _ in range(300)]
    for text in texts:
        above, below = (Fraction(part.strip().replace("_", "")) for part in text.split("/"))
        assert fraction(text) == float(above / below), text
    for text in ("1", "1/2/3", "a/b", "1/", "/2", "1//2", "0x1/2", "1/2 m", ".inf/2", "1/true", "1/2" + "0" * 100):
        assert fraction(text) is None, text
    for text in ("1/0", "0/0", "1/1e-999999999", "1e999999999/1", "1e308/1e-308"):
        assert not math.isfinite(fraction(text) or 0), text
    assert fraction("1e-999999999/3") == 0


TABLE = [
    ("tau", "1/0", "found '1/0', allowed a finite number"),
    ("tau", "-1/2", "found '-1/2', allowed a number > 0"),
    ("tau", "1/2/3", "found '1/2/3', allowed a number > 0, geometric, backtracking, multiplier, choice, doubling"),
    ("updates", "10/2", "found '10/2', allowed a whole number >= 1"),
    ("proximal", "1/2", "found '1/2', allowed a list"),
    ("optimizer.learning_rate", "1/", "found '1/', allowed a number > 0, or a fraction of two, such as 1/2.4"),
    ("optimizer.b1", "3/2", "found '3/2', allowed a number >= 0 and < 1"),
    ("optimizer.eps", "1/1e39", "found '1/1e39', allowed a number > 0, no larger in size than 3.4e+38"),
    ("optimizer.eps", "'0.5'", "found '0.5', allowed a number > 0, did you mean 0.5 without quotes?"),
]


@pytest.mark.parametrize(("key", "text", "message"), TABLE)
def test_bad_fractions_are_told_as_written(key, text, message):
    with pytest.raises(SpecError) as caught:
        load("pogo_w", [(f"schedule.steps[0].{key}", text)])
    found = [p.message for p in caught.value.problems if p.path.startswith(f"schedule.steps[0].{key.split('.')[0]}")]
    assert any(one.startswith(message) for one in found), found


def test_fractions_in_overrides_and_sweeps(tmp_path):
    spec = load("pogo_fr", [("schedule.defaults.tau", "1/2.4"), ("energy.entropy.weight", "1/100")])
    assert (spec.schedule.steps[0].tau, spec.energy["entropy"].weight) == (float(Fraction(10, 24)), 0.01)
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC + "sweep: {energy.entropy.weight: [1/4, 0.5], policy.log_std: [[-5, 1/4]]}\n")
    cells: Any = read_cells(path, (), [("schedule.steps[0].tau", "[1/3, 2/3]")])
    taus = [cell.spec.schedule.steps[0].tau for cell in cells]
    assert taus == [1 / 3, 2 / 3] * 2
    assert cells[0].cell == {
        "energy.entropy.weight": 0.25,
        "policy.log_std": [-5, 0.25],
        "schedule.steps[0].tau": 1 / 3,
    }
    assert cell_title(cells[0].cell) == f"entropy.weight=0.25 policy.log_std=[-5,0.25] tau={1 / 3!r}"
    assert len(groups_of(jobs_of(cells, tmp_path))) == 1
    with pytest.raises(SpecError, match="found 0.5 twice; keep one"):
        read_cells(path, (), [("schedule.steps[0].tau", "[1/2, 0.5]")])


@pytest.mark.parametrize("text", ["1/2.4", "-1 / 3", "1_0/3", "1/2/3", "x/2", "1/", "0.5"])
def test_the_schema_for_editors_allows_what_is_allowed(text):
    validator = jsonschema.Draft7Validator(number(float, [Within(gt=0.0)]))
    assert validator.is_valid(text) == (fraction(text) is not None)
    assert not jsonschema.Draft7Validator(number(int, [])).is_valid(text)
    json.dumps(number(float, []))
