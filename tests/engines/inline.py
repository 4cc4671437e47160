"""An engine that trains in the process of a test, as soon as it is asked, and loses the workers that it is told to."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from again import interrupted_after

from pogospec import registry
from pogospec.engines.base import AbstractEngine, Size
from pogospec.launch import worker


class Inline(AbstractEngine):
    """Units train one after another; `fates` of those to come: lost, or stopped after so many checkpoints."""

    size = Size()
    fates: list[str | int] = []
    told: dict[str, str] = {}
    submitted: list[str] = []

    def open(self, folder: Path) -> Size:
        """Nothing to reach."""
        return self.size

    def submit(self, units) -> list[str]:
        """Train them now."""
        return [self._train(unit.file) for unit in units]

    def _train(self, file: Path) -> str:
        id = str(len(self.submitted))
        self.submitted.append(file.stem)
        fate = self.fates.pop(0) if self.fates else None
        self.told[id] = "ended by SIGKILL" if fate == "lost" else "exit code 0"
        if isinstance(fate, int):
            with interrupted_after(fate):
                _lost(file)
            self.told[id] = "exit code 130"
        elif fate is None:
            worker.main(file)
        return id

    def ended(self, id: str) -> str | None:
        """As it was written down."""
        return self.told[id]


def _lost(file: Path) -> None:
    """A worker that is interrupted, which its main catches."""
    if worker.main(file) == worker.INTERRUPTED:
        raise KeyboardInterrupt


@contextlib.contextmanager
def registered() -> Iterator[type[Inline]]:
    """A place where `--on inline` is known, and watching takes no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.BESIDE["engine"], "inline", "inline:Inline")
        patch.setattr("pogospec.launch.spread.EVERY", 0.0)
        patch.setattr("pogospec.training.stop.listen", lambda: None)
        patch.setattr("pogospec.launch.worker._end_with_parent", lambda: None)
        patch.setattr("pogospec.launch.worker.terminal.prepare", lambda: None)
        for name, value in (("fates", []), ("told", {}), ("submitted", []), ("size", Size())):
            patch.setattr(Inline, name, value)
        yield Inline
