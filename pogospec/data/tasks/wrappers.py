"""Wrappers that data put around their environment: Gymnasium's own, which change the task and nothing else."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from pogospec.errors import TaskError
from pogospec.modules import allowed, module_of

OWN = "gymnasium.wrappers"
KNOWN = frozenset(
    (
        "AtariPreprocessing", "ClipAction", "ClipReward", "DelayObservation", "DtypeObservation", "FilterObservation",
        "FlattenObservation", "FrameStackObservation", "GrayscaleObservation", "MaxAndSkipObservation",
        "NormalizeObservation", "NormalizeReward", "RecordEpisodeStatistics", "RepeatAction", "RescaleAction",
        "RescaleObservation", "ReshapeObservation", "ResizeObservation", "StickyAction", "TimeAwareObservation",
        "TimeLimit",
    )
)  # fmt: skip
"""Wrappers that import nothing and write nothing, whatever their arguments."""


def wrapped(made: Any, place: str, arguments: dict[str, Any] | None) -> Any:
    """An environment in a wrapper `module:Class`; raises TaskError for one that is neither known nor allowed."""
    module, _, name = place.partition(":")
    if arguments is None:
        raise TaskError(
            f"the data wrap their environment in {place}, whose arguments they do not state; name an environment "
            "without it in data.environment"
        )
    if (module == OWN or module.startswith(f"{OWN}.")) and name in KNOWN:
        import gymnasium

        return getattr(gymnasium.wrappers, name)(made, **arguments)
    if module_of(place) not in allowed():
        raise TaskError(
            f"the data wrap their environment in {place}, whose module is not allowed; if you trust it, add "
            f"--allow-module {module}, else name an environment without it in data.environment"
        )
    return getattr(import_module(module), name)(made, **arguments)
