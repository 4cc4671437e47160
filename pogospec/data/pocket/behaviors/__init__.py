"""The behaviours that collected the embedded sets: scripted controllers and small cloned networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pogospec.data.tasks.arm import postures, sag

FOLDER = Path(__file__).parent


def reacher_controller(observation: np.ndarray, gain: float, damping: float) -> np.ndarray:
    """Torque [2] towards the target: gain times J^T (target - fingertip), minus damping/10 times joint velocity.

    J is the Jacobian of the fingertip of two links, 0.1 m and 0.11 m long; observation is Reacher's, [11].
    """
    cos, sin = observation[0:2], observation[2:4]
    elbow = np.arctan2(sin, cos).sum()
    jacobian = np.array(
        [
            [-0.1 * sin[0] - 0.11 * np.sin(elbow), -0.11 * np.sin(elbow)],
            [0.1 * cos[0] + 0.11 * np.cos(elbow), 0.11 * np.cos(elbow)],
        ]
    )
    force = -observation[8:10]
    return gain * jacobian.T @ force - damping * 0.1 * observation[6:8]


def arm_controller(observation: np.ndarray, posture: int | None = None, weightless: bool = True) -> np.ndarray:
    """Joint angles [2] that put the hand of the two-link arm on its target; observation is the arm's, [6].

    `posture`: 0 elbow down, 1 elbow up, None that nearest to the present angles, by the joint that has furthest to go.
    `weightless`: gravity is ignored, and the servos sag; otherwise they are told angles above the posture.
    """
    both = postures(observation[4:6])
    chosen = int(np.abs(both - observation[:2]).max(1).argmin()) if posture is None else posture
    return both[chosen] + (0.0 if weightless else sag(both[chosen]))


def load_clone(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """The cloned network `name`: observation [obs] -> mean action [act] in [-1, 1], in float64."""
    from safetensors.numpy import load_file

    w = {key: value.astype(np.float64) for key, value in load_file(FOLDER / f"{name}.safetensors").items()}

    def act(observation: np.ndarray) -> np.ndarray:
        hidden = (observation - w["mean"]) / w["scale"]
        for layer in ("0", "1"):
            hidden = np.maximum(hidden @ w[f"weight{layer}"] + w[f"bias{layer}"], 0.0)
        return np.tanh(hidden @ w["weight2"] + w["bias2"])

    return act
