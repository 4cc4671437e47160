"""Environments as data name them: a Gymnasium id, and as JSON behind it what its own settings are not.

    AntMaze_UMaze-v4 {"maze_map": [[1, 1, 1], ["r", 0, "g"], [1, 1, 1]], "observe": ["observation"]}

The JSON holds arguments of the environment, among them `max_episode_steps`, its time limit. `observe` are the entries
of Dict observations that are observed, `wrappers` pairs of `module:Class` and arguments, the innermost first.

An AntMaze is played as D4RL plays it, whatever its data say: the reward is 1 at the goal and 0 elsewhere, and the
episode ends there, so that its return is whether the goal was reached.
"""

from __future__ import annotations

import contextlib
import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pogospec.data.gym import quiet
from pogospec.data.tasks.goals import entries
from pogospec.data.tasks.guard import guarded, reason
from pogospec.data.tasks.wrappers import wrapped
from pogospec.errors import NotInstalled, PogospecError, TaskError
from pogospec.modules import allowed, foreign
from pogospec.registry import nearest

OURS, OGBENCH, SINGLE = "pogospec/D4RL_AntMaze_", "pogospec/OGBench_", "-singletask"
"""Beginnings of ids of D4RL's AntMaze and of OGBench's tasks as they are played here; what all of the latter have."""
ARM = "pogospec/TwoLinkArm-v0"
ROBOTICS = ("AntMaze_", "PointMaze_", "Adroit", "Fetch", "Hand", "FrankaKitchen", OURS)
"""Beginnings of ids that gymnasium-robotics provides."""
PLAYED: dict[str, Any] = {"continuing_task": False, "reward_type": "sparse"}
LIMITS = {"UMaze": 700, "Medium": 1000, "Large": 1000}
"""Maze of D4RL -> steps of an episode."""
LIMIT, ARM_LIMIT = "max_episode_steps", 40
Wrapped = tuple[str, dict[str, Any] | None]
"""A wrapper, `module:Class`, and its arguments, None where they are not known."""


class Task(NamedTuple):
    """An id, what to make it with, the entries that are observed of Dict observations (None: by default), wrappers."""

    id: str
    arguments: dict[str, Any]
    observe: tuple[str, ...] | None = None
    wrappers: tuple[Wrapped, ...] = ()

    def __str__(self) -> str:
        more = self.arguments | ({} if self.observe is None else {"observe": list(self.observe)})
        more |= {"wrappers": [list(pair) for pair in self.wrappers]} if self.wrappers else {}
        return f"{self.id} {json.dumps(more)}" if more else self.id


def task_of(environment: str) -> Task:
    """The task that a text names; raises TaskError for one that is not written as a task is."""
    name, _, text = environment.partition(" {")
    try:
        arguments = json.loads("{" + text) if text else {}
        observe, wrappers = arguments.pop("observe", None), arguments.pop("wrappers", ())
        pairs = tuple((str(place), None if more is None else dict(more)) for place, more in wrappers)
        return Task(name, arguments, None if observe is None else tuple(map(str, observe)), pairs)
    except (ValueError, TypeError, RecursionError):
        raise TaskError(
            f"found the environment '{environment[:200]}', allowed a Gymnasium id, or one with a JSON mapping behind it"
        ) from None


def replaced(
    own: str | None, environment: str | None, arguments: dict[str, Any] | None, limit: int | None
) -> str | None:
    """The task of data that are evaluated otherwise; what is None stays as it is.

    Another environment comes without arguments, time limit and wrappers of the data's; the same is observed of it.
    Raises TaskError for arguments or a limit of no environment.
    """
    if environment is None and arguments is None and limit is None:
        return own
    before = None if own is None else task_of(own)
    if environment is not None and environment != own:
        task = task_of(environment)
        task = task._replace(observe=task.observe if before is None else before.observe)
    elif before is not None:
        task = before
    else:
        key = "data.arguments" if arguments is not None else f"data.{LIMIT}"
        raise TaskError(f"{key}: the data name no environment; set data.environment too, or leave {key} out")
    if arguments is not None:
        before_limit = {key: value for key, value in task.arguments.items() if key == LIMIT}
        task = task._replace(arguments=before_limit | arguments)
    return str(task if limit is None else task._replace(arguments=task.arguments | {LIMIT: limit}))


def is_antmaze(environment: str | None) -> bool:
    """Whether this is an AntMaze, of gymnasium-robotics or as D4RL has it."""
    return environment is not None and environment.startswith(("AntMaze_", OURS))


def is_success(environment: str | None) -> bool:
    """Whether the return of an episode here is whether it succeeds."""
    return is_antmaze(environment) or environment is not None and environment.startswith(OGBENCH)


def make(environment: str, pixels: int | None = None) -> Any:
    """An environment with flat observations, which does not reset by itself; raises TaskError where it cannot be made.

    A module is imported for it only where the user has allowed that module, whoever names it. `pixels`: it draws
    pictures, so wide and high where it lets itself be told, for those who look.
    """
    task = task_of(environment)
    refuse_code(task)
    arguments = task.arguments | (PLAYED if task.id.startswith("AntMaze_") else {})
    arguments.pop("render_mode", None)
    with guarded(task.id, "made"):
        if pixels is None:
            return _made(task, arguments)
        arguments |= {"render_mode": "rgb_array"}
        try:
            return _made(task, arguments | {"width": pixels, "height": pixels})
        except NotInstalled:
            raise
        except TaskError:
            return _made(task, arguments)


def time_limit(environment: str) -> int | None:
    """Steps after which an environment cuts an episode; None where it does not, or is not known here."""
    import gymnasium

    try:
        task = task_of(environment)
        if LIMIT in task.arguments:
            return task.arguments[LIMIT]
        refuse_code(task)
        with quiet():
            _register(task.id)
            return gymnasium.spec(task.id).max_episode_steps
    except (PogospecError, gymnasium.error.Error, ImportError):
        return None


def refuse_code(task: Task) -> None:
    """Raise TaskError for a task that names code of a module which is not allowed."""
    arguments = [more for _, more in task.wrappers]
    named = foreign(task.id) or (":" in task.id and task.id.partition(":")[0] not in allowed() and task.id)
    named = named or foreign(task.arguments) or foreign(arguments)
    if named:
        raise TaskError(
            f"the environment '{task.id}' names code, '{named}', whose module is not allowed; if you trust it, add "
            "--allow-module with its name, else name another environment in data.environment"
        )


def _made(task: Task, arguments: dict[str, Any]) -> Any:
    import gymnasium

    try:
        _register(task.id)
        made = gymnasium.make(task.id, **arguments)
    except gymnasium.error.UnregisteredEnv:
        close = nearest(task.id, gymnasium.registry)
        hint = f"did you mean {close}? Else " if close else ""
        raise TaskError(
            f"the environment '{task.id}' cannot be made: Gymnasium knows none of this id; {hint}allow the module that "
            "registers it with --allow-module, or name another one in data.environment"
        ) from None
    except gymnasium.error.DeprecatedEnv as error:
        raise TaskError(
            f"the environment '{task.id}' cannot be made ({reason(error)}); name the newer one in data.environment"
        ) from None
    except (gymnasium.error.Error, ImportError) as error:
        kind = NotInstalled if isinstance(error, gymnasium.error.DependencyNotInstalled) else TaskError
        raise kind(
            f"the environment '{task.id}' cannot be made ({reason(error)}); install the package that provides it "
            '(MuJoCo tasks: pip install "gymnasium[mujoco]"), allow the module that registers it with --allow-module, '
            "or name another one in data.environment"
        ) from None
    except PogospecError:
        raise
    except Exception as error:
        given = f" with {json.dumps(task.arguments)}" if task.arguments else ""
        raise TaskError(
            f"the environment '{task.id}' cannot be made{given} ({reason(error)}); mend it, give what it wants in "
            "data.arguments, or name another one in data.environment"
        ) from error
    for place, more in task.wrappers:
        made = wrapped(made, place, more)
    return _flat(made, task)


def _register(name: str) -> None:
    """Tell Gymnasium of tasks that it does not know: of modules that are allowed, of other packages, of ours.

    Raises NotInstalled where the package of the task is missing.
    """
    import gymnasium

    if name == ARM and name not in gymnasium.registry:
        gymnasium.register(ARM, "pogospec.data.tasks.arm:TwoLinkArm", max_episode_steps=ARM_LIMIT)
    if name in gymnasium.registry:
        return
    for module in allowed():
        import_module(module)
    if SINGLE in name and name not in gymnasium.registry:
        _register_ogbench(name)
    if not name.startswith(ROBOTICS) or name in gymnasium.registry:
        return
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it tells of tasks that are not asked for
            import gymnasium_robotics
    except ImportError:
        raise NotInstalled(
            f"the environment '{name}' is one of gymnasium-robotics, which is not installed; "
            'pip install "pogospec[robotics]"'
        ) from None
    gymnasium.register_envs(gymnasium_robotics)
    for maze, steps in LIMITS.items():
        arguments = {"maze": maze}
        gymnasium.register(
            f"{OURS}{maze}-v2", "pogospec.data.tasks.antmaze:make", max_episode_steps=steps, kwargs=arguments
        )


def _register_ogbench(name: str) -> None:
    """Tell Gymnasium of OGBench's tasks that observe states, and of each as it is scored under a name of ours."""
    import gymnasium

    try:
        import ogbench  # noqa: F401
    except ImportError as error:
        raise NotInstalled(
            f"the environment '{name}' is one of OGBench, which cannot be imported ({reason(error)}); "
            'pip install "pogospec[ogbench]"'
        ) from None
    for own, spec in list(gymnasium.registry.items()):
        if SINGLE in own and not own.startswith(("visual-", OGBENCH)):
            given = {"max_episode_steps": spec.max_episode_steps, "kwargs": {"name": own}}
            gymnasium.register(f"{OGBENCH}{own}", "pogospec.data.tasks.ogbench:make", **given)


def _flat(made: Any, task: Task) -> Any:
    """The environment with the chosen entries of its observations in one array, where they are a Dict."""
    import numpy as np
    from gymnasium.spaces import Box, Dict
    from gymnasium.wrappers import TransformObservation

    if is_antmaze(task.id):  # the model is read, and gymnasium-robotics leaves a file of it for each environment
        Path(made.unwrapped.tmp_xml_file_path).unlink(missing_ok=True)
    if not isinstance(made.observation_space, Dict):
        return made
    sizes = entries(made.observation_space, task.observe)
    box = Box(-np.inf, np.inf, (sum(sizes.values()),), np.float64)
    return TransformObservation(made, lambda found: np.concatenate([found[name] for name in sizes]), box)
