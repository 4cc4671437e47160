"""Two problems whose values are known: a chain of states, solved exactly, and linear dynamics with quadratic costs."""

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_discrete_lyapunov

from pogospec.offline import Settings
from pogospec.types import Transitions

DISCOUNT = 0.9
SMALL = Settings(discount=DISCOUNT, updates=250, hidden=(16,), batch_size=64, learning_rate=3e-3, resamples=30)
"""Critics for problems as small as these."""
MOVES = np.array(  # [action, state, next state]
    [
        [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]],
        [[0.1, 0.8, 0.1], [0.1, 0.2, 0.7], [0.6, 0.2, 0.2]],
    ]
)
MEANS = np.array([[0.0, 1.0, -1.0], [0.5, -0.5, 2.0]])  # of rewards, [action, state]
DEATHS = np.array([[0.0, 0.0, 0.1], [0.0, 0.3, 0.0]])  # chance that the step ends the episode
STARTS = np.array([0.6, 0.3, 0.1])
TARGET = np.array([0.8, 0.3, 0.9])  # chance of the second action in each state
BEHAVIOR = np.array([0.4, 0.5, 0.6])


class Problem(NamedTuple):
    """Data of `count` repetitions, what the policy would do, and what that is worth; arrays [count, ...]."""

    data: Transitions
    following: Any
    first: Any
    value: float
    log_ratio: Any = None


def chain_values() -> np.ndarray:
    """V of each state under the target, by solving (I - discount P) V = r."""
    policy = np.stack([1 - TARGET, TARGET])
    rewards = (policy * MEANS).sum(0)
    moves = np.einsum("as,as,ast->st", policy, 1 - DEATHS, MOVES)
    return np.linalg.solve(np.eye(3) - DISCOUNT * moves, rewards)


def chain(count: int, episodes: int, steps: int, seed: int = 0, points: int = 4) -> Problem:
    """Episodes of so many rows, all cut then; actions are -1 and 1, states are unit vectors.

    What has ended by chance stays in a fourth state without rewards, whose rows are ends too.
    """
    draw = np.random.default_rng(seed)
    target, behavior, deaths = np.append(TARGET, 0.5), np.append(BEHAVIOR, 0.5), np.pad(DEATHS, ((0, 0), (0, 1)))
    means, moves = np.pad(MEANS, ((0, 0), (0, 1))), np.pad(MOVES, ((0, 0), (0, 1), (0, 1)))
    moves[:, 3, 3], deaths[:, 3] = 1, 1
    states = draw.choice(3, (count, episodes), p=STARTS)
    rows: list[tuple] = []
    for _ in range(steps):
        action = (draw.random(states.shape) < behavior[states]).astype(int)
        reward = means[action, states] + 0.5 * draw.normal(size=states.shape) * (states < 3)
        end = draw.random(states.shape) < deaths[action, states]
        after = (draw.random((*states.shape, 1)) > moves[action, states].cumsum(-1)).sum(-1).clip(0, 3)
        after = np.where(end, 3, after)
        rows.append((states, action, reward, after, end))
        states = after
    s, a, r, n, end = (np.stack(column, 2).reshape(count, -1) for column in zip(*rows, strict=True))

    def acted(where):
        return 2.0 * (draw.random((*where.shape, points)) < target[where][..., None])[..., None] - 1

    one, actions = np.eye(4), 2.0 * a[..., None] - 1
    cut = ~end & (np.arange(s.shape[1]) % steps == steps - 1)
    numbers = np.broadcast_to(np.repeat(np.arange(episodes), steps), s.shape)
    data = Transitions(one[s], actions, r, one[n], end * 1.0, cut * 1.0, 0 * actions, 0 * r, numbers)
    ratio = np.stack([1 - target, target])[a, s] / np.stack([1 - behavior, behavior])[a, s]
    return Problem(data, acted(n), acted(s[:, ::steps]), float(STARTS @ chain_values()), np.log(ratio))


GAIN, SPREAD, NOISE = np.array([[-0.35, -0.5]]), 0.3, 0.2


def quadratic(count: int, episodes: int, steps: int, seed: int = 0, points: int = 4) -> Problem:
    """s' = A s + B a + noise, r = -|s|^2 - 0.3 a^2, never an end; the policy is N(K s, 0.3^2), the data are noisier.

    V(s) = -s^T P s - c with P = Q + K^T R K + discount M^T P M, M = A + B K.
    """
    draw = np.random.default_rng(seed)
    a, b = np.array([[0.9, 0.2], [-0.1, 0.8]]), np.array([[0.3], [0.5]])
    closed = np.sqrt(DISCOUNT) * (a + b @ GAIN)
    costs = solve_discrete_lyapunov(closed.T, np.eye(2) + 0.3 * GAIN.T @ GAIN)
    noise = NOISE**2 * np.eye(2) + SPREAD**2 * b @ b.T
    constant = (0.3 * SPREAD**2 + DISCOUNT * np.trace(costs @ noise)) / (1 - DISCOUNT)
    state, rows = draw.normal(size=(count, episodes, 2)), []
    for _ in range(steps):
        action = state @ np.array([[-0.2], [-0.2]]) + 0.5 * draw.normal(size=(count, episodes, 1))
        after = state @ a.T + action @ b.T + NOISE * draw.normal(size=state.shape)
        rows.append((state, action, -np.square(state).sum(-1) - 0.3 * np.square(action[..., 0]), after))
        state = after
    s, u, r, n = (np.stack(column, 2) for column in zip(*rows, strict=True))
    s, u, r, n = (column.reshape(count, episodes * steps, *column.shape[3:]) for column in (s, u, r, n))

    def acted(where):
        return (where @ GAIN.T)[..., None, :] + SPREAD * draw.normal(size=(*where.shape[:-1], points, 1))

    numbers = np.broadcast_to(np.repeat(np.arange(episodes), steps), r.shape)
    cut = np.broadcast_to(np.arange(episodes * steps) % steps == steps - 1, r.shape) * 1.0
    data = Transitions(s, u, r, n, 0 * r, cut, 0 * u, 0 * r, numbers)
    return Problem(data, acted(n), acted(s[:, ::steps]), float(-np.trace(costs) - constant))


def one_of(problem: Problem, number: int) -> tuple:
    return Transitions(*(column[number] for column in problem.data)), problem.following[number], problem.first[number]
