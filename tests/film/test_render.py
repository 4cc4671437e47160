"""`render`: films have the pictures, the returns and the labels of their episodes; what cannot be filmed is refused."""

import subprocess

import numpy as np
import pytest
import shipped
from commands import pogospec
from gymnasium.error import DependencyNotInstalled
from PIL import Image, ImageSequence

from pogospec import frames
from pogospec.errors import RunError, UsageError
from pogospec.film import play, renderers
from pogospec.film.picture import PARTED, composed
from pogospec.film.play import Panel, Stage
from pogospec.film.render import render_run
from pogospec.runs.saved import SavedPolicy
from pogospec.training.rollout import Evaluator
from pogospec.types import Space


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return shipped.run_in(tmp_path_factory.mktemp("filmed") / "run")


@pytest.fixture(scope="module")
def draws():
    """Skip where nothing draws without a screen."""
    if not renderers.works(renderers.started("egl")):
        pytest.skip(f"MuJoCo cannot draw here; {renderers.FIX}")


def returns_of(run, label):
    saved = SavedPolicy.load(*run.load_policy(label)).only(1)
    evaluator = Evaluator("Reacher-v4", 2, 1000)
    found = evaluator.rollout(saved.batched("mean", 1), 1)[0]
    evaluator.close()
    return found


def test_a_film_shows_the_episodes_that_evaluation_plays(run, draws, tmp_path):
    path = tmp_path / "two.gif"
    told = pogospec("render", run.path, "--seed", "1", "--episodes", "2", "--size", "64", "-o", path).stdout
    for number, gains in enumerate(zip(returns_of(run, "behavior"), returns_of(run, "step 1"), strict=True)):
        begin = f"episode {number + 1} of 2, reset seed {1000 + number}"
        assert f"{begin}: behavior {gains[0]:.1f}, step 1 {gains[1]:.1f}" in told
    film = Image.open(path)
    frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(film)]
    top = 3 * 24  # a title of three lines
    assert frames[0].size == (134, top + 64)
    first = np.asarray(frames[0])[top:].astype(int)
    left, right = first[22:42, :64], first[22:42, 70:]  # between the labels
    assert (np.abs(left - right) <= 8).all()  # the same start
    assert left.std() > 5
    middle = np.asarray(frames[len(frames) // 4])[top + 22 : top + 42].astype(int)
    assert np.abs(middle - first[22:42]).max() > 30
    assert f"film  {path}" in told


def test_an_mp4_has_every_picture(run, draws, tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="MP4 needs the extra film")
    found = render_run(run, tmp_path / "one.mp4", ["step 1"], seconds=0.4, pixels=64)
    frames, seconds = ffmpeg.count_frames_and_secs(str(found.path))
    assert frames == found.pictures == 1 + 10 + 1 + 20
    assert seconds == pytest.approx(found.seconds, abs=0.05)


def test_the_arm_is_seen_while_an_action_is_held(draws):
    space = Space(6, 2, (-2.4, -2.6), (2.4, 2.6))
    stage = Stage("pogospec/TwoLinkArm-v0", [lambda seen, time: np.array([0.5, 0.5])], space, 64)
    panels = [one for (one,) in stage.episode(0, 5, 1.0)]
    stage.close()
    assert len(panels) == 1 + 2 * 9 + 1  # two actions of 45 physics steps, every fifth, and both ends
    assert all((one.picture != two.picture).any() for one, two in zip(panels[1:4], panels[2:5], strict=True))
    gained = [panel.gained for panel in panels]
    assert gained[:9] == [0.0] * 9
    assert gained[9] > 0


def test_a_long_caption_takes_as_many_lines_as_it_needs():
    panel = Panel(np.zeros((64, 64, 3), np.uint8), 1.0, False)
    title = PARTED.join(["td3-bc", "Hopper-v4", "seed 0", "episode 1 of 2"])
    one, several = (np.asarray(composed([panel] * n, ["a"] * n, title, 64)) for n in (4, 1))
    assert one.shape[0] == 24 + 64
    lines = (several.shape[0] - 64) // 24
    assert lines == 4, "none of these parts has room beside another in 64 pixels"
    for line in range(lines):
        assert several[24 * line : 24 * (line + 1)].min() < 100, "each line has letters"


def test_a_picture_has_a_place_for_each_panel():
    red, blue = (np.full((64, 64, 3), colour, np.uint8) for colour in ((200, 0, 0), (0, 0, 200)))
    panels = [Panel(red, 1.0, False), *[Panel(blue, float("nan"), True)] * 4]
    whole = np.asarray(composed(panels, ["a"] * 5, "x" * 500, 64))
    assert whole.shape == (24 + 2 * 64 + 6, 3 * 64 + 2 * 6, 3)
    assert tuple(whole[24 + 30, 50]) == (200, 0, 0)
    paled = whole[24 + 30, 70 + 50]
    assert paled[2] > 200
    assert paled[0] > 50
    assert (whole[24 + 70 :, 2 * 70 :] == 255).all()  # the sixth place is empty


REFUSED = [
    (("-o", "film.avi"), "-o: found 'film.avi', allowed a file .gif or .mp4"),
    (("--policy", "step 9"), "holds no policy 'step 9', allowed behavior, step 1"),
    (("--seed", "2"), "found seed 2, allowed 0 to 1"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_cannot_be_filmed_is_said(run, options, message):
    done = pogospec("render", run.path, *options, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_encoder_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(UsageError, match=r'pip install "pogospec\[film\]", or write a .gif'):
        frames.require(tmp_path / "film.mp4")


def test_where_pygame_draws_and_is_missing_it_is_said(monkeypatch):
    class Pendulum:
        def render(self):
            raise DependencyNotInstalled('pygame is not installed, run `pip install "gymnasium[classic_control]"`')

    monkeypatch.setattr(play, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="drawn by pygame, which is not installed; pip install pygame$"):
        play.drawn(Pendulum())


def test_where_nothing_draws_it_is_said_what_to_install(monkeypatch):
    start = lambda code: subprocess.Popen(["true" if code else "false"], stdout=subprocess.PIPE, text=True)  # noqa: E731
    monkeypatch.setattr(renderers, "started", lambda name: start(False))
    assert "apt-get install libegl1" in renderers.advice()
    drawing = lambda name: subprocess.Popen(["echo", "3.5" if name == "osmesa" else "0"], stdout=-1, text=True)  # noqa: E731
    monkeypatch.setattr(renderers, "started", drawing)
    monkeypatch.setenv("MUJOCO_GL", "egl")
    assert renderers.advice() == "MUJOCO_GL is egl; export MUJOCO_GL=osmesa, which works here"
