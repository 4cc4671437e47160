"""CONTRIBUTING.md: its examples, as they stand there, are added, explained and run; what it names exists."""

import ast
import importlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jsonschema import Draft7Validator
from scipy import stats
from test_architecture import RANK

import pogospec
from pogospec import data, registry
from pogospec.cli import explaining, language
from pogospec.critics.base import Views
from pogospec.data.sources.base import NotAtHand
from pogospec.energies.base import Context
from pogospec.errors import DataError
from pogospec.geometries.base import Seen
from pogospec.policies.base import Point, Sample
from pogospec.policies.gaussian import GaussianPolicy
from pogospec.spec.json_schema import spec_schema
from pogospec.spec.yaml import parse_mapping, plain_of
from pogospec.types import Batch, Space

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", TEXT, flags=re.M | re.S)
NEW = dict(re.findall(r"^`(\S+\.py)`, new:\n\n```python\n(.*?)^```$", TEXT, flags=re.M | re.S))
LINES = re.findall(r"^Under `(\w+)` in `pogospec/registry.py`: `(.*),`$", TEXT, flags=re.M)
YAML = "\n".join(
    re.findall(r"^In a spec: `(.+?)`", TEXT, flags=re.M) + re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.M | re.S)
)
SMALL = ["policy.hidden=[8]", "critic.hidden=[8]", "schedule.steps[*].updates=6", "seeds=1"]
SMALL += ["train.batch_size=16", "evaluate.episodes=1"]
KINDS = [(slot, *pair) for slot, line in LINES for pair in ast.literal_eval(f"{{{line}}}").items()]
ROWS = 60
HEADER = "observation_0,observation_1,observation_2,action_0,rewards,terminals,timeouts"


def logged() -> np.ndarray:
    """Rows of three made-up episodes of Pendulum, the second of which terminates."""
    rng, ends = np.random.default_rng(0), np.arange(ROWS) % 20 == 19
    terminals = ends & (np.arange(ROWS) == 39)
    rows = rng.normal(size=(ROWS, 3)), rng.uniform(-2, 2, (ROWS, 1)), -rng.random((ROWS, 1))
    return np.concatenate([*rows, terminals[:, None], (ends ^ terminals)[:, None]], 1)


class Added(NamedTuple):
    """The examples, added: their classes by kind, and a spec that uses them all."""

    classes: dict[str, Any]
    spec: Path


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """The document followed: files written, lines added to the registry; a spec and data beside them."""
    folder = tmp_path_factory.mktemp("newcomer")
    jax.config.update("jax_disable_most_optimizations", True)  # the module's own fixture undoes it
    with pytest.MonkeyPatch.context() as patch:
        for name, code in NEW.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
            if name.startswith("pogospec/"):
                package = importlib.import_module(".".join(path.relative_to(folder).parts[:-1]))
                patch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
        for slot, kind, target in KINDS:
            patch.setitem((registry.BUILT_IN | registry.BESIDE)[slot], kind, target)
        np.savetxt(folder / "pendulum.csv", logged(), delimiter=",", header=HEADER, comments="")
        (folder / "mine.yaml").write_text(YAML, encoding="utf-8")
        patch.chdir(folder)
        yield Added({kind: registry.load(slot, kind) for slot, kind, _ in KINDS}, folder / "mine.yaml")
    for _, _, target in KINDS:
        sys.modules.pop(target.partition(":")[0], None)


def module(kind: str) -> Any:
    """The module of an example."""
    (target,) = (target for _, name, target in KINDS if name == kind)
    return importlib.import_module(target.partition(":")[0])


def test_there_is_an_example_for_each_slot_that_is_promised():
    assert [slot for slot, *_ in KINDS] == ["geometry", "policy", "energy", "critic", "source"]
    files = {target.partition(":")[0].replace(".", "/") + ".py" for *_, target in KINDS}
    assert files == {name for name in NEW if name.startswith("pogospec/")}
    assert len(NEW) == len(KINDS) + 1
    assert re.search(f"^{HEADER}$", TEXT, flags=re.M) or f"`{HEADER}`" in TEXT


def test_the_examples_keep_to_the_form(added):
    for command in (["check"], ["format", "--check"]):
        ours = ["--config", f"{ROOT}/pyproject.toml", "--config", 'lint.isort.known-first-party=["pogospec"]']
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", *ours, "."]
        done = subprocess.run(ruff, capture_output=True, text=True, cwd=added.spec.parent)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_are_checked_explained_and_listed(added, capsys):
    language.check([str(added.spec)], set_=SMALL)
    assert "mine.yaml: fine (1 step, 6 updates on csv:pendulum.csv)" in capsys.readouterr().out
    explaining.explain(str(added.spec), set_=SMALL, measure=False)
    told = re.sub(r"\s+", " ", capsys.readouterr().out)
    for words in (
        "− 1 · (1/2) Σ_k mean_i Q_i(s, a_k)", "+ 0.5 · (1/4) Σ_k |(|a_k| − 0.9)₊|²", "+ (1/1) · M²(π, π_β)/2 ]",
        "y = r + 0.99 (1 − terminated) min_i Q̄_i(s', a')", "5 × (4 → 8 → 1)", "58 transitions in 3 episodes",
        "a' ~ π(·|s'), clipped to ±1", "M² squared gap of E (a, a²), by 8 samples of each",
        "by samples moments, n = 8 actions of each: no bias", "(3 → 8 → 2): 50 parameters",
    ):  # fmt: skip
        assert words in told
    explaining.explain(str(added.spec), set_=SMALL, to="latex", measure=False)
    assert r"\tfrac{1}{2} M^2(\pi, \pi_\beta)" in capsys.readouterr().out
    language.list_("kinds", as_json=True)
    listed = {(row["slot"], row["kind"]) for row in json.loads(capsys.readouterr().out)}
    assert {(slot, kind) for slot, kind, _ in KINDS if slot != "source"} <= listed
    document = plain_of(parse_mapping(YAML, "mine.yaml"))
    assert list(Draft7Validator(spec_schema(["pocket/reacher-mixed"])).iter_errors(document)) == []


def test_the_examples_run(added):
    overrides = [tuple(text.split("=", 1)) for text in SMALL]
    run = pogospec.run(added.spec, added.spec.parent / "run", overrides)  # type: ignore[arg-type]
    assert run.status()["state"] == "done"
    assert run.manifest["dataset"] == "csv:pendulum.csv"
    metrics = run.read("metrics.csv")
    assert all(
        np.isfinite([float(row[name]) for name in ("critic_loss", "behavior_loss", "distance")]).all()
        for row in metrics
    )
    assert float(metrics[-1]["energy.overshoot"]) >= 0
    assert {row["policy"] for row in run.read("returns.csv")} == {"behavior", "step 1"}
    policy = pogospec.load_policy(run)
    assert policy.act(np.zeros(3)).shape == (1,)
    drawn = policy.parameters(np.zeros(3)).distribution().sample(jax.random.key(0), (3,))
    assert drawn.shape == (3, 1)


def test_the_oracle_of_the_document_holds_the_geometry(added):
    (name,) = (name for name in NEW if name.startswith("tests/"))
    scope: dict[str, Any] = {"__name__": "oracle"}
    exec(compile(NEW[name], name, "exec"), scope)
    (oracle,) = (value for key, value in scope.items() if key.startswith("test_"))
    oracle()


def test_the_moments_of_points_are_those_of_their_actions_and_have_a_gradient(added):
    geometry, there = added.classes["moments"](weight=2.0), Point(jnp.zeros((2, 2)))
    seen = Seen(jnp.zeros((2, 0)), jax.random.key(0))
    rows = lambda p: geometry.divergence(p, there, seen)  # noqa: E731
    found, gradient = jax.jit(lambda p: (rows(p), jax.grad(lambda p: rows(p).sum())(p)))(
        Point(jnp.array([[0.3, 0.4], [0.0, 0.0]]))
    )
    np.testing.assert_allclose(found, [0.25 + 0.3**4 + 0.4**4, 0.0], atol=1e-6)
    np.testing.assert_allclose(gradient.mean, [[0.6 + 4 * 0.3**3, 0.8 + 4 * 0.4**3], [0.0, 0.0]], atol=1e-6)


laplace: Any = stats.laplace
MEANS, STDS = np.array([[0.3, -0.2], [-0.1, 0.4]]), np.array([[0.5, 0.2], [0.3, 0.7]])


def test_the_laplace_family_is_scipys(added, float64):
    policy, (w2, kl) = added.classes["laplace"](), (registry.load("geometry", k) for k in ("wasserstein2", "kl"))
    first, second = (laplace(mean, std / np.sqrt(2)) for mean, std in zip(MEANS, STDS, strict=True))
    a, z = np.linspace(-1, 1, 14).reshape(7, 2), np.linspace(-3, 3, 14).reshape(7, 2)

    @jax.jit
    def found(p, q):
        return {
            "density": policy.log_likelihood(p, jnp.asarray(a)),
            "entropy": policy.entropy(p, jax.random.key(0)),
            "quantiles": p.at(jnp.asarray(z)),
            "square": jnp.square(policy.actions("quadrature", p, jax.random.key(0))).mean(0),
            "sampled": policy.actions(Sample(20_000), p, jax.random.key(0)).std(0),
            "w2": w2().divergence(p, q),
            "there": kl().divergence(p, q),
            "back": kl(direction="reference_to_policy").divergence(p, q),
        }

    of = found(*(policy.parameter_type(*map(jnp.asarray, pair)) for pair in zip(MEANS, np.log(STDS), strict=True)))
    np.testing.assert_allclose(of["density"], first.logpdf(a).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(of["entropy"], first.entropy().sum(), rtol=1e-12)
    np.testing.assert_allclose(of["quantiles"], first.ppf(stats.norm.cdf(z)), rtol=1e-9)
    np.testing.assert_allclose(of["square"], MEANS[0] ** 2 + STDS[0] ** 2, rtol=1e-12)
    np.testing.assert_allclose(of["sampled"], STDS[0], rtol=0.04)
    u, x = (np.arange(100_000)[:, None] + 0.5) / 100_000, np.linspace(-12, 12, 100_001)[:, None]
    assert float(of["w2"]) == pytest.approx(np.square(first.ppf(u) - second.ppf(u)).mean(0).sum() / 2, rel=1e-3)
    for name, one, other in (("there", first, second), ("back", second, first)):
        by_hand = np.trapezoid(one.pdf(x) * (one.logpdf(x) - other.logpdf(x)), x, axis=0).sum()
        assert float(of[name]) == pytest.approx(by_hand, rel=1e-6)


def test_the_overshoot_of_a_gaussian_is_that_of_its_tails(added, float64):
    mean, std, limit, runs = 0.7, 0.4, 0.9, 50_000
    term, policy = added.classes["overshoot"](limit=limit, samples=3), GaussianPolicy()
    parameters = policy.parameter_type(jnp.full((runs, 1), mean), jnp.full((runs, 1), np.log(std)))
    found = np.asarray(term.value(parameters, Context(None, None, policy, None), jax.random.key(0)))  # type: ignore
    over = (mean - limit) / std, (-mean - limit) / std
    tails = sum(std**2 * ((1 + gap**2) * stats.norm.cdf(gap) + gap * stats.norm.pdf(gap)) for gap in over)
    assert found.shape == (runs,)
    assert abs(found.mean() - tails) < 4.5 * found.std() / np.sqrt(runs) < 0.04 * tails
    outside = term.potential(jnp.array([[0.5, 1.0], [-1.4, 2.9]]), None, None)
    np.testing.assert_allclose(outside, [0.01, 0.25 + 4.0], rtol=1e-12)


def test_the_loss_of_the_ensemble_is_its_sum_by_hand(added, float64):
    critic, space = added.classes["ensemble_q"](members=3, hidden=(4,), discount=0.9), Space(2, 1, (-1.0,), (1.0,))
    network, target = (jax.jit(lambda key: critic.init(key, space))(jax.random.key(seed)) for seed in (0, 1))
    rng, zeros = np.random.default_rng(0), np.zeros(6)
    states, following, actions, nexts = (rng.normal(size=(6, width)) for width in (2, 2, 1, 1))
    batch = Batch(
        states, actions, rng.normal(size=6), following, np.array([0, 1, 0, 0, 1, 0]), zeros, actions, zeros, zeros
    )
    views = Views(*[None] * 6)._replace(online_sample=lambda key, count: jnp.asarray(nexts)[None])  # type: ignore[arg-type]
    loss, _ = jax.jit(lambda *nets: critic.loss(*nets, batch, views, jax.random.key(0)))(network, target)

    def value(networks, member, rows, acts):
        first, last = jax.tree.map(np.asarray, networks.layers)
        x = np.maximum(np.concatenate([rows, acts], 1) @ first.weight[member] + first.bias[member], 0)
        return (x @ last.weight[member] + last.bias[member])[:, 0]

    least = np.min([value(target, member, following, nexts) for member in range(3)], 0)
    y = batch.rewards + 0.9 * (1 - batch.terminated) * least
    by_hand = sum(np.mean((value(network, member, states, actions) - y) ** 2) for member in range(3))
    assert float(loss) == pytest.approx(float(by_hand), rel=1e-9)
    assert critic.values(network, states, actions, 1).shape == (1, 6)


def test_the_columns_of_a_csv_are_those_that_were_written(added):
    found, rows = data.read("csv:pendulum.csv", "Pendulum-v1"), logged().astype(np.float32)
    assert (found.faults(), found.low, found.high) == ([], (-2.0,), (2.0,))
    columns = found.columns
    np.testing.assert_array_equal(columns.observations, rows[:, :3])
    np.testing.assert_array_equal(columns.actions, rows[:, 3:4])
    np.testing.assert_array_equal(columns.rewards, rows[:, 4])
    np.testing.assert_array_equal(columns.terminated, rows[:, 5] == 1)
    np.testing.assert_array_equal(columns.truncated, rows[:, 6] == 1)
    with pytest.raises(NotAtHand, match=r"pendulm.csv: no such file; did you mean csv:pendulum.csv\?"):
        data.find("csv:pendulm.csv")
    for text in ("", "rewards,terminals\n1,2,3\n", "rewards\nmuch\n"):
        Path("wrong.csv").write_text(text)
        with pytest.raises(DataError, match=r"data.dataset: wrong.csv: cannot be read as CSV \("):
            data.read("csv:wrong.csv")
    Path("wrong.csv").unlink()


def names_in(path: Path) -> set[str]:
    """What a file defines: functions, classes and their methods, constants."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            inner = node.body if isinstance(node, ast.ClassDef) else ()
            found |= {node.name, *(f"{node.name}.{one.name}" for one in inner if isinstance(one, ast.FunctionDef))}
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_every_path_and_name_of_the_document_exists():
    """`folder/file.py: name` is what a file defines; a name alone is a word of some file."""
    told = re.findall(r"`([^`\n]+)`", PROSE)
    paths = [re.fullmatch(r"(\.?[\w-]+(?:/[\w.-]*)+|[\w-]+\.(?:md|toml|py))(?:: ([\w.]+))?", text) for text in told]
    places = [match.groups() for match in paths if match is not None and match[1] not in NEW]
    assert sum(name is not None for _, name in places) > 20
    for place, name in places:
        exists = (ROOT / place).exists() if "/" in place or place.isupper() else any(ROOT.glob(f"**/{place}"))
        assert exists or (ROOT / place).exists(), place
        assert name is None or name in names_in(ROOT / place), f"{place}: {name}"
    texts = [*ROOT.glob("pogospec/**/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "pyproject.toml"]
    words = {
        word
        for path in texts
        if path != Path(__file__)
        for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))
    }
    alone = [text.removesuffix("()") for text in told if re.fullmatch(r"\w+(\(\))?", text)]
    assert len(alone) > 20
    assert [word for word in alone if word not in words] == []
    commands = re.findall(r"(?<= )tests/\w+|^\.ci/\w+", TEXT, flags=re.M)
    assert all((ROOT / path).exists() for path in ["pyproject.toml", *commands])


def test_the_map_names_every_room_from_the_ground_up():
    rows = re.findall(r"^\| (`.*?) \|", PROSE.partition("## From YAML")[0], flags=re.M)
    rooms = [re.findall(r"`pogospec/(\w+)(?:\.py|/)`", row) for row in rows]
    ranks = [[RANK[room] for room in row] for row in rooms if row]
    assert {room for row in rooms for room in row} | {"__init__", "__main__"} == set(RANK)
    assert all(max(before) <= min(after) for before, after in itertools.pairwise(ranks))
