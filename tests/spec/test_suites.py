"""Suite files: what is read from them, and what is wrong with them, each with its place."""

from pathlib import Path

import pytest

from pogospec.checking.check import checked_all
from pogospec.errors import SpecError, UsageError
from pogospec.spec.shipped import shipped_suites, suite_path
from pogospec.spec.suite import read_suite, suite_name

GOOD = """\
specs:
  - td3_bc
  - {spec: pogo_w_two_step, name: other, updates: 30, set: {"schedule.steps[1].updates": 40}}
datasets: [pocket/hopper-mixed, pocket/reacher-mixed]
seeds: 3
updates: 20
set: {train.batch_size: 32}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="my_suite.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_specs_by_datasets_with_overrides(write):
    suite = read_suite(write(GOOD))
    assert (suite.name, suite_name(write(GOOD))) == ("my-suite", "my-suite")
    names = [(task.method, task.dataset) for task in suite.tasks]
    assert names == [
        (method, dataset)
        for dataset in ("pocket/hopper-mixed", "pocket/reacher-mixed")
        for method in ("td3-bc", "other")
    ]
    one, two = checked_all([task.document for task in suite.tasks[:2]])
    assert (one.name, one.data.dataset, one.seeds, one.train.batch_size) == ("td3-bc", "pocket/hopper-mixed", 3, 32)
    assert [step.updates for step in one.schedule.steps] == [20]
    assert (two.name, [step.updates for step in two.schedule.steps]) == ("other", [30, 40])


def test_without_datasets_every_spec_keeps_its_own(write, tmp_path):
    write("extends: base.yaml\nname: mine\ndata: {dataset: pocket/hopper-mixed}\n", "mine.yaml")
    write(suite_path_of_spec("bc"), "base.yaml")
    suite = read_suite(write("specs: [bc, mine.yaml]\nname: x\n"))
    found = [(task.method, task.dataset) for task in suite.tasks]
    assert found == [("bc", "pocket/reacher-mixed"), ("mine", "pocket/hopper-mixed")]
    assert suite.name == "x"


def suite_path_of_spec(name):
    from pogospec.spec.shipped import spec_path

    return spec_path(name).read_text()


def test_tuned_settings_apply_below_those_of_the_suite(write):
    suite = read_suite(write("specs: [pogo_w]\ndatasets: [d4rl/hopper-medium-v2]\nupdates: 7\n"))
    (spec,) = checked_all([task.document for task in suite.tasks])
    assert (spec.seeds, spec.policy.hidden, spec.schedule.steps[0].updates) == (5, (256, 256), 7)


BAD = [
    ("", "x.yaml:1:1: is empty, required: keys such as specs, datasets"),
    ("3", "x.yaml:1:1: found no mapping at the top level, required: keys such as specs, datasets"),
    ("datasets: [a]", "x.yaml:1:1: specs: missing, required: a list"),
    ("specs: []", "x.yaml:1:8: specs: found 0 entries, allowed 1 or more"),
    ("specs: bc", "x.yaml:1:8: specs: found 'bc', allowed a list"),
    ("specs: [pogo_v]", "x.yaml:1:9: specs[0]: found no spec 'pogo_v', allowed a file or .*; did you mean pogo_w?"),
    ("specs: [3]", "x.yaml:1:9: specs[0]: found 3, allowed text"),
    ("specs: [own.yaml]", "x.yaml:1:9: specs[0]: found 'own.yaml', but there is no file .*/own.yaml"),
    ("specs: [{name: x}]", "x.yaml:1:9: specs[0].spec: missing, required: text"),
    ("specs: [{spec: bd}]", "x.yaml:1:16: specs[0].spec: found no spec 'bd'"),
    ("specs: [{spec: bc, sed: {}}]", "x.yaml:1:20: specs[0].sed: found unknown key 'sed', allowed .*did you mean set?"),
    ("specs: [bc]\ndataset: [a]", "x.yaml:2:1: dataset: found unknown key 'dataset', .*did you mean datasets?"),
    ("specs: [bc]\ndatasets: [a, b, a]", "x.yaml:2:18: datasets[2]: found 'a' twice; keep one"),
    ("specs: [bc]\nseeds: 0", "x.yaml:2:8: seeds: found 0, allowed a whole number >= 1"),
    ("specs: [bc]\nupdates: '10'", "x.yaml:2:10: updates: found '10', allowed .*did you mean 10 without quotes?"),
    ("specs: [bc]\nset: [1]", "x.yaml:2:6: set: found a list, allowed a mapping"),
    ("specs: [bc]\nset: {data.dataset: a}", "x.yaml:2:7: set.data.dataset: found the dataset, allowed other paths"),
    ("specs: [bc]\nset: {polcy.hidden: [8]}", "x.yaml:2:7: polcy: found unknown key 'polcy', allowed .*policy"),
    (
        "specs: [bc]\nset: {train.batch_size: -1}",
        "x.yaml:2:25: train.batch_size: found -1, allowed a whole number >= 1",
    ),
    ("specs: [bc]\nset: {'schedule.steps[4].tau': 1}", "x.yaml:2:32: schedule.steps[4].tau: found the index [4]"),
    (
        "specs: [{spec: td3_bc, set: {evaluate.action: sample}}]",
        "x.yaml:1:47: evaluate.action: found 'sample', allowed mean, since a dirac policy has one action",
    ),
    ("specs: [bc, bc]", "x.yaml:1:13: specs[1]: found a second spec of the name 'bc'; give it a `name` of its own"),
    ("specs: [bc]\nspecs: [bc]", "x.yaml:2:1: specs: found the key twice"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_wrong_suites(write, text, message):
    path = write(text, "x.yaml")
    with pytest.raises(SpecError) as caught:
        checked_all([task.document for task in read_suite(path).tasks])
    problems = [str(problem).removeprefix(f"{path.parent}/") for problem in caught.value.problems]
    start, dots, rest = message.partition(".*")
    assert any(problem.startswith(start) and rest in problem for problem in problems), problems


def test_a_mistake_of_all_datasets_is_said_once(write):
    path = write("specs: [bc]\ndatasets: [pocket/hopper-mixed, pocket/reacher-mixed]\nset: {train.batch_size: -1}\n")
    with pytest.raises(SpecError) as caught:
        checked_all([task.document for task in read_suite(path).tasks])
    assert len(caught.value.problems) == 1


def test_mistakes_in_a_spec_are_in_its_own_file(write):
    own = write("policy: gaussan\n", "own.yaml")
    path = write("specs: [own.yaml]\n")
    with pytest.raises(SpecError) as caught:
        checked_all([task.document for task in read_suite(path).tasks])
    assert any(str(problem).startswith(f"{own}:1:9: policy: found 'gaussan'") for problem in caught.value.problems)


def test_all_specs_that_cannot_be_read_are_named_at_once(write):
    write("extends: bd\n", "one.yaml")
    write("seeds: [\n", "two.yaml")
    with pytest.raises(SpecError) as caught:
        read_suite(write("specs: [one.yaml, bc, two.yaml]\ndatasets: [pocket/hopper-mixed, pocket/reacher-mixed]\n"))
    assert [Path(str(problem.origin.file)).name for problem in caught.value.problems] == ["one.yaml", "two.yaml"]


def test_suites_by_name():
    assert {path.stem for path in shipped_suites()} >= {"paper_table_1", "supplement_table_3", "supplement_table_4"}
    for path in shipped_suites():
        assert suite_path(path.stem) == suite_path(path.stem.replace("_", "-")) == suite_path(str(path)) == path
    with pytest.raises(
        UsageError, match=r"found no suite 'paper_table', allowed a file or one of .*did you mean paper_ta"
    ):
        suite_path("paper_table")


@pytest.mark.parametrize("path", shipped_suites(), ids=lambda path: path.stem)
def test_shipped_suites(path):
    suite = read_suite(path)
    specs = checked_all([task.document for task in suite.tasks])
    assert suite.about
    assert suite.name == path.stem.replace("_", "-")
    if path.stem not in ("pocket_table", "closed_steps"):
        fql = suite.tasks[0].method == "fql" and path.stem != "two_modes"
        assert {spec.seeds for spec in specs} == {8 if fql else 5}  # as their papers
    if path.stem not in ("pocket_table", "closed_steps", "two_modes"):
        assert all(task.dataset.lower().startswith(("d4rl/", "ogbench/")) for task in suite.tasks)
    if "table_" in path.stem:
        assert len({task.dataset for task in suite.tasks}) == 9
        assert {sum(step.updates for step in spec.schedule.steps) for spec in specs} == {1_000_000}
        assert {spec.policy.hidden for spec in specs} <= {(256, 256), (256, 256, 256)}


def test_the_switching_suite_is_the_ablation():
    suite = read_suite(suite_path("switching"))
    specs = {
        task.method: spec
        for task, spec in zip(suite.tasks, checked_all([t.document for t in suite.tasks]), strict=True)
    }
    budgets = {method: [step.updates for step in spec.schedule.steps] for method, spec in specs.items()}
    assert budgets == {
        "switch-at-500k": [500_000, 500_000],
        "switch-at-1m": [1_000_000, 500_000],
        "switch-when-settled": [1_000_000, 500_000],
    }
    first, second = specs["switch-when-settled"].schedule.steps
    assert (first.until is not None, second.until) == (True, None)


def test_the_natural_gradient_of_the_supplement_is_that_of_its_spec():
    suite = read_suite(suite_path("supplement_table_4"))
    specs = {
        task.method: spec
        for task, spec in zip(suite.tasks, checked_all([t.document for t in suite.tasks]), strict=True)
    }
    assert specs["pogo-wng"].schedule.steps[0].gradient == specs["pogo-wng-two-step"].schedule.steps[0].gradient
    assert specs["pogo-wng"].schedule.steps[0].gradient != specs["pogo-w"].schedule.steps[0].gradient
