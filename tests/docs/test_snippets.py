"""Every command, file and snippet of the pages is run, page by page from the top, in sizes of toys.

The pages show what a reader runs. `toy` puts smaller numbers in its place, and `words_of` tells `run` of smaller
networks and batches beside.
"""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import pogospec
from pages import DOCS, WRITTEN, blocks, commands
from shipped import run_in

import pogospec as package
from pogospec import registry
from pogospec.checking.check import checked_all, documents
from pogospec.spec.yaml import parse_mapping, plain_of

NOT_RUN = {
    "python3.11 -m venv .venv": "makes a virtual environment",
    ". .venv/bin/activate": "enters it",
    "pip install -e .": "installs: pogospec as the tests have it, a package of the page by what it declares",
    "pip install -e '.[cuda]'": "downloads what a GPU needs",
    "pogospec doctor": "tries what this machine has, for half a minute; tests/test_doctor.py runs it",
    "pogospec watch runs": "serves until it is interrupted; tests/report/test_page.py starts and ends it",
    "pip install 'pogospec[slurm]'": "as above",
    "pogospec suite table.yaml --on slurm:short": "needs Slurm; tests/engines/test_clusters.py has stand-ins",
    "pogospec suite table.yaml --on ray:head:6379": "needs a cluster; tests/engines/test_clusters.py makes one",
    "sbatch job.sh": "needs Slurm: the script is run as a job of an array would run it",
}
"""Commands that are not run as they stand, and why."""
TOYS = [
    (r"--updates \d+", "--updates 6"),
    (r"--seeds \d+", "--seeds 2"),
    (r"--fqe-updates \d+", "--fqe-updates 20 --fqe-hidden 8"),
    (r"evaluate\.every=\d+", "evaluate.every=4"),
    (r"at: \[[\d, ]+\]", "at: [2, 4, 6]"),
    (r"\[64, ?64\]", "[8]"),
    (r'updates": \d+', 'updates": 6'),
    (r"updates=\d+, hidden=\(64, 64\)", "updates=20, hidden=(8,)"),
    (r"range\(100\)", "range(6)"),
    (r"max_episode_steps=100", "max_episode_steps=20"),
]
PAGES = [path for path in WRITTEN if blocks(path)]
QUICK = ("commands.md", "index.md", "language.md")
LONG = pytest.mark.exhaustive("a page trains several policies")
SLURM = """#!/bin/bash
echo "$@" >> called
[ "$1" = run ] && mkdir -p "${@: -1}" && touch "${@: -1}/manifest.json"
exit 0
"""
"""Stands for `pogospec` in a job: notes how it was called, and leaves what a run begins with."""


def toy(text):
    """The same with small numbers."""
    for pattern, small in TOYS:
        text = re.sub(pattern, small, text)
    return text


def words_of(command):
    """The words of a command in the size of a toy."""
    words = shlex.split(toy(command))
    if words[:2] == ["pogospec", "evaluate"]:
        return [*words, "--hidden", "8"]
    if words[:2] == ["pogospec", "explain"]:
        return words if "--no-measure" in words else [*words, "--no-measure"]
    if words[:2] == ["pogospec", "tune"]:
        small = ("behavior.hidden=[8]", "critic.hidden=[8]", "train.batch_size=16", "evaluate.episodes=1")
        return [*words, *(part for one in small for part in ("--set", one))]
    if words[:2] != ["pogospec", "run"]:
        return words
    spec = package.load(words[2])
    if spec.target is not None:
        return [*words, "--updates", "6", "--set", "schedule.steps[*].repeat=2"]
    slots = ["policy", *(["behavior"] if any("behavior" in step.learn for step in spec.schedule.steps) else [])]
    slots += [] if spec.critic is None else ["critic"]
    sets = [*(f"{slot}.hidden=[8]" for slot in slots), "train.batch_size=16", "evaluate.episodes=1"]
    more = [part for one in sets if one.partition("=")[0] not in command for part in ("--set", one)]
    return [*words, *more, *([] if "--updates" in words else ["--updates", "6"])]


class Reader:
    """Follows a page in a folder of its own, which is the working directory."""

    def __init__(self):
        self.names, self.skipped = {}, []
        self.env = {"POGOSPEC_DATA_DIR": str(Path.cwd() / "data")}

    def follow(self, block):
        """Do what a block asks for."""
        if block.file:
            self.write(Path(block.file), toy(block.text))
        elif block.language == "sh":
            for command in commands(block.text):
                self.run(command)
        elif block.language == "python":
            exec(compile(toy(block.text), "snippet", "exec"), self.names)
        else:
            assert block.language == "yaml"
            fragment = plain_of(parse_mapping(block.text, "snippet"))
            whole = {"policy", "energy", "schedule"} <= fragment.keys()
            checked_all(documents(fragment if whole else {"extends": "pogo_fr_two_step"} | fragment))

    def write(self, path, text):
        """A file of the page; of a project and a test, what comes with it."""
        path.write_text(text, encoding="utf-8")
        if path.name == "pyproject.toml":
            project = tomllib.loads(text)["project"]
            about = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
            about.mkdir()
            (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
            points = project["entry-points"]["pogospec.kinds"].items()
            lines = ["[pogospec.kinds]", *(f"{name} = {value}" for name, value in points)]
            (about / "entry_points.txt").write_text("\n".join(lines))
            importlib.invalidate_caches()
            registry.third_party.cache_clear()  # the test itself reads specs of the page too
            self.env["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])])
        if path.name.startswith("test_"):
            self.python("-m", "pytest", "-p", "no:cacheprovider", path.name)

    def run(self, command):
        """A command of a shell block."""
        if command in NOT_RUN:
            self.skipped.append(command)
            if command == "sbatch job.sh":
                self.queue()
            return
        program, *words = words_of(command)
        if program == "python":
            self.python(*words)
            return
        assert program == "pogospec"
        done = pogospec(*words, env=self.env, check=False)
        refused = "gpu" in words and "but JAX sees no such device here" in done.stderr
        refused |= words[0] == "render" and "draw" in done.stderr and "apt-get install" in done.stderr
        assert done.returncode == 0 or refused, f"{command}\n{done.stderr}"

    def python(self, *words):
        """Python in a process of its own."""
        done = subprocess.run([sys.executable, *words], env=os.environ | self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def queue(self):
        """Each job of the array twice, as after a termination; then a run where each wrote one."""
        stub = Path("bin/pogospec")
        stub.parent.mkdir()
        stub.write_text(SLURM)
        stub.chmod(0o755)
        lines = Path("jobs.txt").read_text().splitlines()
        tasks = re.search(r"--array=1-(\d+)", Path("job.sh").read_text())
        assert tasks is not None
        assert int(tasks[1]) == len(lines)
        env = os.environ | {"PATH": f"{stub.parent.resolve()}{os.pathsep}{os.environ['PATH']}"}
        for task in range(1, len(lines) + 1):
            for _ in range(2):
                subprocess.run(["bash", "job.sh"], env=env | {"SLURM_ARRAY_TASK_ID": str(task)}, check=True)
        called = [shlex.split(line) for line in Path("called").read_text().splitlines()]
        for line, first, again in zip(lines, called[::2], called[1::2], strict=True):
            spec, dataset = line.split()
            out = first[-1]
            assert first == ["run", spec, "--dataset", dataset, "--seeds", "2", "--quiet", "--out", out]
            assert again == ["resume", out, "--quiet"]
            package.load(spec, {"data.dataset": dataset})
            shutil.rmtree(out)
            run_in(Path(out))


@pytest.fixture
def reader(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Reader()
    registry.third_party.cache_clear()
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=[] if p.name in QUICK else [LONG]) for p in PAGES],
)
def test_a_page_does_what_it_says(path, reader):
    for block in blocks(path):
        reader.follow(block)
    if path.name == "gallery.md":
        shown = re.findall(r"\]\(pictures/([\w-]+\.png)\)", path.read_text(encoding="utf-8"))
        assert shown
        assert all(Path(name).stat().st_size > 0 for name in shown)


def test_what_is_not_run_is_named_with_its_reason():
    every = {c for path in PAGES for b in blocks(path) if b.language == "sh" for c in commands(b.text)}
    assert NOT_RUN.keys() <= every
    programs = {command.split()[0] for command in every - NOT_RUN.keys()}
    assert programs == {"pogospec", "python"}


def test_pages_are_read_whole():
    """No fence is of a kind that the reader passes over by mistake."""
    for path in WRITTEN:
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r"^```", text, re.M)) % 2 == 0, path.relative_to(DOCS)
        languages = {block.language for block in blocks(path) if not block.file}
        assert languages <= {"sh", "python", "yaml"}, path.relative_to(DOCS)
