"""Commands in processes forked from one that has imported what they import, which is most of what a short one does.

As a program, it is that process: a line of JSON in is a command to fork and wait for, a line out its exit code.
"""

import atexit
import errno
import functools
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

IMPORTED = (
    "equinox",
    "gymnasium.envs.mujoco",
    "h5py",
    "jax.numpy",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "minari",
    "mpl_toolkits.mplot3d",
    "numpyro.distributions",
    "optax",
    "pydantic",
    "rich.table",
    "safetensors.numpy",
    "typer._adapters",
)
APART = (".__main__", ".antmaze", ".collect", ".fit", ".loaders.pytorch")
"""Ends of names of modules that are programs, or need an extra."""
AT_IMPORT = ("JAX_", "XLA_", "PYTHON", "MPL", "OPENBLAS", "TF_CPP", "MUJOCO")
"""How variables of the environment begin that are read at import: each setting of them has a process of its own."""
KILLED, FULL, FILES = "TEST_KILLED_AT", "TEST_FULL_AT", "TEST_FILES_OF"
BLANK, NO_PICTURES = "TEST_BLANK_PICTURES", "TEST_NO_PICTURES"
"""Variables for a command: FOLDER:N, the change of files below a folder at which it is killed, or from which on there
is no room on the disk; the most bytes of a file; that pictures are made, and their files written, but not drawn; and
that a flow ends without its pictures."""
IN_PLACE = "r+"
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")


def forked(arguments: list[str], env: Mapping[str, str], cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    early = tuple(sorted((name, value) for name, value in env.items() if name.startswith(AT_IMPORT)))
    parent = _parent(early)
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/out", f"{folder}/err"]
        request = {"arguments": arguments, "env": dict(env), "cwd": cwd or os.getcwd(), "paths": paths}
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(json.dumps(request) + "\n")
        parent.stdin.flush()
        code = int(parent.stdout.readline())
        out, err = (Path(path).read_text(encoding="utf-8") for path in paths)
    return subprocess.CompletedProcess(arguments, code, out, err)


@functools.cache
def _parent(early: tuple[tuple[str, str], ...]) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(AT_IMPORT)} | dict(early)
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    )
    atexit.register(process.kill)
    return process


def _serve() -> None:
    import pogospec
    from pogospec import registry

    own = (module.name for module in pkgutil.walk_packages(pogospec.__path__, "pogospec."))
    for name in (*IMPORTED, *own):
        if not name.endswith(APART):
            importlib.import_module(name)
    registry.third_party()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    answers = os.dup(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.close(answers)
            _become(**json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def changes(folder: str | Path, event: str, details) -> bool:
    """Whether an event is a change of files below a folder."""
    writes = event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR) and details[1] != IN_PLACE
    return bool(writes or event in CHANGES) and str(details[0]).startswith(str(folder))


def _hook(folder: str, number: int, then) -> None:
    """Call something before the change of files below a folder that has a number, and before all later ones."""
    count = 0

    def look(event, details):
        nonlocal count
        if changes(folder, event, details):
            count += 1
            if count >= number:
                then(event)

    sys.addaudithook(look)


def full(event: str) -> None:
    """What a disk without room says to a change of files."""
    if event == "open" or event == "os.mkdir":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _refused(*_):
    raise importlib.import_module("pogospec.errors").UsageError("no pictures")


def _trouble(env: dict[str, str]) -> None:
    """What a test has in store for a command."""
    for name, then in ((KILLED, lambda _: os.kill(os.getpid(), signal.SIGKILL)), (FULL, full)):
        folder, _, number = env.get(name, "").rpartition(":")
        if folder:
            _hook(folder, int(number), then)
    if BLANK in env:
        importlib.import_module("matplotlib.figure").Figure.savefig = lambda _, path, **__: path.write_bytes(b"")
    if NO_PICTURES in env:
        screen: Any = importlib.import_module("pogospec.report.screen")
        screen.draw_all = _refused
    if FILES in env:
        most = int(env[FILES])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _become(arguments: list[str], env: dict[str, str], cwd: str, paths: list[str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(paths, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["pogospec", *arguments]
    _trouble(env)
    sys.path[0] = ""
    code: object = 0
    try:
        importlib.import_module("pogospec.cli").main()
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))  # an orderly end would visit every object


if __name__ == "__main__":
    _serve()
