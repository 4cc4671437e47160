"""Films of paths: what moves in them are the policies and energies of the flow; what cannot be filmed is refused."""

from typing import Any

import closed_forms
import jax
import numpy as np
import pytest
from commands import pogospec as command
from PIL import Image, ImageSequence

import pogospec
from pogospec.errors import UsageError
from pogospec.policies.base import normals
from pogospec.report.figures.animation import Film
from pogospec.report.figures.motion import told_apart
from pogospec.targets.mixture import MixtureTarget
from pogospec.targets.quadratic import QuadraticTarget

M, A, HEAT, TAU = np.array([1.0, -0.5]), np.array([4.0, 0.5]), 0.5, 0.1
START = ([-1.0, 1.0], [0.5, 2.0])


@pytest.fixture(scope="module", autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def closed():
    """A Wasserstein and a natural flow on a quadratic energy; the second takes half as many steps of twice the size."""
    target, options = QuadraticTarget(tuple(M), tuple(A)), {"temperature": HEAT, "start": START}
    first = pogospec.flow(target, scheme="forward_backward", tau=TAU, steps=8, actions={"sample": 6}, **options)
    return first, pogospec.flow(target, scheme="natural", tau=2 * TAU, steps=4, **options)


def test_what_moves_are_policies_and_energies_at_one_flow_time(closed):
    film: Any = Film(told_apart([flow.motion() for flow in closed]), (0, 1), 7)
    np.testing.assert_allclose(film.moments(), TAU * np.arange(9))
    for time, steps in ((0.0, (0, 0)), (0.3, (3, 1)), (0.8, (8, 4))):
        film.at(time)
        for flow, panel, step in zip(closed, film.panels, steps, strict=True):
            own = flow.at(step)
            mean, std = np.asarray(own.mean), np.exp(np.asarray(own.log_std))
            z = np.asarray(normals(own, 7, jax.random.key(0)))
            np.testing.assert_allclose(np.stack(panel.dots.get_data(), -1), mean + std * z)
            for ring, reach in zip(panel.rings[0], (1, 2), strict=True):
                gaps = (np.stack(ring.get_data(), -1) - mean) / std
                np.testing.assert_allclose(np.square(gaps).sum(-1), reach**2)
            np.testing.assert_allclose(
                np.stack(panel.trail.get_data(), -1), np.asarray(flow.parameters.mean)[: step + 1]
            )
            assert panel.told.get_text() == f"step {step}, t = {flow.times[step]:.3g}"
        for flow, line, step in zip(closed, film.fall.artists, steps, strict=True):
            np.testing.assert_allclose(line.get_data()[0], flow.times[: step + 1])
            np.testing.assert_allclose(line.get_data()[1], flow.kl[: step + 1])


def test_the_flow_of_small_steps_and_its_rate_are_shown(closed):
    film: Any = Film([closed[0].motion()], (0, 1), 0)
    _, steps, line, rate = film.picture.axes[1].get_lines()
    t, kl = line.get_data()
    mean, std = closed_forms.w2_flow_quadratic(np.array(START[0]), np.array(START[1]), M, A, HEAT, t[:, None])
    np.testing.assert_allclose(kl, closed_forms.kl(mean, std, M, np.sqrt(HEAT / A)), rtol=1e-9)
    np.testing.assert_allclose(rate.get_data()[1], closed[0].kl[0] * np.exp(-2 * A.min() * t))
    texts = [text.get_text() for text in film.picture.legends[0].get_texts()]
    assert "theoretical rate 2 min A = 1" in texts
    assert steps.get_animated()


def test_curves_on_a_line_integrate_to_one_and_keep_their_particles():
    target = MixtureTarget((-2.0, 2.0), (0.5, 0.8), (1.0, 2.0))
    family = {"kind": "gaussian_mixture", "components": 2}
    flows = [pogospec.flow(target, family=one, tau=1.0, steps=1, updates=5) for one in ("gaussian", family)]
    film: Any = Film(told_apart([flow.motion() for flow in flows]), (0, 1), 5)
    film.at(1.0)
    assert [panel.title for panel in film.panels] == ["gaussian, wasserstein2", "gaussian_mixture, wasserstein2"]
    for flow, panel in zip(flows, film.panels, strict=True):
        x, density = panel.curve.get_data()
        np.testing.assert_allclose(density, np.exp(flow.distribution().log_prob(x[:, None])), atol=1e-9)
        assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(panel.dots.get_data()[0], panel.points[-1])
    assert film.panels[0].axes.get_xlim() == film.panels[1].axes.get_xlim()


def test_two_of_many_dimensions_are_chosen():
    curvature = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, 0.4], [0.0, 0.4, 0.7]])
    target = QuadraticTarget((0.0, 1.0, 2.0), tuple(map(tuple, curvature.tolist())))
    flow: Any = pogospec.flow(target, family="full_gaussian", scheme="natural", tau=1.0, steps=1)
    film: Any = Film([flow.motion()], (2, 0), 4)
    film.at(1.0)
    (panel,) = film.panels
    end: Any = flow.distribution()
    inside = np.asarray(end.covariance_matrix)[np.ix_([2, 0], [2, 0])]
    gaps = np.stack(panel.rings[0][0].get_data(), -1) - np.asarray(end.mean)[[2, 0]]
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", gaps, np.linalg.inv(inside), gaps), 1, rtol=1e-6)
    assert (panel.axes.get_xlabel(), panel.axes.get_ylabel()) == ("action 3", "action 1")


def test_a_film_has_a_picture_for_every_step(closed, tmp_path):
    path = pogospec.animate(closed, tmp_path / "two.gif", labels=["W2", "natural"], dpi=60)
    pictures = [np.asarray(one.convert("RGB")) for one in ImageSequence.Iterator(Image.open(path))]
    shown = [pictures[0], *(now for before, now in zip(pictures, pictures[1:], strict=False) if (now != before).any())]
    assert len(shown) == 9
    assert not any(side % 2 for side in pictures[0].shape[:2])
    last: Any = Image.open(path)
    last.seek(last.n_frames - 1)
    assert last.info["duration"] >= 1000  # the end stands


def test_a_run_is_filmed_by_the_command(ran, tmp_path):
    run, _ = ran
    told = command("plot", run.path, "--figure", "path", "--out", tmp_path / "path.gif", "--dpi", "60").stdout
    assert "path.gif  (8 pictures, 2.0 s)" in told  # four steps and four of the end, four a second
    film: Any = Image.open(tmp_path / "path.gif")
    assert film.n_frames >= 4
    said = command("render", run.path, check=False).stderr
    assert "--figure path --out path.gif" in said
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="MP4 needs the extra film")
    path = pogospec.animate([run, run.path], tmp_path / "path.mp4", dpi=60)
    assert ffmpeg.count_frames_and_secs(str(path))[0] == 8


REFUSED = [
    ({"out": "path.png"}, "found 'path.png', allowed a file .gif or .mp4"),
    ({"axes": (1, 1)}, "axes: found 1, 1, allowed two different numbers from 1 to 2"),
    ({"axes": (1, 3)}, "axes: found 1, 3, allowed two different numbers from 1 to 2"),
    ({"particles": -1}, "particles: found -1, allowed a whole number from 0 to 5,000"),
    ({"labels": ["one", "two"]}, "labels: found .*, allowed a name for each of 1 flows"),
    ({"dpi": 1}, "--dpi: found 1, allowed 30 to 1200"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: next(iter(value), None))
def test_what_cannot_be_filmed_is_said(closed, tmp_path, options, message):
    out = tmp_path / options.get("out", "path.gif")
    with pytest.raises(UsageError, match=message):
        closed[0].animate(out, **{name: value for name, value in options.items() if name != "out"})
    assert not [*tmp_path.iterdir()]


def test_what_is_no_flow_is_said(ran, tmp_path):
    wrong: Any = [3]
    with pytest.raises(UsageError, match="found a int, allowed flows and run directories"):
        pogospec.animate(wrong, tmp_path / "path.gif")
    with pytest.raises(UsageError, match="found no flow, allowed"):
        pogospec.animate([], tmp_path / "path.gif")
    done = command("plot", ran[0].path, "--figure", "path", "--out", tmp_path / "a.gif", "--axes", "1;2", check=False)
    assert "--axes: found '1;2', allowed two dimensions, counted from 1, such as 1,3" in done.stderr
    done = command("plot", ran[0].path, "--figure", "path", "--out", tmp_path / "a.gif", "--axes", "1,2", check=False)
    assert "axes: found 1, 2 for a flow in one dimension" in done.stderr
