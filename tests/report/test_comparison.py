"""Cells, paired differences, titles, protocol and warnings of hand-made run directories."""

import io
import statistics
import time

import numpy as np
import pytest
from rich.console import Console

from pogospec.errors import RunDirectoryError, UsageError
from pogospec.report.reading.keys import differing, told
from pogospec.report.reading.names import titles
from pogospec.report.reading.scores import Rule, final
from pogospec.report.statistics import std
from pogospec.report.tables.comparison import between, differences, table
from pogospec.report.tables.protocol import header, warnings
from pogospec.report.tables.selection import rankings

REFERENCE = {"low": -10.0, "high": 40.0, "source": "made up", "label": "made-up score"}
VERSIONS = {"mujoco": "4.0.0", "gymnasium": "1.4.0", "jax": "0.10.2"}
# mean over the episodes of each seed, at 100, 200, 300, 400 and 500 updates
CURVE = [[1.0, 9.0, 4.0], [7.0, 2.0, 4.5], [3.0, 3.0, 3.0], [6.0, 5.0, 8.0], [2.0, 4.0, 6.0]]


def curve(make, name="c"):
    points = [("step 1", 100 * (i + 1), [[m - 1, m + 1] for m in means]) for i, means in enumerate(CURVE)]
    return make(name, evaluated=False, more=points)


def test_final_cells_average_episodes_first_and_use_ddof_1(make):
    cells = final(make())
    assert list(cells) == ["behavior", "step 1", "step 2"]
    np.testing.assert_allclose(cells["behavior"].returns, [2, 5, 7])
    np.testing.assert_allclose(cells["behavior"].values, [24, 30, 34])
    assert (cells["step 1"].total_update, cells["step 2"].total_update) == (200, 400)
    raw, scaled = std(cells["behavior"].returns), std(cells["behavior"].values)
    assert raw == pytest.approx(np.sqrt(19 / 3))
    assert scaled == pytest.approx(np.sqrt(19 / 3) * 100 / 50)
    assert str(cells["behavior"]) == "29.3 ± 5.0"


@pytest.mark.parametrize(
    ("score", "seeds", "evaluations"),
    [
        ("last", [2, 4, 6], 1),
        ("best", [7, 9, 8], 5),
        ("mean-last-1", [2, 4, 6], 1),
        ("mean-last-2", [4, 4.5, 7], 2),
        ("mean-last-3", [11 / 3, 4, 17 / 3], 3),
        ("mean-last-50", [19 / 5, 23 / 5, 25.5 / 5], 5),
    ],
)
def test_rules(make, score, seeds, evaluations):
    cell = final(curve(make), score)["step 1"]
    np.testing.assert_allclose(cell.returns, seeds)
    np.testing.assert_allclose(cell.values, [2 * (value + 10) for value in seeds])
    assert std(cell.values) == pytest.approx(2 * statistics.stdev(seeds))
    assert (cell.evaluations, cell.total_update) == (evaluations, 500)


@pytest.mark.parametrize("text", ["", "first", "mean-last-0", "mean-last--1", "mean-last-1.5", "mean-last-", "Best"])
def test_a_rule_that_is_none(text):
    with pytest.raises(UsageError, match="allowed last, best, or mean-last-K"):
        Rule.parse(text)


def test_paired_differences_and_their_standard_errors(make):
    gaps = {gap.name: gap for gap in differences(final(make()))}
    assert list(gaps) == ["step 1 - behavior", "step 2 - behavior", "step 2 - step 1"]
    gap = np.array([5 - 2, 10 - 5, 9 - 7]) * 2.0
    assert gaps["step 1 - behavior"].mean == pytest.approx(gap.mean())
    assert gaps["step 1 - behavior"].error == pytest.approx(gap.std(ddof=1) / np.sqrt(3))


def test_many_steps_are_compared_with_the_first_policy_and_the_one_before(make):
    more = [(f"step {k}", 100 * k + 400, np.full((3, 2), k)) for k in (3, 10)]
    names = [gap.name for gap in differences(final(make(more=more)))]
    assert names[-2:] == ["step 10 - behavior", "step 10 - step 3"]
    assert "step 10 - step 1" not in names


def test_one_seed_has_no_spread_and_no_differences(make):
    run = make(seeds=1)
    cells = final(run)
    assert str(cells["behavior"]) == "24.0"
    assert differences(cells) == []
    assert "one seed" in header([run])


def test_raw_returns_without_a_reference(make):
    run = make(reference=None)
    assert str(final(run)["behavior"]) == "4.7 ± 2.5"
    assert "raw undiscounted return" in header([run])
    assert "100 (return" not in header([run])


def test_an_evaluation_cut_short_does_not_count(make):
    run = make()
    run.append_returns("step 2", 500, np.zeros((2, 2)), "step 2")
    assert final(run)["step 2"].total_update == 400
    run.append_returns("step 2", 600, np.zeros((3, 1)), "step 2")
    assert final(run)["step 2"].total_update == 400


def test_a_run_that_goes_on_is_read_again(make):
    run = make()
    assert final(run)["step 2"].total_update == 400
    time.sleep(0.01)
    run.append_returns("step 2", 500, np.zeros((3, 2)), "step 2")
    assert final(run)["step 2"].total_update == 500


def test_damaged_returns(make):
    run = make()
    with (run.path / "returns.csv").open("a") as file:
        file.write("step 2,step 2,many,0,0,1.0\n")
    with pytest.raises(RunDirectoryError, match=r"returns\.csv is damaged"):
        final(run)


def test_rows_are_policies_and_columns_are_runs(make):
    runs = [make("a"), make("b"), make("c", dataset="pocket/y", name="other")]
    first, second = table(runs)
    assert (first.dataset, first.columns) == ("pocket/x", ["a", "b"])
    assert (second.dataset, second.columns) == ("pocket/y", ["other"])
    assert [policy for policy, _ in first.rows] == ["behavior", "step 1", "step 2"]
    assert all(len(cells) == 2 for _, cells in first.rows)


def test_directories_of_one_name_are_told_apart(make):
    runs = [make("one/x"), make("two/x"), make("z"), make("y", name="other")]
    assert titles(runs) == ["one/x", "two/x", "z", "other"]


def test_the_header_says_the_protocol(make):
    text = header([make("a"), make("b", seeds=2)])
    parts = ["Last evaluation", "mean of 2 episodes a seed", "acting by the mean", "std over 2 or 3 seeds (ddof 1)"]
    for part in [*parts, "100 (return - low) / (high - low)", "made-up score, low -10, high 40 (made up)"]:
        assert part in text
    two = header([make("c"), make("d", dataset="pocket/y", reference=REFERENCE | {"low": 0.0})])
    assert "pocket/x: made-up score, low -10" in two
    assert "pocket/y: made-up score, low 0" in two
    assert "optimistic" in header([make("e")], "best")
    assert "last 3 evaluations of each policy (the fitted behavior has 1)" in header([make("f")], "mean-last-3")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_sha256": "b" * 64}, "data (sha256)"),
        ({"environment": "X-v5"}, "X-v4 (a), X-v5 (c)"),
        ({"versions": VERSIONS | {"mujoco": "4.1.0"}}, "mujoco version: 4.0.0 (a), 4.1.0 (c)"),
        ({"versions": VERSIONS | {"gymnasium": "1.3.0"}}, "gymnasium version: 1.3.0 (c), 1.4.0 (a)"),
        ({"versions": VERSIONS | {"jax": "0.10.1"}}, "jax version"),
        ({"versions": VERSIONS | {"jax": "0.9.2"}, "digest": "e"}, "jax version"),
        ({"reference": REFERENCE | {"high": 50.0}}, "reference returns: -10 to 40, made-up score (a)"),
        ({"episodes": 3, "evaluated": False, "more": [("step 1", 200, np.zeros((3, 3)))]}, "number of episodes"),
        ({"action": "sample"}, "way of acting"),
        ({"evaluation_seed": 0}, "evaluation seed: 0 (c), 1000 (a)"),
        ({"seeds": 2}, "number of seeds: 2 (c), 3 (a)"),
        ({"more": [("step 2", 9400, np.zeros((3, 2)))]}, "step 2 was evaluated after different numbers of updates"),
    ],
)
def test_warnings_of_runs_that_differ(make, changes, words):
    one, same, other = make("a"), make("b"), make("c", **changes)
    assert warnings([one, same]) == []
    warning, *few = warnings([one, other])
    assert words in warning
    assert [text.partition(";")[0] for text in few] == ["pocket/x: fewer than 3 seeds: 2 (c)"] * ("seeds" in changes)
    assert warnings([one, make("d", dataset="pocket/y", **changes)]) == []


def test_another_patch_of_jax_does_not_matter_to_another_spec(make):
    other = make("b", versions=VERSIONS | {"jax": "0.10.1"}, digest="e")
    assert warnings([make("a"), other]) == []


def test_warnings_of_a_run(make):
    (warning,) = warnings([make("a", done=False)])
    assert "running, not done" in warning
    (warning,) = warnings([make("b", evaluated=False)])
    assert "holds no evaluation" in warning
    (warning,) = warnings([make("c")], "mean-last-3")
    assert "fewer than 3 evaluations: step 1 2, step 2 2" in warning
    assert warnings([make("d")], "mean-last-2") == []
    more = [("step 2", 350, np.zeros((3, 2)))]
    (warning,) = warnings([make("e"), make("f", more=more)], "best")
    assert "best of different numbers of evaluations: 2 (e), 3 (f)" in warning


def test_the_table_on_the_screen(make):
    from pogospec.report.screen import show_comparison

    out = io.StringIO()
    show_comparison(Console(file=out, width=100), [make("a"), make("b", done=False)], "best")
    for part in ("29.3 ± 5.0", "step 2 - step 1", "warning:", "made-up score", "optimistic"):
        assert part in out.getvalue()


def test_columns_that_do_not_fit_come_below(make):
    from pogospec.report.screen import show_comparison

    out = io.StringIO()
    show_comparison(Console(file=out, width=80), [make(f"run-{i}") for i in range(9)])
    text = out.getvalue()
    assert text.count("29.3 ± 5.0") == 9
    assert all(f"run-{i}" in text for i in range(9))
    assert max(map(len, text.splitlines())) <= 80


def test_the_end_of_a_run(make):
    from pogospec.launch.ending import report

    out, run = io.StringIO(), make()
    report(Console(file=out, width=100), run)
    assert (run.path / "learning_curve.png").is_file()
    for part in ("29.3 ± 5.0", "4.7 ± 2.5", "ddof 1", "pogospec compare"):
        assert part in out.getvalue()


SPEC = """\
policy: {kind: gaussian, hidden: [8, 8]}
behavior: {kind: gaussian, hidden: [8, 8]}
geometry: kl
schedule: {steps: [{tau: 1.0, geometry: kl, updates: 9}, {tau: 1.0, geometry: kl, updates: 9}]}
"""
"""As a run directory holds one, shortened: what steps and the behaviour inherit is written out."""


def test_runs_of_one_name_are_labelled_by_what_differs(make):
    other = SPEC.replace("tau: 1.0", "tau: 2.5").replace("[8, 8]", "[4, 8]")
    runs = [make("a", spec=SPEC), make("b", spec=other), make("c", dataset="pocket/y", spec=SPEC)]
    assert titles(runs) == ["flow policy.hidden=[8,8] tau=1", "flow policy.hidden=[4,8] tau=2.5", "flow"]
    assert differing(runs[:2]) == {"policy.hidden": [[8, 8], [4, 8]], "schedule.steps[*].tau": [1.0, 2.5]}
    assert told([("a", runs[0]), ("b", runs[1])]) == ["policy.hidden: [8,8] (a), [4,8] (b)", "tau: 1 (a), 2.5 (b)"]
    # steps that differ from each other, and keys that one run has alone
    last = SPEC.replace("updates: 9}]", "updates: 8, actor_every: 2}]").replace("geometry: kl", "geometry: hellinger")
    found = differing([runs[0], make("d", spec=last)])
    assert found == {
        "geometry": ["kl", "hellinger"],
        "schedule.steps[1].updates": [9, 8],
        "schedule.steps[1].actor_every": ["–", 2],
    }
    same = [make("e", spec=SPEC), make("f", spec=SPEC)]
    assert (titles(same), differing(same)) == (["e", "f"], {})
    many = "".join(f"k{i}: {{x: 1}}\n" for i in range(20))
    lines = told([("a", make("g", spec=many)), ("b", make("h", spec=many.replace("x: 1", "x: 2")))])
    assert len(lines) == 13
    assert lines[-1].startswith("and 8 more keys")


def test_runs_are_compared_over_the_seeds_that_both_have(make):
    later = np.array([[4.0, 6.0], [9.0, 11.0], [8.0, 10.0]]) * 2  # seeds 0, 1, 2 of step 2
    one, two = make("a", name="one"), make("b", name="two", seed_numbers=[1, 2, 5], evaluated=False)
    two.append_returns("step 2", 400, np.array([[3.0, 5.0], [5.0, 7.0], [90.0, 90.0]]), "step 2")
    ((dataset, gap),) = between([one, two])
    assert (dataset, gap.name) == ("pocket/x", "two - one, 2 seeds")
    wanted = (np.array([4.0, 6.0]) - later[1:].mean(1)) * 2  # seeds 1 and 2; two points of score a unit of return
    assert (gap.mean, gap.error) == pytest.approx((wanted.mean(), wanted.std(ddof=1) / np.sqrt(2)))
    three = [make(name, name=name) for name in "cde"]
    assert [gap.name for _, gap in between(three)] == ["d - c, 3 seeds", "e - c, 3 seeds", "e - d, 3 seeds"]
    five = [make(f"m{i}", name=f"m{i}") for i in range(5)]
    assert len(between(five)) == 4
    assert between([one, make("f", name="f", seeds=1)]) == []
    assert between([one, make("g", name="g", reference=REFERENCE | {"high": 50.0})]) == []
    assert between([one, make("h", name="h", dataset="pocket/y")]) == []


def test_few_seeds_are_warned_of_where_methods_are_compared(make):
    runs = [make("a", seeds=1), make("b", seeds=2), make("c")]
    assert any("pocket/x: fewer than 3 seeds: 1 (a), 2 (b); runs of one method" in text for text in warnings(runs))
    assert not any("fewer than" in text for text in warnings(runs[:1]))
    assert not any("fewer than" in text for text in warnings([runs[2], make("d")]))


def test_estimates_that_lack_are_made_by_one_command_where_that_is_enough(make, tmp_path):
    def said(*runs):
        with pytest.raises(UsageError) as caught:
            rankings(runs, "fqe", "low", "seed", (1,))
        return str(caught.value).splitlines()[1:]

    runs = [make("a"), make("b")]
    assert said(*runs) == [f"  pogospec evaluate {tmp_path} --offline"]
    assert said(runs[0]) == [f"  pogospec evaluate {runs[0].path} --offline"]
    make("c")
    assert said(*runs) == [f"  pogospec evaluate {run.path} --offline" for run in runs]
