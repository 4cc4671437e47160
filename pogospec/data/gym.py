"""A quiet Gymnasium: deprecation notes of the -v4 tasks and MuJoCo's warnings stay off the screen."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Gymnasium's logger and all warnings inside the block only."""
    import gymnasium

    level = gymnasium.logger.min_level
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            gymnasium.logger.min_level = level
