"""The application, what commands share, and how errors end them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from typer._click.exceptions import ClickException
from typer.core import TyperGroup

from pogospec import __version__, terminal
from pogospec.cli import streams
from pogospec.errors import PogospecError, RunError, UsageError, reason
from pogospec.terminal import say
from pogospec.text import plain
from pogospec.training import hosts, stop

if TYPE_CHECKING:
    from rich.console import Console

    from pogospec.engines.base import AbstractEngine
    from pogospec.spec.resolve import Override

INTERRUPTED = 130
"""Exit code of a command that was interrupted, as shells have it."""


class _Commands(TyperGroup):
    """The commands; what is wrong with the words of a command line is told without the escape codes in them."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """Read the options of the application itself."""
        with _readable():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        """Read the words of a command, and run it."""
        with _readable():
            return super().invoke(ctx)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except ClickException as error:
        error.message = plain(error.message)
        raise


app = typer.Typer(
    cls=_Commands,
    help="Policy gradient flows for offline reinforcement learning, declared in YAML.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; may be repeated.")
]
Seeds = Annotated[
    str | None, typer.Option(metavar="SEEDS", help="How many, or which: 3, or 0,3,7; short for --set seeds=…")
]
Updates = Annotated[int | None, typer.Option(help="Short for --set 'schedule.steps[*].updates=…'")]
Sweep = Annotated[
    list[str] | None,
    typer.Option("--sweep", metavar="PATH=[VALUES]", help="Run every one of these values; may be repeated: a grid."),
]
Device = Annotated[Literal["cpu", "gpu", "tpu"] | None, typer.Option(help="Where to compute; default: what JAX finds.")]
Track = Annotated[
    str | None,
    typer.Option(metavar="NAME,…", help="Log to these: tensorboard, wandb, mlflow, trackio; or none."),
]
On = Annotated[
    str | None,
    typer.Option(
        metavar="ENGINE[:ADDRESS]",
        help="What trains the runs: local (this process, the default), ray[:HOST:PORT] or slurm[:PARTITION]. "
        "Workers see the same folders.",
    ),
]
Hosts = Annotated[
    str | None,
    typer.Option(
        metavar="auto|ADDRESS:PORT,COUNT,INDEX",
        help="Share the runs with other processes that are given the same command (train.batch_runs: shard or auto).",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the run directory and errors only.")]
Run = Annotated[Path, typer.Argument(help="A run directory.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-module",
        metavar="MODULE",
        help="Let data, runs and targets name code of this module, such as environments that it registers; it may be "
        "in the working directory.",
    ),
]


def main() -> None:
    """Run the command line; errors of the user or the run become one message and an exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MUJOCO_GL", "egl")
    stop.listen()
    heard = streams.listen()
    terminal.prepare()
    try:
        code = _run() or streams.close(heard)
    except Exception:
        if hosts.count() == 1:
            raise
        traceback.print_exc()
        code = RunError.exit_code
    hosts.leave(code)
    sys.exit(code)


def _run() -> int:
    """Run a command; its exit code."""
    try:
        app(_with_sources(sys.argv[1:]))
    except PogospecError as error:
        say(error, error=True)
        return error.exit_code
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            _leave()
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        _leave()
    except OSError as error:
        if stop.asked():
            _leave()
        say(reason(error), error=True)
        return RunError.exit_code
    except Exception:  # an interrupt inside a library may come out as another error
        if not stop.asked():
            raise
        _leave()
    return 0


def _with_sources(arguments: list[str]) -> list[str]:
    """`--published` alone means all sources; the parser knows no option whose value may be left out."""
    if "--published" in arguments:
        after = arguments.index("--published") + 1
        name = arguments[after] if after < len(arguments) else "-"
        if name.startswith("-") or os.path.exists(name):
            return [*arguments[:after], "all", *arguments[after:]]
    return arguments


def _leave() -> NoReturn:
    """End an interrupted command at once: what still compiles in a thread would crash an orderly end."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def overrides(
    dataset: str | None, seeds: str | int | None, updates: int | None, assignments: list[str] | None
) -> list[Override]:
    """Overrides of the command line, shorthands first; raises SpecError."""
    from pogospec.spec.resolve import parse_set

    quoted = None if dataset is None else json.dumps(dataset)
    shorthands = [
        ("data.dataset", quoted, "--dataset"),
        ("seeds", None if seeds is None else f"[{seeds}]" if "," in str(seeds) else seeds, "--seeds"),
        ("schedule.steps[*].updates", updates, "--updates"),
    ]
    given: list[Override] = [(path, str(value), flag) for path, value, flag in shorthands if value is not None]
    return given + [parse_set(text) for text in assignments or []]


def swept(assignments: list[str] | None) -> list[Override]:
    """Paths and lists of values that the command line sweeps; raises SpecError."""
    from pogospec.spec.resolve import parse_set

    pairs = [parse_set(text, "--sweep", "[1,2,4]") for text in assignments or []]
    return [(path, values, f"--sweep {path}") for path, values in pairs]


def allow_modules(modules: list[str] | None) -> None:
    """Let specs and data of this process name code of these modules; raises UsageError for what is no module."""
    if not modules:
        return
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")) or module.endswith(".py"):
            allowed = "the dotted name of a module, for example my_models"
            raise UsageError(f"--allow-module: found '{module}', allowed {allowed}")
    from pogospec.modules import allow

    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # at the end, so that nothing here stands in for an installed package
    for module in modules:
        allow(module)


def use_all_cores() -> None:
    """Let JAX see each core as a device; before anything computes, which reading a spec may do."""
    from pogospec.training.batching import a_device_for_each_core

    a_device_for_each_core()


def find_device(name: str | None) -> str:
    """Name of the device to compute on; raises UsageError where JAX has none of the kind."""
    import jax

    if name is not None:
        jax.config.update("jax_platforms", {"gpu": "cuda"}.get(name, name))
    try:
        return str(jax.local_devices()[0])
    except (RuntimeError, AssertionError):  # JAX asserts where a CUDA plugin is not installed
        from pogospec.accelerators import seen

        asked = name or os.environ.get("JAX_PLATFORMS")
        here = [one for one in seen() if one.platform == name]
        then = f"{here[0].name} is here: {here[0].remedy}" if here else "leave --device out"
        raise UsageError(f"--device: found '{asked}', but JAX sees no such device here; {then}") from None


def find_engine(name: str | None) -> AbstractEngine | None:
    """The engine that trains runs; None where this process does. Raises UsageError."""
    if name is None:
        return None
    from pogospec.engines.base import engine_of

    found = engine_of(name)
    return None if found.here else found


def make_console(quiet: bool = False) -> Console:
    """The console to print on; wide enough for tables where it is no terminal."""
    from pogospec.console import Screen

    return Screen(quiet=quiet, width=None if sys.stdout.isatty() else 110)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"pogospec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
