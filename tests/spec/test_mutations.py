"""A thousand damaged specs: each is refused in words with a place, or is a spec whose whole run can be traced."""

import collections
import random
import signal

import pytest
from mutate import mutation
from plan import shapes
from random_specs import valid

from pogospec.checking.check import checked
from pogospec.errors import Problem, SpecError
from pogospec.spec.build import digest
from pogospec.spec.resolve import read_text
from pogospec.spec.schema import Spec
from pogospec.spec.shipped import shipped_specs
from pogospec.spec.starter import starter
from pogospec.spec.yaml import write

BATCHES, CASES, TRACED, SECONDS = 20, 50, 3, 10.0
TEXTS = [(path.read_text(), str(path.with_name("spec.yaml"))) for path in shipped_specs()] + [(starter(), "spec.yaml")]
FORCED = [{}] * 8 + [{"target": kind} for kind in ("quadratic", "mixture", "banana", "numpyro")]


@pytest.fixture(scope="module")
def texts():
    """The specs that are damaged."""
    return TEXTS + [(write(valid(seed, force)[0]), "spec.yaml") for seed, force in enumerate(FORCED)]


@pytest.fixture
def bound():
    """Starts the time of a case, and ends one that hangs; processor time, whatever else the machine does."""

    def ring(*_):
        raise TimeoutError(f"a case took more than {SECONDS} s")

    before = signal.signal(signal.SIGVTALRM, ring)
    yield lambda: signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


def fault(problem: Problem) -> str:
    """What is wrong with the report of a problem itself; empty where it is good."""
    origin, text = problem.origin, str(problem)
    located = origin.file and (origin.layer == "command line" or (origin.line and origin.column))
    return "; ".join(
        word
        for word, wrong in {
            "no place": not located,
            "no words": len(problem.message) < 10,
            "not one printable line": not text.isprintable(),
            "too long": len(text) > 800,
        }.items()
        if wrong
    )


def outcome(text: str, file: str, overrides: list[tuple[str, str]]) -> tuple[Spec | None, list[Problem]]:
    """The spec of a text, or what is wrong with it."""
    try:
        return checked(read_text(text, file, overrides)), []
    except SpecError as error:
        return None, error.problems


@pytest.mark.thinned(1, "a thousand specs")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_damaged_spec_is_refused_in_words_or_runs(texts, bound, batch, record_property):
    count, runs = collections.Counter(), {}
    for case in range(batch * CASES, (batch + 1) * CASES):
        rng = random.Random(f"case {case}")
        whole, file = rng.choice(texts)
        text, overrides = mutation(rng, whole)
        bound()
        spec, problems = outcome(text, file, overrides)
        if spec is not None:
            runs[digest(spec)] = spec
        count["a spec" if spec is not None else "refused"] += 1
        faults = [f"{fault(problem)}: {problem}" for problem in problems if fault(problem)]
        assert not faults, (case, faults)
        assert spec is not None or problems
    for spec in list(runs.values())[:TRACED]:
        bound()
        assert all(report["info"] for report in shapes(spec, measure=False))
        count["traced"] += 1
    record_property("outcomes", dict(count))
    assert count["refused"] > 0.6 * CASES
    assert count["a spec"] >= count["traced"] > 0
