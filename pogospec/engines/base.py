"""What an engine is: it takes units to be trained, and says what became of those that are over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from pogospec import registry
from pogospec.engines.unit import Unit
from pogospec.errors import UsageError
from pogospec.extras import Needs, lacking


class Size(NamedTuple):
    """What the machines of an engine have at most for one unit; None where it cannot be told."""

    cores: float | None = None
    gpus: float | None = None


class AbstractEngine:
    """An engine; registered in the slot `engine`, and made of what stands behind the colon of `--on KIND:ADDRESS`.

    Those that are not `here` give `submit` and `ended`.
    """

    needs: ClassVar[tuple[Needs, ...]] = ()
    here: ClassVar[bool] = False
    """Whether runs are trained in the process of the command, one program after another; then nothing else is asked."""
    address_is: ClassVar[str | None] = None
    """What the address means; None where there is none."""
    lives_on: ClassVar[bool] = False
    """Whether units go on when the process ends that submitted them."""

    def __init__(self, address: str | None = None):
        self.address = address

    def open(self, folder: Path) -> Size:
        """Make ready for units whose files lie in `folder`; raises UsageError where the engine cannot be reached."""
        return Size()

    def submit(self, units: Sequence[Unit]) -> list[str]:
        """Have units queued; ids by which to ask for them. Raises RunError."""
        raise NotImplementedError

    def knows(self, id: str) -> bool:
        """Whether a unit that another process submitted is still queued or at work."""
        return False

    def ended(self, id: str) -> str | None:
        """How a unit ended, in a few words; None while it is queued or at work."""
        raise NotImplementedError

    def cancel(self, ids: Sequence[str]) -> None:
        """Take units back, queued or at work."""

    def stopping(self, ids: Sequence[str]) -> str | None:
        """The command that stops units which live on; None where nothing has to be done."""
        return None

    def close(self) -> None:
        """Let go of the engine; units end with it unless they live on."""


def engine_of(text: str) -> AbstractEngine:
    """The engine that `--on` names, KIND or KIND:ADDRESS; raises UsageError for none, and one that is not installed."""
    kind, colon, address = text.partition(":")
    known = registry.table("engine")
    if kind not in known:
        close = registry.nearest(kind, known)
        hint = f"; did you mean {close}?" if close else ""
        raise UsageError(f"--on: found '{text}', allowed {', '.join(known)}{hint}")
    found = registry.load("engine", kind)
    if colon and (found.address_is is None or not address):
        allowed = kind if found.address_is is None else f"{kind}, or {kind}:{found.address_is}"
        raise UsageError(f"--on: found '{text}', allowed {allowed}")
    missing = lacking(found.needs)
    if missing:
        raise UsageError(f"--on {kind}: {missing}, or leave it out: runs are trained on this machine then")
    return found(address or None)
