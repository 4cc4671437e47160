"""Tables, paired differences, warnings and pictures of hand-made run directories."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from pogospec.report import compare
from pogospec.report.plot import learning_curve
from pogospec.runs import RunDirectory

REFERENCE = {"low": -10.0, "high": 40.0, "source": "made up", "label": "made-up score"}
BEHAVIOR = np.array([[1.0, 3.0], [5.0, 5.0], [6.0, 8.0]])
STEPS = {100: np.array([[0.0, 0.0]] * 3), 200: np.array([[4.0, 6.0], [9.0, 11.0], [8.0, 10.0]])}


def make(path, seeds=3, done=True, **changes):
    manifest = {
        "name": "flow", "digest": "d", "dataset": "pocket/x", "data_sha256": "a" * 64, "environment": "X-v4",
        "reference": REFERENCE, "seeds": seeds, "episodes": 2, "action": "mean", "evaluation_seed": 1000,
        "versions": {"mujoco": "4.0.0", "gymnasium": "1.4.0"},
    }  # fmt: skip
    run = RunDirectory.create(path, "", manifest | changes)
    for total, returns in STEPS.items():
        run.append_returns("step 1", total, returns[:seeds], "step 1")
    run.append_returns("behavior", 200, BEHAVIOR[:seeds], "step 1")
    run.append_returns("step 2", 300, STEPS[200][:seeds] + 1, "step 2")
    run.append_returns("step 2", 400, STEPS[200][:seeds] * 2, "step 2")
    run.status("done" if done else "running")
    return run


def test_final_cells_average_episodes_first_and_use_ddof_1(tmp_path):
    cells = compare.final(make(tmp_path / "a"))
    assert list(cells) == ["behavior", "step 1", "step 2"]
    np.testing.assert_allclose(cells["behavior"].returns, [2, 5, 7])
    np.testing.assert_allclose(cells["behavior"].values, [24, 30, 34])
    assert (cells["step 1"].total_update, cells["step 2"].total_update) == (200, 400)
    raw, scaled = compare.std(cells["behavior"].returns), compare.std(cells["behavior"].values)
    assert raw == pytest.approx(np.sqrt(19 / 3))
    assert scaled == pytest.approx(np.sqrt(19 / 3) * 100 / 50)
    assert str(cells["behavior"]) == "29.3 ± 5.0"


def test_paired_differences_and_their_standard_errors(tmp_path):
    gaps = {gap.name: gap for gap in compare.differences(compare.final(make(tmp_path / "a")))}
    assert list(gaps) == ["step 1 - behavior", "step 2 - behavior", "step 2 - step 1"]
    gap = np.array([5 - 2, 10 - 5, 9 - 7]) * 2.0
    assert gaps["step 1 - behavior"].mean == pytest.approx(gap.mean())
    assert gaps["step 1 - behavior"].error == pytest.approx(gap.std(ddof=1) / np.sqrt(3))


def test_one_seed_has_no_spread_and_no_differences(tmp_path):
    run = make(tmp_path / "a", seeds=1)
    cells = compare.final(run)
    assert str(cells["behavior"]) == "24.0"
    assert compare.differences(cells) == []
    assert "±" not in compare.to_text([run], "markdown")
    assert "one seed" in compare.header([run])


def test_raw_returns_without_a_reference(tmp_path):
    run = make(tmp_path / "a", reference=None)
    assert str(compare.final(run)["behavior"]) == "4.7 ± 2.5"
    assert "raw return" in compare.header([run])


def test_an_evaluation_cut_short_does_not_count(tmp_path):
    run = make(tmp_path / "a")
    run.append_returns("step 2", 500, np.zeros((2, 2)), "step 2")
    assert compare.final(run)["step 2"].total_update == 400


def test_rows_are_policies_and_columns_are_runs(tmp_path):
    runs = [make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "c", dataset="pocket/y", name="other")]
    first, second = compare.table(runs)
    assert (first.dataset, first.columns) == ("pocket/x", ["a", "b"])
    assert (second.dataset, second.columns) == ("pocket/y", ["other"])
    assert [policy for policy, _ in first.rows] == ["behavior", "step 1", "step 2"]
    assert all(len(cells) == 2 for _, cells in first.rows)


def test_the_header_says_the_protocol(tmp_path):
    text = compare.header([make(tmp_path / "a")])
    for part in ("last evaluation", "mean of 2 episodes", "ddof 1", "seeds: 3", "made-up score"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_sha256": "b" * 64}, "data (sha256)"),
        ({"environment": "X-v5"}, "X-v4, X-v5"),
        ({"versions": {"mujoco": "4.1.0", "gymnasium": "1.4.0"}}, "mujoco 4.0.0, 4.1.0"),
        ({"versions": {"mujoco": "4.0.0", "gymnasium": "1.3.0"}}, "gymnasium 1.3.0, 1.4.0"),
        ({"reference": REFERENCE | {"high": 50.0}}, "reference returns"),
        ({"done": False}, "running, not done"),
    ],
)
def test_warnings(tmp_path, changes, words):
    one, same = make(tmp_path / "a"), make(tmp_path / "b")
    assert compare.warnings([one, same]) == []
    (warning,) = compare.warnings([one, make(tmp_path / "c", **changes)])
    assert words in warning
    if "done" not in changes:
        assert compare.warnings([one, make(tmp_path / "d", dataset="pocket/y", **changes)]) == []


def test_text_forms_agree(tmp_path):
    run = make(tmp_path / "a")
    read = json.loads(compare.to_text([run], "json"))
    assert read["runs"][0]["scores"]["behavior"] == pytest.approx([24, 30, 34])
    rows = list(csv.DictReader(io.StringIO(compare.to_text([run], "csv"))))
    assert float(rows[0]["std"]) == pytest.approx(read["runs"][0]["policies"]["behavior"]["std"])
    markdown = compare.to_text([run], "markdown")
    assert "| behavior | 29.3 ± 5.0 |" in markdown
    assert "step 2 - step 1" in markdown


def test_the_table_on_the_screen(tmp_path):
    from pogospec.console import show_comparison

    out = io.StringIO()
    show_comparison(Console(file=out, width=100), [make(tmp_path / "a"), make(tmp_path / "b", done=False)])
    for part in ("29.3 ± 5.0", "step 2 - step 1", "warning:", "made-up score"):
        assert part in out.getvalue()


def test_pictures(tmp_path):
    runs = [make(tmp_path / "a"), make(tmp_path / "b", seeds=1, reference=None)]
    assert learning_curve(runs[0]) == tmp_path / "a" / "learning_curve.png"
    assert learning_curve(runs[1]) == tmp_path / "b" / "learning_curve.png"
    assert (tmp_path / "b" / "learning_curve.png").read_bytes()[:4] == b"\x89PNG"
    assert learning_curve(runs) == tmp_path / "learning_curves.png"
    empty = RunDirectory.create(tmp_path / "c", "", runs[0].manifest)
    assert learning_curve(empty) is None
