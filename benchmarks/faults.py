"""Which tests catch a fault? `python benchmarks/faults.py [--only NAME …] [--part quick|whole|both] [--out FILE.csv]`.

Plants the faults of faults.yaml one at a time in a copy of a tree, runs its tests until the first fails, and says which
one it was. A fault is found by its text, wherever in the package that stands. By default the whole suite runs for each
fault, after the files that are `near` it and those that name the faulty module, of its room before others; with what
coverage knows of a run (`pytest --cov --cov-context=test --durations=0`) only tests that execute the faulty lines do:
`--contexts .coverage --durations LOG`. What they let pass is tried on all other tests with `--confirm`. At the end the
tests that caught something run once without a fault.

`--check` says whether each text is there once. `--compare A.csv B.csv` puts what runs found beside each other.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent
PLACES = ("pogospec/**/*.py", "pogospec/**/*.yaml", "specs/**/*.yaml")
LEFT_OUT = {"runs", "shared", "benchmark-results"}
"""What a copy does without, beside hidden files and compiled modules."""
MARKS = {"quick": "not exhaustive", "rest": "exhaustive", "whole": ""}
"""Parts of the suite, as pytest selects them."""
COLUMNS = ("name", "what", "file", "quick", "whole", "test", "seconds", "reaching")
PLUGIN = """
import json, os, pathlib, pytest

given = json.loads(pathlib.Path(__file__).with_name("wanted.json").read_text())
only, without = set(given["only"]), set(given["without"])
rank = {name: place for place, name in enumerate(given["only"])}

def pytest_configure(config):
    config.addinivalue_line("markers", "exhaustive: of trees that have no such part")

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    kept = [item for item in items if (not only or item.nodeid in only) and item.nodeid not in without]
    items[:] = sorted(kept, key=lambda item: rank.get(item.nodeid, 0))
    note("count", str(len(kept)))

def note(name, text):
    file = pathlib.Path(__file__).with_name(name)
    if "PYTEST_XDIST_WORKER" not in os.environ or name == "count":
        file.write_text(file.read_text() + text + "\\n" if file.exists() and name == "failed" else text)

def pytest_runtest_logreport(report):
    if report.failed:
        note("failed", report.nodeid)

def pytest_collectreport(report):
    if report.failed:
        note("failed", report.nodeid)
"""
"""Runs chosen tests in a given order, and notes which fail."""


class Fault(NamedTuple):
    """A mistake: its name, what it changes, and the text that it replaces; line breaks match any indentation."""

    name: str
    what: str
    old: str
    new: str
    near: tuple[str, ...] = ()  # test files that are asked first

    @property
    def pattern(self) -> re.Pattern[str]:
        """What finds it."""
        return re.compile(r"\n[ \t]*".join(re.escape(line.strip()) for line in self.old.split("\n")))

    def planted(self, text: str) -> str:
        """A file with the fault in it; further lines are indented as the first one is."""
        (found,) = self.pattern.finditer(text)
        line = text[text.rfind("\n", 0, found.start()) + 1 :]
        new = self.new.replace("\n", "\n" + line[: len(line) - len(line.lstrip())])
        return text[: found.start()] + new + text[found.end() :]


class Run(NamedTuple):
    """How tests ended: passed, failed, timeout or none (there was no test), the first that failed, and seconds."""

    word: str
    test: str
    seconds: float
    count: int


def faults(tree: Path) -> dict[Fault, list[Path]]:
    """All faults, in the order of the file, and the files of a tree that hold their texts, once for each time."""
    texts = {path: path.read_text(encoding="utf-8") for place in PLACES for path in sorted(tree.glob(place))}
    found: dict[Fault, list[Path]] = {}
    for name, entry in yaml.safe_load((HERE / "faults.yaml").read_text(encoding="utf-8")).items():
        written = [[entry[key]] if isinstance(entry[key], str) else entry[key] for key in ("old", "new")]
        near = tuple(f"tests/{test}" for test in entry.get("near", "").split())
        forms = [Fault(name, entry["what"], old, new, near) for old, new in zip(*written, strict=True)]
        places = {
            fault: [path.relative_to(tree) for path, text in texts.items() for _ in fault.pattern.finditer(text)]
            for fault in forms
        }
        fault = next((one for one in reversed(forms) if len(places[one]) == 1), forms[0])
        found[fault] = places[fault]
    return found


class Known:
    """What a run of the suite with coverage told: which tests execute which lines, and how long they take."""

    def __init__(self, contexts: Sequence[Path], log: Path | None):
        self.seconds: dict[str, float] = {}
        for line in log.read_text(errors="replace").splitlines() if log else ():
            if match := re.fullmatch(r"\s*([\d.]+)s (?:call|setup|teardown)\s+(\S.*?)\s*", line):
                self.seconds[match[2]] = self.seconds.get(match[2], 0.0) + float(match[1])
        self.data: Any = None
        if contexts:
            from coverage import CoverageData

            self.data = CoverageData(no_disk=True)
            for path in contexts:
                part = CoverageData(str(path))
                part.read()
                self.data.update(part)

    def reaching(self, file: Path, lines: set[int], naming: Sequence[str]) -> list[str]:
        """Tests that execute some of the lines, in the order to be run; empty where nothing is known of them.

        Where no test executes any, tests that execute any line of the file; of a file that is no program, all tests
        that name it. Of a test file whose fixtures execute the lines, all tests.
        """
        if self.data is None:
            return []
        by_line: dict[int, list[str]] = {}
        for measured in self.data.measured_files():
            if measured.replace(os.sep, "/").endswith(file.as_posix()):
                for line, found in self.data.contexts_by_lineno(measured).items():
                    by_line.setdefault(line, []).extend(found)
        met = {context for line in lines for context in by_line.get(line, ())} - {""}
        met = met or {context for found in by_line.values() for context in found} - {""}
        shared = {context.partition("::")[0] for context in met if context.endswith("|setup")}
        shared |= set() if file.suffix == ".py" else set(naming)
        tests = {context.rpartition("|")[0] for context in met}
        return self._ordered(tests | {name for name in self.seconds if name.partition("::")[0] in shared}, naming)

    def _ordered(self, tests: set[str], naming: Sequence[str]) -> list[str]:
        """Tests by their files: those that name the faulty one first, then by the time that they take."""
        own = {name: self.seconds.get(name, 0.1) for name in tests}
        taken: dict[str, float] = {}
        for name, seconds in own.items():
            of = name.partition("::")[0]
            taken[of] = taken.get(of, 0.0) + seconds

        def place(name: str) -> tuple:
            of = name.partition("::")[0]
            return of not in naming, taken[of], of, own[name], name

        return sorted(tests, key=place)


def statement(text: str, first: int, last: int) -> set[int]:
    """Lines of the statements that some lines belong to; none outside functions, which run once, when imported."""
    found, inside = set(range(first, last + 1)), False
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt) and node.lineno <= last and (node.end_lineno or 0) >= first:
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno or 0  # of what has a body, its head
            inside |= isinstance(node, ast.FunctionDef)
            if end >= first and not isinstance(node, ast.FunctionDef | ast.ClassDef):
                found |= set(range(node.lineno, end + 1))
    return found if inside else set()


class Copy:
    """A tree whose files may be spoilt, with a folder beside it that tells pytest what to do."""

    def __init__(self, tree: Path, folder: Path, options: argparse.Namespace):
        self.tree, self.aside, self.options = folder / "tree", folder / "aside", options
        everywhere = shutil.ignore_patterns(".*", "__pycache__")
        shutil.copytree(
            tree, self.tree, ignore=lambda at, names: everywhere(at, names) | (LEFT_OUT if Path(at) == tree else set())
        )
        self.aside.mkdir()
        (self.aside / "only_these.py").write_text(PLUGIN)
        self.stamp = int(time.time()) - 10_000_000
        self.parted = "exhaustive" in (self.tree / "pyproject.toml").read_text(encoding="utf-8")
        self.tests = sorted(path.relative_to(self.tree).as_posix() for path in self.tree.glob("tests/**/test_*.py"))

    def write(self, file: Path, text: str) -> None:
        """Write a file, never with a time that it had before: compiled modules are known by that and their size."""
        (self.tree / file).write_text(text, encoding="utf-8")
        self.stamp += 10
        os.utime(self.tree / file, (self.stamp, self.stamp))

    def naming(self, file: Path) -> list[str]:
        """Test files that name a file, as a module or by its stem in their own name: those of its room first."""
        module = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        package, _, stem = module.rpartition(".")
        named = re.compile(rf"\b{re.escape(module)}\b|from {re.escape(package)} import .*\b{stem}\b")
        texts = {test: (self.tree / test).read_text(encoding="utf-8") for test in self.tests}
        found = [test for test in self.tests if f"_{stem}_" in f"_{Path(test).stem}_" or named.search(texts[test])]
        rooms = {f"tests/{part}" for part in file.parts}
        return sorted(found, key=lambda test: (Path(test).parent.as_posix() not in rooms, len(texts[test])))

    def run(self, mark: str, only: Sequence[str], without: Iterable[str], files: Sequence[str]) -> Run:
        """Run tests until one fails: those of files, or `only` some in their order."""
        (self.aside / "wanted.json").write_text(json.dumps({"only": list(only), "without": sorted(without)}))
        for name in ("failed", "count"):
            (self.aside / name).unlink(missing_ok=True)
        files = [name.partition("::")[0] for name in only] or files
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "only_these", "-m", mark, "-n", self.options.n]
        command += ["-o", "addopts=--strict-markers", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
        command += [file for file in dict.fromkeys(files) if (self.tree / file).is_file()]
        begin = time.monotonic()
        code = self._code(command)
        failed, count = ((self.aside / name) for name in ("failed", "count"))
        test = failed.read_text().splitlines()[0] if failed.exists() else ""
        word = "timeout" if code is None else "failed" if test else {0: "passed", 5: "none"}.get(code, "broken")
        if word == "broken":
            sys.exit(f"pytest ended with {code}:\n{(self.aside / 'said').read_text()[-3000:]}")
        return Run(word, test, time.monotonic() - begin, int(count.read_text()) if count.exists() else 0)

    def _code(self, command: Sequence[str]) -> int | None:
        """How pytest ended; None where it took too long. Nothing that its tests started is left."""
        paths = [str(self.tree), str(self.aside), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        about: Any = {"cwd": self.tree, "env": environment, "start_new_session": True}
        with (self.aside / "said").open("w") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, **about)
            try:
                return process.wait(self.options.timeout)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with suppress(ProcessLookupError):  # the number of a session's first process is that of its group
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def tried(copy: Copy, known: Known, fault: Fault, file: Path) -> dict[str, Any]:
    """What the suite says of one fault: a row of the table."""
    text = (copy.tree / file).read_text(encoding="utf-8")
    found = next(fault.pattern.finditer(text))
    lines = {text.count("\n", 0, end) + 1 for end in found.span()}
    lines = statement(text, min(lines), max(lines)) if file.suffix == ".py" else lines
    naming = copy.naming(file)
    near = [test for test in dict.fromkeys([*fault.near, *naming]) if test in copy.tests]
    others = [test for test in copy.tests if test not in near]
    reaching = known.reaching(file, lines, naming)
    row: dict[str, Any] = {"name": fault.name, "what": fault.what, "file": str(file), "reaching": len(reaching) or ""}
    spoilt = fault.planted(text)
    if file.suffix == ".py":
        ast.parse(spoilt)
    copy.write(file, spoilt)
    seconds, ended = 0.0, Run("none", "", 0.0, 0)
    try:
        parts = ["quick", "rest"] if copy.options.part == "both" and copy.parted else [copy.options.part]
        for part in ["whole"] if parts == ["both"] else parts:
            rounds = [(reaching, [], [])] if reaching else [([], [], near), ([], [], others)]
            rounds += [([], reaching, [*near, *others])] if reaching and copy.options.confirm else []
            for only, without, files in rounds:
                if not only and not files:
                    continue
                ended = copy.run(MARKS[part], only, without, files)
                seconds += ended.seconds
                if ended.word in ("failed", "timeout"):
                    break
            word = {"failed": "caught", "timeout": "timeout"}.get(ended.word, "missed")
            row |= {"quick": word} if part == "quick" else {}
            row |= {"whole": word} if part != "quick" or word == "caught" else {}
            if word != "missed":
                break
    finally:
        copy.write(file, text)
    return row | {"test": ended.test, "seconds": f"{seconds:.0f}"}


def written(rows: Sequence[dict[Any, Any]], out: Path | None) -> None:
    """The rows as a file of their own, after each fault."""
    if out is not None:
        with out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(rows)


def known_rows(out: Path | None) -> dict[str, dict[str, Any]]:
    """Rows that a file holds already, by name; of a run that was stopped, for example."""
    if out is None or not out.is_file():
        return {}
    with out.open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def counted(rows: Sequence[dict[str, Any]], part: str) -> str:
    """How many of those that a part was tried on it caught."""
    words = [row[part] for row in rows if row.get(part)]
    missed = [row["name"] for row in rows if row.get(part) not in (None, "", "caught")]
    return f"{part}: {words.count('caught')} of {len(words)} caught" + (f"; not {', '.join(missed)}" if missed else "")


def line(row: dict[str, Any]) -> str:
    """What is said of a fault as soon as it is known."""
    words = f"{row.get('quick', ''):<8}{row.get('whole', ''):<8}"
    return f"{row['name']:<30} {words}{row['seconds']:>6} s of {row['reaching'] or 'all':>5}  {row['test']}".rstrip()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All that was found, as Markdown."""
    names = ("name", "what", "quick", "whole", "test")
    texts = [[str(row.get(name, "")).replace("|", "\\|") for name in names] for row in rows]
    head = ["fault", "what it does", "caught by quick", "by whole", "first test"]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *texts])


def compare(files: Sequence[Path]) -> None:
    """What several runs found, a column a part of each."""
    tables = [known_rows(path) for path in files]
    columns = [(path.stem, table, part) for path, table in zip(files, tables, strict=True) for part in MARKS]
    columns = [one for one in columns if any(row.get(one[2]) for row in one[1].values())]
    names = list(dict.fromkeys(name for table in tables for name in table))
    width = max(map(len, names), default=0)
    print("  ".join([" " * width, *(f"{stem} {part}" for stem, _, part in columns)]))
    for name in names:
        cells = [(table.get(name, {}).get(part) or "-").ljust(len(f"{stem} {part}")) for stem, table, part in columns]
        print("  ".join([name.ljust(width), *cells]).rstrip())
    for stem, table, part in columns:
        print(f"{stem}, {counted(list(table.values()), part)}")


def plant(copy: Copy, places: dict[Fault, Path]) -> None:
    """Try all faults, and report."""
    options, before = copy.options, known_rows(copy.options.out)
    known, rows = Known(options.contexts, options.durations), list(before.values())
    for fault, file in places.items():
        if fault.name not in before:
            rows.append(tried(copy, known, fault, file))
            print(line(rows[-1]), flush=True)
            written(rows, options.out)
    print(f"\n{table(rows)}\n")
    for part in ("quick", "whole"):
        print(counted(rows, part))
    tests = list(dict.fromkeys(row["test"] for row in rows if "::" in row["test"]))
    clean = copy.run("", tests, [], []) if tests else None
    if clean is not None and clean.word != "passed":
        print(f"without a fault {clean.test or 'a test'} ends with {clean.word}: what it caught says nothing")


def main() -> None:
    """Plant and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=HERE.parent, help="default: the one that this file is in")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="default: all faults")
    parser.add_argument("--part", choices=("quick", "whole", "both"), default="both")
    parser.add_argument("--timeout", type=float, default=3600, metavar="S", help="of one run of pytest")
    parser.add_argument("--contexts", type=Path, nargs="+", default=[], metavar="FILE", help="data files of coverage")
    parser.add_argument("--durations", type=Path, metavar="LOG", help="what pytest printed with --durations=0")
    parser.add_argument("--confirm", action="store_true", help="try what reaching tests let pass on all others")
    parser.add_argument("-n", default="0", help="processes of pytest-xdist")
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="faults that it holds are not tried again")
    parser.add_argument("--check", action="store_true", help="only whether each text is found once")
    parser.add_argument("--compare", type=Path, nargs="+", metavar="FILE.csv", help="only show these")
    options = parser.parse_args()
    if options.compare:
        compare(options.compare)
        return
    known = faults(options.tree)
    unknown = set(options.only or ()) - {fault.name for fault in known}
    if unknown:
        parser.error(f"no fault {', '.join(sorted(unknown))}; allowed {', '.join(fault.name for fault in known)}")
    wanted = {fault: at for fault, at in known.items() if options.only is None or fault.name in options.only}
    lost = {fault: at for fault, at in wanted.items() if len(at) != 1}
    for fault, at in lost.items():
        print(f"{fault.name}: found {len(at)} times{': ' * bool(at)}{', '.join(map(str, at))}")
    if options.check:
        print(f"{len(wanted) - len(lost)} of {len(wanted)} faults are found once in {options.tree}")
        sys.exit(bool(lost))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(options.tree.resolve(), Path(folder), options)
        plant(copy, {fault: at[0] for fault, at in wanted.items() if fault not in lost})


if __name__ == "__main__":
    main()
