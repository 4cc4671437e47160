"""Environments are code of others: whatever they raise, and whatever does not end, is told with their name."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pogospec.errors import PogospecError, TaskError, printable

PATIENCE = 60.0
"""Seconds that an environment may take to be made, to be reset, or for a step."""
LONGEST = 10_000
"""Steps after which an episode counts as one that never ends, where its environment states no time limit."""
Act = Literal["made", "reset", "stepped"]


class _TooLong(BaseException):
    """Not an `Exception`, so that code which catches all of those does not go on for ever."""


@contextmanager
def guarded(environment: str, act: Act, patience: float = PATIENCE) -> Iterator[None]:
    """Run code of an environment; raises TaskError for what it raises, and where it takes longer than `patience`.

    Time is bounded in the main thread alone, which is the one that hears signals, and outside of compiled code.
    """
    try:
        with _alarm(patience):
            yield
    except (KeyboardInterrupt, PogospecError):
        raise
    except _TooLong:
        raise TaskError(
            f"the environment '{environment}' cannot be {act} in {patience:g} s; mend it, or name another one in "
            "data.environment"
        ) from None
    except BaseException as error:
        raise TaskError(
            f"the environment '{environment}' cannot be {act} ({reason(error)}); mend it, or name another one in "
            "data.environment"
        ) from error


def reason(error: BaseException) -> str:
    """The type of an error and what it says, on a line."""
    said = printable(" ".join(str(error).split()), 300)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `_TooLong` in the block after so many seconds, and each second from then on; a timer of before goes on."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(*_):
        raise _TooLong

    before, begun = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 1e-3), interval)
