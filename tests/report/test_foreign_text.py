"""Names, paths and ids that others wrote are shown as they are: no medium takes them for markup, codes or commands."""

import ast
import csv
import io
import json
import os
import re
import subprocess
import sys
import xml.dom.minidom
from pathlib import Path

import pytest
from commands import COMMAND, pogospec
from flows import steps

from pogospec.cli.app import app
from pogospec.console import Screen
from pogospec.report.screen import show_comparison
from pogospec.runs.directory import run_name
from pogospec.terminal import prepare, writable
from pogospec.text import csv_text, json_text, latex, markdown

FOREIGN = (
    "=[bold]x[/red] [link=http://e.x]:smile: \x1b[38;5;99mred\x9b2J\x1b]0;title\x07\x08\r \u202eright\u2066 "
    "a|b `c` *d* _e_ <b>&amp; ![f](http://e.x) www.e.x $x^$ %{ \\input{g} #~^^M\n\n# \t@h é \u2028"
)
PACKAGE = Path(__file__).parents[2] / "pogospec"
OURS = set(
    """begin end centering caption label toprule midrule bottomrule pm textbackslash textasciitilde textasciicircum
    textless textgreater textbar dots mathbf to leq geq times text textbf arg min pi mathbb mathcal tfrac quad qquad Big
    multicolumn sigma beta Sigma Phi mathrm hat lambda bar sum propto exp log operatorname frac mu top sim""".split()  # noqa: SIM905
)
"""Commands of LaTeX that the package writes."""


@pytest.fixture
def runs(make):
    """Two runs, of which nothing but numbers is ours."""
    reference = {"low": 0.0, "high": 100.0, "source": FOREIGN, "label": FOREIGN}
    same = {"dataset": FOREIGN, "reference": reference, "environment": FOREIGN}
    versions = [{"mujoco": FOREIGN + "1", "gymnasium": "1", "jax": "1"}, {"mujoco": FOREIGN, "jax": "2"}]
    found = [
        make(f"run {i} {FOREIGN.replace('/', '')[:40]}", name=FOREIGN + str(i), versions=versions[i], **same)
        for i in (0, 1)
    ]
    (found[1].path / "status.json").write_text(json.dumps({"state": "failed", "message": FOREIGN, "update": 1}))
    return found


@pytest.fixture
def cells(make):
    """A sweep over values of all sorts."""
    values = {"=a.[b]": [FOREIGN, "x"], "c": ["$x^$", "_y"]}
    grid = [{"=a.[b]": one, "c": two} for one in values["=a.[b]"] for two in values["c"]]
    return [make(f"cells/{i}", name=FOREIGN, sweep=cell, cell=i) for i, cell in enumerate(grid)]


@pytest.fixture
def plan(runs):
    """A suite of the runs, and one that has not begun."""
    names = [*(run.path.name for run in runs), "missing"]
    entries = [{"run": n, "method": f"{FOREIGN}{i}", "dataset": FOREIGN} for i, n in enumerate(names)]
    (runs[0].path.parent / "suite.json").write_text(json.dumps({"name": FOREIGN, "about": FOREIGN, "runs": entries}))
    return runs[0].path.parent


@pytest.fixture
def spec(tmp_path):
    """A file whose name and texts are foreign."""
    file = tmp_path / "s [bold]\x1b[31m=.yaml"
    about = {"name": FOREIGN, "about": FOREIGN, "extends": "flows/quadratic_w2"}
    file.write_text(json.dumps(about))
    return file


def shown(*arguments, **more):
    """What a command prints: nothing in it but line breaks that does not print."""
    done = pogospec(*arguments, **more)
    assert "Traceback" not in done.stderr
    for text in (done.stdout, done.stderr):
        assert [c for c in text if not c.isprintable() and c != "\n"] == []
    return done


def test_tables_pictures_and_lists_on_the_terminal(runs, cells, tmp_path):
    folder = runs[0].path.parent
    for arguments in (
        ("compare", *(run.path for run in runs)),
        ("compare", *(run.path for run in runs), "--score", "best"),
        ("compare", *(run.path for run in runs), "--stat", "iqm-ci", "--published"),
        ("compare", *(run.path for run in cells)),
        ("plot", runs[0].path, "--out", tmp_path / "a.svg"),
        ("list", "runs", "--folder", folder),
        ("resume", runs[0].path),
    ):
        out = shown(*arguments).stdout
        whole = re.sub(r"[\s|]", "", out)
        assert arguments[0] == "plot" or "[bold]x[/red][link=" in whole
        assert arguments[0] in ("plot", "list") or r":smile:\x1b[38;5;99mred\x9b2J" in whole
    assert shown("compare", tmp_path / FOREIGN[:30], check=False).returncode == 2
    assert shown("explain", FOREIGN.partition("\n")[0], FOREIGN, check=False).returncode == 2  # of Typer itself
    assert shown("list", "runs", "--folder", tmp_path / FOREIGN[:30]).stdout.startswith("no runs in")


def test_suites_on_the_terminal(plan):
    assert r"[bold]x[/red]" in shown("compare", plan).stdout
    for elsewhere in ("../a", "..", "/tmp", "a/../../b"):
        content = {"name": "s", "runs": [{"run": elsewhere, "method": "a", "dataset": "b"}]}
        (plan / "suite.json").write_text(json.dumps(content))
        assert "suite.json is damaged" in shown("compare", plan, check=False).stderr


@pytest.mark.exhaustive("every command that prints a spec")
def test_specs_on_the_terminal(spec, tmp_path):
    assert r"[bold]\x1b[31m=.yaml: fine" in shown("check", spec).stdout
    assert "=[bold]x[/red] [link=http://e.x]:smile: " in shown("explain", spec, "--no-measure").stdout
    out = tmp_path / "out [b] 'c'"
    done = shown("run", spec, "--updates", 1, "--set", "schedule.steps[0].repeat=1", "--out", out).stdout
    assert f"run directory   {out}\n" in done
    assert f"pogospec compare '{tmp_path}/out [b] '\"'\"'c'\"'\"'' …" in done
    assert "=[bold]x[/red]" in done
    spec.write_text(
        json.dumps({"name": FOREIGN, FOREIGN: 1, "policy": FOREIGN, "data": {"dataset": f"file:{FOREIGN}"}})
    )
    assert shown("check", spec, check=False).returncode == 2
    assert shown("check", spec, "--json", check=False).returncode == 2


def test_colours_are_ours_alone(runs):
    out = io.StringIO()
    show_comparison(Screen(file=out, width=110, force_terminal=True), runs)
    text = re.sub(r"\x1b\[(?!38;5;99m)[\d;]*m", "", out.getvalue())
    assert text != out.getvalue()
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


def test_latex(runs, plan, spec):
    for arguments in (
        ("compare", *(run.path for run in runs), "--to", "latex"),
        ("compare", plan, "--to", "latex"),
        ("explain", spec, "--to", "latex", "--no-measure"),
    ):
        text = shown(*arguments).stdout
        body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
        assert set(re.findall(r"\\([A-Za-z]+)", body)) <= OURS
        plain = re.sub(r"\\\\|\\[&%$#_{}]", "", body)
        assert plain.count("{") == plain.count("}")
        assert not re.search(r"[%#~]|\^\^", plain)
        assert not re.search(r"(\\\\|rule)\s*[\[*]", body)  # would be the argument of what is before it
    for text in ("[2cm] x", "*", "a & b \\\\ c", "$", "{", "^^5cinput", "%\n\\x"):
        assert not re.match(r"[\[*]", latex(text))
        assert re.sub(r"\\(textbackslash|textasciicircum)\{\}|\\[&%$#_{}]|\{\}", "", latex(text)).isprintable()
        assert not re.search(r"\\x|\^\^|(?<!\\)[$%&]", latex(text).replace(r"\textbackslash{}", ""))


def test_markdown(runs, cells, plan):
    for arguments in (*((run.path for run in some) for some in (runs, cells)), [plan], [plan, "--stat", "iqm-ci"]):
        text = shown("compare", *arguments, "--to", "markdown").stdout
        bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)
        assert not re.search(r"[`<>~$@#&]|!\[|\]\(|://|www\.|\b_|_\b", bare)
        tables = re.findall(r"(?:^\|.*\n?)+", bare, re.M)
        assert tables
        assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)
        assert "=" not in {line[:1] for line in text.splitlines()}
    assert markdown("snake_case d4rl/hopper-v2 1.5 (a)") == "snake_case d4rl/hopper-v2 1.5 (a)"
    for text in ("1. x", "- x", "+ x", "# x", "=== x", "12) x"):
        assert markdown(text).replace("\\", "", 1) == text


def test_csv(runs, plan):
    for arguments in ((run.path for run in runs), [plan]):
        head, *rows = csv.reader(io.StringIO(shown("compare", *arguments, "--to", "csv").stdout))
        assert rows
        assert {len(row) for row in rows} == {len(head)}
        for cell in (cell for row in rows for cell in row):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or float(cell) <= 0
        assert any(cell.startswith("'=[bold]x[/red]") for row in rows for cell in row)
    cells = ["-1.5", -2.0, "+x", "@x", "a;=b", 'q"', None, "＝1", "a  b", 1e-300]
    assert csv_text([cells]) == '''-1.5,-2.0,'+x,'@x,"a;=b","q""",,'＝1,a  b,1e-300'''


def test_json_reads_back(runs):
    text = shown("compare", *(run.path for run in runs), "--to", "json").stdout
    assert [run["name"] for run in json.loads(text)["runs"]] == [FOREIGN + "0", FOREIGN + "1"]
    everything = "".join(map(chr, [*range(0x300), *range(0x2000, 0x2100), 0xD800, 0xFEFF, 0x1F600, 0xE0001]))
    assert json.loads(json_text(everything)) == everything


def test_pictures(runs, cells, flow, tmp_path):
    """Matplotlib would take dollars for mathematics, and XML holds no control characters."""
    flows = [flow(f"flow-{i}", name=FOREIGN + str(i), seeds=2, rows=steps(2, [3, 4], [1, 2])) for i in (0, 1)]
    for number, members in enumerate((runs[:1], runs, cells, flows)):
        figures = [["--figure", "sweep"]] if members is cells else [[]]
        for which in figures:
            file = tmp_path / f"{number}.svg"
            pogospec("plot", *(run.path for run in members), "--out", file, *which)
            xml.dom.minidom.parse(str(file))


def in_encoding(monkeypatch, encoding, *arguments):
    """What a command prints, in this process, where the output has such an encoding."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        prepare()
        app([*map(str, arguments)], standalone_mode=False)
        return out.buffer.getvalue().decode(encoding), err.buffer.getvalue().decode(encoding)


@pytest.mark.thinned(("ascii",), "draws all that a terminal may be shown")
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_output_of_every_encoding(encoding, runs, cells, plan, spec, monkeypatch):
    members = [run.path for run in runs]
    for arguments in (
        *(["compare", *members, "--to", to] for to in ("table", "markdown", "latex", "csv", "json")),
        ["compare", plan, "--stat", "iqm-ci"],
        ["compare", *(run.path for run in cells)],
        ["explain", spec, "--no-measure"],
        ["explain", "td3_bc", "--no-measure", "--to", "json"],
        ["list", "kinds"],
        ["list", "kinds", "target"],
        ["list", "runs", "--folder", plan, "--json"],
        ["data", "list"],
        ["schema"],
        ["check", spec],
    ):
        out, _ = in_encoding(monkeypatch, encoding, *arguments)
        if "json" in arguments or "schema" in arguments or "--json" in arguments:
            json.loads(out)
    out, _ = in_encoding(monkeypatch, encoding, "compare", *members)
    assert ("8.0 +- 2.6" if encoding == "ascii" else "8.0 ± 2.6") in out.replace("|", "")


def test_spelling(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert writable("π − ½ σ² Q̄₁ ± … ∇Σ") == "pi - 1/2 sigma^2 Q_bar_1 +- ... grad Sigma"
    assert writable("é中\x1b") == r"(U+00E9)(U+4E2D)\x1b"


@pytest.mark.exhaustive("starts whole processes, in locales that only a new one has")
@pytest.mark.parametrize(
    "locale", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_whole_processes_in_other_locales(locale, runs, spec, tmp_path):
    run = ["run", spec, "--updates", 1, "--set", "schedule.steps[0].repeat=1", "--out", tmp_path / "é"]
    for arguments in (["compare", *(run.path for run in runs)], ["explain", spec, "--no-measure"], run, ["--help"]):
        done = subprocess.run([*COMMAND, *map(str, arguments)], env=os.environ | locale, capture_output=True)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


def test_names_stay_in_their_folder():
    for name in (
        "..",
        ".",
        "",
        "../..",
        "/etc",
        "a/b",
        ".hidden",
        "-x",
        "--out",
        "\0",
        "x" * 300,
        "é" * 100,
        "流" * 300,
        "\ud800",
    ):
        found = run_name(name)
        assert Path(found).name == found
        assert found[0] not in ".-"
        assert len(found.encode()) <= 200
    assert run_name("td3-bc", "d4rl/hopper-v2") == "td3-bc-d4rl-hopper-v2"
    assert run_name("é" * 100) != run_name("é" * 101)


def test_suites_of_any_name_stay_in_their_folder(tmp_path):
    (tmp_path / "s.yaml").write_text('name: "../.."\nspecs: [flows/quadratic_w2]\n')
    out = shown("suite", tmp_path / "s.yaml", "--dry-run", cwd=tmp_path).stdout
    assert "1 runs in runs/_.-..\n" in out
    (tmp_path / "s.yaml").write_text('name: ".."\nspecs: [flows/quadratic_w2]\n')
    assert "1 runs in runs/_.\n" in shown("suite", tmp_path / "s.yaml", "--dry-run", cwd=tmp_path).stdout


def test_one_place_prints():
    """Nothing prints, or makes text for Rich, but through the files that escape."""
    apart = {PACKAGE / "terminal.py", PACKAGE / "console.py", *(PACKAGE / "data/pocket").glob("*.py")}
    for path in sorted(set(PACKAGE.rglob("*.py")) - apart):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in ("print", "Console", "Text", "Text.assemble", "typer.echo", "escape"), (path, name)
                assert not name.endswith(("stdout.write", "stderr.write", "from_markup")), (path, name)
