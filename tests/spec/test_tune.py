"""The key `tune`: ranges and their grid, what a base says, and what is wrong with one, each with its place."""

import json

import pytest
from jsonschema import Draft7Validator

from pogospec.checking.check import checked, load
from pogospec.cli import explaining, language
from pogospec.errors import SpecError
from pogospec.spec.json_schema import spec_schema
from pogospec.spec.resolve import read
from pogospec.spec.tune import grid_cell, grid_size

TUNE = """\
tune:
  "schedule.steps[*].tau": {log: [1/10, 10], points: 3}
  energy.entropy.weight: {uniform: [0, 1]}
  train.batch_size: {integer: [16, 18]}
  policy.hidden: {choice: [[8], [8, 8]]}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, base="pogo_w_two_step", name="spec.yaml"):
        path = tmp_path / name
        path.write_text(f"extends: {base}\n{text}")
        return path

    return write


def test_the_grid_has_every_combination_the_last_path_fastest(write):
    ranges = read(write(TUNE)).ranges
    assert [one.grid for one in ranges.values()] == [
        [0.1, 1.0, 10.0],
        [0.0, 0.25, 0.5, 0.75, 1.0],
        [16, 17, 18],
        [[8], [8, 8]],
    ]
    assert grid_size(ranges) == 3 * 5 * 3 * 2
    cells = [grid_cell(ranges, number) for number in range(90)]
    assert [*cells[0].values()] == [0.1, 0.0, 16, [8]]
    assert [*cells[1].values()] == [0.1, 0.0, 16, [8, 8]]
    assert [*cells[89].values()] == [10.0, 1.0, 18, [8, 8]]
    assert len({json.dumps(cell) for cell in cells}) == 90


def test_a_spec_is_what_it_is_without_its_search(write):
    assert load(write(TUNE)) == load(write("", name="other.yaml"))


def test_ranges_of_a_base_are_joined_path_by_path_and_each_replaced_whole(write):
    write(TUNE, name="base.yaml")
    above = 'tune: {"schedule.steps[*].tau": {choice: [1, 2]}, policy.hidden: null}\n'
    ranges = read(write(above, "base.yaml")).ranges
    assert {path: one.kind for path, one in ranges.items()} == {
        "schedule.steps[*].tau": "choice",
        "energy.entropy.weight": "uniform",
        "train.batch_size": "integer",
    }


BAD = {
    "a list": ("tune: [1]", "2:7: tune: found a list, allowed a mapping from paths to ranges, such as {log:"),
    "no range": ("tune: {train.batch_size: 3}", "2:26: train.batch_size: found 3, allowed a range, such as"),
    "no kind": ("tune: {train.batch_size: {points: 3}}", "2:26: train.batch_size: found no kind of range, allowed one"),
    "two kinds": ("tune: {seeds.x: {log: [1, 2], choice: [1, 2]}}", "2:17: seeds.x: found log and choice, allowed one"),
    "a kind": ("tune: {train.batch_size: {lag: [1, 2]}}", "found unknown key 'lag', allowed log, uniform, integer"),
    "no list": ("tune: {train.batch_size: {log: 3}}", "2:32: train.batch_size: found 3, allowed a list"),
    "one end": ("tune: {train.batch_size: {integer: [3]}}", "found 1 values, allowed two whole numbers that increase"),
    "falling": ("tune: {train.batch_size: {integer: [3, 2]}}", "found 3 to 2, allowed two whole numbers that increase"),
    "no number": ("tune: {energy.entropy.weight: {uniform: [0, a]}}", "2:45: energy.entropy.weight: found 'a'"),
    "log of 0": ("tune: {energy.entropy.weight: {log: [0, 1]}}", "2:38: energy.entropy.weight: found 0, allowed two"),
    "a fraction": ("tune: {train.batch_size: {integer: [1, 2.5]}}", "found 2.5, allowed two whole numbers"),
    "one choice": ("tune: {train.batch_size: {choice: [8]}}", "found 1 choice, allowed two or more"),
    "twice": ("tune: {train.batch_size: {choice: [8, 9, 8]}}", "2:42: train.batch_size: found 8 twice; keep one"),
    "points": (
        "tune: {train.batch_size: {integer: [1, 9], points: 1}}",
        "found 1, allowed a whole number from 2",
    ),
    "idle points": ("tune: {train.batch_size: {choice: [1, 9], points: 3}}", "found points beside choice"),
    "dataset": ("tune: {data.dataset: {choice: [a, b]}}", "2:8: data.dataset: found the dataset, which all trials"),
    "seeds": ("tune: {seeds: {integer: [1, 2]}}", "2:8: seeds: found the number of seeds, which all trials have alike"),
    "measure": ("tune: {evaluate.episodes: {integer: [1, 2]}}", "evaluate.episodes: found what trials are measured by"),
    "branch": ("tune: {schedule.branch.step: {integer: [0, 1]}}", "schedule.branch.step: found the branch"),
    "tuned": ("tune: {tuned.x: {choice: [1, 2]}}", "2:8: tuned.x: found the path 'tuned.x', which is read at the top"),
    "near": ("tune: {energy.entropi.weight: {uniform: [1, 2]}}", "2:42: energy.entropi: found unknown name"),
    "nowhere": (
        'tune: {"schedule.steps[7].tau": {log: [1, 2]}}',
        "schedule.steps[7].tau: found the index [7]",
    ),
    "an end": (
        "tune: {train.batch_size: {integer: [-3, 8]}}",
        "2:37: train.batch_size: found -3, allowed",
    ),
    "a choice": ("tune: {geometry: {choice: [kl, klu]}}", "2:32: geometry: found 'klu', allowed"),
    "a rule": ("tune: {geometry: {choice: [wasserstein2, bures]}}", "bures"),
    "a sweep": ("tune: {train.batch_size: {integer: [1, 8]}}\nsweep: {seeds.x: [1]}", "seeds.x"),
    "beside a sweep": (
        "tune: {train.batch_size: {integer: [1, 8]}}\nsweep: {energy.entropy.weight: [0, 1]}",
        "2:8: tune: found a search beside a sweep; allowed one of both",
    ),
    "beside a branch": (
        "tune: {train.batch_size: {integer: [1, 8]}}\nschedule: {branch: {at: [5]}}",
        "2:8: tune: found a search beside schedule.branch; allowed one of both",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_ranges(write, name):
    text, message = BAD[name]
    with pytest.raises(SpecError) as caught:
        language.check([str(write(text))])
    assert any(message in str(problem) for problem in caught.value.problems), caught.value


def test_the_energy_of_a_flow_on_a_known_energy_is_no_path(write):
    path = write("tune: {energy.entropy.weight: {uniform: [0.1, 1]}}", "flows/quadratic_w2")
    with pytest.raises(SpecError, match="by which trials on a known energy are compared"):
        language.check([str(path)])


def test_mistakes_of_several_paths_are_told_at_once(write):
    with pytest.raises(SpecError) as caught:
        read(write("tune: {seeds: {choice: [1, 2]}, train.batch_size: 3}"))
    assert len(caught.value.problems) == 2


def test_an_override_of_what_is_searched_is_refused(write):
    with pytest.raises(SpecError, match="found a value of what a search varies; allowed other paths"):
        language.check([str(write(TUNE))], set_=["schedule.steps[1].tau=3"])


def test_check_and_explain_say_what_is_searched(write, capsys):
    path = str(write(TUNE))
    language.check([path])
    said = "schedule.steps[*].tau: 0.1 to 10, logarithmic; energy.entropy.weight: 0 to 1; train.batch_size: 16 to 18, "
    assert f"`pogospec tune` searches {said}whole; policy.hidden: [8], [8,8] (a grid has 90 trials)" in (
        capsys.readouterr().out
    )
    explaining.explain(path, measure=False)
    told = capsys.readouterr().out
    assert "Searched by `pogospec tune`" in told
    assert "a grid has 90 trials; `run` takes the values above" in told


def test_editors_know_the_ranges(write):
    whole = Draft7Validator(spec_schema())
    assert whole.is_valid({"extends": "iql", "tune": {"train.batch_size": {"integer": [1, 8], "points": 3}, "x": None}})
    for wrong in (3, {"lag": [1, 2]}, {"log": [1]}, {"choice": [1]}, {"log": 3}, {"log": [1, 2], "points": 1}, {}):
        assert not whole.is_valid({"extends": "iql", "tune": {"train.batch_size": wrong}})
    checked(read(write("")))
