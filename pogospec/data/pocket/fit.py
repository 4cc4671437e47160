"""Fits the cloned behaviours again: `python -m pogospec.data.pocket.fit [NAME ...]`.

Behaviour cloning (mean squared error of a tanh output, 64 x 64 hidden units, Adam) on local Minari datasets,
found through MINARI_DATASETS_PATH. About half a minute a network on two cores.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pogospec.data import load
from pogospec.data.arrays import standardize
from pogospec.data.pocket.behaviors import FOLDER

SOURCES = {"hopper-expert": "pogobench/hopper/expert-v0", "hopper-medium": "pogobench/hopper/medium-v0"}
HIDDEN, STEPS, BATCH, RATE, SEED = 64, 20_000, 256, 1e-3, 0


def apply(weights: dict[str, jax.Array], observations: jax.Array) -> jax.Array:
    """Mean actions [batch, act] of standardised observations [batch, obs]."""
    hidden = observations
    for layer in ("0", "1"):
        hidden = jax.nn.relu(hidden @ weights[f"weight{layer}"] + weights[f"bias{layer}"])
    return jnp.tanh(hidden @ weights["weight2"] + weights["bias2"])


def initial(key: jax.Array, sizes: tuple[int, ...]) -> dict[str, jax.Array]:
    """Weights scaled by 1/sqrt(inputs), zero biases."""
    weights = {}
    for layer, (inputs, outputs) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        scale = inputs**-0.5
        weights[f"weight{layer}"] = scale * jax.random.normal(jax.random.fold_in(key, layer), (inputs, outputs))
        weights[f"bias{layer}"] = jnp.zeros(outputs)
    return weights


def fit(dataset_id: str) -> tuple[dict[str, np.ndarray], float]:
    """Weights of a clone of the dataset's behaviour, and its last mean squared error."""
    transitions, normalizer = standardize(load(dataset_id).transitions)
    observations, actions = jnp.asarray(transitions.observations), jnp.asarray(transitions.actions)
    key = jax.random.key(SEED)
    weights = initial(key, (observations.shape[1], HIDDEN, HIDDEN, actions.shape[1]))
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))

    def loss(weights, rows):
        return jnp.mean((apply(weights, observations[rows]) - actions[rows]) ** 2)

    def step(carry, number):
        weights, state = carry
        rows = jax.random.randint(jax.random.fold_in(key, 1000 + number), (BATCH,), 0, len(actions))
        value, gradients = jax.value_and_grad(loss)(weights, rows)
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(weights, updates), state), value

    (weights, _), losses = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(STEPS)))(
        (weights, optimizer.init(weights))
    )
    arrays = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    return arrays | {"mean": normalizer.mean, "scale": normalizer.scale}, float(losses[-1000:].mean())


def main(names: list[str]) -> None:
    """Fit the named clones, or all of them, and write them beside the package's data."""
    from safetensors.numpy import save_file

    for name in names or SOURCES:
        weights, error = fit(SOURCES[name])
        save_file(weights, FOLDER / f"{name}.safetensors")
        print(f"{name}: mean squared error {error:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
