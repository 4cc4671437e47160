"""Several processes, on one host or many, that train the runs of one program: each its own, and all know what came out.

Every process runs the same command. `jax.distributed` brings them together; a program of runs computes those of its
process, and its results are gathered, so that all of them decide alike and hold the same state. The first process
alone keeps the run directory and prints; the others write into a folder that they throw away.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pogospec.errors import PogospecError, RunError, UsageError

ALLOWED = "auto (Slurm, Open MPI or a TPU pod say the rest), or ADDRESS:PORT,COUNT,INDEX, the address of process 0"
SHUTDOWN = 20
"""Seconds in which the others may end after a process has."""
_joined = [1, 0]  # processes, and which of them this one is
_thrown_away: list[str] = []  # folders of this process

Made = TypeVar("Made")


def join(where: str | None, device: str | None = None) -> None:
    """Bring the processes together, before JAX has looked for devices; raises UsageError where that cannot be.

    `device`: the kind to compute on, as `--device` names it.
    """
    if where is None:
        return
    found = f"--hosts: found '{where}', allowed {ALLOWED}"
    options: dict[str, Any] = {}
    if where != "auto":
        try:
            address, count, index = where.split(",")
            host, port = address.rsplit(":", 1)
            numbers = int(port), int(count), int(index)
        except ValueError:
            raise UsageError(found) from None
        if not host or not 0 < numbers[0] < 2**16 or numbers[1] < 2 or not 0 <= numbers[2] < numbers[1]:
            raise UsageError(f"{found}; with a port up to 65535, two processes or more, and an index below their count")
        options = {"coordinator_address": address, "num_processes": numbers[1], "process_id": numbers[2]}
        options["coordinator_bind_address"] = address
    import jax

    if device is not None:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(device, device))
    try:
        jax.distributed.initialize(**options, shutdown_timeout_seconds=SHUTDOWN)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{found}; the processes do not meet: {' '.join(str(error).split())[:300]}") from None
    _joined[:] = jax.process_count(), jax.process_index()
    with open(os.devnull, "w") as nothing:
        sys.stdout.flush()
        shown = os.dup(1)
        os.dup2(nothing.fileno(), 1)  # the first collectives of processors' cores print that they have met
        gathered(b"here")
        if _joined[1] == 0:
            os.dup2(shown, 1)
        os.close(shown)


def leave(code: int) -> None:
    """End the process with this code, where it failed among others: JAX would wait for them, and abort."""
    if _joined[0] > 1 and code:
        sys.stdout.flush()
        sys.stderr.flush()
        for folder in _thrown_away:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)


def count() -> int:
    """How many processes there are."""
    return _joined[0]


def first() -> bool:
    """Whether this one keeps the run directory and prints."""
    return _joined[1] == 0


def rows(runs: int, process: int | None = None) -> slice:
    """The runs of a process among so many; empty where there are more processes than runs."""
    index = _joined[1] if process is None else process
    share, more = divmod(runs, _joined[0])
    start = index * share + min(index, more)
    return slice(start, start + share + (index < more))


def gathered(own: bytes) -> list[bytes]:
    """What each process gave; raises RunError where one of them is gone."""
    import jax
    from jax.experimental.multihost_utils import process_allgather

    try:
        sizes = np.asarray(process_allgather(np.asarray(len(own), np.int32))).ravel()
        padded = np.zeros(max(1, int(sizes.max())), np.uint8)
        padded[: len(own)] = np.frombuffer(own, np.uint8)
        whole = np.asarray(process_allgather(padded))
    except jax.errors.JaxRuntimeError:
        gone = f"one of the other {_joined[0] - 1} processes is gone; see what it said, and go on with the command"
        raise RunError(f"{gone} `pogospec resume RUN --hosts …` in each process") from None
    return [row[:size].tobytes() for row, size in zip(whole, sizes, strict=True)]


def rows_of_all(own: list[np.ndarray], runs: int) -> list[np.ndarray]:
    """Arrays with a row for each run, from those that each process has of its own."""
    mine = rows(runs)
    every = gathered(b"".join(array[: mine.stop - mine.start].tobytes() for array in own))
    whole = [np.empty((runs, *array.shape[1:]), array.dtype) for array in own]
    for process, found in enumerate(every):
        theirs, start = rows(runs, process), 0
        for array in whole:
            part = array[theirs]
            part[...] = np.frombuffer(found, array.dtype, part.size, start).reshape(part.shape)
            start += part.nbytes
    return whole


def agreed(make: Callable[[], Made]) -> Made:
    """What `make` returns here; raises where it raised an error of ours in any of the processes."""
    if _joined[0] == 1:
        return make()
    error: PogospecError | None = None
    made: Any = None
    try:
        made = make()
    except PogospecError as found:
        error = found
    said = gathered(b"" if error is None else str(error).encode())
    if error is not None:
        raise error
    for process, message in enumerate(said):
        if message:
            raise RunError(f"process {process} of {_joined[0]}: {message.decode()}")
    return made


def same(about: dict[str, Any]) -> None:
    """Raise UsageError where the processes would not train the same: `about` says what must be alike."""
    if _joined[0] == 1:
        return
    every = [json.loads(one) for one in gathered(json.dumps(about).encode())]
    for process, other in enumerate(every):
        apart = [f"{name} is {other[name]} in process {process}, {every[0][name]} in the first" for name in about]
        apart = [text for text, name in zip(apart, about, strict=True) if other[name] != every[0][name]]
        if apart:
            raise UsageError(f"--hosts: {apart[0]}; all of them need the same")


def require_runs(spec: Any, runs: int) -> None:
    """Raise UsageError for runs that are not shared among the processes."""
    if _joined[0] == 1:
        return
    if spec.train.batch_runs not in ("auto", "shard"):
        found = f"train.batch_runs: found {spec.train.batch_runs}, which every process would compute whole"
        raise UsageError(f"{found}; allowed shard or auto with --hosts")
    if runs < _joined[0]:
        found = f"found {_joined[0]} processes for {runs} run{'s' * (runs != 1)}"
        raise UsageError(f"--hosts: {found}, allowed as many as there are seeds and cells; --seeds makes more")


def place(path: Path) -> Path:
    """Where this process writes what is to be at `path`: there, or in a folder that is gone at its end."""
    if first():
        return path
    folder = tempfile.mkdtemp(prefix="pogospec-")
    _thrown_away.append(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / path.name


def sent(path: Path) -> Path:
    """The directory of the first process, as the others have it in a folder of their own; it need not be shared."""
    if _joined[0] == 1:
        return path
    whole = io.BytesIO()
    if first() and path.is_dir():
        with tarfile.open(fileobj=whole, mode="w") as archive:
            archive.add(path, arcname=".", filter=lambda one: None if one.issym() else one)
    found = gathered(whole.getvalue())[0]
    here = place(path)
    if not first() and found:
        here.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(found)) as archive:
            archive.extractall(here, filter="data")
    return here
