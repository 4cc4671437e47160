"""Ctrl-C and termination are noted, since Python and libraries swallow interrupts, or turn them into other errors."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_asked, _held = threading.Event(), threading.Event()
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
"""Those that whoever started the process may have told it to ignore, as shells and nohup do."""


def listen() -> None:
    """Take Ctrl-C, termination, and the end of the terminal alike."""
    signal.signal(signal.SIGTERM, _note)
    for one in SIGNALS:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _note)
    sys.unraisablehook = _unraisable


def asked() -> bool:
    """Whether someone asked the process to stop."""
    return _asked.is_set()


def check() -> None:
    """Stop here, where someone asked to and the interrupt was lost; raises KeyboardInterrupt."""
    if _asked.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What is written inside is written to its end: who asks to stop meanwhile is heard afterwards."""
    _held.set()
    try:
        yield
    finally:
        _held.clear()


def _note(*_) -> None:
    _asked.set()
    if not _held.is_set():
        raise KeyboardInterrupt


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """What a garbage collector or a destructor swallowed; an interrupt there is noted already."""
    if not issubclass(found.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(found)
