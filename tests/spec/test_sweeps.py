"""The key `sweep`: the cells that it makes, in their order, and what is wrong with one, each with its place."""

from pathlib import Path

import pytest

from pogospec.checking.check import checked, load
from pogospec.cli import explaining, language
from pogospec.errors import SpecError, UsageError
from pogospec.spec.resolve import parse_set, read, read_cells
from pogospec.spec.suite import read_suite
from pogospec.spec.sweep import cell_title, short_names

SWEEP = 'sweep:\n  "schedule.steps[*].tau": [1, 2]\n  energy.entropy.weight: [0, 1e-3, 0.5]\n'


@pytest.fixture
def write(tmp_path):
    def write(text, base="pogo_w_two_step"):
        path = tmp_path / "spec.yaml"
        path.write_text(f"extends: {base}\n{text}")
        return path

    return write


def test_every_combination_is_a_cell_the_last_path_fastest(write):
    documents = read_cells(write(SWEEP))
    specs = [checked(document) for document in documents]
    found = [(s.schedule.steps[0].tau, s.schedule.steps[1].tau, s.energy["entropy"].weight) for s in specs]
    assert found == [(t, t, w) for t in (1.0, 2.0) for w in (0.0, 0.001, 0.5)]
    assert cell_title(documents[-1].cell) == "tau=2 entropy.weight=0.5"
    origin = documents[1].origins["energy.entropy.weight"]
    assert (origin.layer, Path(str(origin.file)).name, origin.line, origin.column) == ("sweep", "spec.yaml", 4, 30)


def test_a_sweep_wins_over_all_and_the_command_line_over_the_file(write):
    tuned = "tuned: {pocket/reacher-mixed: {energy.entropy.weight: 7}}\n"
    specs = [checked(d) for d in read_cells(write(tuned + SWEEP))]
    assert {spec.energy["entropy"].weight for spec in specs} == {0.0, 0.001, 0.5}
    swept = [("energy.entropy.weight", "[3]", "--sweep energy.entropy.weight"), ("train.batch_size", "[8, 9]", "")]
    specs = [checked(d) for d in read_cells(write(SWEEP), (), swept)]
    found = {(s.energy["entropy"].weight, s.train.batch_size, s.schedule.steps[0].tau) for s in specs}
    assert found == {(3.0, n, t) for n in (8, 9) for t in (1.0, 2.0)}


@pytest.mark.parametrize("path", ["energy.entropy.weight", "schedule.steps[1].tau", "schedule.steps[*].tau"])
def test_a_value_that_a_sweep_would_override_is_refused(write, path):
    with pytest.raises(SpecError, match="found a value of what a sweep varies") as caught:
        read_cells(write(SWEEP), [(path, "9")])
    (problem,) = caught.value.problems
    assert (problem.path, problem.origin.file) == (path, f"--set {path}")
    specs = [checked(d) for d in read_cells(write(SWEEP), [("schedule.steps[1].updates", "9")])]
    assert {spec.schedule.steps[1].updates for spec in specs} == {9}


def test_without_a_sweep_there_is_one_cell_of_nothing(write):
    (document,) = read_cells(write(""))
    assert document.cell == {}
    assert checked(document) == load(write(""))


def test_kinds_and_shapes_are_swept_too(write):
    text = "sweep: {geometry: [wasserstein2, {kind: kl, weight: 2}], policy.hidden: [[8], [8, 8]]}"
    documents = read_cells(write(text))
    assert [(getattr(spec.geometry, "kind", ""), spec.policy.hidden) for spec in map(checked, documents)] == [
        (kind, hidden) for kind in ("wasserstein2", "kl") for hidden in ((8,), (8, 8))
    ]
    assert [cell_title(d.cell) for d in documents][2] == "geometry={kind:kl,weight:2} policy.hidden=[8]"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["schedule.steps[0].tau"], ["tau"]),
        (["schedule.defaults.tau"], ["tau"]),
        (["schedule.steps[0].tau", "schedule.steps[1].tau"], ["schedule.steps[0].tau", "schedule.steps[1].tau"]),
        (["optimizer.policy.learning_rate", "energy.q.weight"], ["policy.learning_rate", "q.weight"]),
    ],
)
def test_short_names_tell_paths_apart(paths, names):
    assert [*short_names(paths).values()] == names


BAD = {
    "a list": ("sweep: [1]", "2:8: sweep: found a list, allowed a mapping from paths to lists of values"),
    "no list": ("sweep: {seeds.x: 3}", "2:18: seeds.x: found 3, allowed a list of values, such as [1, 2, 4]"),
    "empty": ("sweep: {train.batch_size: []}", "2:27: train.batch_size: found an empty list, allowed one value"),
    "twice": ("sweep: {train.batch_size: [8, 9, 8]}", "2:27: train.batch_size: found 8 twice; keep one"),
    "dataset": ("sweep: {data.dataset: [a, b]}", "2:9: data.dataset: found the dataset, which a suite varies"),
    "seeds": ("sweep: {seeds: [1, 2]}", "2:9: seeds: found the number of seeds, which every cell has alike"),
    "tuned": ("sweep: {tuned: [{}]}", "2:16: tuned: found the path 'tuned', which is read at the top of a file alone"),
    "many": (f"sweep: {{train.batch_size: {list(range(1, 1002))}}}", "sweep: makes 1,001 cells, allowed 1,000"),
    "near": ("sweep: {energy.entropi.weight: [1, 2]}", "2:33: energy.entropi: found unknown name"),
    "nowhere": ('sweep: {"schedule.steps[7].tau": [1]}', "2:35: schedule.steps[7].tau: found the index [7], allowed 0"),
    "a value": ("sweep: {train.batch_size: [8, -1]}", "2:31: train.batch_size: found -1, allowed a whole number >= 1"),
    "a type": ('sweep: {energy.entropy.weight: [1, "2"]}', "2:36: energy.entropy.weight: found '2'"),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_sweeps(write, name):
    text, message = BAD[name]
    with pytest.raises(SpecError) as caught:
        language.check([str(write(text))])
    assert any(message in str(problem) for problem in caught.value.problems), caught.value


def test_mistakes_of_several_entries_are_told_at_once(write):
    with pytest.raises(SpecError) as caught:
        read_cells(write("sweep: {seeds: [1], train.batch_size: 3}"))
    assert len(caught.value.problems) == 2


def test_explain_says_that_it_shows_the_first_cell(write, capsys):
    explaining.explain(str(write(SWEEP)), measure=False)
    path = "schedule.steps[*].tau, energy.entropy.weight"
    said = f"the first cell of a sweep over {path}: tau=1 entropy.weight=0\n"
    assert capsys.readouterr().out.startswith(said)


def test_check_counts_the_cells(write, capsys):
    language.check([str(write(SWEEP))])
    assert "fine (6 cells, each 2 steps" in capsys.readouterr().out


def test_the_flag_of_the_command_line():
    with pytest.raises(SpecError) as caught:
        parse_set("tau", "--sweep", "[1,2,4]")
    allowed = "allowed path=value, for example --sweep schedule.steps[0].tau=[1,2,4]"
    assert str(caught.value) == f"--sweep: found 'tau', {allowed}"


def test_who_takes_one_spec_refuses_a_sweep(write):
    path = write(SWEEP)
    with pytest.raises(UsageError, match="declares a sweep over"):
        load(path)
    suite = path.with_name("suite.yaml")
    suite.write_text("specs: [bc, spec.yaml]\n")
    with pytest.raises(SpecError, match=r"suite.yaml:1:13: specs\[1\]: found a spec with a sweep, allowed one without"):
        read_suite(suite)
    assert read(path).cell == {"schedule.steps[*].tau": 1, "energy.entropy.weight": 0}
