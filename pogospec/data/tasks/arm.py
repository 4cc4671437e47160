"""A two-link arm that is told where its joints shall go: every target is reached elbow up or elbow down.

The inverse kinematics of a planar arm is the textbook case of targets whose mean is wrong (Bishop, "Mixture density
networks", 1994): halfway between the two postures the arm is stretched, and misses. The choice comes anew with every
target, so that no state tells which posture a behaviour is about to take, as velocities would under torques. There is
something to learn beyond the choice: gravity makes the servos sag, and the posture in which one action ends makes one
of the two for the next target the nearer one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.spaces import Box

MODEL = Path(__file__).with_name("two_link_arm.xml")
LINK, MASS, GRAVITY, STIFFNESS = 0.5, 0.5, 9.81, (30.0, 15.0)
"""Of the model: length [m] and mass [kg] of a link, gravity [m/s^2], stiffness [N m/rad] of the two servos."""
HELD, COUNTED = 45, 25
"""Physics steps of 0.02 s for which an action is held, and those at its end in which the hand shall be there."""
WIDTH = 0.1
"""Distance [m] at which a reward has fallen to exp(-1/2)."""
DISTANCE, BEARING = (0.35, 0.75), (-1.0, 1.0)
"""Where targets are drawn: distance [m] from the shoulder and angle [rad] from the horizontal."""

engine: Any = mujoco  # its extension has no types


def postures(target: np.ndarray) -> np.ndarray:
    """Joint angles [2 postures, 2] that put the hand on a target [2], in metres: elbow down, then elbow up."""
    bend = np.arccos((target @ target - 2 * LINK**2) / (2 * LINK**2))
    bearing = np.arctan2(target[1], target[0])
    return np.array([[bearing - bend / 2, bend], [bearing + bend / 2, -bend]])


def sag(angles: np.ndarray) -> np.ndarray:
    """How far [2], in radians, gravity pulls the servos below the joint angles [2] that they shall hold."""
    forearm = MASS * GRAVITY * LINK / 2 * np.cos(angles.sum())
    upper = 1.5 * MASS * GRAVITY * LINK * np.cos(angles[0])
    return np.array([upper + forearm, forearm]) / STIFFNESS


class TwoLinkArm(MujocoEnv):
    """Put the hand on targets, one after another; an action is held for 0.9 s, then the next target is drawn.

    Action [2]: angles [rad] that the servos of shoulder and elbow go to, from the horizontal and from the upper arm.
    Observation [6]: the two angles, their velocities [rad/s], and the target's x and height [m].
    Reward: mean of exp(-|hand - target|^2 / (2 0.1^2)) over the last 0.5 s of the action, between 0 and 1, so that the
    posture that is further from the present one comes a little late. Episodes begin at rest in a posture of another
    target, and end after 40 actions.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 50}

    def __init__(self, **arguments: Any):
        self.during: Callable[[], object] | None = None  # called in each physics step, for those who look
        seen = Box(-np.inf, np.inf, (6,), np.float64)
        super().__init__(str(MODEL), 1, seen, camera_name="side", **arguments)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action, then draw the next target; nothing ends an episode but its time limit."""
        self.data.ctrl[:] = action
        closeness = 0.0
        for number in range(HELD):
            engine.mj_step(self.model, self.data)
            if number >= HELD - COUNTED:
                engine.mj_kinematics(self.model, self.data)
                gap = self.data.site("hand").xpos - self.data.site("target").xpos
                closeness += np.exp(-(gap @ gap) / (2 * WIDTH**2)) / COUNTED
            if self.render_mode == "human":
                self.render()
            if self.during is not None:
                self.during()
        self._place(self._drawn())
        return self._seen(), float(closeness), False, False, {}

    def reset_model(self) -> np.ndarray:
        """At rest in one of the two postures of a target, before another one."""
        self.set_state(postures(self._drawn())[self.np_random.integers(2)], np.zeros(2))
        self._place(self._drawn())
        return self._seen()

    def _drawn(self) -> np.ndarray:
        distance, bearing = self.np_random.uniform(*DISTANCE), self.np_random.uniform(*BEARING)
        return distance * np.array([np.cos(bearing), np.sin(bearing)])

    def _place(self, target: np.ndarray) -> None:
        self.data.mocap_pos[0] = target[0], 0.0, target[1]
        engine.mj_kinematics(self.model, self.data)

    def _seen(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel, self.data.mocap_pos[0, [0, 2]]])
