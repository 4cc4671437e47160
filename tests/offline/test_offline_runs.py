"""Off-policy evaluation through the commands: evaluate --offline, compare --score fqe, select; what is refused."""

import csv
import io
import json
import shutil
from typing import Any

import numpy as np
import pytest
from commands import pogospec

import pogospec as package
from pogospec.checking.check import load
from pogospec.data import load_for
from pogospec.errors import UsageError
from pogospec.launch.offline import Asked, _logged, _no_density
from pogospec.offline.settings import Settings
from pogospec.policies.dirac import DiracPolicy
from pogospec.runs import estimates
from pogospec.runs.columns import OPE
from pogospec.runs.directory import RunDirectory
from pogospec.runs.saved import SavedPolicy

TEXT = """
name: tiny
data: {dataset: pocket/reacher-mixed, normalize_observations: false}
policy: {kind: gaussian, hidden: [4], log_std: [-3, 1]}
energy: {q: {critics: first, actions: mean}}
geometry: fisher_rao
critic: {kind: clipped_double_q, hidden: [4], discount: 0.9}
schedule: {steps: [{from: behavior, tau: 1, updates: 20}]}
train: {batch_size: 16}
evaluate: {every: 20, episodes: 1}
seeds: [1, 3]
"""
QUICK = ("--updates", 20, "--hidden", "4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run that was evaluated, and what that printed."""
    found = tmp_path_factory.mktemp("offline")
    (found / "tiny.yaml").write_text(TEXT)
    pogospec("run", found / "tiny.yaml", "--out", found / "whole", "--quiet")
    said = pogospec("evaluate", found / "whole", "--offline", *QUICK, "--action", "sample", "--samples", 2)
    return found, said.stdout


@pytest.fixture
def whole(folder):
    return folder[0] / "whole"


def rows(run, **wanted):
    found = estimates.read(RunDirectory.open(run))
    return [row for row in found if all(row[name] == value for name, value in wanted.items())]


def test_the_estimates_are_in_the_run_and_on_the_screen(folder, whole):
    printed = " ".join(folder[1].split())
    assert "Discounted value E[Σ_t 0.9^t r_t] from the first observations of 500 logged episodes on" in printed
    assert "rewards r, acting by samples; no return and no score" in printed
    assert "returns are of rollouts acting by the mean" in printed
    found = rows(whole, action="sample")
    assert [(row["policy"], row["estimator"], row["seed"]) for row in found] == [
        (policy, name, seed)
        for policy in ("behavior", "step 1")
        for name in ("fqe", "wis", "dr")
        for seed in ("1", "3")
    ]
    for row in found:
        assert set(row) == set(OPE)
        assert float(row["low"]) < float(row["value"]) < float(row["high"])
        assert (row["gain"] == "") == (row["policy"] == "behavior")
        assert (row["effective"] == "") == (row["estimator"] == "fqe")
    one = rows(whole, policy="step 1", estimator="fqe", action="sample")
    other = rows(whole, policy="behavior", estimator="fqe", action="sample")
    for late, early in zip(one, other, strict=True):
        assert float(late["gain"]) == pytest.approx(float(late["value"]) - float(early["value"]), rel=1e-6)
    behavior = rows(whole, policy="behavior", estimator="wis", action="sample")
    assert all(float(row["effective"]) == pytest.approx(500) for row in behavior)  # of equal policies none is left out


@pytest.mark.exhaustive("fits critics again and again")
def test_what_is_asked_again_takes_the_place_of_itself_and_nothing_else(whole):
    before = rows(whole, action="sample")
    said = pogospec("evaluate", whole, "--offline", *QUICK, "--policy", "step 1", "--level", "0.8").stdout
    assert "wis and dr of step 1 are not known: it acts by the mean, which has no density; --action sample" in said
    assert "interval of 80%" in said
    assert rows(whole, action="sample") == before
    mean = rows(whole, action="mean")
    assert [row["estimator"] for row in mean] == ["fqe", "fqe"]
    settings = Settings(updates=20, hidden=(4,))
    again = package.estimate(whole, "step 1", settings=settings, level=0.8)
    assert [repr(row["value"]) for row in again] == [row["value"] for row in mean]
    assert rows(whole, action="mean") == mean
    assert len(estimates.read(RunDirectory.open(whole))) == len(before) + 2


def test_compare_and_select_read_the_newest_estimates(whole):
    pogospec("evaluate", whole, "--offline", *QUICK, "--discount", "0.5")
    found = rows(whole, discount="0.5", estimator="fqe")
    values = {p: [float(row["value"]) for row in found if row["policy"] == p] for p in ("behavior", "step 1")}
    table = json.loads(pogospec("compare", whole, "--score", "fqe", "--to", "json").stdout)
    assert table["runs"][0]["scores"] == {policy: pytest.approx(own) for policy, own in values.items()}
    about = table["runs"][0]["policies"]["step 1"]
    assert about["unit"] == "value"
    assert about["intervals"] == [pytest.approx([float(row["low"]), float(row["high"])]) for row in found[2:]]
    assert "E[Σ_t 0.5^t r_t]" in pogospec("compare", whole, "--score", "fqe").stdout.replace("\n", " ")
    lines = list(csv.DictReader(io.StringIO(pogospec("compare", whole, "--score", "fqe", "--to", "csv").stdout)))
    assert float(lines[1]["low"]) == pytest.approx(np.mean([float(row["low"]) for row in found[2:]]))
    for extra in ("markdown", "latex"):
        assert "step 1" in pogospec("compare", whole, "--score", "fqe", "--to", extra).stdout

    chosen = json.loads(pogospec("select", whole, "--to", "json", "--by", "value").stdout)
    order = [row["value"] for row in chosen["choices"]]
    assert order == sorted(order, reverse=True)
    returns = RunDirectory.open(whole).read("returns.csv")
    truth = {(row["policy"], int(row["seed"])): row["score"] for row in chosen["choices"]}
    assert len(truth) == 4
    best = max(truth.values())
    assert chosen["rankings"][0]["regret"]["1"] == pytest.approx(best - chosen["choices"][0]["score"])
    assert chosen["rankings"][0]["regret"]["3"] == pytest.approx(best - max(r["score"] for r in chosen["choices"][:3]))
    ranks = [np.argsort(np.argsort(column)) for column in (order, [row["score"] for row in chosen["choices"]])]
    assert chosen["rankings"][0]["spearman"] == pytest.approx(np.corrcoef(ranks[0], ranks[1])[0, 1])
    assert len(returns) == 4
    text = pogospec("select", whole).stdout
    low = max((row for row in found), key=lambda row: float(row["low"]))
    assert f"'{low['policy']}', seed={low['seed']})" in text
    lines = list(csv.DictReader(io.StringIO(pogospec("select", whole, "--per", "policy", "--to", "csv").stdout)))
    assert [line["rank"] for line in lines] == ["1", "2"]
    assert {line["policy"]: float(line["value"]) for line in lines} == pytest.approx(
        {p: np.mean(v) for p, v in values.items()}
    )


WRONG = {
    ("--offline", "--folds", "1"): "folds: found 1, allowed 2 or more: with fewer no episode is held out",
    ("--offline", "--folds", "400"): "found 500 episodes in the data, allowed 800 or more with 400 folds",
    (
        "--offline",
        "--estimator",
        "dr",
    ): "--estimator: wis and dr of behavior, step 1 are not known: it acts by the mean",
    ("--offline", "--estimator", "is"): "--estimator: found 'is', allowed fqe, wis, dr",
    ("--offline", "--policy", "step 9"): "holds no policy 'step 9', allowed behavior, step 1",
    ("--offline", "--discount", "1"): "--discount: found 1, allowed 0 or more and below 1",
    ("--offline", "--level", "95"): "--level: found 95, allowed numbers between 0 and 1",
    ("--offline", "--hidden", "big"): "--hidden: found 'big', allowed whole numbers",
    ("--offline", "--moves", "3"): "--moves: found 3, allowed for particles",
    ("--offline", "--episodes", "3"): "--episodes: allowed without --offline",
    ("--updates", "3"): "--updates: allowed with --offline",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_what_cannot_be_asked_is_said(whole, arguments):
    before = (whole / "ope.csv").read_bytes()
    done = pogospec("evaluate", whole, *arguments, check=False)
    assert done.returncode == 2
    assert WRONG[arguments] in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert (whole / "ope.csv").read_bytes() == before


def test_runs_that_have_nothing_to_read_are_told_how_to_get_it(folder, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(folder[0] / "whole", bare)
    (bare / "ope.csv").unlink()
    done = pogospec("select", bare, check=False)
    assert done.returncode == 2
    assert (
        f"no fitted Q evaluation of 1 of 1 runs yet; make it with:\n  pogospec evaluate {bare} --offline" in done.stderr
    )
    said = pogospec("compare", bare, "--score", "fqe").stdout
    assert "holds no estimate fqe of all seeds; make it with" in " ".join(said.split())
    (bare / "ope.csv").write_text("policy,seed\nbehavior,0\n")
    assert "ope.csv is damaged" in pogospec("select", bare, check=False).stderr
    shutil.rmtree(bare / "policies")
    (bare / "policies").mkdir()
    head = (bare / "metrics.csv").read_text().splitlines()[0]
    (bare / "metrics.csv").write_text(head + "\n")
    done = pogospec("evaluate", bare, "--offline", check=False)
    assert done.returncode == 2
    assert f"{bare} holds no policies yet; go on with: pogospec resume {bare}" in done.stderr


def test_estimates_of_different_numbers_are_not_ranked_together(folder, whole, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    text = (other / "ope.csv").read_text()
    (other / "ope.csv").write_text(text.replace(",0.5,r,", ",0.7,r,").replace(",0.9,r,", ",0.7,r,"))
    done = pogospec("select", whole, other, check=False)
    assert done.returncode == 2
    assert "the estimates differ in their discount" in done.stderr
    assert "by --discount" in done.stderr


def test_a_behaviour_without_a_density_is_named(whole):
    run = RunDirectory.open(whole)
    saved = SavedPolicy.load(*run.load_policy("behavior"))
    point = saved._replace(family=DiracPolicy(hidden=(4,)))
    asked = Asked(action="sample")
    assert _no_density(asked, "step 1", saved, saved) == ""
    assert _no_density(asked, "step 1", saved, point) == "the fitted behaviour (dirac) has no density"
    assert _no_density(asked, "step 1", point, saved) == "its actions (dirac) have no density"
    assert "the run fitted no behaviour" in _no_density(asked, "step 1", saved, None)
    with pytest.raises(UsageError, match="estimators: found 'is', allowed fqe, wis, dr"):
        package.estimate(run, estimators=["is"])
    wrong: list[dict[str, Any]] = [{"action": "best"}, {"rewards": "raw"}, {"samples": 0}]
    for given in wrong:
        with pytest.raises(UsageError, match="found"):
            package.estimate(run, **given)


@pytest.mark.parametrize(
    ("reward", "words", "slope", "shift"),
    [
        ("{}", "r", 1.0, 0.0),
        ("{scale: 4, shift: -2}", "r - 0.5", 1.0, -0.5),
        ("{return_range: 1000}", "r", 1.0, 0.0),
        ("{scale: -2, shift: 1}", "-r + 0.5", -1.0, 0.5),
        ("{scale: 0, shift: 3}", "0 r + 3", 0.0, 3.0),
    ],
)
def test_rewards_are_those_of_the_run_in_units_of_the_logged_ones(tmp_path, reward, words, slope, shift):
    (tmp_path / "spec.yaml").write_text(
        TEXT.replace("observations: false}", f"observations: false, reward: {reward}}}")
    )
    spec = load(tmp_path / "spec.yaml")
    data = load_for(spec)
    found = _logged(spec, data, Asked())
    assert found.rewards == words
    np.testing.assert_allclose(found.seen.rewards, slope * data.transitions.rewards + shift, rtol=1e-5, atol=1e-5)
    spread_of_each = found.seen.observations.std(0)  # critics see them standardised, whatever the run does
    assert np.median(abs(spread_of_each - 1)) < 0.01
    np.testing.assert_array_equal(found.raw.observations, data.transitions.observations)
    plain = _logged(spec, data, Asked(rewards="logged"))
    assert plain.rewards == "r"
    np.testing.assert_array_equal(plain.seen.rewards, data.transitions.rewards)
