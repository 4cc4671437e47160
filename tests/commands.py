"""The command line, in processes of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from forks import forked

COMMAND = [sys.executable, "-c", "from pogospec.cli import main; main()"]


def pogospec(
    *arguments, check=True, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A command from its beginning to its end; `env`: beside the variables of this process."""
    done = forked([*map(str, arguments)], {**os.environ, **(env or {})}, None if cwd is None else str(cwd))
    if check:
        assert done.returncode == 0, done.stderr
    return done


def started(*arguments, code=COMMAND[2]) -> subprocess.Popen[str]:
    """A command that goes on while the test does; `code`: what Python runs before or instead."""
    # a shell tells background jobs, and so their children, to ignore Ctrl-C; `nohup` the end of the terminal
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    heard += "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    command = [sys.executable, "-c", heard + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def sets(*assignments: str) -> list[str]:
    return [part for assignment in assignments for part in ("--set", assignment)]
