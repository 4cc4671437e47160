"""TD3+BC as its published loop in PyTorch, written anew: a worker, on one thread."""

from __future__ import annotations

from protocol import clock, serve  # isort: skip  # pins the process
import copy
import os

import made
import torch
from torch import nn

DISCOUNT, RATE, NOISE, CLIP, ALPHA, STEP = 0.99, 0.005, 0.2, 0.5, 2.5, 3e-4


def perceptron(inputs, outputs, task):
    """Linear layers with ReLU between."""
    sizes = [inputs, *[task["width"]] * task["layers"]]
    hidden = [part for i, o in zip(sizes[:-1], sizes[1:], strict=True) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


class Actor(nn.Module):
    """A deterministic policy."""

    def __init__(self, task):
        super().__init__()
        self.body = perceptron(task["obs"], task["act"], task)

    def forward(self, s):
        """The action at each state."""
        return torch.tanh(self.body(s))


class Critic(nn.Module):
    """Two critics, one after the other."""

    def __init__(self, task):
        super().__init__()
        width = task["obs"] + task["act"]
        self.first, self.second = perceptron(width, 1, task), perceptron(width, 1, task)

    def forward(self, s, a):
        """Both values of each row."""
        x = torch.cat([s, a], 1)
        return self.first(x), self.second(x)

    def one(self, s, a):
        """The first value."""
        return self.first(torch.cat([s, a], 1))


class Learner:
    """The networks, and an update."""

    def __init__(self, task):
        columns = {name: torch.from_numpy(column) for name, column in made.hopper(task["rows"]).items()}
        flat = ("rewards", "terminated")
        self.data = {n: c[:, None] if n in flat else c for n, c in columns.items() if n != "truncated"}
        self.actor, self.critic, self.batch, self.count = Actor(task), Critic(task), task["batch"], 0
        self.slow_actor, self.slow_critic = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.actor_adam = torch.optim.Adam(self.actor.parameters(), lr=STEP)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), lr=STEP)

    def update(self):
        """One update of the critics, and at every second of the actor and the slow copies."""
        self.count += 1
        rows = torch.randint(0, len(self.data["rewards"]), (self.batch,))
        batch = {name: column[rows] for name, column in self.data.items()}
        s, a, s2 = batch["observations"], batch["actions"], batch["next_observations"]
        with torch.no_grad():
            noise = (torch.randn_like(a) * NOISE).clamp(-CLIP, CLIP)
            q1, q2 = self.slow_critic(s2, (self.slow_actor(s2) + noise).clamp(-1, 1))
            y = batch["rewards"] + (1 - batch["terminated"]) * DISCOUNT * torch.min(q1, q2)
        q1, q2 = self.critic(s, a)
        loss = nn.functional.mse_loss(q1, y) + nn.functional.mse_loss(q2, y)
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()
        if self.count % 2 == 0:
            pi = self.actor(s)
            q = self.critic.one(s, pi)
            loss = -ALPHA / q.abs().mean().detach() * q.mean() + nn.functional.mse_loss(pi, a)
            self.actor_adam.zero_grad()
            loss.backward()
            self.actor_adam.step()
            for slow, fast in ((self.slow_critic, self.critic), (self.slow_actor, self.actor)):
                for p, target in zip(fast.parameters(), slow.parameters(), strict=True):
                    target.data.copy_(RATE * p.data + (1 - RATE) * target.data)


def prepare(task):
    """Nothing is compiled."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    learner = Learner(task)

    def run(updates):
        with clock() as spent:
            for _ in range(updates):
                learner.update()
        return spent[0]

    run(4)
    return {"compile": 0.0, "torch": torch.__version__, "threads": torch.get_num_threads()}, run


if __name__ == "__main__":
    serve(prepare)
