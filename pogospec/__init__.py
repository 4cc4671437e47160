"""Policy gradient flows for offline reinforcement learning, declared in YAML and compiled to JAX."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pogospec.api import (
        Comparison,
        Policy,
        Run,
        Selection,
        compare,
        estimate,
        export,
        load_policy,
        plot,
        render,
        report,
        run,
        select,
        sweep,
        tune,
    )
    from pogospec.checking.check import load
    from pogospec.compiler.compile import compile_spec as compile
    from pogospec.flow import Flow, flow
    from pogospec.report.figures import animate

__version__ = "0.1.0"

_PUBLIC = {
    "load": "pogospec.checking.check:load",
    "compile": "pogospec.compiler.compile:compile_spec",
    "run": "pogospec.api:run",
    "sweep": "pogospec.api:sweep",
    "tune": "pogospec.api:tune",
    "estimate": "pogospec.api:estimate",
    "export": "pogospec.api:export",
    "load_policy": "pogospec.api:load_policy",
    "render": "pogospec.api:render",
    "report": "pogospec.api:report",
    "Policy": "pogospec.api:Policy",
    "Run": "pogospec.api:Run",
    "compare": "pogospec.api:compare",
    "Comparison": "pogospec.api:Comparison",
    "plot": "pogospec.api:plot",
    "select": "pogospec.api:select",
    "Selection": "pogospec.api:Selection",
    "flow": "pogospec.flow:flow",
    "Flow": "pogospec.flow:Flow",
    "animate": "pogospec.report.figures:animate",
}
__all__ = [
    "Comparison", "Flow", "Policy", "Run", "Selection", "__version__", "animate", "compare", "compile", "estimate",
    "export", "flow", "load", "load_policy", "plot", "render", "report", "run", "select", "sweep", "tune",
]  # fmt: skip


class _Package(ModuleType):
    """The package, whose public names stay what they are when a module of the same name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    """Load a public name when it is asked for, so that importing the package starts nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pogospec' has no attribute '{name}', allowed {', '.join(_PUBLIC)}")
    from importlib import import_module

    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
