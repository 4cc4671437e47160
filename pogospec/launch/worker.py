"""What a worker of an engine runs, `python -m pogospec.launch.worker FILE`: it trains the unit of a file to its end.

How that ended is written into the lease of the unit: who submitted it may be gone, or be another process by then.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

from pogospec import terminal
from pogospec.engines.lease import HELD, Keeper
from pogospec.engines.start import ENGINE, JOB
from pogospec.runs import files
from pogospec.runs.versions import python, versions
from pogospec.terminal import say
from pogospec.training import stop

INTERRUPTED = 130


def main(file: Path) -> int:
    """Train a unit; the exit code: 0 where it ended, in failures too, which its lease names."""
    clock = time.monotonic()
    _end_with_parent()
    stop.listen()
    terminal.prepare()
    unit = files.read_json(file)
    here = {"host": socket.gethostname(), "pid": os.getpid(), "engine": os.environ.get(ENGINE, "")}
    progress = _Progress([file.parents[1] / entry["run"] for entry in unit["runs"]], file.with_suffix(".log"))
    about = here | {"job": os.environ.get(JOB, ""), "runs": [entry["run"] for entry in unit["runs"]]}
    keeper = Keeper(file.with_suffix(".lease"), about, progress)
    if not keeper.take():
        say("another worker trains these runs; nothing was done", error=True)
        return HELD
    differ = _different(unit["versions"])
    if differ:
        say(differ, error=True)
        keeper.end("refused", message=differ)
        return 2
    try:
        failures = _train(unit, file)
    except BaseException as error:
        if stop.asked() or isinstance(error, KeyboardInterrupt):
            keeper.end("stopped")
            return INTERRUPTED
        from pogospec.launch.local import message_of

        say(message_of(error), error=True)
        failures = dict.fromkeys(about["runs"], message_of(error))
    keeper.end("ended", failures=failures, seconds=round(time.monotonic() - clock, 1))
    return 0


def _different(wanted: dict[str, str | None]) -> str | None:
    """What to say where versions here are not those of whoever submitted the unit."""
    found = versions() | {"python": python()}
    wrong = [
        f"{name} {found.get(name)} there, {wanted[name]} here" for name in wanted if wanted[name] != found.get(name)
    ]
    if not wrong:
        return None
    return (
        f"versions on {socket.gethostname()} are not those here: {', '.join(wrong)}; install the same on all machines"
    )


def _train(unit: dict[str, Any], file: Path) -> dict[str, str]:
    """Train the runs that are not done; what those that failed said, by run."""
    import jax

    sys.path.append(unit["directory"])  # as the command line allows modules
    from pogospec.modules import allow
    from pogospec.training.batching import a_device_for_each_core

    for module in unit["modules"]:
        allow(module)
    a_device_for_each_core(unit["resources"]["cores"])
    if unit["device"] is not None:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(unit["device"], unit["device"]))
    device = str(jax.devices()[0])
    from pogospec.console import Screen
    from pogospec.launch.states import states
    from pogospec.launch.sweep import run_group
    from pogospec.launch.units import read

    jobs, numbers = read(unit, file.parents[1])
    left = [state.left for state in states(jobs)]
    if not any(left):
        return {}
    jobs = [job for job, some in zip(jobs, left, strict=True) if some]
    numbers = [number for number, some in zip(numbers, left, strict=True) if some]
    failures = run_group(Screen(width=110), jobs, numbers, device)
    return {failure.job.path.name: failure.message for failure in failures}


class _Progress:
    """How far the runs of a unit came, and their updates a second; their logs are to be found beside them."""

    def __init__(self, runs: list[Path], log: Path):
        self.runs, self.log, self.rate = runs, log, 0.0
        self.before: tuple[float, int] | None = None

    def __call__(self) -> dict[str, Any]:
        done = [int(files.read_json(run / "status.json")["update"]) for run in self.runs if self._begun(run)]
        now, total = time.monotonic(), sum(done)
        if self.before is None and done:
            self.before = now, total
        elif self.before is not None and total != self.before[1]:  # a chunk may take longer than a look
            clock, before = self.before
            self.before, self.rate = (now, total), (total - before) / (now - clock)
        return {"updates": done, "rate": round(self.rate, 1)}

    def _begun(self, run: Path) -> bool:
        """Whether a run has a directory, in which its log is linked."""
        if not (run / "manifest.json").is_file():
            return False
        link = run / "log.txt"
        if not os.path.lexists(link):
            os.symlink(os.path.relpath(self.log, run), link)
        return True


def _end_with_parent() -> None:
    """End as soon as the process is gone that started this one, and holds the other end of its standard input."""
    if not stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        return

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(INTERRUPTED)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    _code = main(Path(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)  # what still compiles in a thread would crash an orderly end
