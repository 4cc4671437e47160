"""Which pictures are drawn, where they go, and `pogospec plot` and `compare` with flows on known energies."""

import flows
import numpy as np
import pytest
import typer
from commands import pogospec
from typer.testing import CliRunner

from pogospec.cli import results
from pogospec.errors import UsageError
from pogospec.report.figures.catalog import draw_all, draw_figure
from pogospec.report.figures.curves import draw_curves, figure
from pogospec.report.reading.series import columns

ROWS = flows.steps(2, [4.0, 4.0], [2.0, 3.0], [1.0, 2.0])


def app(command):
    made = typer.Typer()
    made.command()(command)
    return lambda *arguments: CliRunner().invoke(made, [str(part) for part in arguments])


def values(picture):
    return {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in picture.axes[0].get_lines()}


def test_columns_of_the_flow_over_flow_time_and_updates(flow):
    run = flow(seeds=2, rows=ROWS)
    assert columns(run, "flow_time") == ["tau", "energy", "entropy", "kl_optimum"]
    picture = figure([run], "kl_optimum", "flow_time")
    assert values(picture)["flow: flow"] == [[0, 8], [0.5, 5], [1, 3]]
    assert picture.axes[0].get_xlabel() == "flow time"
    assert "in nats" in picture.axes[0].get_ylabel().replace("\n", " ")
    drawn = values(figure([run], "kl_optimum"))
    assert drawn["flow: step 1"] == [[0, 8], [10, 5]]
    assert drawn["flow: step 2"] == [[10, 5], [20, 3]]


def test_names_that_metrics_have_too(make):
    run = make(seeds=1)
    run.append_metrics(0, "step 2", 200, 400, 1.0, 1.0, {"energy.q": 1.0, "distance": 3.0})
    run.append_flow(0, "step 2", 200, 400, 7.0, "", {"distance": 5.0, "entropy": 2.0})
    assert {"distance", "flow.distance", "entropy"} <= set(columns(run))
    assert values(figure([run], "distance"))["flow: step 2"] == [[400, 3]]
    assert values(figure([run], "flow.distance"))["flow: step 2"] == [[400, 5]]
    assert values(figure([run], "distance", "flow_time"))["flow: flow"] == [[7, 5]]
    with pytest.raises(UsageError, match="--y over flow time: found 'tau', allowed distance, entropy, score, return"):
        figure([run], "tau", "flow_time")


def test_scores_and_metrics_over_flow_time(make):
    run = make(seeds=2)
    for stage, total, times in (("step 1", 200, (1.0, 1.0)), ("step 2", 400, (3.0, 4.0))):
        for seed, time in enumerate(times):
            run.append_flow(seed, stage, 200, total, time, "", {"distance": 5.0})
    # at the ends of steps 1 and 2 the mean returns of the seeds are 5 and 10, then 10 and 20; a score is 2 r + 20
    scores = values(figure([run], "score", "flow_time"))["flow: flow"]
    np.testing.assert_allclose(scores, [[1, 35], [3, (40 + 40 + 20 * 2 / 3) / 2]])
    assert values(figure([run], "critic_loss", "flow_time"))["flow: flow"] == [[1, 205]]


def test_each_picture_that_applies_is_drawn(ran, make, tmp_path):
    run, _ = ran
    drawn = draw_all([run], tmp_path / "out")
    assert [path.name for path in drawn.paths] == ["path.png", "energy.png", "proximal.png", "density.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn.paths)
    assert drawn.reasons == ["curves: nothing was evaluated"]
    data = draw_all([make("data")])
    assert [path.name for path in data.paths] == ["learning_curve.png"]
    assert len(data.reasons) == 4


def test_where_pictures_of_several_runs_go(flow, ran, tmp_path):
    runs = [flow("a", seeds=2, name="one", rows=ROWS), flow("b", seeds=2, name="two", rows=ROWS)]
    assert draw_figure(runs, "energy") == [tmp_path / "energy.png"]
    assert draw_figure([runs[0]], "energy") == [tmp_path / "a" / "energy.png"]
    assert draw_figure(runs, "energy", tmp_path / "x" / "y.svg")[0].read_text().startswith("<?xml")
    run, _ = ran
    assert draw_figure([run], "density") == [run.path / "density.png"]
    with pytest.raises(UsageError, match="found 2 runs, allowed one"):
        draw_figure(runs, "proximal", tmp_path / "p.png")
    with pytest.raises(UsageError, match="allowed a directory"):
        draw_all(runs, tmp_path / "p.png")
    with pytest.raises(UsageError, match="nothing was evaluated.*holds no policies"):
        draw_all([flow("c")])
    with pytest.raises(UsageError, match="--state: found 2 with --figure energy, allowed with density"):
        draw_figure(runs, "energy", state=2)


def test_the_command(flow, tmp_path):
    run = flow(seeds=2, rows=ROWS)
    plot = app(results.plot)
    assert plot(run.path).output.split() == [str(run.path / "energy.png")]
    assert (
        plot(run.path, "--y", "kl_optimum", "--x", "flow_time").output.split()[-1].endswith("kl_optimum_flow_time.png")
    )
    assert plot(run.path, "--figure", "energy", "--out", tmp_path / "e.pdf").output.split() == [str(tmp_path / "e.pdf")]
    result = plot(run.path, "--figure", "energy", "--y", "score", "--x", "flow_time")
    assert isinstance(result.exception, UsageError)
    assert "--y, --x and --by" in str(result.exception)
    with pytest.raises(UsageError, match="no evaluation of an Euler step"):
        draw_curves([run])


def test_compare_draws_energies_of_flows(flow, tmp_path):
    run = flow(seeds=2, rows=ROWS)
    result = app(results.compare)(run.path, "--plot", tmp_path / "e.svg")
    assert result.exit_code == 0, result.output
    assert "KL to optimum [nats]" in result.output
    assert (tmp_path / "e.svg").is_file()


def test_a_name_that_is_none_ends_with_2(flow, tmp_path):
    flow(seeds=2, rows=ROWS)
    done = pogospec("plot", "flow", "--figure", "pahts", check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    allowed = "curves, sweep, switching, path, energy, proximal, density or all"
    assert done.stderr == f"--figure: found 'pahts', allowed {allowed}; did you mean path?\n"


def test_a_picture_for_a_paper(make, tmp_path):
    run, out = make(), tmp_path / "paper.svg"
    words = ["--title", "A & <b> of $ours$", "--size", "3.5 x 2", "--y-label", "points", "--x-label", "steps"]
    assert pogospec("plot", run.path, *words, "--out", out).stdout == f"{out}\n"
    text = out.read_text()
    assert 'width="252pt" height="144pt"' in text
    for part in ("A &amp; &lt;b&gt; of $ours$", "points", "steps"):
        assert f"<!-- {part} -->" in text
    for wrong, told in {
        ("--size", "big"): "--size: found 'big', allowed width and height in inches, such as 3.3x2.5",
        ("--size", "0.5x2"): "--size: found 0.5 x 2, allowed width and height in inches, from 1 to 40",
        ("--dpi", "2"): "--dpi: found 2, allowed 30 to 1200",
        ("--figure", "density", "--y-label", "y"): "--y-label, --x-label: found with --figure density, allowed with",
    }.items():
        done = pogospec("plot", run.path, *wrong, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(told)
