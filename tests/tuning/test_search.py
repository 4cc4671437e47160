"""The study of a search: what a seed decides, what is drawn once, who runs a trial, and what stays on the disk."""

import itertools
import json
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna")

from pogospec.checking.check import checked
from pogospec.errors import RunDirectoryError
from pogospec.spec.resolve import read_text
from pogospec.tuning.engine import Engine
from pogospec.tuning.search import JOURNAL, Plan, Search

SPEC = """\
extends: flows/quadratic_w2
tune:
  "schedule.steps[*].tau": {log: [0.01, 10], points: 3}
  optimizer.learning_rate: {choice: [0.01, 0.1]}
"""
DISCRETE = "extends: iql\ntune: {train.batch_size: {integer: [8, 10]}, policy.hidden: {choice: [[8], [8, 8]]}}\n"


def ranges_of(text=SPEC):
    return read_text(text).ranges


def engine(folder, sampler: Any = "tpe", seed=0, text=SPEC, pruner: Any = "none"):
    folder.mkdir(exist_ok=True)
    return Engine(folder / JOURNAL, ranges_of(text), sampler, pruner, seed, 9, False)


def search(folder, **how):
    document = read_text(SPEC)
    return Search(Plan(checked(document), document.ranges, "energy", **how), folder)


def begun(found):
    number = found.ask()
    assert number is not None
    return number


def tried(found, count):
    """Values of so many trials, whose score is a parabola of the logarithm of tau."""
    made = []
    for _ in range(count):
        number = begun(found)
        values = found.values(found.trials()[number])
        score = abs(values["schedule.steps[*].tau"] - 0.3) + values["optimizer.learning_rate"]
        found.tell(number, score, "complete", {"unit": "energy"})
        made.append(values)
    return made


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_seed_decides_and_a_search_that_was_stopped_goes_on_alike(tmp_path, sampler):
    whole = tried(engine(tmp_path / "a", sampler), 12)
    assert tried(engine(tmp_path / "b", sampler), 7) == whole[:7]
    assert tried(engine(tmp_path / "b", sampler), 5) == whole[7:]
    assert tried(engine(tmp_path / "c", sampler, seed=1), 3) != whole[:3]
    assert all(0.01 <= values["schedule.steps[*].tau"] <= 10 for values in whole)
    assert len({json.dumps(values) for values in whole}) == 12


def test_tpe_comes_nearer_than_chance(tmp_path):
    def gap(sampler):
        made = [tried(engine(tmp_path / f"{sampler}{seed}", sampler, seed), 24)[12:] for seed in range(2)]
        return sum(abs(values["schedule.steps[*].tau"] - 0.3) for values in itertools.chain(*made))

    assert gap("tpe") < 0.5 * gap("random")


def test_a_grid_is_walked_in_its_order(tmp_path):
    values = [[*one.values()] for one in tried(engine(tmp_path / "a", "grid"), 6)]
    assert values == [[tau, rate] for tau in (0.01, 0.3162, 10.0) for rate in (0.01, 0.1)]


def test_no_combination_is_drawn_twice_and_then_there_is_none(tmp_path):
    found, made = engine(tmp_path / "a", text=DISCRETE), set()
    while (number := found.ask()) is not None:
        made.add(json.dumps(found.values(found.trials()[number])))
        found.tell(number, 1.0, "complete", {})
    assert len(made) == len(found.trials()) == 6


def test_halving_stops_what_falls_behind(tmp_path):
    found = engine(tmp_path / "a", pruner="halving")
    first, second = begun(found), begun(found)
    assert not found.report(first, 1.0, 1)  # energies: low is good
    assert found.report(second, 5.0, 1)
    assert found.report(second, 0.0, 1)  # each evaluation counts once, as of a run that is taken up again
    found.tell(second, None, "pruned", {"message": "behind"})
    assert [trial.state.name for trial in found.trials()] == ["RUNNING", "PRUNED"]


@pytest.mark.exhaustive("forty trials of up to nine evaluations")
def test_hyperband_stops_early_in_some_brackets_and_late_in_others(tmp_path):
    """Energies that stay, the lowest one first: trials that are stopped, and at which of nine evaluations."""

    def stopped(energies):
        for index, energy in enumerate(energies):
            if index % 20 == 0:  # anew, as a search that was stopped
                found = engine(tmp_path / "a", "random", pruner="hyperband")
            number = begun(found)
            at = next((at for at in range(1, 10) if found.report(number, energy, at)), None)
            found.tell(number, None if at else energy, "pruned" if at else "complete", {})
            yield at or 10

    energies = np.array([-1, *np.random.default_rng(0).permutation(40).tolist()])
    found = np.array(list(stopped(energies.tolist())))
    assert found[0] == 10
    assert len(set(found[found < 10])) > 1
    assert found[1:].max() == 10, "in a bracket that waits, or low enough"
    assert found[energies < 20].mean() > found[energies >= 20].mean()


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    made = tried(engine(tmp_path / "a"), 3)
    journal = tmp_path / "a" / JOURNAL
    journal.write_bytes(journal.read_bytes() + b'{"op_code":4,"wor')
    again = engine(tmp_path / "a")
    assert [again.values(trial) for trial in again.trials()] == made
    tried(again, 1)
    assert len(engine(tmp_path / "a").trials()) == 4


def test_a_damaged_journal_is_told(tmp_path):
    tried(engine(tmp_path / "a"), 1)
    journal = tmp_path / "a" / JOURNAL
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    with pytest.raises(RunDirectoryError, match=r"search.journal is damaged .*; choose another --out"):
        engine(tmp_path / "a")


def test_a_trial_is_run_by_one_and_taken_up_by_the_next(tmp_path):
    one, two = search(tmp_path / "a"), search(tmp_path / "a")
    with one.claimed(3) as first:
        with two.claimed(3) as second:
            assert (first, second) == (0, 1)
            values = two.engine.values(two.engine.trials()[0])
        with two.claimed(2) as third:  # the one that was left
            assert third == 1
            two.engine.tell(1, 1.0, "complete", {})
        with two.claimed(2) as none:  # the other is run, and there are to be two
            assert none is None
    with two.claimed(2) as again:
        assert again == 0
        assert two.engine.values(two.engine.trials()[0]) == values


def test_values_that_were_not_drawn_yet_are_drawn_as_they_would_have_been(tmp_path):
    whole = tried(engine(tmp_path / "a"), 2)
    found = search(tmp_path / "b")
    found.engine.study.ask()  # and killed here
    with found.claimed(2) as number:
        assert number == 0
        assert found.engine.values(found.engine.trials()[0]) == whole[0]


def test_a_folder_of_another_search_is_refused(tmp_path):
    search(tmp_path / "a")
    search(tmp_path / "a")
    with pytest.raises(RunDirectoryError, match="holds another search: seed 0, now 1; choose another --out"):
        search(tmp_path / "a", seed=1)
    other = read_text(SPEC.replace("0.01, 10]", "0.01, 20]"))
    with pytest.raises(RunDirectoryError, match=r"tau.log \[0.01,10.0\], now \[0.01,20.0\]"):
        Search(Plan(checked(other), other.ranges, "energy"), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").touch()
    with pytest.raises(RunDirectoryError, match="exists and holds no search; choose another --out"):
        search(tmp_path / "b")
