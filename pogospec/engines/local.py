"""The engine of this machine: runs are trained in the process of the command, one program after another."""

from __future__ import annotations

from typing import ClassVar

from pogospec.engines.base import AbstractEngine


class Local(AbstractEngine):
    """What commands do unless they are told otherwise."""

    here: ClassVar[bool] = True
