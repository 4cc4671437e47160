"""Reading flow.csv, and the tables of flows on known energies."""

import csv
import io
import json

import flows
import numpy as np
import pytest
from rich.console import Console

from pogospec.errors import RunDirectoryError, UsageError
from pogospec.report.reading.flow import picked, read_flow
from pogospec.report.reading.known_energy import Known
from pogospec.report.reading.series import columns, series
from pogospec.report.screen import beside_optimum, show_flows
from pogospec.report.tables import flows as tables
from pogospec.report.tables.comparison_text import to_text

ENERGIES = [[4.0, 4.0], [2.0, 3.0], [1.0, 2.0]]


def test_points_are_the_start_and_the_ends_of_the_steps(flow):
    made = read_flow(flow(seeds=2, rows=flows.steps(2, *ENERGIES)))
    assert made.labels == ["start", "step 1", "step 2"]
    np.testing.assert_array_equal(made.columns["energy"], ENERGIES)
    np.testing.assert_array_equal(made.columns["flow_time"], [[0, 0], [0.5, 0.5], [1, 1]])
    assert np.isnan(made.columns["tau"][0]).all()
    assert not made.known("w2_optimum")


def test_a_step_that_is_not_over_does_not_count(flow):
    rows = flows.steps(1, [4.0], [2.0], [1.0])
    going = flow("a", done=False, rows=rows)
    assert read_flow(going).labels == ["start", "step 1"]
    going.save_policy("step 2", {}, {})
    assert read_flow(going).labels == ["start", "step 1", "step 2"]
    assert read_flow(flow("b", rows=rows)).labels == ["start", "step 1", "step 2"]


TRIED = [
    (0, "step 1", 0, 0, 0.0, "", {"energy": 9.0, "tau": 2.0}),
    (1, "step 1", 0, 0, 0.0, "", {"energy": 8.0, "tau": 2.0}),
    (0, "step 1", 10, 10, 2.0, 1, {"energy": 5.0, "tau": 2.0}),
    (1, "step 1", 10, 10, 0.0, 0, {"energy": 70.0, "tau": 2.0}),
    (1, "step 1", 10, 20, 1.0, 1, {"energy": 6.0, "tau": 1.0}),
    (0, "step 2", 0, 20, 2.0, "", {"energy": 5.0, "tau": 2.0}),
    (1, "step 2", 0, 20, 1.0, "", {"energy": 6.0, "tau": 2.0}),
    (0, "step 2", 10, 30, 2.0, 0, {"energy": 50.0, "tau": 2.0}),
    (1, "step 2", 10, 30, 3.0, 1, {"energy": 4.0, "tau": 2.0}),
    (0, "step 2", 10, 40, 2.0, 0, {"energy": 60.0, "tau": 1.0}),
]


def test_rejected_tries_are_no_points_and_a_step_given_up_changes_nothing(flow):
    made = read_flow(flow(seeds=2, rows=TRIED))
    np.testing.assert_array_equal(made.columns["energy"], [[9, 8], [5, 6], [5, 4]])
    np.testing.assert_array_equal(made.columns["tau"], [[np.nan, np.nan], [2, 1], [np.nan, 2]])
    np.testing.assert_array_equal(made.columns["flow_time"], [[0, 0], [2, 1], [2, 3]])


def test_seeds_that_are_not_in_step_meet_on_common_times(flow):
    times, values = read_flow(flow(seeds=2, rows=TRIED)).along_time("energy")
    np.testing.assert_array_equal(times, [0, 1, 2])
    np.testing.assert_allclose(values, [[9, 8], [7, 6], [5, 5]])


def test_curves_over_updates_skip_rejected_tries(flow):
    run = flow(seeds=2, rows=TRIED)
    first, second = series(run, "energy")
    assert (first.x.tolist(), first.values.tolist()) == ([0, 20], [[9, 8], [5, 6]])
    assert (second.x.tolist(), second.values.tolist()) == ([40], [[5, 4]])


def test_a_run_without_a_flow_says_so(make):
    run = make()
    assert read_flow(run).labels == []
    (run.path / "flow.csv").unlink()
    assert "kl_optimum" not in columns(run)
    with pytest.raises(RunDirectoryError, match=r"has no flow\.csv.*run its spec again"):
        read_flow(run)
    (run.path / "flow.csv").write_text("stage,seed\r\nstep 1,zero\r\n")
    with pytest.raises(RunDirectoryError, match="damaged"):
        read_flow(run)


def test_picked():
    assert picked(3, 8) == [0, 1, 2]
    assert picked(20, 4) == [0, 6, 13, 19]
    assert picked(0, 4) == []


def test_the_course_holds_the_numbers_of_the_file(ran):
    run, _ = ran
    found = tables.course(read_flow(run))
    names = ["flow_time", "tau", "energy", "entropy", "kl_optimum", "w2_optimum"]
    assert found.head == ["policy", *(tables.COURSE[name] for name in names)]
    assert [row[0] for row in found.rows] == ["start", "step 1", "step 2", "step 3"]
    for name, texts in zip(names, list(zip(*found.rows, strict=True))[1:], strict=True):
        values = flows.column(run, name)
        for text, seeds in zip(texts[1:], values, strict=True):
            assert float(text.split(" ± ")[0]) == pytest.approx(seeds.mean(), rel=1e-3)
            if name not in ("flow_time", "tau"):
                assert float(text.split(" ± ")[1]) == pytest.approx(seeds.std(ddof=1), rel=0.06, abs=1e-12)


def test_a_long_course_is_cut_to_the_first_some_and_the_last(flow):
    energies = [[50.0 - k] for k in range(41)]
    rows = tables.course(read_flow(flow(rows=flows.steps(1, *energies))), 6).rows
    assert [row[0] for row in rows] == ["start", "step 1", "step 11", "step 21", "step 30", "step 40"]
    assert rows[-1][1:4] == ["20", "0.5", "10"]


def test_the_end_of_a_run(ran):
    run, printed = ran
    assert "nothing was evaluated" not in printed
    for part in ("KL to optimum [nats]", "mean (0.8), std (0.5): exp(Q/lambda)/Z at lambda = 0.5", "pogospec compare"):
        assert part in printed
    mean, std = -0.6, 0.3
    for _ in range(3):  # exact Wasserstein steps
        mean = (mean + 0.4 * 2 * 0.8) / 1.8
        std = (std + np.sqrt(std**2 + 4 * 0.4 * 0.5 * 1.8)) / 3.6
    assert f"step 3          mean ({mean:.4g}), std ({std:.4g})" in printed
    for name in ("path", "energy", "proximal", "density"):
        assert (run.path / f"{name}.png").is_file()
        assert str(run.path / f"{name}.png") in printed
    assert not (run.path / "learning_curve.png").exists()


def test_an_optimum_that_is_a_point_or_unknown(flow):
    cold = flow("a", energy="{q: {actions: quadrature}}")
    (line,) = beside_optimum(Known.open(cold))
    assert line.endswith("mean (0.8), std (0): the point where Q is greatest")
    (line,) = beside_optimum(Known.open(flow("b", target="{kind: quadratic, center: [0], curvature: [-1]}")))
    assert "not known" in line


def two_targets(flow):
    return [
        flow("a", seeds=2, name="one", rows=flows.steps(2, *ENERGIES)),
        flow("b", seeds=2, name="two", rows=flows.steps(2, *ENERGIES[:2])),
        flow("c", name="far", target="{kind: quadratic, center: [9], curvature: [2]}", rows=flows.steps(1, [3], [1])),
    ]


def test_csv_and_json_of_a_comparison_agree_with_the_files(flow):
    runs = two_targets(flow)
    read = json.loads(to_text(runs, "json"))
    rows = {row["run"]: row for row in csv.DictReader(io.StringIO(to_text(runs, "csv")))}
    assert [entry["title"] for entry in read["runs"]] == list(rows) == ["one", "two", "far"]
    for run, entry in zip(runs, read["runs"], strict=True):
        values = flows.column(run, "kl_optimum")[-1]
        found, row = entry["final"]["kl_optimum"], rows[entry["title"]]
        assert found["values"] == values.tolist()
        assert float(row["kl_optimum_mean"]) == found["mean"] == pytest.approx(values.mean())
        assert (float(row["kl_optimum_std"]) if row["kl_optimum_std"] else None) == found["std"]
        assert (row["policy"], int(row["steps"])) == (entry["policy"], entry["steps"])
        assert row["w2_optimum_mean"] == ""
    assert read["runs"][0]["final"]["kl_optimum"]["std"] == pytest.approx(np.std([2, 4], ddof=1))
    assert read["runs"][2]["target"] == "target/quadratic (center [9.0], curvature [2.0])"
    assert [text for text in read["warnings"] if "different flow times, 0.5 to 1" in text]


def test_markdown_latex_and_the_screen(flow):
    runs = two_targets(flow)
    markdown, latex = to_text(runs, "markdown"), to_text(runs, "latex")
    assert "| one | 2 | 1 | 1.5 ± 0.71 | 1 ± 0 | 3 ± 1.4 |" in markdown
    assert "| far | 1 | 0.5 | 1 | 1 | 2 |" in markdown
    assert "one & $2$ & $1$ & $1.5 \\pm 0.71$" in latex
    assert latex.count(r"\midrule") == 2
    assert r"\multicolumn{6}{l}{target/quadratic" in latex
    out = io.StringIO()
    show_flows(Console(file=out, width=110), runs)
    for part in ("1.5 ± 0.71", "KL to optimum [nats]", "(center [9.0], curvature [2.0])", "ddof 1", "warning:"):
        assert part in out.getvalue()


def test_warnings_of_flows(flow):
    rows = flows.steps(1, [3.0], [1.0])
    one = flow("a", rows=rows)
    assert tables.warnings([one, flow("b", rows=rows)]) == []
    other = flow("c", rows=rows, energy="{q: {actions: quadrature}, entropy: {weight: 1.0}}")
    (text,) = tables.warnings([one, other])
    assert "different energies" in text
    going = flow("d", done=False, rows=flows.steps(1, [3.0], [1.0], [0.5]))
    assert "running, not done" in tables.warnings([one, going])[0]
    with pytest.raises(UsageError, match="has not finished an Euler step"):
        tables.ends([flow("f")])


def test_what_cannot_be_compared(flow, make):
    known = flow(rows=flows.steps(1, [3.0], [1.0]))
    with pytest.raises(UsageError, match="runs on known energies .* and runs on data .*compare them apart"):
        to_text([known, make()], "csv")
    with pytest.raises(UsageError, match="found 'best', allowed last"):
        to_text([known], "csv", "best")
