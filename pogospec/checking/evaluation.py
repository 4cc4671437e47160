"""Rollouts: which action is taken, and in which environment."""

from __future__ import annotations

from pogospec.checking.base import Problems, policy_kind
from pogospec.modules import allowed, foreign, module_of
from pogospec.spec.schema import Spec
from pogospec.spec.yaml import show


def evaluation_rules(spec: Spec) -> Problems:
    """What cannot be rolled out, and seeds that are named twice."""
    named = () if isinstance(spec.seeds, int) else spec.seed_numbers
    twice = [seed for seed, following in zip(named, named[1:], strict=False) if seed == following]
    if twice:
        yield "seeds", f"found {twice[0]} twice; keep one"
    if spec.evaluate.action == "sample" and "sample" not in spec.policy.looks:
        yield (
            "evaluate.action",
            f"found 'sample', allowed mean, since a {policy_kind(spec.policy)} policy has one action",
        )
    name = spec.data.environment
    if name is not None and (" {" in name or (":" in name and module_of(name) not in allowed())):
        yield (
            "data.environment",
            f"found {show(name)}, allowed the id alone: a spec imports no module, which --allow-module lets register "
            "environments, and arguments stand in data.arguments",
        )
    code = foreign(spec.data.arguments)
    if code is not None:
        allowed_here = "allowed plain data, or code of a module that --allow-module names"
        yield "data.arguments", f"found {show(code)}, which names code; {allowed_here}"
