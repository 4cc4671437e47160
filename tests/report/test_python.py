"""Runs, comparisons and pictures from Python: what they print, hold and show in notebooks."""

import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from flows import steps
from test_foreign_text import FOREIGN

import pogospec
from pogospec.cli import app
from pogospec.errors import UsageError
from pogospec.runs import estimates


class Reader(HTMLParser):
    """Text and tags of a page, whose tags are closed in the order in which they were opened."""

    def __init__(self, page):
        super().__init__()
        self.open, self.seen, self.cells = [], set(), []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        assert all(name == "style" for name, _ in attrs)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


OURS = {"div", "p", "b", "table", "thead", "tbody", "tr", "td", "th"}


def test_a_run_says_what_it_is(make):
    run = pogospec.Run.open(make().path)
    first, *rest = repr(run).splitlines()
    assert first == f"Run flow on pocket/x, 3 seeds, done: {run.path}"
    assert rest[0].split("  ")[1:] == ["behavior", "score 29.3 ± 5.0"]
    np.testing.assert_allclose(run.scores["behavior"], [24, 30, 34])
    assert {"behavior", "step 1", "29.3 ± 5.0"} <= {
        cell.removeprefix("score ") for cell in Reader(run._repr_html_()).cells
    }
    half = pogospec.Run.open(make("b", done=False, evaluated=False).path)
    assert repr(half).splitlines()[0].endswith(f"running after 0 updates: {half.path}")
    assert "nothing is evaluated yet" in repr(half)


def test_its_table_is_one_of_pandas(make, monkeypatch):
    run = pogospec.Run.open(make().path)
    table = run.table()
    assert list(table.columns) == ["run", "dataset", "policy", "seed", "return", "score", "updates"]
    own = table[table.policy == "behavior"]
    assert own.seed.tolist() == [0, 1, 2]
    assert own.score.tolist() == pytest.approx([24, 30, 34])
    assert run.table("best")["return"].max() >= table["return"].max()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="a table needs pandas; pip install pandas"):
        run.table()


def test_flows_have_energies_and_no_scores(flow):
    run = pogospec.Run.open(flow(seeds=2, rows=steps(2, [3.0, 2.0], [1.0, 0.5])).path)
    with pytest.raises(UsageError, match="has no scores; allowed table"):
        _ = run.scores
    table = run.table()
    assert table[table.policy == "step 1"].energy.tolist() == [1.0, 0.5]
    assert "step 1" in repr(run)
    assert "energy 0.75" in repr(run)
    assert "energy" in str(pogospec.compare(run))
    assert Reader(pogospec.compare(run)._repr_html_()).seen <= OURS


def test_compare_prints_what_the_command_prints(make):
    runs = [make("a", name="one"), make("b", name="two", done=False)]
    found = pogospec.compare(runs)
    for part in ("29.3 ± 5.0", "one", "two", "warning: ", "pocket/x"):
        assert part in str(found)
    assert found.warnings
    assert len(found.table()) == 2 * 3 * 3
    assert found.to("csv").startswith("dataset,run")
    page = Reader(found._repr_html_())
    assert {"policy", "one", "two", "29.3 ± 5.0"} <= set(page.cells)
    matrix = pogospec.compare(make("c").path.parent, stat="iqm-ci")
    assert "Interquartile" in str(matrix) or "interquartile" in str(matrix)
    assert {"dataset", "one", "pocket/x"} <= set(Reader(matrix._repr_html_()).cells)
    with pytest.raises(UsageError, match="found the style 'html', allowed markdown"):
        found.to("html")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="found stat 'mode'"):
        pogospec.compare(runs, stat="mode")
    with pytest.raises(UsageError, match="found a run of type int"):
        pogospec.compare([3])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="found no runs"):
        pogospec.compare([])


def test_pages_hold_no_markup_of_others(make):
    name = FOREIGN + "<script>alert(1)</script>\"'"
    reference = {"low": 0.0, "high": 100.0, "source": name, "label": name}
    run = pogospec.Run.open(make("x", name=name, dataset=name, reference=reference, done=False).path)
    for page in (run._repr_html_(), pogospec.compare(run)._repr_html_()):
        assert Reader(page).seen <= OURS
        assert "<script" not in page
        assert "&lt;script&gt;" in page
    assert [c for c in repr(run) + str(pogospec.compare(run)) if not c.isprintable() and c != "\n"] == []


def test_plot_draws_and_writes(make, tmp_path):
    run = make()
    picture = pogospec.plot(run, title="A <title> of $ours$", size=(4, 2.5), y_label="points", x_label="steps", dpi=50)
    (axes,) = picture.axes
    assert (axes.get_title(), axes.get_ylabel(), axes.get_xlabel()) == ("A <title> of $ours$", "points", "steps")
    assert (picture.get_size_inches().tolist(), picture.get_dpi()) == ([4.0, 2.5], 50)
    pogospec.plot([run], "curves", tmp_path / "x.png", y="critic_loss", dpi=50, size=(4, 2))
    from matplotlib.image import imread

    assert imread(tmp_path / "x.png").shape[:2] == (100, 200)
    assert pogospec.plot(run, title="").axes[0].get_title() == ""
    with pytest.raises(UsageError, match="--size: found 0 x 2, allowed width and height in inches"):
        pogospec.plot(run, size=(0, 2))
    with pytest.raises(UsageError, match="--dpi: found 5, allowed 30 to 1200"):
        pogospec.plot(run, dpi=5)
    with pytest.raises(UsageError, match="found 'all', which is several pictures"):
        pogospec.plot(run, figure="all")
    with pytest.raises(UsageError, match="found with --figure sweep"):
        pogospec.plot(run, "sweep", y="return")


def estimated(run, **values):
    """A run with estimates of its policies: label -> a value a seed, each known to within 1."""
    about = {"estimator": "fqe", "discount": 0.9, "action": "mean", "rewards": "r"}
    about |= {"level": 0.95, "episodes": 50, "hidden": "8"}
    rows = [
        about | {"policy": label, "seed": seed, "value": value, "error": 0.5, "low": value - 1, "high": value + 1}
        for label, own in values.items()
        for seed, value in enumerate(own)
    ]
    estimates.write(run, rows)
    return run


def test_select_ranks_as_the_command_does(make, capsys):
    # scores by rollouts: behavior 24, 30, 34; step 1 30, 40, 38
    one = estimated(make("a", name="one"), **{"behavior": [1.0, 4.0, 2.0], "step 1": [3.0, 9.0, 5.0]})
    two = estimated(make("b", name="two", dataset="pocket/y"), behavior=[7.0, 8.0, 6.0])
    found = pogospec.select([one, two])
    table = found.table()
    own = table[table.dataset == "pocket/x"]
    assert own["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert own.value.tolist() == [9, 5, 4, 3, 2, 1]
    assert own.low.tolist() == [8, 4, 3, 2, 1, 0]
    assert own.policy.tolist() == ["step 1", "step 1", "behavior", "step 1", "behavior", "behavior"]
    assert own.seed.tolist() == [1, 2, 1, 0, 2, 0]
    assert own.score.tolist() == pytest.approx([40, 38, 30, 30, 34, 24])
    printed = {}
    for style in ("csv", "json", "table"):
        app(["select", str(one.path), str(two.path), "--to", style], standalone_mode=False)
        printed[style] = capsys.readouterr().out
    assert found.to("csv") == printed["csv"].rstrip("\n")
    assert found.to("json") == printed["json"].rstrip("\n")
    assert "".join(str(found).split()) == "".join(printed["table"].split())  # but for the width
    assert found.rankings[0].regrets == {1: 0.0, 3: 0.0}
    assert f"pogospec.load_policy({str(one.path)!r}, 'step 1', seed=1)" in str(found)
    page = Reader(found._repr_html_())
    assert page.seen <= OURS
    assert {"rank", "fqe", "interval", "one, step 1, seed 1", "[8.00, 10.00]"} <= set(page.cells)


def test_select_by_policy_and_estimate(make):
    run = estimated(make(), **{"behavior": [0.0, 4.0, 8.0], "step 1": [3.0, 9.0, 3.0]})
    table = pogospec.select(run, by="value", per="policy", first=[2]).table()
    assert table.value.tolist() == pytest.approx([5, 4])
    assert table.seed.isna().all()
    assert "ranked by its estimate, fqe" in str(pogospec.select(run, by="value"))
    assert "ranked by the lower end of its interval of 95%, fqe" in " ".join(str(pogospec.select(run)).split())


def test_what_cannot_be_selected_is_said(make):
    run = make()
    with pytest.raises(
        UsageError, match=f"no fitted Q evaluation of 1 of 1 runs yet; .*\n  pogospec evaluate {run.path}"
    ):
        pogospec.select(run)
    estimated(run, behavior=[1.0, 2.0, 3.0])
    for given, words in (
        ({"by": "high"}, "found by 'high', allowed low, value"),
        ({"estimator": "is"}, "found the estimator 'is', allowed fqe, wis, dr"),
        ({"per": "run"}, "found per 'run', allowed seed, policy"),
        ({"first": [0]}, "allowed whole numbers from 1 on"),
    ):
        with pytest.raises(UsageError, match=words):
            pogospec.select(run, **given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="found the style 'latex', allowed csv, json"):
        pogospec.select(run).to("latex")  # type: ignore[arg-type]
