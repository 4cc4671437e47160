"""Ctrl-C and termination are noted, since Python and libraries swallow interrupts, or turn them into other errors."""

from __future__ import annotations

import signal
import sys
import threading
from typing import NoReturn

_asked = threading.Event()


def listen() -> None:
    """Take Ctrl-C and termination alike; a shell may have told background jobs to ignore the first."""
    signal.signal(signal.SIGTERM, _note)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _note)
    sys.unraisablehook = _unraisable


def asked() -> bool:
    """Whether someone asked the process to stop."""
    return _asked.is_set()


def check() -> None:
    """Stop here, where someone asked to and the interrupt was lost; raises KeyboardInterrupt."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _note(*_) -> NoReturn:
    _asked.set()
    raise KeyboardInterrupt


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """What a garbage collector or a destructor swallowed; an interrupt there is noted already."""
    if not issubclass(found.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(found)
