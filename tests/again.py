"""Commands run again and again in this process, each program traced once, and ended at any change of their files.

What a killed process leaves on the disk is what is there as it would make its next change. So a copy of the folder is
taken at that moment, an exception ends the command, and the copy takes the place of whatever it did on its way out.
"""

import contextlib
import io
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import jax
import pytest
from forks import changes, full

import pogospec.explain
from pogospec.cli import app
from pogospec.errors import PogospecError, RunError, reason
from pogospec.runs.directory import RunDirectory
from pogospec.spec.build import digest
from pogospec.training import cells, programs
from pogospec.training.batching import Batching


class Killed(BaseException):
    """What no code of the package may catch: the process is gone."""


class _Heard:
    """What looks at the changes of files; hooks cannot be taken away, so that one stands for all."""

    look: Callable[[str, Any], None] | None = None
    hooked = False

    @classmethod
    @contextlib.contextmanager
    def by(cls, look: Callable[[str, Any], None]) -> Iterator[None]:
        if not cls.hooked:
            sys.addaudithook(lambda event, details: None if cls.look is None else cls.look(event, details))
            cls.hooked = True
        cls.look = look
        try:
            yield
        finally:
            cls.look = None


def told(*arguments: Any) -> tuple[str, int]:
    """What a command says of its errors, and its exit code; anything else than a message is raised."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            app([*map(str, arguments)], standalone_mode=False)
    except PogospecError as error:
        return str(error), error.exit_code
    except OSError as error:
        return reason(error), RunError.exit_code
    except SystemExit as ended:
        return err.getvalue(), int(ended.code or 0)
    return err.getvalue(), 0


def done(*arguments: Any) -> None:
    """Run a command that ends well."""
    message, code = told(*arguments)
    assert code == 0, message


def killed(folder: Path, number: int, *arguments: Any) -> bool:
    """Whether a command was killed at the change of a folder that has this number, or else ended well before it."""
    copy, count = folder.with_name(f"as-left-{folder.name}"), 0

    def look(event, details):
        nonlocal count
        if not changes(folder, event, details):
            return
        count += 1
        if count == number and folder.exists():
            _Heard.look = None
            shutil.copytree(folder, copy)
            _Heard.look = look
        if count >= number:
            raise Killed

    try:
        with _Heard.by(look):
            done(*arguments)
    except Killed:
        shutil.rmtree(folder, ignore_errors=True)
        if copy.exists():
            copy.rename(folder)
        return True
    assert count < number
    return False


@contextlib.contextmanager
def interrupted_after(checkpoints: int) -> Iterator[None]:
    """A place where a run is interrupted, as by Ctrl-C, once it has written so many checkpoints."""
    save, written = RunDirectory.save_checkpoint, []

    def stopping(run: RunDirectory, *arguments: Any) -> None:
        save(run, *arguments)
        written.append(run)
        if len(written) == checkpoints:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "save_checkpoint", stopping)
        with pytest.raises(KeyboardInterrupt):
            yield


def without_room(folder: Path, number: int, *arguments: Any) -> tuple[str, int]:
    """What a command tells where there is no room from the change of a folder that has this number on."""
    count = 0

    def look(event, details):
        nonlocal count
        count += changes(folder, event, details)
        if count >= number and changes(folder, event, details):
            full(event)

    with _Heard.by(look):
        return told(*arguments)


@contextlib.contextmanager
def traced_once() -> Iterator[None]:
    """Programs of specs that are the same are the same functions, which JAX traces and compiles once."""
    real, chunk, lay = cells.compile_spec, programs.chunk_function, Batching.jit
    require, made = pogospec.explain.require_memory, {}

    def kept(key, make):
        if key not in made:
            made[key] = make()
        return made[key]

    def compiled(spec, space):
        return kept(("program", digest(spec), space), lambda: real(spec, space))

    def place(batching):
        return batching.kind, batching.runs, len(batching.devices)

    def jit(batching, function, axes, donate=()):
        key = "jitted", place(batching), function, axes, donate  # which keeps the function, and so its identity
        return kept(key, lambda: lay(batching, function, axes, donate))

    def chunked(stage, size, axis, batching, donate):
        key = "chunk", place(batching), stage.update, size, axis, donate
        return kept(key, lambda: chunk(stage, size, axis, batching, donate))

    def required(specs, *more):
        return kept(("memory", *map(digest, specs)), lambda: require(specs, *more))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "compile_spec", compiled)
        patch.setattr(programs, "chunk_function", chunked)
        patch.setattr(Batching, "jit", jit)
        patch.setattr(jax, "clear_caches", lambda: None)  # as suites do between runs
        patch.setattr(pogospec.explain, "require_memory", required)
        patch.setattr("matplotlib.figure.Figure.savefig", lambda _, path, **__: Path(path).write_bytes(b""))
        yield
