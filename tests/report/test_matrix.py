"""The table of datasets x methods, of run directories made by hand."""

import csv
import io
import json
import re

import numpy as np
import pytest
from commands import pogospec
from rich.console import Console

from pogospec.report.reading.find import open_plan, open_planned
from pogospec.report.screen import show_matrix
from pogospec.report.statistics import better, better_interval, interval, iqm, iqm_interval
from pogospec.report.tables.matrix import matrix_of
from pogospec.report.tables.matrix_text import to_text

HOPPER, WALKER, OTHER = "d4rl/hopper-medium-v2", "d4rl/walker2d-medium-v2", "pocket/x"
GOOD, FAIR, POOR = [30.0, 31.0, 32.0], [10.0, 30.0, 12.0], [-5.0, -4.0, -6.0]


def run(make, method, dataset, seeds=(0.0, 0.0, 0.0), **changes):
    """A run of one step whose seeds have these returns; low -10, high 40."""
    returns = [[value - 1, value + 1] for value in seeds]
    where = f"{method}-{dataset.replace('/', '-')}"
    more = [("step 1", 200, returns)]
    return make(where, name=method, dataset=dataset, evaluated=False, more=more, seeds=len(seeds), **changes)


def scores(values):
    return 2 * (np.asarray(values) + 10)


def cells(table, row):
    return {column.title: column.entries[row] for column in table.columns if row in column.entries}


@pytest.fixture
def runs(make):
    return [
        run(make, method, dataset, seeds)
        for method, values in (("a", (GOOD, FAIR)), ("b", (POOR, GOOD)), ("c", (POOR, FAIR)))
        for dataset, seeds in zip((HOPPER, WALKER), values, strict=True)
    ]


def test_rows_are_datasets_and_columns_are_methods(runs):
    table = matrix_of(runs)
    assert table.rows == [HOPPER, WALKER, "average of 2"]
    assert [column.title for column in table.columns] == ["a", "b", "c"]
    entry = cells(table, HOPPER)["a"]
    assert entry.text == "82.0 ± 2.0"
    assert (entry.numbers["policy"], entry.numbers["seeds"]) == ("step 1", 3)
    means = [(scores(GOOD).mean() + scores(FAIR).mean()) / 2, (scores(POOR).mean() + scores(GOOD).mean()) / 2]
    assert [cells(table, "average of 2")[name].text for name in "ab"] == [f"{mean:.1f}" for mean in means]


def test_bold_where_the_interval_lies_above_all_others(runs):
    table = matrix_of(runs)
    assert [name for name, entry in cells(table, HOPPER).items() if entry.best] == ["a"]
    assert [name for name, entry in cells(table, WALKER).items() if entry.best] == []  # those of a and b overlap
    assert [name for name, entry in cells(table, "average of 2").items() if entry.best] == []
    assert "bold: the best of a row, where the 95% t interval of its mean over 3 or more seeds" in table.protocol
    assert "with 3 seeds it covers 95% of normal, 88% of skewed and 72% of bimodal scores" in table.protocol


def test_two_seeds_are_too_few_for_bold(make):
    table = matrix_of([run(make, "a", HOPPER, GOOD[:2]), run(make, "b", HOPPER, POOR[:2])])
    assert not any(entry.best for entry in cells(table, HOPPER).values())


def test_one_seed_has_no_spread(make):
    for stat in ("mean-std", "iqm-ci"):
        table = matrix_of(
            [run(make, f"{name}-{stat}", HOPPER, seeds[:1]) for name, seeds in (("a", GOOD), ("b", POOR))], stat=stat
        )
        assert [entry.text for entry in cells(table, HOPPER).values()] == ["80.0", "10.0"]
        assert [pair.interval for pair in table.better] == ([] if stat == "mean-std" else [None])


def test_interquartile_means_and_probabilities(runs):
    table = matrix_of(runs, stat="iqm-bootstrap")
    tasks = [scores(GOOD), scores(FAIR)]
    low, high = interval(iqm, tasks)
    assert cells(table, "IQM of 2")["a"].text == f"{iqm(tasks):.1f} [{low:.1f}, {high:.1f}]"
    low, high = interval(iqm, tasks[1:])
    assert cells(table, WALKER)["a"].text == f"{iqm(tasks[1:]):.1f} [{low:.1f}, {high:.1f}]"
    assert [(pair.method, pair.other) for pair in table.better] == [("a", "b"), ("a", "c"), ("b", "c")]
    others = [scores(POOR), scores(GOOD)]
    assert table.better[0].probability == pytest.approx(better(tasks, others)) == pytest.approx((1 + 0.5 / 9) / 2)
    assert "interquartile mean [95% bootstrap interval, 10,000 resamples" in table.protocol
    assert "with 3 seeds it covers 75% of normal" in table.protocol
    assert not any(entry.best for column in table.columns for entry in column.entries.values())


def test_interquartile_means_with_intervals_that_hold(runs):
    table = matrix_of(runs, stat="iqm-ci")
    tasks, others = [scores(GOOD), scores(FAIR)], [scores(POOR), scores(GOOD)]
    low, high = iqm_interval(tasks)
    assert cells(table, "IQM of 2")["a"].text == f"{iqm(tasks):.1f} [{low:.1f}, {high:.1f}]"
    assert [name for name, entry in cells(table, HOPPER).items() if entry.best] == ["a"]
    assert table.better[0].interval == pytest.approx(better_interval(tasks, others))
    assert "interquartile mean [95% t interval]" in table.protocol


@pytest.mark.parametrize("stat", ["mean-std", "iqm-ci"])
def test_seeds_that_are_all_alike_tell_no_interval(make, stat):
    """Three zeros beside three hundreds, as sparse rewards have them, are no evidence of 95%."""
    table = matrix_of([run(make, "a", HOPPER, [40.0] * 3), run(make, "b", HOPPER, [-10.0] * 3)], stat=stat)
    for entry in cells(table, HOPPER).values():
        assert (entry.best, entry.numbers["low"], "[" in entry.text) == (False, None, False)
    for pair in table.better:
        assert pair.interval is not None
        assert pair.interval[0] < 0.5


def test_rules_of_scores_hold(make):
    one = run(make, "a", HOPPER, POOR)
    one.append_returns("step 1", 300, np.array([[v, v] for v in FAIR]), "step 1")
    assert cells(matrix_of([one]), HOPPER)["a"].numbers["mean"] == pytest.approx(scores(FAIR).mean())
    assert cells(matrix_of([one], "mean-last-2"), HOPPER)["a"].numbers["mean"] == pytest.approx(
        scores(POOR + FAIR).mean()
    )
    assert "optimistic" in matrix_of([one], "best").protocol
    (warning,) = matrix_of([one], "mean-last-3").warnings
    assert "fewer than 3 evaluations: step 1 2" in warning


def test_a_run_that_is_not_done_is_left_out_with_its_state(make):
    table = matrix_of([run(make, "a", HOPPER, GOOD), run(make, "b", HOPPER, POOR, done=False)])
    assert cells(table, HOPPER)["b"].text == "running"
    assert cells(table, HOPPER)["b"].numbers == {}
    (warning,) = table.warnings
    assert warning == f"not done, and left out: b on {HOPPER} (running)"


def test_the_last_step_is_the_one_trained_last(make):
    more = [
        ("warm start", 100, [[9.0, 9.0]] * 3),
        ("step 1", 300, [[5.0, 5.0]] * 3),
        ("behavior", 300, [[7.0, 7.0]] * 3),
    ]
    table = matrix_of([make("a", evaluated=False, more=more)])
    assert cells(table, OTHER)["flow"].numbers["policy"] == "step 1"


def test_averages_are_over_what_all_have(make):
    members = [
        run(make, name, data, GOOD) for name in "ab" for data in (HOPPER, WALKER, OTHER) if (name, data) != ("b", OTHER)
    ]
    table = matrix_of(members)
    assert table.rows == [HOPPER, WALKER, OTHER, "average of 2"]
    raw = [run(make, "r", data, GOOD, reference=None) for data in (HOPPER, WALKER)]
    assert matrix_of(raw).rows == [HOPPER, WALKER]  # returns of unlike tasks have no average


def test_scores_of_different_normalisations_are_never_averaged(make):
    other = {"low": 0.0, "high": 40.0, "source": "elsewhere", "label": "success rate"}
    own = {HOPPER: {}, WALKER: {}, OTHER: {"reference": other}, "pocket/y": {"reference": other}, "pocket/z": {}}
    members = [run(make, name, data, GOOD, **changes) for name in "ab" for data, changes in own.items()]
    table = matrix_of(members)
    assert table.rows[-2:] == ["average of 3, made-up score", "average of 2, success rate"]
    assert cells(table, table.rows[-2])["a"].text == f"{scores(GOOD).mean():.1f}"
    assert cells(table, table.rows[-1])["a"].text == f"{2.5 * np.mean(GOOD):.1f}"
    assert "average of 3, made-up score" in to_text(table, "markdown")
    # of one dataset whose scores two methods normalise in two ways there is no average
    mixed = [run(make, "c", HOPPER, GOOD), run(make, "d", HOPPER, GOOD, reference=other)]
    mixed += [run(make, name, WALKER, GOOD) for name in "cd"]
    assert matrix_of(mixed).rows == [HOPPER, WALKER]


def test_warnings_are_said_once_for_all_datasets(make):
    members = [
        run(make, name, data, GOOD, **({"episodes": 2} if name == "a" else {"action": "sample"}))
        for name in "ab"
        for data in (HOPPER, WALKER)
    ]
    members[0].append_returns("step 1", 999, np.ones((3, 2)), "step 1")
    table = matrix_of(members)
    assert f"{HOPPER}, {WALKER}: the runs differ in their way of acting: mean (a), sample (b)" in table.warnings
    assert f"{HOPPER}: the last steps end after different numbers of updates: 200 (b), 999 (a)" in table.warnings


def test_a_method_that_ends_below_its_own_behaviour_is_told(make):
    def beside(method, dataset, ends, starts):
        made = run(make, method, dataset, ends)
        made.append_returns("behavior", 100, np.asarray(starts)[:, None] + [-1.0, 1.0], "step 1")
        return made

    low, high = [10.0, 12.0, 11.0], [30.0, 31.0, 32.0]
    members = [
        beside("fell", HOPPER, low, high),
        beside("rose", HOPPER, high, low),
        beside("alike", HOPPER, [30.0, 33.0, 30.0], high),  # differences 0, 2, -2: none within its standard error
        beside("once", WALKER, [10.0], [10.5]),
        run(make, "alone", HOPPER, low),
    ]
    told = [text for text in matrix_of(members).warnings if "below its own behaviour" in text]
    gap = 2 * (np.array(low) - high)
    error = gap.std(ddof=1) / np.sqrt(3)
    assert told == [
        f"{HOPPER}: fell ends below its own behaviour: score 42.0, that of the behaviour 82.0 "
        f"(3 seeds, paired difference {gap.mean():.1f} ± {error:.1f})",
        f"{WALKER}: once ends below its own behaviour: score 40.0, that of the behaviour 41.0 (one seed)",
    ]


def test_published_columns_stand_beside_ours(make):
    members = [run(make, name, data, GOOD) for name in ("td3-bc", "pogo-w", "mine") for data in (HOPPER, WALKER, OTHER)]
    table = matrix_of(members, published="all")
    titles = [column.title for column in table.columns]
    assert titles[:6] == ["td3-bc", *(f"TD3+BC ({s})" for s in ("pogo", "corl-last", "corl-best", "rebrac", "iql"))]
    assert titles[6:] == ["pogo-w", "POGO-W (pogo)", "mine"]  # the supplement differs from the paper on neither set
    assert cells(table, HOPPER)["TD3+BC (corl-last)"].text == "60.37 ± 3.49"
    assert cells(table, HOPPER)["TD3+BC (iql)"].text == "59.3"
    assert OTHER not in table.columns[1].entries
    assert "average of 3" not in table.columns[1].entries  # not all of the rows are there
    assert any(
        note.startswith("corl-last: CORL README") and "4 seeds" in note and "ddof 0" in note for note in table.notes
    )
    assert f"nothing is published of {OTHER}" in table.notes
    alone = matrix_of(members[:2], published="corl-last")
    assert [column.title for column in alone.columns][:3] == ["td3-bc", "TD3+BC (corl-last)", "BC (corl-last)"]
    assert cells(alone, "average of 2")["TD3+BC (corl-last)"].text == f"{(60.37 + 82.71) / 2:.1f}"
    assert not any(entry.best for column in alone.columns[1:] for entry in column.entries.values())
    none = matrix_of([run(make, "td3-bc", "pocket/y", GOOD)], published="pogo")
    assert [column.title for column in none.columns] == ["td3-bc"]
    assert none.notes == ["nothing is published by pogo of pocket/y"]
    (note,) = matrix_of([run(make, "own", HOPPER, GOOD)], published="all").notes
    assert note == "nothing is published of these methods; name a source to see others"


@pytest.mark.parametrize("stat", ["mean-std", "iqm-ci"])
def test_all_forms_say_the_same(runs, stat):
    table = matrix_of(runs, "last", stat, "pogo")
    read = json.loads(to_text(table, "json"))
    rows = list(csv.DictReader(io.StringIO(to_text(table, "csv"))))
    for row in rows:
        column = next(c for c in read["columns"] if c["method"] == row["method"])
        cell = column["cells"][row["dataset"]]
        assert float(row["mean"]) == cell["mean"]
        assert row["best"] == str(int(cell["best"]))
    assert {row["method"] for row in rows} >= {"a", "b", "c", "POGO-W (pogo)"}
    assert len(read["probability_of_improvement"]) == (0 if stat == "mean-std" else 3)
    markdown = to_text(table, "markdown")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(table.rows)
    assert len({line.count("|") for line in lines}) == 1
    entry = cells(table, HOPPER)["a"]
    assert f"**{entry.text}**" in markdown
    latex = to_text(table, "latex")
    body = "\n".join(line for line in latex.splitlines() if not line.startswith("%"))
    assert r"\mathbf{82.0" in body
    assert re.findall(r"\\(top|mid|bottom)rule", body) == ["top", "mid", "bottom"]
    assert len([line for line in body.splitlines() if line.endswith(r"\\")]) == 1 + len(table.rows)
    assert body.count("{") == body.count("}")
    out = io.StringIO()
    show_matrix(Console(file=out, width=80), table)
    assert all(cells(table, HOPPER)[name].text in out.getvalue() for name in "abc")
    assert max(map(len, out.getvalue().splitlines())) <= 80


def plan(tmp_path, names, datasets):
    entries = [
        {"run": f"{name}-{data.replace('/', '-')}", "method": name, "dataset": data}
        for data in datasets
        for name in names
    ]
    (tmp_path / "suite.json").write_text(json.dumps({"name": "small", "about": "", "runs": entries}))


def test_a_suite_keeps_its_order_and_shows_what_has_not_begun(make, tmp_path):
    plan(tmp_path, ["b", "a"], [WALKER, HOPPER])
    for name, data in (("a", HOPPER), ("b", HOPPER), ("a", WALKER)):
        run(make, name, data, GOOD)
    found = open_plan(tmp_path)
    assert found is not None
    table = matrix_of(open_planned(found), plan=found)
    assert [column.title for column in table.columns] == ["b", "a"]
    assert table.rows == [WALKER, HOPPER]
    assert cells(table, WALKER)["b"].text == ""
    assert f"not begun: b on {WALKER}" in table.warnings


def test_compare_as_a_command(make, tmp_path):
    plan(tmp_path, ["td3-bc", "b"], [HOPPER, WALKER])
    for name, data, seeds in (
        ("td3-bc", HOPPER, GOOD),
        ("b", HOPPER, POOR),
        ("b", WALKER, FAIR),
        ("td3-bc", WALKER, GOOD),
    ):
        run(make, name, data, seeds)
    shown = pogospec("compare", tmp_path, "--published").stdout
    for part in ("TD3+BC", "60.37 ± 3.49", "average of 2", "corl-best: CORL README", "82.0 ± 2.0"):
        assert part in shown
    assert "P(td3-bc > b) = 0.97 [" in pogospec("compare", tmp_path, "--stat", "iqm-ci").stdout
    one, two = (tmp_path / f"{name}-d4rl-hopper-medium-v2" for name in ("td3-bc", "b"))
    plain = pogospec("compare", one, two).stdout
    assert "paired differences over seeds" not in plain
    assert "step 1" in plain
    listed = pogospec("compare", "--published", one, two).stdout  # the source may be left out
    assert "TD3+BC" in listed
    wrong = pogospec("compare", one, "--published", "corl", check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("--published: found 'corl', allowed all, pogo, pogo-supplement, corl-last")


def test_a_plan_that_cannot_be_read(tmp_path):
    from pogospec.errors import RunDirectoryError

    assert open_plan(tmp_path) is None
    (tmp_path / "suite.json").write_text("{")
    with pytest.raises(RunDirectoryError, match="suite.json is damaged"):
        open_plan(tmp_path)
    plan(tmp_path, ["a"], [HOPPER])
    found = open_plan(tmp_path)
    assert found is not None
    with pytest.raises(RunDirectoryError, match="holds no run of the suite 'small' yet"):
        open_planned(found)
    file = tmp_path / "my_suite.yaml"
    file.write_text("specs: [bc]\n")
    with pytest.raises(RunDirectoryError, match="no runs in runs/my-suite; start them with: pogospec suite"):
        open_plan(file)
