"""Reads printed objectives, and the value of every printed symbol on a batch, written out without the package."""

import functools
import re
from ast import literal_eval
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from printed_flow import coupled
from printed_sampled import ESTIMATES, Estimate
from printed_text import groups

from pogospec.checking.check import checked
from pogospec.compiler.compile import compile_spec
from pogospec.data import load as load_data
from pogospec.data.arrays import standardize
from pogospec.data.known import lone_state
from pogospec.spec.resolve import read_text
from pogospec.types import Transitions

NAME = r"[^\s(),]+(?:\([^()]*\))?"
CRITIC = r".*?(Q̄?₁|min_i Q̄?_i|mean_i Q̄?_i|Q)\(.*"
TERM = r"([−+]) (\S+) · (.+)"


def number(text):
    """A printed number, or a quotient of two in brackets."""
    top, _, bottom = text.replace("−", "-").strip("()").partition("/")
    return float(top) / float(bottom or 1)


def parsed(text):
    """(coefficient, symbol) of each term of a printed objective."""
    inside = text.partition("minimise over π  ")[2]
    if inside.startswith("E_s[ "):
        inside = inside.removeprefix("E_s[ ").removesuffix(" ]")
    return [term(line.strip()) for line in inside.split("\n")]


def term(text):
    """(coefficient, symbol) of a signed term."""
    sign, factor, symbol = groups(TERM, text)
    return (-1 if sign == "−" else 1) * number(factor), symbol


def summed(text):
    """The terms of a sum in one line, whose first sign may be left out."""
    return [term(part if part[0] in "+−" else f"+ {part}") for part in re.split(r" (?=[+−] [\d.e-]+ · )", text)]


def real_batch(rows=64):
    """The data that the specs come with: a standardised batch, and all of it."""
    dataset = load_data("pocket/reacher-mixed")
    columns = Transitions(*(np.asarray(c, float) for c in standardize(dataset.transitions)[0]))
    chosen = np.random.default_rng(0).integers(0, len(columns.rewards), rows)
    return Transitions(*(jnp.asarray(c[chosen]) for c in columns)), dataset.space


def written(text, overrides=()):
    """The checked spec of a text."""
    return checked(read_text(text, "spec.yaml", overrides))


def lone_batch(spec):
    """The one state of a known energy."""
    rows, space = lone_state(spec.target.dimensions)
    return Transitions(*(jnp.asarray(column, float) for column in rows)), space


def inside(spec, number, batch, space):
    """A compiled program and a state inside one of its stages, or the last, whose networks all differ."""
    program = compile_spec(spec, space)
    state = program.init(program.numbers, jax.random.key(1))  # as it is: compiling takes longer
    stage = program.stages[min(number, len(program.stages) - 1)]
    state = stage.enter(program.numbers, state, batch, jax.random.key(2))
    further = [actor.policy for actor in state.chain]
    leaves, structure = jax.tree.flatten((state._replace(optimizer={}, geometry=(), energy={}, chain=()), further))
    rng = np.random.default_rng(3)
    moved = [jnp.asarray(x + 0.1 * rng.normal(size=x.shape), x.dtype) for x in leaves]
    moved, further = jax.tree.unflatten(structure, moved)
    chain = tuple(actor._replace(policy=policy) for actor, policy in zip(state.chain, further, strict=True))
    kept = {"optimizer": state.optimizer, "geometry": state.geometry, "energy": state.energy}
    return program, moved._replace(**kept, chain=chain)


def looked(function):
    """What a compiled function tells beside its result; without that, XLA has less to compile."""
    return jax.jit(lambda *arguments: function(*arguments)[1])


def of_actor(program, state, number):
    """The state with the policy of a further actor of a chain in the place of the first's, near the one before."""
    place = number - len(program.stages)
    if place < 0:
        return state
    actor = state.chain[place]
    learned = {"geometry": actor.geometry, "temperature": actor.temperature}
    return state._replace(policy=actor.policy, reference=state.policies[place], **learned)


def printed_q(meanings):
    """Q of actions, as the legend under the objectives says what it is."""
    said = dict(meanings)
    values = {name: literal_eval(re.sub("^(∝ |diag)", "", text)) for name, text in said.items() if NUMBERS(text)}
    if said["Q(a)"] == "−½ (a − m)ᵀ A (a − m)":
        center, rows = np.array(values["m"]), np.array(values["A"])
        matrix = np.diag(rows) if said["A"].startswith("diag") else rows
        return lambda a: -0.5 * jnp.einsum("...i,ij,...j->...", a - center, matrix, a - center)
    if said["Q(a)"] == "log Σ_k w_k N(a; m_k, σ_k²)":
        parts = [map(np.array, values[name]) for name in ("w", "m", "σ")]
        rows, total = list(zip(*parts, strict=True)), sum(values["w"])
        return lambda a: jnp.log(sum(w / total * jnp.prod(gauss(a, m, s), -1) for w, m, s in rows))
    assert said["Q(a)"] == "log N(a₁; 0, s₁²) N(a₂; b (a₁² − s₁²), s₂²)"
    (first, second), bend = values["s"], values["b"]
    return lambda a: jnp.log(gauss(a[..., 0], 0, first) * gauss(a[..., 1], bend * (a[..., 0] ** 2 - first**2), second))


NUMBERS = re.compile(r"(∝ |diag)?[-\d.e(), ]+").fullmatch


def gauss(x, mean, std):
    """Density of a Gaussian in one dimension."""
    return jnp.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))


class Symbols:
    """Values of printed symbols, one for each row of the batch.

    `start`: the network that π₀ stands for, `q`: Q(a), `said`: what the legend says of symbols.
    """

    def __init__(self, spec, state, batch, key, start=None, q=None, said=None):
        self.spec, self.state, self.batch, self.key, self.known_q = spec, state, batch, key, q
        self.said = said or {}
        self.start = state.reference if start is None else start
        own = (spec.behavior, state.behavior) if spec.policy.borrows else (spec.policy, state.policy)
        self.p = self.heads(*own)

    def heads(self, family, network, observations=None):
        """Mean and Cholesky factor of the Gaussian heads; the factor of a Dirac is 0."""
        rows = self.batch.observations if observations is None else observations
        out = family.parameters(network, rows)
        if hasattr(out, "logits"):
            return mixture(out)
        if hasattr(out, "location"):
            return coupled(network, family, rows, out.location, jnp.exp(out.log_std), forward)
        if not hasattr(out, "mean"):
            act = functools.partial(mapped if hasattr(family, "noise") else flowed, network, rows, family)
            mean = act(jnp.zeros(self.batch.actions.shape))
            return SimpleNamespace(mean=mean, std=0 * mean, act=act, squashed=False)
        d = out.mean.shape[-1]
        logs = getattr(out, "log_std", getattr(out, "log_diagonal", None))
        std = jnp.zeros_like(out.mean) if logs is None else jnp.exp(logs)
        factor = std[..., None] * jnp.eye(d)
        if hasattr(out, "loadings"):
            values, axes = jnp.linalg.eigh(jnp.eye(d) + out.loadings @ jnp.swapaxes(out.loadings, -1, -2))
            factor = factor @ (axes * jnp.sqrt(values)[..., None, :]) @ jnp.swapaxes(axes, -1, -2)
            std = std * jnp.sqrt(values)  # whose product is what they are read for
        if hasattr(out, "lower"):
            factor = factor.at[(..., *np.tril_indices(d, -1))].set(out.lower)
        return SimpleNamespace(mean=out.mean, std=std, factor=factor, squashed="Tanh" in type(out).__name__)

    def reference(self, name):
        """Parameters that a reference stands for."""
        if name == "δ_a":
            none = jnp.zeros((*self.batch.actions.shape, self.batch.actions.shape[-1]))
            return SimpleNamespace(mean=self.batch.actions, std=0 * self.batch.actions, factor=none, squashed=False)
        if name == "π_β":
            return self.heads(self.spec.behavior, self.state.behavior)
        if name == "π₀":
            return self.heads(self.spec.policy, self.start)
        assert re.fullmatch("π[₀-₉]+|π_prev", name)
        return self.heads(self.spec.policy, self.state.reference)

    def act(self, p, z):
        """Actions at standard normal z; the number 0 stands for the mean action."""
        if hasattr(p, "act"):
            return p.mean if jnp.ndim(z) == 0 else p.act(z)
        z = jnp.broadcast_to(z, p.mean.shape if jnp.ndim(z) < 2 else (*jnp.shape(z)[:-2], *p.mean.shape))
        actions = p.mean + jnp.einsum("bij,...bj->...bi", p.factor, z)
        return jnp.tanh(actions) if p.squashed else actions

    def q(self, name, actions):
        """Q of actions [n, batch, act]; those that enter a critic are clipped."""
        if self.known_q is not None:
            assert name == "Q"
            return self.known_q(actions)
        rows = jnp.broadcast_to(self.batch.observations, (*actions.shape[:-1], self.batch.observations.shape[-1]))
        network = self.state.critic_target if "Q̄" in name else self.state.critic
        within = jnp.where(jnp.abs(actions) <= 1, actions, jnp.sign(actions))
        values = self.spec.critic.values(network, rows, within)
        name = name.replace("Q̄", "Q")
        return {"Q₁": values[0], "min_i Q_i": values.min(0), "mean_i Q_i": values.mean(0)}[name]

    def points(self, words, key):
        """The actions that an expectation is written over."""
        d = self.p.mean.shape[-1]
        if "μ" in words:
            return self.act(self.p, 0.0)[None]
        if "E_π[" in words:
            z = np.sqrt(d) * np.concatenate([np.eye(d), -np.eye(d)])[:, None, :]
            return self.act(self.p, z)
        count = re.match(r"\(1/(\d+)\) Σ_k", words)
        size = (int(count[1]) if count else 1, *self.p.mean.shape)
        assert count or "a₁" in words
        return self.act(self.p, jax.random.normal(key, size, float))

    def average(self, words, key, function):
        """The mean of a function over the actions of an expectation."""
        count = re.match(r"\(1/(\d+)\) Σ_k", words)
        if not hasattr(self.p, "expected") or not (count or "a₁" in words):
            return function(self.points(words, key)).mean(0)
        assert " of each component of π(·|s), averaged by its weight" in self.said["a_k" if count else "a₁"]
        z = jax.random.normal(key, (int(count[1]) if count else 1, *self.p.means.shape), float)
        return self.p.expected(self.p.means + self.p.stds * z, function)

    def energy(self, symbol, index):
        """The quantity of an energy term without its sign; `index`: its place, which its samples depend on."""
        key = jax.random.fold_in(self.key, index)
        if symbol.startswith("α "):
            (learned,) = self.state.temperature.values()
            return jnp.exp(learned.log_alpha) * self.energy(symbol.removeprefix("α "), index)
        if symbol in ("H[π(·|s)]", "H[π]"):
            return self.entropy(key)
        if symbol == "log π(a|s)":
            return self.log_density(self.spec.policy, self.p)
        gap = re.fullmatch(r"\((.+) − (.+)\)", symbol)
        if gap:
            return self.q(groups(CRITIC, gap[1])[0], self.points(gap[1], key)).mean(0) - self.worth(gap[2], key)
        if symbol.startswith("E_π[|a|²]"):
            return self.w2(self.p, SimpleNamespace(mean=0 * self.p.mean, factor=0 * self.p.factor, squashed=False))
        if symbol in ("|μ(s) − a|²", "|μ(s) − a|²/d"):
            squares = jnp.square(self.act(self.p, 0.0) - self.batch.actions)
            return squares.mean(-1) if symbol.endswith("/d") else squares.sum(-1)
        if "|a" in symbol or symbol in ("|μ(s)|²", "|μ|²"):
            return self.average(symbol, key, lambda a: jnp.square(a).sum(-1))
        words, _, size = symbol.partition(" / mean")
        name = groups(CRITIC, words)[0]
        value = self.average(words, key, lambda a: self.q(name, a))
        if not size:
            return value
        if size.startswith("₀"):
            return value / self.state.energy["q"]
        return value / jnp.abs(value).mean()

    def worth(self, words, key):
        """What an advantage is measured from, whose samples are not those of Q."""
        if words == "V(s)":
            return self.spec.critic.state_values(self.state.critic, self.batch.observations)
        words = words.replace("b₁", "a₁").replace("b_k", "a_k")
        return self.q(groups(CRITIC, words)[0], self.points(words, jax.random.fold_in(key, 1))).mean(0)

    def entropy(self, key):
        """Of a Gaussian by the formula; the tanh adds the mean log slope of samples."""
        if hasattr(self.p, "flows"):  # the noise has its entropy, and E log|det| is left to samples
            z = jax.random.normal(key, (self.spec.policy.entropy_samples, *self.p.mean.shape), float)
            volume = norm.logpdf(z).sum(-1) - self.p.log_density(self.p.act(z))
            return 0.5 * np.log(2 * np.pi * np.e) * z.shape[-1] + volume.mean(0)
        if hasattr(self.p, "log_density"):
            z = jax.random.normal(key, (self.spec.policy.entropy_samples, *self.p.means.shape), float)
            return -self.p.expected(self.p.means + self.p.stds * z, self.p.log_density)
        gaussian = (jnp.log(self.p.std) + 0.5 * np.log(2 * np.pi * np.e)).sum(-1)
        if not self.p.squashed:
            return gaussian
        z = jax.random.normal(key, (self.spec.policy.entropy_samples, *self.p.mean.shape), float)
        slope = jnp.log1p(-jnp.square(jnp.tanh(self.p.mean + self.p.std * z)))
        return gaussian + slope.sum(-1).mean(0)

    def log_density(self, family, p, actions=None):
        """Of the logged actions, or of actions [..., batch, act]."""
        a, slope = self.batch.actions if actions is None else actions, 0.0
        if hasattr(p, "log_density"):
            return p.log_density(a)
        if p.squashed:
            a = jnp.clip(a, family.margin - 1, 1 - family.margin) if actions is None else a
            a, slope = jnp.arctanh(a), jnp.log(1 - jnp.square(a)).sum(-1)
        white = jnp.einsum("bij,...bj->...bi", jnp.linalg.inv(p.factor), a - p.mean)
        return (-jnp.square(white) / 2 - jnp.log(p.std) - 0.5 * np.log(2 * np.pi)).sum(-1) - slope

    def of_flows(self, symbol, place):
        """KL by samples, where the policy is a normalising flow."""
        first, second = groups(rf"KL\(({NAME}) ‖ ({NAME})\)", symbol)
        p, q = (self.p if side == "π" else self.reference(side) for side in (first, second))
        count, key = int(groups(r".* by (\d+) samples of the first distribution", self.said["KL"])[0]), self.key
        a = p.act(jax.random.normal(jax.random.fold_in(key, place), (count, *p.mean.shape), float))
        return (p.log_density(a) - q.log_density(a)).mean(0)

    def of_mixtures(self, symbol, place):
        """KL by samples, and W₂² or MW₂² by components, where the policy is a mixture."""
        name, first, second, tail = groups(rf"(M?W₂²|KL)\(({NAME})(?:,| ‖) ({NAME})\)(.*)", symbol)
        p, q = (self.p if side == "π" else self.reference(side) for side in (first, second))
        if name == "KL":
            words = r".* by (\d+) samples of the first distribution, of each component of a mixture"
            count, key = int(groups(words, self.said["KL"])[0]), jax.random.fold_in(self.key, place)
            x = p.means + p.stds * jax.random.normal(key, (count, *p.means.shape), float)
            return p.expected(x, lambda a: p.log_density(a) - q.log_density(a))
        half = {"/2": 2, "/(2d)": 2 * p.mean.shape[-1]}[tail]
        if name == "W₂²":
            assert second == "δ_a"
            squares = jnp.square(p.means - q.mean[:, None]).sum(-1) + jnp.square(p.stds).sum(-1)
            return (p.weights * squares).sum(-1) / half
        costs = jnp.square(p.means[:, :, None] - q.means[:, None]) + jnp.square(p.stds[:, :, None] - q.stds[:, None])
        (a, _), (b, _), costs = p.weights.T, q.weights.T, costs.sum(-1)
        plan = lambda x: jnp.array([[x, a - x], [b - x, 1 - a - b + x]])  # noqa: E731
        ends = [jnp.einsum("ijb,bij->b", plan(x), costs) for x in (jnp.maximum(0, a + b - 1), jnp.minimum(a, b))]
        return jnp.minimum(*ends) / half

    def divergence(self, symbol, p=None, q=None):
        """The quantity of a proximal term."""
        name, first, second, tail = groups(rf"(d_FR²|d_R²|W₂²|KL|4 \(1 − BC)\(({NAME})(?:,| ‖) ({NAME})\)(.*)", symbol)
        sides = {"π": self.p}
        p, q = (p or sides.get(first) or self.reference(first)), (q or sides.get(second) or self.reference(second))
        if name == "W₂²":
            return self.w2(p, q) / {"/2": 2, "/(2d)": 2 * p.mean.shape[-1]}[tail]
        if name == "KL" and not tail:
            return kl(p, q)
        affinity = jnp.exp(-bhattacharyya(p, q))
        if name == "4 (1 − BC" and tail == ")":
            return 4 * (1 - affinity)
        if name == "d_FR²" and tail == "/2":
            return (2 * jnp.arccos(affinity)) ** 2 / 2
        assert (name, tail) == ("d_R²", "/2")
        x = ((p.mean - q.mean) ** 2 / 2 + (p.std - q.std) ** 2) / (2 * p.std * q.std)
        return (2 * jnp.arccosh(1 + x) ** 2).sum(-1) / 2

    def sampled(self, symbol, place, number):
        """The quantity of a proximal term that is estimated by samples; `place`: what its samples depend on."""
        name, first, second, tail = groups(rf"([^(]+)\(({NAME}), ({NAME})\)(.*)", symbol)
        p, q = (self.p if side == "π" else self.reference(side) for side in (first, second))
        key = jax.random.fold_in(self.key, place)

        def at(count, *keys):
            shape = (count, *p.mean.shape)
            return [self.act(r, jax.random.normal(k, shape, float)) for r, k in zip((p, q), keys, strict=True)]

        drawn = lambda count: at(count, key, jax.random.fold_in(key, 1))  # noqa: E731
        together = lambda count: at(count, key, key)  # noqa: E731
        dual = lambda actions: self.dual(number, actions)  # noqa: E731
        return ESTIMATES[name](Estimate(self.said, tail, key, drawn, together, dual), first, second)

    def dual(self, number, actions):
        """The dual critic of a proximal term at actions [n, batch, act]."""
        rows = jnp.broadcast_to(self.batch.observations, (*actions.shape[:-1], self.batch.observations.shape[-1]))
        x, layers = jnp.concatenate([rows, actions], -1), self.state.geometry[number].network.layers
        for layer in layers[:-1]:
            x = jnp.maximum(x @ layer.weight + layer.bias, 0)
        return (x @ layers[-1].weight + layers[-1].bias)[..., 0]

    def w2(self, p, q):
        """Squared, by formula or quantiles."""
        if not (p.squashed or q.squashed):
            cross = jnp.swapaxes(p.factor, -1, -2) @ q.factor
            traces = jnp.square(p.factor).sum((-2, -1)) + jnp.square(q.factor).sum((-2, -1))
            return jnp.square(p.mean - q.mean).sum(-1) + traces - 2 * jnp.linalg.svd(cross, compute_uv=False).sum(-1)
        nodes = np.linspace(-8.5, 8.5, 801)
        weights = np.exp(-(nodes**2) / 2)
        gaps = self.act(p, nodes[:, None, None]) - self.act(q, nodes[:, None, None])
        return jnp.tensordot(weights / weights.sum(), jnp.square(gaps).sum(-1), 1)

    def value(self, symbol, index, proximal):
        """The batch mean of a printed quantity; `index`: its place, `proximal`: that among the proximal terms."""
        if proximal is None:
            return self.energy(symbol, index).mean()
        if hasattr(self.p, "flows") and symbol.startswith("KL"):
            return jnp.mean(self.of_flows(symbol, index))
        if hasattr(self.p, "log_density") and symbol.startswith(("MW₂", "W₂", "KL")):
            return jnp.mean(self.of_mixtures(symbol, index))
        by_samples = symbol.partition("(")[0] in ESTIMATES
        return jnp.mean(self.sampled(symbol, index, proximal) if by_samples else self.divergence(symbol))


ACTIVATIONS = {
    "relu": lambda x: jnp.maximum(x, 0),
    "gelu": lambda x: x / 2 * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def forward(network, activation, *inputs):
    """A perceptron."""
    shape = jnp.broadcast_shapes(*(part.shape[:-1] for part in inputs))
    x = jnp.concatenate([jnp.broadcast_to(part, (*shape, part.shape[-1])) for part in inputs], -1)
    for layer in network.layers[:-1]:
        x = ACTIVATIONS[activation](x @ layer.weight + layer.bias)
    return x @ network.layers[-1].weight + network.layers[-1].bias


def mapped(network, rows, family, z):
    """The action of a transport map."""
    out = forward(network, family.activation, rows, z)
    return jnp.tanh(out) if family.mean == "tanh" else out


def flowed(network, rows, family, z):
    """The end of a flow, in Euler steps written one after the other."""
    for k in range(family.steps):
        z = z + forward(network, family.activation, rows, z, jnp.full((1,), k / family.steps)) / family.steps
    return jnp.clip(z, -1, 1)


def mixture(out):
    """Weights, means and stds of a mixture, its log density, and quantiles by halving a wide interval."""
    weights = jnp.exp(out.logits) / jnp.exp(out.logits).sum(-1, keepdims=True)
    means, stds = out.means, jnp.exp(out.log_stds)

    def parts(a):
        return gauss(a[..., None, :], means, stds)

    def log_density(a):
        return jnp.log((weights * parts(a).prod(-1)).sum(-1))

    def expected(x, function):  # x [n, batch, K, act]
        values = jnp.stack([function(x[:, :, k]).mean(0) for k in range(x.shape[2])], -1)
        return (weights * values).sum(-1)

    def act(z):
        found, given = [], jnp.broadcast_to(weights, (*z.shape[:-1], weights.shape[-1]))
        for i in range(z.shape[-1]):
            low, high = jnp.full(z.shape[:-1], -60.0), jnp.full(z.shape[:-1], 60.0)
            for _ in range(64):
                middle = (low + high) / 2
                below = norm.cdf((middle[..., None] - means[..., i]) / stds[..., i])
                short = (given * below).sum(-1) < norm.cdf(z[..., i])
                low, high = jnp.where(short, middle, low), jnp.where(short, high, middle)
            found.append((low + high) / 2)
            given = given * gauss(found[-1][..., None], means[..., i], stds[..., i])
            given = given / given.sum(-1, keepdims=True)
        return jnp.stack(found, -1)

    mean = (weights[..., None] * means).sum(-2)
    return SimpleNamespace(
        mean=mean, weights=weights, means=means, stds=stds, act=act, log_density=log_density, expected=expected,
        squashed=False,
    )  # fmt: skip


def covariance(p):
    return p.factor @ jnp.swapaxes(p.factor, -1, -2)


def kl(p, q):
    """Between Gaussians, by covariances."""
    inverse, gap = jnp.linalg.inv(covariance(q)), p.mean - q.mean
    trace = jnp.einsum("...ij,...ji->...", inverse, covariance(p)) + jnp.einsum(
        "...i,...ij,...j->...", gap, inverse, gap
    )
    return (trace - gap.shape[-1]) / 2 + (jnp.log(q.std) - jnp.log(p.std)).sum(-1)


def bhattacharyya(p, q):
    """-log of the affinity of Gaussians, by covariances."""
    middle, gap = (covariance(p) + covariance(q)) / 2, p.mean - q.mean
    means = jnp.einsum("...i,...ij,...j->...", gap, jnp.linalg.inv(middle), gap) / 8
    return means + jnp.linalg.slogdet(middle)[1] / 2 - (jnp.log(p.std) + jnp.log(q.std)).sum(-1) / 2
