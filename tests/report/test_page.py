"""Pages of runs without a browser: what stands in them, is escaped, may be loaded, and who may ask for them."""

import base64
import hashlib
import http.client
import json
import re
import threading
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from commands import pogospec as command
from commands import started
from flows import steps
from PIL import Image
from scipy import stats
from test_foreign_text import FOREIGN

import pogospec
from pogospec.checking.check import checked
from pogospec.cli.app import app
from pogospec.errors import RunDirectoryError, UsageError
from pogospec.explain.mathematics.blocks import blocks
from pogospec.explain.mathematics.latex import latex as latex_of
from pogospec.explain.stages import stages
from pogospec.report.figures.catalog import picture_of
from pogospec.report.figures.styles import COLORS
from pogospec.report.page import films, fingerprint, page_of, server, write
from pogospec.report.page.mathematics import STANDING, formulas, mathml
from pogospec.report.page.pictures import IN_DARK, in_both
from pogospec.report.reading import open_any
from pogospec.report.reading.names import dataset_names
from pogospec.spec.resolve import read
from pogospec.spec.shipped import shipped_specs, spec_name

needed = pytest.mark.skipif(
    not all(map(find_spec, write.NEEDED)), reason="needs the extra report: pip install 'pogospec[report]'"
)


@pytest.fixture(autouse=True)
def pictures(request, monkeypatch):
    """Pictures take longest, and have tests of their own."""
    if request.function is not test_the_commands:
        monkeypatch.setattr(write.pictures, "pictures_of", lambda _: [])


class Reader(HTMLParser):
    """Tags and attributes of a page, its rows of cells, and the text of its scripts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.rows, self.scripts, self.within, self.cell = [], [], [], [], None, False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.within = tag if tag in ("script", "style") else self.within
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True
        if tag == "span" and self.rows and dict(attrs).get("class") == "interval":
            self.rows[-1][-1] += " "
        if tag in ("script", "style"):
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.within = None if tag in ("script", "style") else self.within
        self.cell = self.cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.within:
            self.scripts[-1] += data
        elif self.cell:
            self.rows[-1][-1] += data

    def row(self, name):
        """The cells of the last row of a name."""
        return [[cell.strip() for cell in row[1:]] for row in self.rows if row and row[0].strip() == name][-1]

    def numbers(self):
        return json.loads(next(text for text in self.scripts if text.lstrip().startswith("{")))


def page(*paths, **options):
    runs, plan, _ = open_any([*paths])
    return page_of(runs, plan, **options)


@needed
def test_tables_and_curves_hold_what_the_runs_wrote(make):
    found = Reader(page(make("a", name="one").path, make("b", name="two", seeds=2).path).text)
    scores = np.array([24.0, 30.0, 34.0])  # of the behaviour's returns 2, 5, 7 between -10 and 40
    half = stats.t.ppf(0.975, 2) * scores.std(ddof=1) / np.sqrt(3)
    low, high = scores.mean() - half, scores.mean() + half
    assert found.row("behavior")[0] == f"29.3 ± {scores.std(ddof=1):.1f} [{low:.1f}, {high:.1f}]"
    told = found.numbers()
    assert [run["spec"] for run in told["runs"]] == ["one", "two"]
    np.testing.assert_allclose(told["quantiles"], stats.t.ppf(0.975, [1, 2]), atol=1e-4)
    curves = {(c["run"], c["y"], c["step"]): c for c in told["curves"]}
    assert curves[0, "score", "behavior"]["v"] == [[24.0, 30.0, 34.0]]
    first, second = curves[0, "score", "step 1"], curves[0, "score", "step 2"]
    assert first["x"] == [100, 200]
    assert first["v"] == [[20.0, 20.0, 20.0], [30.0, 40.0, 38.0]]
    assert (second["seam"], second["x"][0], second["v"][0]) == (1, 200, first["v"][-1])
    assert first["s"] == [3.0, 7.0]  # of chunks that took 3 and 4 seconds
    assert {"return", "critic_loss", "energy.q"} <= {entry["key"] for entry in told["quantities"]}
    values = [json.loads(value) for _, name, value in found.attributes if name == "data-values"]
    assert {"0": 24.0, "1": 30.0, "2": 34.0} in values


@needed
def test_all_that_others_wrote_is_text(make):
    name = FOREIGN + "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    reference = {"low": 0.0, "high": 100.0, "source": name, "label": name}
    runs = [make(f"r{i}", name=name + str(i), dataset=name, reference=reference, device=name) for i in (0, 1)]
    (runs[0].path / "status.json").write_text(json.dumps({"state": "failed", "message": name, "update": 1}))
    text = page(*(run.path for run in runs), title=name).text
    found = Reader(text)
    assert found.tags.count("script") == 2
    assert "alert(1)" not in found.scripts[-1]
    assert {value for _, key, value in found.attributes if key in ("src", "onerror")} - {None} == {
        value for _, key, value in found.attributes if key == "src" and value.startswith("data:")
    }
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert [c for c in text if not c.isprintable() and c != "\n"] == []
    assert json.loads(found.scripts[-2])["runs"][0]["spec"].startswith("=[bold]x")


@needed
def test_a_browser_may_fetch_nothing_and_run_one_script(make):
    found = Reader(page(make().path).text)
    for tag, name, value in found.attributes:
        if name in ("src", "href", "srcset", "poster", "action"):
            assert value.startswith(("data:", "#")), (tag, name, value)
    policy = {key: value for _, key, value in found.attributes if key == "content" and "default-src" in value}
    rules = dict(rule.strip().split(" ", 1) for rule in policy["content"].split(";"))
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found.scripts]
    assert (rules["style-src"], rules["script-src"]) == (f"'sha256-{digests[0]}'", f"'sha256-{digests[-1]}'")
    assert (rules["default-src"], rules["connect-src"], rules["img-src"]) == ("'none'", "'none'", "data:")
    watched = Reader(page(make("b").path, every=5).text)
    assert any(
        value.endswith("connect-src 'self'; base-uri 'none'; form-action 'none'") for *_, value in watched.attributes
    )
    assert not re.search(r"@import|url\((?!#)", found.scripts[0])


@needed
def test_sweeps_suites_and_flows_have_their_tables(make, flow):
    cells = [
        make(f"cells/{i}", name="td3-bc", sweep={"schedule.steps[0].tau": t}, cell=i) for i, t in enumerate((1, 4))
    ]
    found = Reader(page(cells[0].path.parent).text)
    assert found.row("4")[0].startswith("29.3 ± 5.0 [")
    for dataset in ("pocket/x", "pocket/y"):
        for name in ("one", "two"):
            make(f"suite/{name}-{dataset[-1]}", name=name, dataset=dataset)
    entries = [
        {"run": f"{name}-{dataset[-1]}", "method": f"my {name}", "dataset": dataset}
        for dataset in ("pocket/x", "pocket/y")
        for name in ("one", "two", "three")
    ]
    folder = make("suite/left").path.parent
    (folder / "suite.json").write_text(json.dumps({"name": "my table", "about": "", "runs": entries}))
    text = page(folder).text
    assert "<h1>my table</h1>" in text
    assert "not begun: my three on pocket/x" in text
    assert Reader(text).row("dataset")[:3] == ["my one", "my two", "my three"]
    assert "P(my one &gt; my two) = 0.50" in text
    ends = [flow(f"flow-{i}", name=f"f{i}", seeds=2, rows=steps(2, [3.0, 4.0], [1.0, 2.0 + i])) for i in (0, 1)]
    found = Reader(page(*(run.path for run in ends)).text)
    assert found.row("f1")[:3] == ["1", "0.5", "2 ± 1.4"]
    assert {c["y"] for c in found.numbers()["curves"]} >= {"energy", "kl_optimum"}
    with pytest.raises(UsageError, match="compare them apart"):
        page(ends[0].path, cells[0].path)


@needed
def test_runs_that_have_just_begun_are_shown_as_such(make, flow):
    for run in (make(done=False), flow(done=False)):
        run.truncate_after(0)
        found = page(run.path, every=5)
        assert Reader(found.text).row("flow")[2] == "running"
        assert "still going on" in found.text
        assert "Nothing was recorded yet" in found.text
    assert "holds no estimate fqe of all seeds" in page(make("b").path, score="fqe").text
    both = page(flow("late", done=False).path, flow("done", seeds=2, rows=steps(2, [3.0, 4.0], [1.0, 2.0])).path)
    assert "late has not finished an Euler step yet" in both.text


@needed
def test_what_differs_and_where_it_is_from(make):
    def spec(tau):
        return f"schedule: {{steps: [{{tau: {tau}}}]}}\n"

    found = Reader(page(make("a", name="one", spec=spec(2)).path, make("b", name="two", spec=spec(5)).path).text)
    assert found.row("schedule.steps[*].tau") == ["2", "5"]
    assert found.row("spec.yaml") == ["as it was written"]
    assert "mujoco 4.0.0" in found.row("packages")[0]
    assert found.row("run directory")[1] == "b", "a page is handed on, and names no folders of this machine"


@needed
def test_files_of_data_are_called_by_their_names(make):
    files = {"a": "file:/home/me/here/log.npz", "b": "file:/home/me/there/log.npz", "c": "file:/home/me/there/other.h5"}
    runs = [make(name, dataset=file, spec=f"data: {{dataset: '{file}'}}\n") for name, file in files.items()]
    found = Reader(text := page(*(run.path for run in runs)).text)
    names = ["file:here/log.npz", "file:there/log.npz", "file:other.h5"]
    assert [run["dataset"] for run in found.numbers()["runs"]] == names
    assert {value for _, key, value in found.attributes if key == "data-dataset"} >= {*names}
    assert "/home/me" not in text, "a page is handed on, and names no folders of this machine"
    assert [axes.get_title() for axes in picture_of(runs).axes] == names
    assert dataset_names(["file:/x//y", "file:/x/y"]) == {"file:/x//y": "file:/x//y", "file:/x/y": "file:/x/y"}


@needed
@pytest.mark.thinned(("pogo_fr_two_step", "iql", "flows/eight_schools"), "every shipped spec")
@pytest.mark.parametrize("path", shipped_specs(), ids=spec_name)
def test_objectives_become_mathematics_a_row_a_row(path):
    spec = checked(read(path))
    text = latex_of(spec, stages(spec), 3)
    groups = formulas(text)
    assert len(groups) == len(blocks(spec, stages(spec), 3)) > 0
    assert sum(map(len, groups)) + len(groups) == text.count("\\\\\n") + 1
    for rows in groups:
        found = mathml(rows)
        assert found, rows
        tree = ElementTree.fromstring(found)
        assert sum(element.tag.endswith("mtr") for element in tree.iter()) >= len(rows)
        assert not set("".join(tree.itertext())) & {"\\", *STANDING.values()}


@needed
def test_films_are_inside_up_to_a_size(make, monkeypatch):
    run = make()
    Image.new("RGB", (4, 4)).save(run.path / "film.gif")
    (run.path / "other.mp4").write_bytes(b"<html>")
    found = page(run.path)
    content = base64.b64encode((run.path / "film.gif").read_bytes()).decode()
    assert f'src="data:image/gif;base64,{content}"' in found.text
    assert found.left == [f"other.mp4 of flow: no MP4 inside: {run.path / 'other.mp4'}"]
    monkeypatch.setattr(films, "FILM", 10)
    (left, _) = page(run.path).left
    assert left == f"film.gif of flow: 0.0 MB, of at most 0 MB for a film: {run.path / 'film.gif'}"


@needed
def test_films_that_are_named_are_shown_once(make, tmp_path):
    run = make()
    for place, name in enumerate((run.path / "film.gif", tmp_path / "<b>.gif")):
        Image.new("RGB", (4 + place, 4)).save(name)
    named = [tmp_path / "<b>.gif", run.path / "." / "film.gif"]
    before, found = fingerprint([run], named), page_of([run], None, named=named)
    assert re.findall("<summary>([^<]*gif)</summary>", found.text) == ["flow on pocket/x: film.gif", "&lt;b&gt;.gif"]
    assert found.text.count("data:image/gif;base64,") == 2
    Image.new("RGB", (9, 9)).save(tmp_path / "<b>.gif")
    assert fingerprint([run], named) != before == found.version


@needed
def test_what_is_named_as_a_film_and_is_none_is_refused(make, tmp_path):
    run = make()
    (tmp_path / "page.mp4").write_bytes(b"<html>")
    for name, words in (
        ("film.avi", "--film: found 'film.avi', allowed a file .gif or .mp4"),
        ("none.gif", f"--film: {tmp_path / 'none.gif'}: No such file or directory; `pogospec render RUN` makes films"),
        ("page.mp4", f"--film: no MP4 inside: {tmp_path / 'page.mp4'}"),
    ):
        with pytest.raises(UsageError, match=re.escape(words)):
            app(["report", str(run.path), "--film", str(tmp_path / name)], standalone_mode=False)
        with pytest.raises(UsageError, match=re.escape(words)):
            pogospec.report(run, tmp_path / "page.html", films=[tmp_path / name])
    assert not (tmp_path / "page.html").exists()


@needed
def test_mathematics_of_other_packages_stays_latex_where_it_has_no_other_form():
    assert mathml([r"x &= \foo{y}"]) is None
    assert mathml([r"x &= \left( y"]) is None
    found = mathml([r"x &= \arg\min_{\pi} \operatorname{tr}", r"&\text{\{a\_b\} \textless{}script\textgreater{} \%}"])
    assert found
    assert "".join(ElementTree.fromstring(found).itertext()).replace("\u00a0", " ").endswith("{a_b} <script> %")
    assert "<script>" not in found


def test_ink_turns_over_in_dark_colours():
    svg = '<?xml?><svg width="9"><path style="stroke: #595959; fill: #0072b2"/><g style="fill: #000000"/></svg>'
    found = in_both(svg)
    assert '<svg width="9"><style>' in found
    assert "stroke: var(--g59); fill: var(--c0072b2)" in found
    light, dark = (dict(re.findall(r"--([gc]\w+):#(.{6})", part)) for part in found.split("prefers-color-scheme")[:2])
    assert light == {"g00": "000000", "g59": "595959", "c0072b2": "0072b2"}
    assert dark == {"g00": "e6e6e6", "g59": "a6a6a6", "c0072b2": "3d9ee0"}


def test_colours_of_curves_are_those_of_the_page():
    dark = (write.HERE / "page.css").read_text(encoding="utf-8").rpartition("(prefers-color-scheme: dark)")[2]
    for place, color in enumerate(COLORS):
        lighter = IN_DARK.get(color[1:].lower())
        assert lighter is None or f".c{place} {{ stroke: #{lighter};" in dark


@needed
def test_the_commands(make, tmp_path, monkeypatch):
    run = make(done=False)
    done = command("report", run.path)
    assert re.fullmatch(rf"page  {run.path}/report.html  \(0\.\d MB, 1 run\)\n", done.stdout)
    assert 'src="data:image/svg+xml;base64,' in (run.path / "report.html").read_text()
    other = tmp_path / "x" / "y.html"
    assert pogospec.report([run], other, title="Mine") == other
    assert "<title>Mine</title>" in other.read_text()
    for arguments, words in (
        ((run.path, "-o", tmp_path / "a.pdf"), "--out: found suffix '.pdf'"),
        ((run.path, "-o", run.path / "status.json" / "a.html"), "cannot be written"),
        ((run.path, "--score", "worst"), "--score: found 'worst'"),
        ((tmp_path / "none",), "does not exist"),
    ):
        with pytest.raises((UsageError, RunDirectoryError), match=re.escape(words)):
            app(["report", *map(str, arguments)], standalone_mode=False)
    monkeypatch.setattr(write, "NEEDED", ("jinja2", "no_such_package"))
    with pytest.raises(UsageError, match=r'a page needs no_such_package; pip install "pogospec\[report\]"'):
        page(run.path)


def ask(host, path="/", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", host.server_address[1], timeout=20)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@needed
def test_pages_are_served_to_this_machine_and_made_anew(make, monkeypatch, capsys):
    run = make(done=False)
    look = lambda: fingerprint([run])  # noqa: E731
    monkeypatch.setattr(server, "SHARE", 0)
    with server.served(lambda: page(run.path, every=1), look, 0, 0.0) as (address, host):
        threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            assert address == f"http://127.0.0.1:{host.server_address[1]}/"
            status, text = ask(host)
            assert status == 200
            assert '<td class="state running">running' in text
            version = ask(host, "/version")[1]
            assert Reader(text).numbers()["version"] == version
            run.status("done")
            assert ask(host, "/version")[1] != version
            assert '<td class="state done">done' in ask(host)[1]
            assert ask(host, Host="example.org")[0] == 403
            assert ask(host, "/../etc/passwd")[0] == 404
            returns = run.path / "returns.csv"
            returns.write_text("x")
            assert '<td class="state done">done' in ask(host)[1]
            assert "the page stays as it was" in capsys.readouterr().err
            with pytest.raises(UsageError, match=r"--port: \d+ is in use by another program; choose another"):
                server.served(lambda: page(run.path), look, host.server_address[1], 1.0).__enter__()
        finally:
            host.shutdown()


@needed
@pytest.mark.exhaustive("starts a real process")
def test_watch_says_where_to_look_and_ends_with_ctrl_c(make, tmp_path):
    process = started("watch", make(done=False).path, "--port", 0)
    assert process.stdout is not None
    line = process.stdout.readline()
    where = re.fullmatch(r"watching at  http://127\.0\.0\.1:(\d+)/  \(Ctrl-C ends it\)\n", line)
    assert where, line
    busy = command("watch", make("b").path, "--port", where[1], check=False)
    assert busy.returncode == 2
    assert "is in use by another program" in busy.stderr
    process.send_signal(2)
    assert process.wait(20) == 0
    with pytest.raises(RunDirectoryError, match="does not exist"):
        page(Path(tmp_path / "none"))
