"""Pages opened in a browser: hovered, zoomed, filtered, by keyboard, on a phone, in the dark, without JavaScript."""

import base64
import functools
import io
import json
import shutil
import threading
import time
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from pogospec.report.page import fingerprint, page_of, server, write, write_page
from pogospec.report.reading import open_any

BROWSER, DRIVER = shutil.which("chromium") or "", shutil.which("chromedriver") or ""
pytestmark = [
    pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver (Debian: chromium-driver)"),
    pytest.mark.skipif(
        not all(map(find_spec, (*write.NEEDED, "selenium"))), reason="needs selenium and the extra report"
    ),
]
FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "disable-dev-shm-usage", "hide-scrollbars", "window-size=1200,900",
)  # fmt: skip
SCORES = {"behavior": [24.0, 30.0, 34.0], "step 1": [30.0, 40.0, 38.0], "step 2": [40.0, 60.0, 56.0]}
"""Last scores of the runs that `make_run` makes, a number a seed."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """One browser for all tests of this file; what it asks the network for is written down."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, make_run_at):
    """Two methods on two datasets; a film in the first run."""
    folder = tmp_path_factory.mktemp("runs")
    found = [make_run_at(folder / f"{n}{d}", name=n, dataset=f"pocket/{d}") for n in ("one", "two") for d in ("x", "y")]
    Image.new("RGB", (8, 8), "red").save(found[0].path / "film.gif")
    return found


@pytest.fixture(scope="module")
def file(runs):
    """The page of all of them."""
    folder = runs[0].path.parent
    return write_page(*open_any([folder])[:2], folder / "page.html").path


class Page:
    """A page that is open, and what one does with it."""

    def __init__(self, driver):
        self.driver = driver

    def cdp(self, name, **options):
        return self.driver.execute_cdp_cmd(name, options)

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def one(self, query):
        return self.driver.find_element("css selector", query)

    def all(self, query):
        return [one for one in self.driver.find_elements("css selector", query) if one.is_displayed()]

    def box(self, key, value):
        """Click a box of the filters."""
        self.one(f'input[data-key="{key}"][data-value="{value}"]').click()

    def cell(self, dataset, policy, spec="one"):
        """The text of a number and of its interval, in the table of a dataset."""
        rows = self.driver.find_elements("css selector", f'#results .part[data-dataset="{dataset}"] tbody tr')
        row = next(row for row in rows if row.find_element("css selector", "th").text == policy)
        return row.find_element("css selector", f'td[data-spec="{spec}"]').text.split("\n")

    def ticks(self, chart="#chart-0"):
        """Numbers at the horizontal axis."""
        texts = self.js(
            f"return [...document.querySelectorAll('{chart} text[text-anchor=middle]')].map(e => e.textContent)"
        )
        return [float(text.replace(",", "")) for text in texts[:-1]]

    def picture(self):
        """What is seen, as an array."""
        return np.asarray(
            Image.open(io.BytesIO(base64.b64decode(self.cdp("Page.captureScreenshot")["data"]))).convert("RGB")
        )


@pytest.fixture
def page(browser, file):
    """The page, opened anew."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(file.as_uri())
    return Page(browser)


def keys(page, query, *pressed):
    from selenium.webdriver.common.keys import Keys

    for key in pressed:
        page.one(query).send_keys(getattr(Keys, key, key))


def moved(page, query, *places, drag=False):
    """Move a pointer over an element, through places from its left edge; `drag`: pressed on the way."""
    from selenium.webdriver import ActionChains

    element, width = page.one(query), page.one(query).size["width"]
    page.js("arguments[0].scrollIntoView({block: 'center'})", element)
    steps = ActionChains(page.driver, duration=20)
    for number, place in enumerate(places):
        steps.move_to_element_with_offset(element, round((place - 0.5) * width), 0)
        if drag and number == 0:
            steps.click_and_hold()
    (steps.release() if drag else steps).perform()


def test_seeds_specs_and_datasets_are_chosen(page):
    def expected(values):
        half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
        ends = f"[{np.mean(values) - half:.1f}, {np.mean(values) + half:.1f}]"
        return [f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}", ends]

    assert page.cell("pocket/x", "step 2") == expected(SCORES["step 2"])
    assert not page.all("#chosen")
    page.box("seed", 1)
    for policy, scores in SCORES.items():
        assert page.cell("pocket/x", policy) == expected([scores[0], scores[2]])
    assert page.one("#chosen").text.startswith("Numbers of one run and policy, and curves, are of the seeds 0, 2;")
    page.box("seed", 0)
    assert page.cell("pocket/x", "step 2") == ["56.0"]
    assert len(page.all("#panels .chart svg")) == 2
    assert len(page.all('#results tr[data-dataset="pocket/y"] td')) > 4
    page.box("dataset", "pocket/y")
    assert not page.all('[data-dataset="pocket/y"]')
    assert [figure.text.split(":")[0] for figure in page.all("#panels figcaption")] == ["pocket/x"]
    page.box("spec", "two")
    assert [cell.text for cell in page.all("#results .runs tbody th")] == ["one"]
    assert not page.all('[data-spec="two"]')
    page.one("#everything").click()
    assert page.cell("pocket/x", "step 2", "two") == expected(SCORES["step 2"])
    assert len(page.all("#panels .chart svg")) == 2


def test_curves_are_hovered_and_zoomed(page):
    assert not page.all(".tip")
    assert page.one("#legend").text.split() == ["one", "two"]
    moved(page, "#chart-0", 0.5, 0.97)
    title, *rows = page.one(".tip").text.split("\n")
    assert title == "400 updates"
    assert rows[:2] == ["one, step 2", f"{np.mean(SCORES['step 2']):.1f} ± {np.std(SCORES['step 2'], ddof=1):.1f}"]
    assert "one, behavior" in rows
    assert page.ticks()[-1] == 400
    moved(page, "#chart-0", 0.55, 0.8, drag=True)
    low, *_, high = page.ticks()
    assert 180 < low < high < 340
    assert page.ticks("#chart-1") == page.ticks("#chart-0")
    page.one("#whole").click()
    assert page.ticks()[-1] == 400
    page.one("#closer").click()
    assert page.ticks()[-1] < 400
    page.js(
        "arguments[0].value = 'critic_loss'; arguments[0].dispatchEvent(new Event('change'))", page.one("#quantity")
    )
    assert page.one("#meaning").text.startswith("critic loss: sum over critics")
    page.one("#log").click()
    texts = "[...document.querySelectorAll('#chart-0 text[text-anchor=end]')]"
    texts = f"return {texts}.map(e => [+e.textContent, +e.getAttribute('y') - 4])"
    heights = dict(page.js(texts))
    moved(page, "#chart-0", 0.3)
    (first, *_) = page.js("return [...document.querySelectorAll('#chart-0 .dot')].map(e => +e.getAttribute('cy'))")
    part = (first - heights[100]) / (heights[200] - heights[100])
    assert part == pytest.approx(np.log2(2.1), abs=0.01)  # after 200 updates the mean is 210
    page.js("arguments[0].value = 's'; arguments[0].dispatchEvent(new Event('change'))", page.one("#axis"))
    assert page.ticks()[-1] <= 7  # seconds of step 1, which alone learns a critic
    before = len(page.driver.find_elements("css selector", "#chart-0 .curve"))
    page.one("#each").click()
    assert len(page.driver.find_elements("css selector", "#chart-0 .curve")) == before + 2 * 3


@pytest.mark.exhaustive("takes a browser several seconds")
def test_all_of_it_by_keyboard(page):
    """Tab comes to what can be done, in the order of the page; arrows walk along the curves."""
    seen = []
    for _ in range(40):
        keys(page, "html" if not seen else ":focus", "TAB")
        seen.append(page.js("return document.activeElement.id || document.activeElement.className"))
        if seen[-1] == "chart-0":
            break
    assert seen[0] == "skip"
    assert [name for name in seen if name in ("spec-0", "seed-2", "quantity", "closer")] == [
        "spec-0", "seed-2", "quantity", "closer"
    ]  # fmt: skip
    keys(page, "#chart-0", "END")
    assert page.one("#said").text == f"one, step 2, 400 updates: score {np.mean(SCORES['step 2']):.1f} ± 10.6"
    keys(page, "#chart-0", "ARROW_LEFT")
    assert page.one("#said").text.startswith("one, step 2, 300 updates: score")
    keys(page, "#chart-0", "ARROW_LEFT", "ARROW_DOWN", "ARROW_DOWN")
    assert page.one("#said").text.startswith("two, step 1, 200 updates: score 36.0")
    keys(page, "#chart-0", "+")
    assert len(set(page.ticks())) > 1
    assert max(page.ticks()) < 400
    assert page.js("return document.activeElement.id") == "chart-0"
    keys(page, "#chart-0", "0")
    assert page.ticks()[-1] == 400
    keys(page, "#seed-1", "SPACE")
    assert page.cell("pocket/x", "behavior")[0] == "29.0 ± 7.1"


def test_a_phone_and_the_dark(page):
    light = page.picture()
    page.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = page.picture()
    assert np.median(light) > 240
    assert np.median(dark) < 40
    page.cdp("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    page.driver.refresh()
    assert page.js("return document.documentElement.scrollWidth") == 390
    for query in ("#chart-0", "#filters", "#results .part", "#quantity", "img.film"):
        place = page.one(query).rect
        assert place["x"] >= 0, query
        assert place["x"] + place["width"] <= 390, query
    small = page.js("return [...document.querySelectorAll('p, td, th, dd, label')].filter(e => e.offsetParent"
                    " && parseFloat(getComputedStyle(e).fontSize) < 12).length")  # fmt: skip
    assert small == 0


def test_without_javascript_there_are_tables_and_pictures(page, file):
    assert not page.all(".picture.drawn")  # drawn by the script itself
    page.cdp("Emulation.setScriptExecutionDisabled", value=True)
    page.driver.get(file.as_uri())
    assert page.cell("pocket/x", "behavior")[0] == f"29.3 ± {np.std(SCORES['behavior'], ddof=1):.1f}"
    (drawn,) = page.all(".picture.drawn img")
    assert drawn.size["height"] > 200
    assert page.all("noscript p")
    assert not page.all("#filters, #charts svg")
    assert page.all("img.film")


def test_nothing_is_asked_of_any_network(page, file):
    moved(page, "#chart-0", 0.5, 0.9)
    events = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert file.as_uri() in asked
    assert {url for url in asked if not url.startswith(("data:", "file:", "about:", "chrome:"))} == set()
    assert page.driver.get_log("browser") == []  # no error, nothing that the policy of the page refused
    told = "document.addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));"
    asking = "fetch('https://example.org/').catch(() => setTimeout(() => done('no policy'), 500))"
    assert page.js(f"return new Promise(done => {{ {told} {asking} }})") == "connect-src"
    page.js("const s = document.createElement('script'); s.textContent = 'window.foreign = 1'; document.body.append(s)")
    assert page.js("return window.foreign") is None
    page.driver.get_log("browser")


@pytest.mark.exhaustive("takes a browser several seconds")
def test_a_watched_page_is_renewed_in_place(page, make_run_at, tmp_path, monkeypatch):
    run = make_run_at(tmp_path / "run", done=False)
    monkeypatch.setattr(server, "SHARE", 0)
    monkeypatch.setattr(write.pictures, "pictures_of", lambda _: [])
    state = "return document.querySelector('.state').textContent"
    make = functools.partial(page_of, [run], None, every=0.2)
    with server.served(make, lambda: fingerprint([run]), 0, 0.0) as (address, host):
        threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            page.driver.get(address)
            assert page.one(".state").text == "running"
            page.box("seed", 1)
            page.js("document.querySelector('#chart-0').focus()")
            run.append_returns("step 2", 500, np.full((3, 2), 39.0), "step 2")
            run.status("done")
            until = time.monotonic() + 20
            while page.js(state) == "running" and time.monotonic() < until:
                time.sleep(0.05)
            assert page.one(".state").text == "done"
            assert page.cell("pocket/x", "step 2", "flow") == ["98.0 ± 0.0"]
            assert not page.one("#seed-1").is_selected()
            assert page.ticks()[-1] == 500
            assert page.js("return document.activeElement.id") == "chart-0"
            assert [e for e in page.driver.get_log("browser") if e["level"] == "SEVERE"] == []
        finally:
            host.shutdown()
