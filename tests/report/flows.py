"""Flows on known energies: hand-made run directories, and what pictures of them hold."""

import closed_forms
import jax
import numpy as np

from pogospec.checking.check import checked
from pogospec.data.known import known as known_data
from pogospec.report.reading.known_energy import Known
from pogospec.runs.directory import RunDirectory
from pogospec.runs.saved import SavedPolicy
from pogospec.spec.build import digest, dump
from pogospec.spec.resolve import read_text
from pogospec.types import Normalizer

SPEC = {
    "target": "{kind: quadratic, center: [0.8], curvature: [2.0]}",
    "start": "{mean: -0.6, std: 0.3}",
    "policy": "gaussian",
    "energy": "{q: {actions: quadrature}, entropy: {weight: 0.5}}",
    "geometry": "wasserstein2",
    "schedule": "{steps: [{tau: 0.4, repeat: 3, updates: 500}]}",
    "optimizer": "{kind: adam, learning_rate: 0.05, decay: cosine}",
    "train": "{precision: float64}",
}
M, A, HEAT, TAU, MEAN, STD = 0.8, 2.0, 0.5, 0.4, -0.6, 0.3


def spec_of(**changes):
    return checked(read_text("\n".join(f"{key}: {text}" for key, text in (SPEC | changes).items())))


def by_hand(path, seeds=1, name="flow", done=True, rows=(), **changes):
    """A run directory of a spec, without policies; rows: (seed, stage, update, total, time, accepted, numbers)."""
    spec = spec_of(**changes)
    manifest = {
        "name": name, "digest": digest(spec), "dataset": spec.data.dataset, "data_sha256": digest(spec.target),
        "environment": None, "reference": None, "seeds": seeds, "episodes": 10, "action": "mean",
        "evaluation_seed": 1000, "versions": {"mujoco": "4.0.0", "gymnasium": "1.4.0", "jax": "0.10.2"},
    }  # fmt: skip
    run = RunDirectory.create(path, dump(spec), manifest, ["q", "entropy"])
    for seed, stage, update, total, time, accepted, numbers in rows:
        run.append_flow(seed, stage, update, total, time, accepted, numbers)
    run.status("done" if done else "running")
    return run


def steps(seeds, *energies, tau=0.5):
    """Rows of a flow whose energies [steps + 1][seeds] are these; KL is twice the energy."""
    rows = []
    for k, values in enumerate(energies):
        for seed in range(seeds):
            numbers = {"energy": float(values[seed]), "kl_optimum": 2.0 * values[seed], "tau": tau, "entropy": 1.0}
            if k + 1 < len(energies):
                rows.append((seed, f"step {k + 1}", 0, 10 * k, tau * k, "", numbers))
            if k:
                rows.append((seed, f"step {k}", 10, 10 * k, tau * k, "", numbers))
    return sorted(rows, key=lambda row: (row[3], row[2] == 0, row[0]))


def column(run, name):
    """A column of flow.csv at the ends of the steps, [steps, seeds], read without the package's reader."""
    found = {}
    for row in run.read("flow.csv"):
        if row["update"] != "0":
            found[row["stage"], int(row["seed"])] = float(row[name])
    stages = list(dict.fromkeys(stage for stage, _ in found))
    return np.array([[found[stage, seed] for seed in range(run.manifest["seeds"])] for stage in stages])


def saved(run, label, network, family, space, normalizer=None):
    """Save one network under a label as the policies of two seeds."""
    rows = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), network)
    size = space.obs_dim
    normalizer = normalizer or Normalizer(np.zeros(size, np.float32), np.ones(size, np.float32))
    run.save_policy(label, *SavedPolicy(family, rows, normalizer, space).dump())


def placed(run, label, mean, std):
    known = Known.open(run)
    space = known_data(known.target, "").space
    family = known.spec.policy
    saved(run, label, family.placed(family.init(jax.random.key(0), space), mean, std), family, space)


def curves(axes):
    """Label -> (x, y) of the lines that carry one."""
    found = {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}
    return {name: (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for name, line in found.items()}


def legend(picture):
    return [text.get_text() for text in picture.legends[0].get_texts()]


def apart(picture):
    """Whether nothing of a picture overlaps, or is cut."""
    picture.draw_without_rendering()
    boxes = [*filter(None, (axes.get_tightbbox() for axes in picture.axes)), picture.legends[0].get_window_extent()]
    inside = all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)
    return inside and not any(late.overlaps(early) for j, late in enumerate(boxes) for early in boxes[:j])


def exact_steps(count):
    means, stds = [MEAN], [STD]
    for _ in range(count):
        mean, std = closed_forms.jko_w2_quadratic(means[-1], stds[-1], M, A, HEAT, TAU)
        means.append(mean)
        stds.append(std)
    return np.array(means), np.array(stds)
