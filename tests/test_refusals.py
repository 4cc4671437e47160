"""What `check` has against a combination: where it stands, why, and what is allowed, which then is allowed indeed.

All combinations of families, geometries, schemes, references and gradients, and of families, schemes, references and
terms of the energy. Whoever follows what the messages say, in any order, soon has a spec that is accepted.
"""

import itertools
import re

import pytest
from combined import FAMILIES, REFERENCES, Ground, grounds, nodes, problems_of, step

from pogospec.registry import table

UPDATES, ROUNDS = 200, 6
TARGET = {"kind": "quadratic", "center": [0.3, -0.2], "curvature": [4.0, 0.5]}
PLAIN = step("previous", "sinkhorn", "implicit", "euclidean", {"action_norm": {}}, UPDATES)
ADVICE = re.compile(r"(?:allowed|use|remove)\b.*")


def told(ground, one):
    """What `check` says of a step."""
    return [(problem, str(problem)) for problem in problems_of(ground.spec([one], UPDATES))]


def remedies(problem, ground, one):
    """Grounds and steps that are as a message says they may be; one for each of the things that it names."""
    advice = ADVICE.search(problem.message.partition(", since ")[0])
    if advice is None:
        return []
    key, found = re.sub(r"^schedule\.steps\[\d\]\.", "", problem.path), []
    _, name, choice = (*key.split("."), None, None)[:3]
    term = one["energy"].get(name, {})
    if "remove it" in advice[0] and name in one["energy"]:
        rest = {other: value for other, value in one["energy"].items() if other != name} or {"action_norm": {}}
        less = {own: value for own, value in term.items() if own != choice}
        found.append((ground, one | {"energy": rest if choice is None else one["energy"] | {name: less}}))
    for word in re.findall(r"[a-z_0-9]+(?: with (?:coupling|direction): \w+)?", advice[0]):
        kind, _, more = word.partition(" ")
        slots = [slot for slot in ("geometry", "gradient", "scheme") if kind in table(slot)]
        for slot in slots:
            if len(slots) == 1 or slot == key:  # a natural gradient is no natural step
                found.append((ground, one | {slot: {"kind": kind} | told_with(more)}))
        if key == "energy" and kind in table("energy"):
            found.append((ground, one | {"energy": one["energy"] | {kind: {}}}))
        if kind in REFERENCES:
            found.append((ground, one | {"from": kind}))
        if kind in table("policy"):
            found.append((ground._replace(policy=nodes("policy", kind)[0] | {"hidden": ground.policy["hidden"]}), one))
        if kind in table("critic"):
            found.append((ground._replace(critic=nodes("critic", kind)[0]), one))
        if kind in ("mean", "sample", "quadrature") and choice is not None:
            value = {"sample": 2} if kind == "sample" else kind
            found.append((ground, one | {"energy": one["energy"] | {name: term | {choice: value}}}))
    return found


def told_with(more: str) -> dict[str, str]:
    """Keys of a kind as a message names them: with key: word."""
    key, _, word = more.removeprefix("with ").partition(": ")
    return {key: word} if word else {}


def assert_told_well(ground, one):
    """Each message has its place, its cause and a way out; each way ends the complaint, and soon all of them."""
    problems = told(ground, one)
    before = {problem.message for problem, _ in problems}
    for problem, text in problems:
        assert re.match(r"combined\.yaml:\d+:\d+: [\w.\[\]-]+: ", text), text
        ways = remedies(problem, ground, one)
        assert ways or text.endswith(" none"), text
        for other, changed in ways:
            still = [p for p in problems_of(other.spec([changed], UPDATES)) if p.path == problem.path]
            again = [p.message for p in still if p.message == problem.message or p.message not in before]
            assert not again, (text, changed, again)
    for _ in range(ROUNDS):
        if not problems:
            return
        ways = [way for problem, _ in problems for way in remedies(problem, ground, one)]
        if not ways:
            assert any(text.endswith(" none") for _, text in problems), problems
            return
        ground, one = ways[0]
        problems = told(ground, one)
    raise AssertionError((problems, one))


@pytest.mark.thinned(("dirac",), "thousands of specs")
@pytest.mark.parametrize("family", FAMILIES)
def test_refused_steps_say_what_is_allowed(family):
    ground, seen = grounds(family, 0)._replace(mode="sequential"), set()
    for parts in itertools.product(REFERENCES, table("geometry"), table("scheme"), table("gradient")):
        reference, geometry, scheme, gradient = parts
        one = step(reference, geometry, scheme, gradient, {"action_norm": {}}, UPDATES)
        messages = frozenset(problem.message for problem, _ in told(ground, one))
        if messages - seen:
            assert_told_well(ground, one)
        seen |= messages
    assert seen


@pytest.mark.thinned(("transport_map",), "thousands of specs")
@pytest.mark.parametrize("family", FAMILIES)
def test_refused_terms_say_what_is_allowed(family):
    ground, seen = grounds(family, 0)._replace(mode="sequential"), set()
    for kind, scheme, reference in itertools.product(table("energy"), table("scheme"), REFERENCES):
        for term in nodes("energy", kind):
            one = PLAIN | {"from": reference, "scheme": scheme, "energy": {kind: term}}
            messages = frozenset(problem.message for problem, _ in told(ground, one))
            if messages - seen:
                assert_told_well(ground, one)
            seen |= messages


@pytest.mark.thinned(("flow_matching",), "thousands of specs")
@pytest.mark.parametrize("family", FAMILIES)
def test_what_known_energies_refuse_says_what_is_allowed(family):
    ground, seen = Ground(nodes("policy", family)[0] | {"hidden": []}, target=TARGET), set()
    steps = itertools.product(["previous"], table("geometry"), table("scheme"), table("gradient"))
    plain = [step(*parts, {"action_norm": {}}, UPDATES) for parts in steps]
    more = [
        plain[0] | {"scheme": s, "energy": {k: term}}
        for s in table("scheme")
        for k in table("energy")
        for term in nodes("energy", k)
    ]
    for one in plain + more:
        messages = frozenset(problem.message for problem, _ in told(ground, one))
        if messages - seen:
            assert_told_well(ground, one)
        seen |= messages
