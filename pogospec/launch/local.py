"""The local executor: trains runs in this process, keeps their status and passes their events on; it prints nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

from pogospec.errors import PogospecError, RunError, printable, reason
from pogospec.launch import compiling
from pogospec.runs import cache
from pogospec.runs.directory import RunDirectory
from pogospec.runs.versions import versions
from pogospec.spec.build import digest
from pogospec.spec.schema import Spec
from pogospec.tracking.listener import Tracking
from pogospec.training import events, hosts, stop
from pogospec.types import Dataset


class Listener(Protocol):
    """Hears the events of runs that train together; entered before the first of them, left after the last."""

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> None: ...

    def __call__(self, event: events.Event) -> None:
        """Take one event."""


class Halted(Exception):
    """Raised by a listener where the runs need not go on; they stay as they are, interrupted, with its words."""


def train(
    specs: Sequence[Spec], dataset: Dataset, runs: Sequence[RunDirectory], listener: Listener, resume: bool = False
) -> None:
    """Train specs that are one program, each into its run directory, whose status tells how it ended.

    `resume` goes on from the newest checkpoint that all have. Of several runs one that fails is marked, and the others
    go on. Raises RunDirectoryError where another process writes into a run, RunError where all have failed, or where
    there is no room on a disk or in memory, what the listener raises, such as Halted, and KeyboardInterrupt where
    someone asked to stop, whatever a library made of it.
    """
    from pogospec.training.loop import train_all

    packages = "pogospec", "jax", "jaxlib", "numpy", "equinox", "optax"
    alike = {"the spec": [digest(spec) for spec in specs], "the data": dataset.sha256}
    hosts.same(alike | {name: version for name, version in versions().items() if name in packages})
    status = _Status(runs)
    followed = len(runs) if hosts.first() else 0  # what the first of several processes does for all
    tracking = Tracking(specs[:followed], runs[:followed], listener)

    def tell(event: events.Event) -> None:
        stop.check()
        status.note(event)
        listener(event)
        tracking(event)

    cache.enable()
    with contextlib.ExitStack() as locks:
        for run in runs:
            locks.enter_context(run.lock())
        locks.enter_context(tracking)  # left when the status is written
        try:
            status.write("running")
            with listener, contextlib.nullcontext() if resume else compiling.noted(specs, dataset.space):
                train_all(specs, dataset, runs, tell, resume)
            status.write("done")
        except BaseException as error:
            with stop.held():
                status.end(error)
            if isinstance(error, KeyboardInterrupt) or stop.asked():
                raise KeyboardInterrupt from None
            if isinstance(error, OSError) or no_memory(error):
                raise RunError(message_of(error)) from None
            raise


def message_of(error: BaseException) -> str:
    """What is said of an error that ended a run; of one that is not ours, its type too."""
    if isinstance(error, PogospecError):
        return str(error)
    if isinstance(error, OSError):
        return f"{reason(error)}; mend that, and go on from the newest checkpoint"
    if no_memory(error):
        asked = printable(" ".join(str(error).split()), 200)
        return f"there is not memory enough ({asked}); take smaller networks, batches or samples, or fewer seeds"
    return f"{type(error).__name__}: {error}"


def no_memory(error: BaseException) -> bool:
    """Whether memory ran out, on this machine or on its accelerator."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


class _Status:
    """The status of runs that train together; one that failed keeps the one it failed with."""

    def __init__(self, runs: Sequence[RunDirectory]):
        self.going = dict(enumerate(runs))
        self.done = runs[0].status()["update"]

    def write(self, state: str, message: str = "") -> None:
        for run in self.going.values():
            run.status(state, message, self.done)

    def end(self, error: BaseException) -> None:
        """Say how the runs ended, as far as that can be written."""
        interrupted = isinstance(error, KeyboardInterrupt) or stop.asked()
        state, message = ("interrupted", "stopped by the user") if interrupted else ("failed", message_of(error))
        if isinstance(error, Halted) and not interrupted:
            state, message = "interrupted", str(error)
        for run in self.going.values():
            with contextlib.suppress(OSError):
                run.status(state, message, self.done)

    def note(self, event: events.Event) -> None:
        if isinstance(event, events.Progress):
            self.done = event.total_done
            self.write("running")
        elif isinstance(event, events.Failed):
            self.going.pop(event.index).status("failed", event.message, self.done)
