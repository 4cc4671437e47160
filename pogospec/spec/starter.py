"""A commented spec to start from: its own words, and the registry's for what else may stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pogospec.errors import UsageError
from pogospec.registry import table
from pogospec.spec.annotations import fields_of
from pogospec.spec.catalog import doc_of
from pogospec.spec.json_schema import MODELINE
from pogospec.spec.schema import EvaluateSpec, Spec, StepSpec, TrainSpec
from pogospec.spec.yaml import read_file, read_tree, scalar

TEXT = """\
{modeline}
# A policy gradient flow: implicit Euler steps of size tau, each from a reference policy,
#     policy = argmin E_s[energy(policy) + D(policy, reference)/tau],   D half the squared distance of the geometry.
# Sized to run in under a minute; `pogospec list kinds SLOT` shows the keys of every kind.
name: {name}
about: Two small Fisher-Rao steps from the fitted behaviour policy.

# {data}
# For a flow on a known energy, `target` stands in the place of data and critic, and the flow begins at `start`:
# pogospec new FILE --from flows/quadratic_w2; kinds of target: {target_kinds}
data:
  dataset: pocket/reacher-mixed       # `pogospec list datasets` shows what is at hand

# {policy}; kinds: {policy_kinds}
policy: {{kind: gaussian, hidden: [64, 64]}}

# {energy}; kinds: {energy_kinds}
energy:
  q: {{critics: first, actions: mean, scale: batch}}    # -E[Q], divided by mean |Q| of the batch
  entropy: {{weight: 1.0e-2}}                           # -weight * H(policy)

# {geometry}; kinds: {geometry_kinds}
geometry: fisher_rao

# {critic}; kinds: {critic_kinds}
critic: {{kind: clipped_double_q, hidden: [64, 64], discount: 0.99}}

# {schedule}; keys of a step: {step_keys}
# kinds of gradient: {gradient_kinds}; of scheme: {scheme_kinds}; of tau, which may also be a number > 0: {tau_kinds};
# of until and repeat_until, which end a step or its repetitions: {until_kinds};
# of judge, which decides by data.holdout whether a step is taken: {judge_kinds}
schedule:
  defaults: {{tau: 20.0, gradient: natural}}
  steps:
    - {{from: behavior, learn: [critic, behavior, policy], updates: 8_000, actor_every: 2}}
    - {{from: previous, learn: [policy], updates: 4_000}}    # re-centred at step 1, critic frozen

# {optimizer}; kinds: {optimizer_kinds}
optimizer: {{kind: adam, learning_rate: 1.0e-3}}

# the training loop; keys: {train_keys}
train: {{batch_size: 256}}

# {evaluate}; keys: {evaluate_keys}
evaluate: {{every: 4_000, episodes: 5}}

# {seeds}
seeds: 1
"""


def starter(name: str = "flow") -> str:
    """A whole commented spec, small enough to run in under a minute on an embedded set."""
    docs = {key: doc_of(annotation) for key, (annotation, _) in fields_of(Spec).items()}
    slots = ("policy", "energy", "geometry", "critic", "gradient", "scheme", "tau", "until", "judge", "target")
    kinds = {f"{slot}_kinds": ", ".join(table(slot)) for slot in (*slots, "optimizer")}
    classes = {"step": StepSpec, "train": TrainSpec, "evaluate": EvaluateSpec}
    keys = {f"{word}_keys": ", ".join(fields_of(cls)) for word, cls in classes.items()}
    # a file's name may look like a number, or hold what means something in YAML
    plain = re.fullmatch(r"[A-Za-z_][\w-]*", name) and isinstance(scalar(name), str)
    quoted = name if plain else json.dumps(name, ensure_ascii=False)
    text = TEXT.format(modeline=MODELINE, **docs | kinds | keys | {"name": quoted})
    return "\n".join(part for line in text.splitlines() for part in wrap(line)) + "\n"


def wrap(line: str, width: int = 116) -> list[str]:
    """Break a long comment at its spaces."""
    if not line.startswith("# ") or len(line) <= width:
        return [line]
    cut = line.rfind(" ", 0, width)
    return [line[:cut], *wrap("#   " + line[cut + 1 :], width)]


def copies(path: Path, name: str) -> dict[str, str]:
    """Copy a spec: its text with the editor's first line under `name`, and the files it extends under theirs.

    Raises SpecError where a file is no YAML, and UsageError where a base cannot stand beside the copy.
    """
    text = read_file(path)
    found = {name: text if MODELINE in text else f"{MODELINE}\n{text}"}
    while (base := read_tree(path).value.get("extends")) is not None:
        if isinstance(base.value, str) and not Path(base.value).suffix:
            break  # a shipped spec, found by its name from everywhere
        if not isinstance(base.value, str) or Path(base.value).name != base.value or base.value in found:
            raise UsageError(f"{path} extends '{base.value}', which cannot be copied beside it; allowed another file")
        path = path.parent / base.value
        found[base.value] = read_file(path)
    return found
