"""Rollouts: which action is taken, and in which environment."""

from __future__ import annotations

from pogospec.checking.base import Problems, policy_kind
from pogospec.spec.schema import Spec
from pogospec.spec.yaml import show


def evaluation_rules(spec: Spec) -> Problems:
    """What cannot be rolled out."""
    if spec.evaluate.action == "sample" and not spec.policy.has_density:
        yield (
            "evaluate.action",
            f"found 'sample', allowed mean, since a {policy_kind(spec.policy)} policy has one action",
        )
    if spec.data.environment is not None and ":" in spec.data.environment:
        yield "data.environment", f"found {show(spec.data.environment)}, allowed the id alone: a spec imports no module"
