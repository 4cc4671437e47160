"""Policy gradient flows for offline reinforcement learning, declared in YAML and compiled to JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pogospec.api import Policy, load_policy, run
    from pogospec.check import load
    from pogospec.compile import compile_spec as compile

__version__ = "0.1.0"

_PUBLIC = {
    "load": "pogospec.check:load",
    "compile": "pogospec.compile:compile_spec",
    "run": "pogospec.api:run",
    "load_policy": "pogospec.api:load_policy",
    "Policy": "pogospec.api:Policy",
}
__all__ = ["Policy", "__version__", "compile", "load", "load_policy", "run"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is asked for, so that importing the package starts nothing."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'pogospec' has no attribute '{name}', allowed {', '.join(_PUBLIC)}")
    from importlib import import_module

    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
