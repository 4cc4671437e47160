"""Ray: each unit is a task; tasks wait for cores, GPUs and memory, and end when the command does.

The address is that of a running cluster, HOST:PORT; without one it is the cluster that this machine is part of, and
where there is none, one of this machine alone, which no other can reach and which ends with the command. Ray tells its
makers nothing (RAY_USAGE_STATS_ENABLED=0) and serves no dashboard, unless the environment or the cluster has them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from pogospec.engines import start
from pogospec.engines.base import AbstractEngine, Size
from pogospec.engines.unit import Unit
from pogospec.errors import UsageError, printable
from pogospec.extras import Needs

LOOPBACK, KEEP_LOOPBACK = "127.0.0.1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""An address that no other machine sees, and the variable without which Ray takes it for the machine's own on Linux."""


class Ray(AbstractEngine):
    """Tasks of a Ray cluster."""

    needs: ClassVar[tuple[Needs, ...]] = (Needs("ray", "ray"),)
    address_is: ClassVar[str | None] = "HOST:PORT"

    def open(self, folder: Path) -> Size:
        """Connect; sizes are those of the largest node that is there now."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if (self.address or os.environ.get("RAY_ADDRESS", "")).startswith((LOOPBACK, "localhost")):
            os.environ.setdefault(KEEP_LOOPBACK, "0")  # read when Ray is imported
        ray = import_module("ray")
        self.ray, self.tasks, self.mark = ray, {}, secrets.token_hex(3)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "include_dashboard": False}
        with _handlers_kept(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # of JAX: what is forked runs another program
            self._connect(quiet)
        ray.cloudpickle.register_pickle_by_value(start)
        self.train = ray.remote(start.train)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return Size(*(max((node.get(name, 0.0) for node in nodes), default=None) for name in ("CPU", "GPU")))

    def _connect(self, quiet: dict[str, Any]) -> None:
        ray = self.ray
        try:
            if self.address is None and not os.environ.get("RAY_ADDRESS") and not _running():
                ray.init(address="local", _node_ip_address=LOOPBACK, **quiet)
            else:
                del quiet["include_dashboard"]
                address = self.address or os.environ.get("RAY_ADDRESS") or "auto"
                _listens(address)
                ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"ray:{self.address}" if self.address else "ray"
            said = printable(" ".join(str(error).split()), 300)
            raise UsageError(
                f"--on {where}: the cluster cannot be used ({said}); `ray status` says what runs"
            ) from None

    def submit(self, units: Sequence[Unit]) -> list[str]:
        """A task for each."""
        return [self._submit(unit) for unit in units]

    def _submit(self, unit: Unit) -> str:
        cores, gpus, memory, _ = unit.resources
        asked: dict[str, Any] = {"num_cpus": cores, "num_gpus": gpus}
        if memory is not None:
            asked["memory"] = int(memory * 1e9)
        number = f"{self.mark}-{len(self.tasks) + 1}"
        # who is lost is begun again by whoever submitted it, if it came on; Ray would do so whether or not
        task = self.train.options(name=f"pogospec {unit.name}", max_retries=0, **asked)
        self.tasks[number] = task.remote(str(unit.file), "ray", number)
        return number

    def ended(self, id: str) -> str | None:
        """What the task returned, or what became of it."""
        done, _ = self.ray.wait([self.tasks[id]], timeout=0)
        if not done:
            return None
        try:
            return str(self.ray.get(self.tasks[id]))
        except self.ray.exceptions.RayError as error:
            return _reason(error)

    def cancel(self, ids: Sequence[str]) -> None:
        """Queued tasks go away, others are killed."""
        for id in ids:
            self.ray.cancel(self.tasks[id], force=True)

    def close(self) -> None:
        """Leave the cluster; a cluster of this machine alone ends."""
        self.ray.shutdown()


def _listens(address: str, seconds: float = 10.0) -> None:
    """Raise OSError where nothing listens at HOST:PORT; Ray itself would go on asking for minutes, and say nothing."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ctrl-C and termination are heard as before: Ray would take them over."""
    names = (signal.SIGINT, signal.SIGTERM)
    before = {name: signal.getsignal(name) for name in names}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for name, handler in before.items():
                signal.signal(name, handler)


def _running() -> bool:
    """Whether this machine is part of a cluster."""
    try:
        return import_module("ray._private.services").canonicalize_bootstrap_address("auto") is not None
    except ConnectionError:
        return False


def _reason(error: Exception) -> str:
    """Ray's reason in a line: the first sentence of its message, of an error in the task the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    said = lines[-1] if type(error).__name__.startswith("RayTaskError") else lines[0].partition(". ")[0]
    return printable(said, 200)
