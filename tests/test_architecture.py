"""Imports run one way, files stay small, and importing the package has no side effects."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pogospec"
FILES = sorted(path for path in PACKAGE.rglob("*.py"))

LAYERS = [
    {
        "errors",
        "places",
        "extras",
        "regular",
        "frames",
        "text",
        "terminal",
        "console",
        "lapack",
        "roots",
        "types",
        "registry",
        "modules",
        "accelerators",
        "__init__",
    },
    {"spec", "nets", "runs"},
    {"data"},
    {"policies", "critics", "energies", "geometries", "steps", "targets"},
    {"checking"},
    {"compiler"},
    {"offline"},
    {"judges"},
    {"training"},
    {"evaluate", "acting", "walk", "posterior"},
    {"explain", "report", "flow"},
    {"results", "tracking", "engines"},
    {"launch"},
    {"shipping", "film", "tuning"},
    {"doctor"},
    {"api"},
    {"cli", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FAMILIES = {"policies", "critics", "energies", "geometries", "steps", "targets"}
ROOMS = {
    "explain": [{"numbers", "stages"}, {"mathematics"}, {"choices", "origins", "cautions", "costs"}, {"overview"}],
    "report": [{"published", "statistics"}, {"reading"}, {"tables", "figures"}, {"screen"}, {"page"}],
}
"""Rooms with floors of their own, ground first. What is side by side does not meet."""


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pogospec"):
            whole = node.module == "pogospec" or node.module.removeprefix("pogospec.") in ROOMS
            yield from [f"{node.module}.{alias.name}" for alias in node.names] if whole else [node.module]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pogospec"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    if path == PACKAGE / "__init__.py":
        return  # its public names are loaded when asked for
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for name in imports(path):
        there = name.split(".")[1:] or ["__init__"]
        if there[0] not in RANK:
            continue
        assert RANK[there[0]] <= RANK[here[0]], f"{path.name} imports {name}"
        if here[0] in FAMILIES and there[0] in FAMILIES and there[0] != here[0]:
            assert there[1] == "base", f"{path.name} imports the variant {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_have_floors_and_doors(path):
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for name in imports(path):
        room, *there = name.split(".")[1:] or [""]
        if room not in ROOMS:
            continue
        if here[0] != room:
            assert len(there) <= 1, f"{path.name} imports {name}, allowed what pogospec.{room}.{there[0]} names"
        elif here[1] not in (there[0], "__init__"):
            floor = {part: number for number, parts in enumerate(ROOMS[room]) for part in parts}
            assert floor[there[0]] < floor[here[1]], f"{path.name} imports {name}"


def test_no_circle():
    modules = {".".join(["pogospec", *path.relative_to(PACKAGE).with_suffix("").parts]): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items() if name != "pogospec.__init__"}
    graph = {}
    for name, path in modules.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        pairs = [(str(node.module), f"{node.module}.{alias.name}") for node in nodes for alias in node.names]
        wanted = {inner if inner in modules else module for module, inner in pairs}
        graph[name] = wanted & set(modules) - {name}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


def test_importing_the_package_starts_no_backend():
    code = "import sys, pogospec; assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
