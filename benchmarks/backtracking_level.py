"""How often does backtracking accept a bad step? `python benchmarks/backtracking_level.py [--problems N]`.

Random problems: states in 12 dimensions, Q(s, a) quadratic around a random function of the state, a Gaussian policy
with linear heads that takes one implicit Wasserstein step on few states, so that it overfits them and the proximal
inequality often fails beyond them. The rule sees a second, held-out set; the truth is the mean over a third, large
one that nothing else sees. Prints, for several numbers of standard errors, the rate of acceptances among problems
where the inequality fails, beside the level of a normal quantile.
"""

from __future__ import annotations

import argparse
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pogospec.energies.base import Context
from pogospec.energies.entropy import EntropyTerm
from pogospec.energies.q import QTerm
from pogospec.geometries.wasserstein2 import Wasserstein2
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.steps.base import Problem, Proximal
from pogospec.steps.gradient import Euclidean
from pogospec.steps.implicit import objective
from pogospec.steps.measure import measure
from pogospec.types import Space

STATES, ACTIONS = 12, 2
POLICY = GaussianPolicy(hidden=(), mean="linear", log_std=(-8.0, 4.0))
ERRORS = (0.0, 1.0, 1.645, 2.326)


def problem(key, training: int, held: int, truth: int, updates: int):
    """Gap and standard error on held-out states, and the gap on the third set, of one random problem."""
    keys = jax.random.split(key, 7)
    matrix = jax.random.normal(keys[0], (STATES, ACTIONS)) * jnp.exp(
        jax.random.uniform(keys[1], minval=-4.0, maxval=0.0)
    )
    curvature = jnp.exp(jax.random.normal(keys[2], (ACTIONS,)))
    tau = jnp.exp(jax.random.uniform(keys[3], minval=-1.0, maxval=2.0))
    flow = Problem(
        {"q": QTerm(actions="quadrature"), "entropy": EntropyTerm(0.1)},
        (Proximal(Wasserstein2(), "previous", tau),),
        Euclidean(),
    )
    start = POLICY.placed(POLICY.init(keys[4], Space(STATES, ACTIONS, (-1.0,) * 2, (1.0,) * 2)), (0.0,) * 2, (0.3,) * 2)
    sets = [
        jax.random.normal(k, (n, STATES))
        for k, n in zip(jax.random.split(keys[5], 3), (training, held, truth), strict=True)
    ]
    noise = [
        jax.random.normal(k, (s.shape[0], ACTIONS)) for k, s in zip(jax.random.split(keys[6], 3), sets, strict=True)
    ]

    def context(which: int) -> Context:
        center = jnp.tanh(sets[which] @ matrix) + noise[which]

        def q(actions, count=None):
            return -0.5 * (curvature * jnp.square(actions - center)).sum(-1)[None]

        return Context(sets[which], jnp.zeros_like(center), POLICY, q, {})

    def parts(network, which: int):
        states = sets[which]
        return POLICY.parameters(network, states), (POLICY.parameters(start, states),)

    def loss(network):
        return objective(flow, *parts(network, 0), context(0), keys[4])[0]

    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, updates))

    def update(_, carry):
        network, state = carry
        changes, state = optimizer.update(jax.grad(loss)(network), state)
        return optax.apply_updates(network, changes), state

    network, _ = jax.lax.fori_loop(0, updates, update, (start, optimizer.init(start)))
    seen, true = (measure(flow, *parts(network, which), None, context(which), keys[4]) for which in (1, 2))
    return seen["gap"], seen["gap_error"], true["gap"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--training", type=int, default=48)
    parser.add_argument("--held", type=int, default=64)
    options = parser.parse_args()
    clock = time.perf_counter()
    run = jax.jit(lambda keys: jax.lax.map(lambda k: problem(k, options.training, options.held, 20_000, 400), keys))
    gap, error, truth = (np.asarray(x) for x in run(jax.random.split(jax.random.key(0), options.problems)))
    fails = truth >= 0
    print(
        f"{options.problems} problems, {options.training} states to train on, {options.held} held out; the inequality "
        f"fails in {fails.sum()} ({time.perf_counter() - clock:.0f} s)"
    )
    close = fails & (truth < error)
    print("standard errors  level   accepted where it fails   and is within one error of 0   accepted where it holds")
    for errors in ERRORS:
        accepted = gap + errors * error < 0
        wrong, right = accepted[fails].mean(), accepted[~fails].mean()
        spread = math.sqrt(wrong * (1 - wrong) / fails.sum())
        level = 0.5 * math.erfc(errors / math.sqrt(2))
        near = f"{accepted[close].mean():.3f} of {close.sum()}"
        print(f"{errors:<15}  {level:5.3f}   {wrong:.3f} ± {spread:.3f} {near:>33} {right:>25.3f}")


if __name__ == "__main__":
    main()
