"""What the curves of a picture hold, and pictures that cannot be drawn."""

from typing import NamedTuple

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pogospec.cli import results
from pogospec.errors import UsageError
from pogospec.report.figures.curves import draw_curves, figure, learning_curve

FIRST, SECOND = {100: [0, 0, 0], 200: [5, 10, 9]}, {300: [6, 11, 10], 400: [10, 20, 18]}


def lines(axes):
    """Label -> line, of the curves alone."""
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


class Data(NamedTuple):
    x: np.ndarray
    y: np.ndarray


def data(line):
    return Data(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()))


def legend(picture):
    return [text.get_text() for text in picture.legends[0].get_texts()]


def scores(points):
    return np.array([[2 * (value + 10) for value in seeds] for seeds in points.values()])


def test_curves_are_means_of_scores_and_bands_their_std(make):
    picture = figure([make()])
    (axes,) = picture.axes
    found = lines(axes)
    np.testing.assert_allclose(data(found["flow: step 1"]).x, [100, 200])
    np.testing.assert_allclose(data(found["flow: step 1"]).y, scores(FIRST).mean(1))
    both = scores({200: FIRST[200]} | SECOND)
    np.testing.assert_allclose(data(found["flow: step 2"]).x, [200, 300, 400])
    np.testing.assert_allclose(data(found["flow: step 2"]).y, both.mean(1))
    np.testing.assert_allclose(data(found["flow: behavior"]).y, np.mean([24, 30, 34]))
    corners = np.asarray(axes.collections[1].get_paths()[0].vertices)
    for x, mean, std in zip([200, 300, 400], both.mean(1), both.std(1, ddof=1), strict=True):
        band = corners[corners[:, 0] == x][:, 1]
        np.testing.assert_allclose([band.min(), band.max()], [mean - std, mean + std])
    assert [text.get_text() for text in axes.texts] == ["step 2 →"]
    assert legend(picture) == ["step 1", "step 2", "fitted behavior"]
    assert "made-up score" in axes.get_ylabel()
    assert "mean ± std over 3 seeds" in axes.get_title()


def test_seconds_are_those_of_training(make):
    (axes,) = figure([make()], x="seconds").axes
    found = lines(axes)
    np.testing.assert_allclose(data(found["flow: step 1"]).x, [3, 7])
    np.testing.assert_allclose(data(found["flow: step 2"]).x, [7, 8, 10])
    assert axes.get_xlabel().startswith("training time [s]")


@pytest.mark.parametrize(("seconds", "unit", "one"), [(299.0, "s", 1), (301.0, "min", 60), (10801.0, "h", 3600)])
def test_long_times_are_drawn_in_the_unit_that_is_named(make, seconds, unit, one):
    run = make()
    run.append_metrics(0, "step 2", 300, 500, seconds - 10, 1.0, {})
    run.append_returns("step 2", 500, np.full((3, 2), 20.0), "step 2")
    (axes,) = figure([run], x="seconds").axes
    assert axes.get_xlabel().startswith(f"training time [{unit}]")
    np.testing.assert_allclose(data(lines(axes)["flow: step 2"]).x, np.array([7, 8, 10, seconds]) / one)


def test_metrics_are_means_over_seeds_and_steps_stay_apart(make):
    (axes,) = figure([make()], y="energy.q").axes
    found = lines(axes)
    np.testing.assert_allclose(data(found["flow: step 2"]).x, [300, 400])
    np.testing.assert_allclose(data(found["flow: step 2"]).y, [-5 / 3, -5 / 3])
    (axes,) = figure([make("b")], y="critic_loss").axes
    assert list(lines(axes)) == ["flow: step 1"]
    np.testing.assert_allclose(data(lines(axes)["flow: step 1"]).y, [110, 210])
    assert "Bellman" in axes.get_ylabel()


def test_a_panel_a_dataset_and_a_colour_a_run(make):
    runs = [make("a", name="one"), make("b", name="two"), make("c", name="two", dataset="pocket/y", reference=None)]
    picture = figure(runs)
    first, second = picture.axes
    assert (first.get_title(), second.get_title()) == ("pocket/x", "pocket/y")
    assert "made-up score" in first.get_ylabel()
    assert second.get_ylabel() == "undiscounted return"
    np.testing.assert_allclose(data(lines(second)["two: step 1"]).y, [0, 8])
    colors = {name: line.get_color() for name, line in lines(first).items()}
    assert colors["one: step 1"] == colors["one: step 2"] != colors["two: step 1"]
    assert lines(second)["two: step 1"].get_color() == colors["two: step 1"]
    assert legend(picture) == ["one", "two", "fitted behavior"]


def test_a_colour_a_step(make):
    picture = figure([make("a", name="one"), make("b", name="two")], by="step")
    found = lines(picture.axes[0])
    assert found["one: step 1"].get_color() == found["two: step 1"].get_color() != found["one: step 2"].get_color()
    assert found["one: step 1"].get_linestyle() != found["two: step 1"].get_linestyle()
    assert legend(picture) == ["step 1", "step 2", "one", "two", "fitted behavior"]


def test_scores_and_raw_returns_do_not_share_an_axis(make):
    (axes,) = figure([make("a"), make("b", reference=None)]).axes
    assert axes.get_ylabel() == "undiscounted return"
    np.testing.assert_allclose(data(lines(axes)["a: step 1"]).y, data(lines(axes)["b: step 1"]).y)


def test_switching_points_that_differ_are_marked_on_each_curve(make):
    late = [("step 1", 100, np.ones((3, 2))), ("step 1", 300, np.ones((3, 2))), ("step 2", 400, np.ones((3, 2)))]
    picture = figure([make("a"), make("b", evaluated=False, more=late)])
    (axes,) = picture.axes
    rings = [line for line in axes.get_lines() if line.get_markersize() == 10]
    assert [data(line).x.tolist() for line in rings] == [[200], [300]]
    assert "next step begins" in legend(picture)
    assert not axes.texts


def test_many_steps_and_steps_side_by_side(make):
    more = [(f"step {k}", 100 * k + 200, np.full((3, 2), k)) for k in range(3, 12)]
    picture = figure([make("a", more=more)])
    assert legend(picture) == ["flow", "fitted behavior"]
    assert [text.get_text() for text in picture.axes[0].texts] == [str(k) for k in range(2, 12)]
    side = [(f"step {k}", total, np.full((3, 2), k)) for k in (1, 2) for total in (100, 200)]
    (axes,) = figure([make("b", evaluated=False, more=side)]).axes
    np.testing.assert_allclose(data(lines(axes)["flow: step 2"]).x, [100, 200])
    assert not axes.texts


def test_nothing_overlaps(make):
    runs = [make(f"a-long-name-of-a-directory-{i}", dataset=f"some/dataset-{i % 3}") for i in range(9)]
    picture = figure(runs)
    picture.draw_without_rendering()
    boxes = [*filter(None, (axes.get_tightbbox() for axes in picture.axes)), picture.legends[0].get_window_extent()]
    assert len(boxes) == 4
    for j, late in enumerate(boxes):
        assert late.x0 >= 0
        assert late.y0 >= 0
        assert not any(late.overlaps(early) for early in boxes[:j])


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_files(make, tmp_path, suffix, start):
    path = tmp_path / "new" / f"picture.{suffix}"
    assert draw_curves([make()], path) == path
    assert path.read_bytes().startswith(start)


def test_default_files(make, tmp_path):
    runs = [make("a"), make("b", seeds=1)]
    assert learning_curve(runs[0]) == tmp_path / "a" / "learning_curve.png"
    assert learning_curve(runs) == tmp_path / "learning_curves.png"
    assert draw_curves(runs[:1], y="critic_loss") == tmp_path / "a" / "critic_loss.png"
    assert learning_curve(make("c", evaluated=False)) is None


def test_what_cannot_be_drawn(make, tmp_path):
    empty = make("a", evaluated=False)
    with pytest.raises(UsageError, match=r"no evaluation of an Euler step .* critic_loss, energy\.q"):
        figure([empty])
    with pytest.raises(UsageError, match="--y: found 'loss', allowed score, return, updates_per_second, critic_loss"):
        figure([empty], y="loss")
    with pytest.raises(UsageError, match=r"found suffix '.jpg', allowed .png, .svg, .pdf"):
        draw_curves([make("b")], tmp_path / "x.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        draw_curves([make("c")], tmp_path / "file" / "x.png")
    assert len(figure([empty, make("d")]).axes) == 1


def test_plot_as_a_command(make, tmp_path):
    app = typer.Typer()
    app.command()(results.plot)
    make("runs/a")
    make("runs/b")
    out = tmp_path / "both.pdf"
    options = ["--out", str(out), "--x", "seconds", "--y", "critic_loss", "--by", "step"]
    result = CliRunner().invoke(app, [str(tmp_path / "runs"), *options])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(out)
    assert out.read_bytes().startswith(b"%PDF")
