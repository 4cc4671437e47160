"""Markdown, latex, csv and json of a comparison; the command line; paths that lead to runs."""

import csv
import io
import json
import re

import numpy as np
import pytest
from commands import pogospec

from pogospec.errors import RunDirectoryError
from pogospec.report.reading.find import open_runs
from pogospec.report.tables.comparison_text import to_text
from pogospec.text import latex as escape

NAME = r"50%_of\a & #1 {x} ~^$ τ=Γ"


def test_csv_and_json_parse_back_and_agree(make):
    runs = [make("a"), make("b", seeds=1), make("c", dataset="pocket/y", reference=None)]
    read = json.loads(to_text(runs, "json", "mean-last-2"))
    rows = list(csv.DictReader(io.StringIO(to_text(runs, "csv", "mean-last-2"))))
    assert (read["score"], read["ddof"], len(rows)) == ("mean-last-2", 1, 9)
    step = read["runs"][0]["policies"]["step 1"]
    assert step["returns"] == pytest.approx([2.5, 5, 4.5])
    assert read["runs"][0]["scores"]["step 1"] == pytest.approx([25, 30, 29])
    assert step["std"] == pytest.approx(np.std([2.5, 5, 4.5], ddof=1) * 2)
    assert step["return_std"] == pytest.approx(np.std([2.5, 5, 4.5], ddof=1))
    assert read["runs"][1]["policies"]["step 1"]["std"] is None
    assert read["runs"][2]["policies"]["step 1"]["unit"] == "return"
    assert read["runs"][0]["reference"]["source"] == "made up"
    titles = {run["run"]: run for run in read["runs"]}
    for row in rows:
        own = titles[row["directory"]]["policies"][row["policy"]]
        assert float(row["mean"]) == own["mean"]
        assert (float(row["std"]) if row["std"] else None) == own["std"]
        assert (row["unit"], int(row["evaluations"])) == (own["unit"], own["evaluations"])


def test_json_holds_no_nan(make):
    run = make(more=[("step 2", 500, np.full((3, 2), np.nan))])
    read = json.loads(to_text([run], "json"), parse_constant=lambda name: pytest.fail(f"found {name}"))
    assert read["runs"][0]["policies"]["step 2"]["mean"] is None


def test_markdown(make):
    text = to_text([make(name="a|b")], "markdown", "best")
    assert "| behavior | 29.3 ± 5.0 |" in text
    assert "step 2 - step 1" in text
    assert "a\\|b" in text
    assert "optimistic" in text
    assert "±" not in to_text([make("one", seeds=1)], "markdown")


def test_latex_escapes(make):
    assert escape("a_b & 5%") == r"a\_b \& 5\%"
    assert escape("~^\\{}#$") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}\#\$"
    assert escape("α λ Ω Α ±\n<x>") == r"$\alpha$ $\lambda$ $\Omega$ A $\pm$ \textless{}x\textgreater{}"


def test_latex_is_one_booktabs_table(make):
    runs = [make("a", name=NAME), make("b"), make("c", dataset="pocket/y_z")]
    text = to_text(runs, "latex", "mean-last-2")
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    body = "\n".join(lines)
    assert re.findall(r"\\(?:begin|end)\{(\w+)\}", body) == ["table", "tabular", "tabular", "table"]
    assert re.findall(r"\\(top|mid|bottom)rule", body) == ["top", "mid", "mid", "bottom"]
    columns = len(re.findall(r"\\begin\{tabular\}\{(l\w+)\}", body)[0])
    assert columns == 3
    rows = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [columns - 1] * 7
    assert sum("multicolumn{3}{l}{pocket/" in line for line in lines) == 2
    assert r"$29.3 \pm 5.0$" in body
    assert "--" in rows[-1]
    plain = re.sub(r"\\[&%$#_{}]", "", body)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert not re.search(r"[%#~^_]", plain)
    assert body.isascii()
    (caption,) = re.findall(r"\\caption\{(.*)\}", body)
    assert "mean of the last 2 evaluations" in caption.lower()
    assert "ddof 1" in caption


def test_directories_that_hold_runs(make, tmp_path):
    for name in ("runs/a", "runs/deep/b", "runs/.hidden/c"):
        make(name)
    (tmp_path / "runs" / "picture.png").write_bytes(b"")
    found, other = open_runs([tmp_path / "runs", tmp_path / "runs" / "a", tmp_path / "runs" / "picture.png"])
    assert [run.path.name for run in found] == ["a", "b"]
    assert other == [f"{tmp_path / 'runs' / 'picture.png'} (is a file)"]


def test_paths_that_are_no_run(make, tmp_path):
    make("a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunDirectoryError) as caught:
        open_runs([tmp_path / "a", tmp_path / "x", tmp_path / "y", tmp_path / "empty"])
    for part in ("x (does not exist)", "y (does not exist)", "empty (holds no run)"):
        assert part in str(caught.value)
    with pytest.raises(RunDirectoryError, match="holds no run"):
        open_runs([tmp_path / "empty"])
    (tmp_path / "empty" / "manifest.json").write_text('{"name": "x"}')
    with pytest.raises(RunDirectoryError, match="lacks digest, dataset"):
        open_runs([tmp_path / "empty"])


def test_compare_as_a_command(make, tmp_path):
    make("runs/a")
    make("runs/b", done=False)
    arguments = ["--score", "best", "--to", "csv", "--plot", "out/both.svg"]
    good = pogospec("compare", "runs", *arguments, check=False, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert len(list(csv.reader(io.StringIO(good.stdout)))) == 7
    assert "warning: runs/b is running" in good.stderr
    assert (tmp_path / "out" / "both.svg").read_text().startswith("<?xml")
    bad = pogospec("compare", "runs", "--score", "mean", check=False, cwd=tmp_path)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("--score: found 'mean', allowed last, best")


def test_latex_with_a_caption_and_a_label_of_a_paper(make, tmp_path):
    one, two = make("a", name="one"), make("b", name="two")
    words = ["--to", "latex", "--caption", "50% of τ_1.", "--label", "tab:main x"]
    text = pogospec("compare", one.path, two.path, *words).stdout
    assert "\n  \\caption{50\\% of $\\tau$\\_1.}\n  \\label{tab:main-x}\n" in text
    (protocol,) = [line for line in text.splitlines() if line.startswith("% Last evaluation of each policy")]
    assert "ddof 1" in protocol
    assert "% two - one, 3 seeds: +0.00 ± 0.00 on pocket/x" in text.splitlines()
    assert "  \\label{tab:comparison}\n" in to_text([one], "latex")
    assert r"\label{tab:x}" in pogospec("compare", one.path, "--stat", "iqm-ci", "--to", "latex", "--label", "x").stdout
    wrong = pogospec("compare", one.path, "--label", "x", check=False)
    assert wrong.returncode == 2
    assert wrong.stderr == "--caption, --label: found with --to table, allowed with --to latex\n"
    read = json.loads(to_text([one, two], "json"))
    assert read["between"] == [{"dataset": "pocket/x", "name": "two - one, 3 seeds", "mean": 0.0, "error": 0.0}]
    assert read["differing"] == {"pocket/x": {}}
    assert "Paired differences between runs on the same seeds" in to_text([one, two], "markdown")
