"""What an engine runs on the machine of a worker: a process that trains a unit. Nothing but the standard library.

Ray ships this module by value, so that a machine without the package says so in one message.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

STOPPING = 60.0
"""Seconds that a worker has to write down that it was stopped."""
ENGINE, JOB = "POGOSPEC_ENGINE", "POGOSPEC_JOB"
"""Variables that tell a worker which engine runs it, and as what."""


class Worker:
    """A process that trains the unit of a file; it ends when this process does."""

    def __init__(self, file: str, engine: str, job: str):
        with open(file, encoding="utf-8") as text:
            unit = json.load(text)
        own = {ENGINE: engine, JOB: job, "NPROC": str(unit["resources"]["cores"])}
        if 0 < unit["resources"]["gpus"] < 1:
            own["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * unit['resources']['gpus']:.2f}"
        command = [sys.executable, "-m", "pogospec.launch.worker", file]
        self.log = file.removesuffix(".json") + ".log"
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {socket.gethostname()} {engine} {job}\n")
            log.flush()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # whose end tells the worker that this process is gone
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **unit["environment"], **own},
                cwd=unit["directory"] if os.path.isdir(unit["directory"]) else None,
            )

    def wait(self) -> int:
        """Its exit code, negative where a signal ended it."""
        try:
            return self.process.wait()
        except BaseException:
            self.process.kill()
            raise

    def stop(self) -> None:
        """Let it write down that it was stopped; it goes on from its newest checkpoint wherever it is begun again."""
        pid, end = self.process.pid, time.monotonic() + STOPPING
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):  # it was waited for already
            # Popen.wait would wait for its own lock, since whoever calls this interrupted it
            while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                if time.monotonic() > end:
                    self.process.kill()
                time.sleep(0.05)


def words(code: int) -> str:
    """What an exit code says."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def train(file: str, engine: str, job: str) -> str:
    """Train the unit of a file in a process of its own; how that ended."""
    return f"{words(Worker(file, engine, job).wait())} on {socket.gethostname()}"
