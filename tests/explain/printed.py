"""Reads printed objectives, and the value of every printed symbol on a batch, written out without the package."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from pogospec.check import checked
from pogospec.compile import compile_spec
from pogospec.data import load as load_data
from pogospec.data.arrays import standardize
from pogospec.spec.resolve import read_text
from pogospec.types import Transitions

NAME = r"[^\s(),]+(?:\([^()]*\))?"
TERM = r"([−+]) (\S+) · (.+)"


def groups(pattern, text):
    """The groups of a pattern that a whole text must match."""
    match = re.fullmatch(pattern, text)
    assert match is not None, f"{text!r} is not of the form {pattern!r}"
    return match.groups()


def parsed(text):
    """(coefficient, symbol) of each term of a printed objective."""
    inside = text[text.index("E_s[ ") + 5 :].removesuffix(" ]")
    found = []
    for line in inside.split("\n"):
        sign, factor, symbol = groups(TERM, line.strip())
        top, _, bottom = factor.strip("()").partition("/")
        found.append(((-1 if sign == "−" else 1) * float(top) / float(bottom or 1), symbol))
    return found


def real_batch(rows=64):
    """The data that the specs come with: a standardised batch, and all of it."""
    dataset = load_data("pocket/reacher-mixed")
    columns = Transitions(*(np.asarray(c, float) for c in standardize(dataset.transitions)[0]))
    chosen = np.random.default_rng(0).integers(0, len(columns.rewards), rows)
    return Transitions(*(jnp.asarray(c[chosen]) for c in columns)), dataset.space


def written(text, overrides=()):
    """The checked spec of a text."""
    return checked(read_text(text, "spec.yaml", overrides))


def inside(spec, number, batch, space):
    """A compiled program and a state inside one of its stages, whose networks all differ."""
    program = compile_spec(spec, space)
    state = program.init(jax.random.key(1))
    state = jax.jit(program.stages[number].enter)(program.numbers, state, batch, jax.random.key(2))
    leaves, structure = jax.tree.flatten(state._replace(optimizer={}, geometry=(), energy={}))
    keys = jax.random.split(jax.random.key(3), len(leaves))
    moved = [x + 0.1 * jax.random.normal(k, x.shape, x.dtype) for x, k in zip(leaves, keys, strict=True)]
    moved = jax.tree.unflatten(structure, moved)
    return program, moved._replace(optimizer=state.optimizer, geometry=state.geometry, energy=state.energy)


class Symbols:
    """Values of printed symbols, one for each row of the batch."""

    def __init__(self, spec, state, batch, key):
        self.spec, self.state, self.batch, self.key = spec, state, batch, key
        self.kind = type(spec.policy).__name__
        self.p = self.heads(spec.policy, state.policy)

    def heads(self, family, network, observations=None):
        """Mean and std of the Gaussian heads; the std of a Dirac is 0."""
        out = family.parameters(network, self.batch.observations if observations is None else observations)
        std = jnp.exp(out.log_std) if hasattr(out, "log_std") else jnp.zeros_like(out.mean)
        return SimpleNamespace(mean=out.mean, std=std, squashed="Tanh" in type(out).__name__)

    def reference(self, name):
        """Parameters that a reference stands for."""
        if name == "δ_a":
            return SimpleNamespace(mean=self.batch.actions, std=0 * self.batch.actions, squashed=False)
        if name == "π_β":
            return self.heads(self.spec.behavior, self.state.behavior)
        assert re.fullmatch("π[₀-₉]+|π_prev", name)
        return self.heads(self.spec.policy, self.state.reference)

    def act(self, p, z):
        """Actions at standard normal z."""
        return jnp.tanh(p.mean + p.std * z) if p.squashed else p.mean + p.std * z

    def q(self, name, actions):
        """Q of clipped actions [n, batch, act], averaged over n."""
        rows = jnp.broadcast_to(self.batch.observations, (*actions.shape[:-1], self.batch.observations.shape[-1]))
        values = self.spec.critic.values(self.state.critic, rows, jnp.clip(actions, -1, 1))
        return {"Q₁": values[0], "min_i Q_i": values.min(0), "mean_i Q_i": values.mean(0)}[name].mean(0)

    def points(self, words, key):
        """The actions that an expectation is written over."""
        d = self.p.mean.shape[-1]
        if "μ(s)" in words:
            return self.act(self.p, 0.0)[None]
        if "E_π[" in words:
            z = np.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])[:, None, :]
            return self.act(self.p, z)
        count = re.match(r"\(1/(\d+)\) Σ_k", words)
        size = (int(count[1]) if count else 1, *self.p.mean.shape)
        assert count or "a₁" in words
        return self.act(self.p, jax.random.normal(key, size, float))

    def energy(self, symbol, index):
        """The quantity of an energy term without its sign; `index`: its place, which its samples depend on."""
        key = jax.random.fold_in(self.key, index)
        if symbol == "H[π(·|s)]":
            return self.entropy(key)
        if symbol == "log π(a|s)":
            return self.log_density(self.spec.policy, self.p)
        if "|a" in symbol or symbol == "|μ(s)|²":
            return jnp.square(self.points(symbol, key)).sum(-1).mean(0)
        words, _, size = symbol.partition(" / mean")
        (name,) = groups(r".*?(Q₁|min_i Q_i|mean_i Q_i).*", words)
        value = self.q(name, self.points(words, key))
        if not size:
            return value
        if size.startswith("₀"):
            return value / self.state.energy["q"]
        return value / jnp.abs(value).mean()

    def entropy(self, key):
        """Of a Gaussian by the formula; the tanh adds the mean log slope of samples."""
        gaussian = (jnp.log(self.p.std) + 0.5 * np.log(2 * np.pi * np.e)).sum(-1)
        if not self.p.squashed:
            return gaussian
        z = jax.random.normal(key, (self.spec.policy.entropy_samples, *self.p.mean.shape), float)
        slope = jnp.log1p(-jnp.square(jnp.tanh(self.p.mean + self.p.std * z)))
        return gaussian + slope.sum(-1).mean(0)

    def log_density(self, family, p):
        """Of the logged actions."""
        a, slope = self.batch.actions, 0.0
        if p.squashed:
            a = jnp.clip(a, family.margin - 1, 1 - family.margin)
            a, slope = jnp.arctanh(a), jnp.log(1 - jnp.square(a))
        normal = -jnp.square((a - p.mean) / p.std) / 2 - jnp.log(p.std) - 0.5 * np.log(2 * np.pi)
        return (normal - slope).sum(-1)

    def divergence(self, symbol, p=None, q=None):
        """The quantity of a proximal term."""
        name, first, second, tail = groups(rf"(d_FR²|d_R²|W₂²|KL|4 \(1 − BC)\(({NAME})(?:,| ‖) ({NAME})\)(.*)", symbol)
        sides = {"π": self.p}
        p, q = (p or sides.get(first) or self.reference(first)), (q or sides.get(second) or self.reference(second))
        gap, s1, s2 = p.mean - q.mean, p.std, q.std
        affinity = jnp.prod(jnp.sqrt(2 * s1 * s2 / (s1**2 + s2**2)) * jnp.exp(-(gap**2) / (4 * (s1**2 + s2**2))), -1)
        if name == "KL" and not tail:
            return (jnp.log(s2 / s1) + (s1**2 + gap**2) / (2 * s2**2) - 0.5).sum(-1)
        if name == "4 (1 − BC" and tail == ")":
            return 4 * (1 - affinity)
        if name == "d_FR²" and tail == "/2":
            return (2 * jnp.arccos(affinity)) ** 2 / 2
        if name == "d_R²" and tail == "/2":
            x = (gap**2 / 2 + (s1 - s2) ** 2) / (2 * s1 * s2)
            return (2 * jnp.arccosh(1 + x) ** 2).sum(-1) / 2
        assert name == "W₂²"
        return self.w2(p, q) / {"/2": 2, "/(2d)": 2 * gap.shape[-1]}[tail]

    def w2(self, p, q):
        """Squared, by formula or quantiles."""
        if not (p.squashed or q.squashed):
            return ((p.mean - q.mean) ** 2 + (p.std - q.std) ** 2).sum(-1)
        nodes, weights = np.polynomial.hermite_e.hermegauss(64)
        gaps = [w * (self.act(p, z) - self.act(q, z)) ** 2 for z, w in zip(nodes, weights / weights.sum(), strict=True)]
        return jnp.sum(jnp.stack(gaps), (0, -1))

    def value(self, symbol, index, proximal):
        """The batch mean of a printed quantity."""
        return float((self.divergence(symbol) if proximal else self.energy(symbol, index)).mean())
