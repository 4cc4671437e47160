"""A run that nobody trained: fresh networks of two seeds under the labels of behaviour and step, and a few returns."""

import jax
import numpy as np

from pogospec.checking.check import checked
from pogospec.data import load_for
from pogospec.data.arrays import standardize
from pogospec.launch.record import new_run
from pogospec.runs.saved import SavedPolicy
from pogospec.spec.resolve import read_text

TEXT = """
name: tiny
data: {dataset: pocket/reacher-mixed, normalize_observations: true}
policy: {kind: gaussian, hidden: [16]}
energy: {q: {critics: first}}
geometry: wasserstein2
critic: {kind: clipped_double_q, hidden: [4]}
schedule: {steps: [{from: behavior, tau: 1, updates: 6}]}
evaluate: {episodes: 2}
seeds: 2
"""


def run_in(folder):
    """The run directory."""
    spec = checked(read_text(TEXT))
    data = load_for(spec)
    run, normalizer = new_run(spec, data, folder, "cpu:0"), standardize(data.transitions)[1]
    for number, label in enumerate(("behavior", "step 1")):
        keys = jax.random.split(jax.random.key(number), 2)
        network = jax.jit(jax.vmap(lambda key: spec.policy.init(key, data.space)))(keys)
        run.save_policy(label, *SavedPolicy(spec.policy, network, normalizer, data.space).dump())
        run.append_returns(label, 6 * number, np.array([[-9.0, -8.0], [-7.0, -5.0]]) - number, label)
    run.status("done")
    return run
