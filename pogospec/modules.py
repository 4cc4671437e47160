"""Modules of the user's own that this process may import: what specs and data name is imported only if allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_allowed: set[str] = set()
CODE = re.compile(r"\s*([A-Za-z_][\w.]*)\s*:\s*[A-Za-z_][\w./-]*\s*")
"""`module:name`, as entry points and the ids of environments name code."""
CODE_KEYS = frozenset(("entry_point", "_target_", "py/object", "py/reduce", "py/type", "py/function"))
"""Keys under which libraries name what they import."""


def allow(module: str) -> None:
    """Let specs and data of this process name things of a module; the module alone, not those under it."""
    _allowed.add(module)


@contextmanager
def allowing(*modules: str) -> Iterator[None]:
    """Let specs and data name things of these modules inside the context only."""
    before = set(_allowed)
    _allowed.update(modules)
    try:
        yield
    finally:
        _allowed.clear()
        _allowed.update(before)


def allowed() -> list[str]:
    """The modules that are allowed, by name."""
    return sorted(_allowed)


def foreign(value: Any) -> str | None:
    """The first text in plain data that names code of a module which is not allowed; None where there is none."""
    if isinstance(value, dict):
        named = next((f"{key}: {value[key]}" for key in value if key in CODE_KEYS and not _trusted(value[key])), None)
        return named or foreign([*value, *value.values()])
    if isinstance(value, (list, tuple)):
        return next((found for item in value if (found := foreign(item)) is not None), None)
    return value if isinstance(value, str) and CODE.fullmatch(value) and not _trusted(value) else None


def module_of(text: str) -> str:
    """The module that a text such as `module:name` or `module.name` begins with."""
    return text.partition(":")[0].strip() if ":" in text else text.rpartition(".")[0].strip()


def _trusted(value: Any) -> bool:
    return isinstance(value, str) and module_of(value) in _allowed
