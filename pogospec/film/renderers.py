"""Which of MuJoCo's ways to draw without a screen works here; each is tried in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

VARIABLE = "MUJOCO_GL"
NAMES = ("egl", "osmesa")
"""By a GPU or Mesa, and in software alone; both without a screen."""
FIX = (
    "install what draws without a screen, on Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri, or "
    f"apt-get install libosmesa6 and export {VARIABLE}=osmesa"
)
DRAWS = """
import json, warnings
warnings.simplefilter("ignore")
import gymnasium
gymnasium.logger.min_level = gymnasium.logger.ERROR
env = gymnasium.make("Hopper-v4", render_mode="rgb_array", width=64, height=64)
env.reset(seed=0)
print(json.dumps(float(env.render().std())), flush=True)
"""


def started(name: str) -> subprocess.Popen[str]:
    """A process that draws a picture by a renderer and prints how much its pixels differ."""
    environment, pipe = {**os.environ, VARIABLE: name}, subprocess.PIPE
    environment.pop("PYOPENGL_PLATFORM", None)
    return subprocess.Popen(
        [sys.executable, "-c", DRAWS], stdout=pipe, stderr=pipe, text=True, errors="replace", env=environment
    )


def works(process: subprocess.Popen[str], seconds: float = 120.0) -> bool:
    """Whether a started process has drawn something."""
    try:
        out, _ = process.communicate(timeout=seconds)
        return process.returncode == 0 and float(out.strip().splitlines()[-1]) > 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    except (ValueError, IndexError):
        pass
    return False


def advice() -> str:
    """What to do where a picture could not be drawn."""
    now = os.environ.get(VARIABLE, "unset")
    good = [name for name, process in [(name, started(name)) for name in NAMES] if works(process)]
    if good and now not in good:
        return f"{VARIABLE} is {now}; export {VARIABLE}={good[0]}, which works here"
    if good:
        return f"MuJoCo itself draws here by {VARIABLE}={good[0]}"
    return FIX
