"""A quiet Gymnasium: deprecation notes of the -v4 tasks and MuJoCo's warnings stay off the screen."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Gymnasium's logger, MuJoCo's warnings and its log file, and all warnings, inside the block only."""
    import gymnasium
    import mujoco

    engine: Any = mujoco  # its extension has no types
    level, handler = gymnasium.logger.min_level, engine.get_mju_user_warning()
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    engine.set_mju_user_warning(lambda text: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            gymnasium.logger.min_level = level
            engine.set_mju_user_warning(handler)
