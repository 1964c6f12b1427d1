"""The report and the index page in a real browser: opened from a file, with the network off, wide and narrow."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from components.evaluate.step import Config, run
from moso.evaluation.index_page import read_runs, render_index
from moso.evaluation.protocol import NotComputed, Protocol
from moso.evaluation.report import Evaluation, render_page
from moso.provenance import digest_json
from moso.step import Context

BROWSER = os.environ.get("MOSO_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
CONFIG = Config(data_set="squares", min_clips=6, min_episodes=3, resamples=100, shown_clips=3)
RECOMBINATIONS = 1  # of three episodes one pair of two

NOTHING = Evaluation(
    comparison=None,
    intervals={},
    protocol=Protocol(
        data_set="squares", split="test", clips_digest="ab" * 32, clips=5, episodes=5, clip_rule="none overlap",
        height=16, width=16, given_frames=0, clip_frames=4, predicted_frames=4, samples_per_video=1, seed=0,
        task="unconditional", metrics={},
    ),
    films=[],
    curves=[],
    usage={},
    not_computed=[NotComputed("fvd", "file i3d missing", "moso weights fetch i3d")],
    provenance={},
)  # fmt: skip
"""A page without a film: its script finds neither button nor slider."""


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine; MOSO_CHROMIUM may name one")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(inputs, tmp_path_factory):
    """name -> file: a report of the step, and an index over it, a better run and one of another protocol."""
    root = tmp_path_factory.mktemp("pages")
    first = root / "first"
    first.mkdir()
    run(CONFIG, inputs, {"report": first}, Context(work=root / "work", device="cpu"))
    for name in ("second", "other"):
        shutil.copytree(first, root / name)
        path = root / name / "metrics.json"
        metrics = json.loads(path.read_text())
        metrics["prediction"]["psnr"] += 0.5
        if name == "other":
            metrics["protocol"]["given_frames"] = 1
            metrics["protocol_digest"] = digest_json(metrics["protocol"])
        path.write_text(json.dumps(metrics))
    index = root / "runs.html"
    runs = read_runs([first, root / "second", root / "other"])
    index.write_text(render_index(runs, root), encoding="utf-8")
    between = root / "between"
    asked = {"task": "interpolation", "metrics": ["psnr", "ssim"]}
    run(
        dataclasses.replace(CONFIG, protocol=asked),
        inputs,
        {"report": between},
        Context(work=root / "work", device="cpu"),
    )
    nothing = root / "nothing.html"
    nothing.write_text(render_page(NOTHING), encoding="utf-8")
    return {"report": first / "index.html", "index": index, "between": between / "index.html", "nothing": nothing}


@pytest.fixture
def opened(browser, pages):
    """open(name, viewport) -> page; after the test, anything that the page complained of or asked for fails it."""
    complaints, contexts = [], []

    def open_(name, viewport):
        # Reduced motion: the films stand still until Play is pressed.
        context = browser.new_context(viewport=viewport, offline=True, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
        page.goto(pages[name].as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def keep(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 1000


@pytest.mark.parametrize("name", ["report", "index", "between", "nothing"])
def test_page_scrolls_in_one_direction_on_a_telephone(opened, name):
    page = opened(name, NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    keep(page, f"{name}_360")


def frame(page):
    return int(page.eval_on_selector(".film", "film => getComputedStyle(film).getPropertyValue('--f')"))


def shown(page):
    return page.eval_on_selector(".film .view:not(.held)", "view => getComputedStyle(view).backgroundPosition")


def test_films_stand_until_play_is_pressed_and_move_afterwards(opened):
    page = opened("report", WIDE)
    before, where = frame(page), shown(page)
    page.wait_for_timeout(500)
    assert (frame(page), shown(page)) == (before, where)
    page.click("#play")
    page.wait_for_function(
        "before => Number(document.querySelector('.film').style.getPropertyValue('--f')) !== before", arg=before
    )
    assert shown(page) != where
    page.click("#play")
    assert page.inner_text("#play") == "Play"
    keep(page, "report")


def test_a_film_outlines_the_given_frames_and_tells_the_figures_of_the_others(opened):
    page = opened("between", WIDE)
    film = page.locator("#clips .film").first
    slider, told = film.locator("input"), film.locator("output")
    seen = []
    for number in range(4):
        slider.fill(str(number))
        seen.append(("given" in film.get_attribute("class").split(), told.inner_text().partition(": ")[2][:13]))
    assert [outlined for outlined, _ in seen] == [True, False, True, False]
    assert [said for _, said in seen] == ["given", "interpolation", "given", "interpolation"]


def test_curves_have_their_bands_and_the_table_its_own_scroll(opened):
    page = opened("report", NARROW)
    charts = page.locator("#figures .chart").count()
    assert charts == 2
    methods = page.locator("#figures table").first.locator("tbody tr").count()
    assert page.locator("#figures .chart path.band").count() == charts * methods
    for box in page.locator(".wide").all():
        assert box.evaluate("box => box.getBoundingClientRect().right") <= NARROW["width"]


def test_films_are_pictures_that_the_browser_can_decode(opened):
    page = opened("report", WIDE)
    sizes = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll('.film')].map(async (film) => {
            const sheet = getComputedStyle(film.querySelector('.view')).backgroundImage.slice(5, -2);
            const picture = new Image(); picture.src = sheet; await picture.decode();
            return [picture.naturalWidth, picture.naturalHeight]; }))"""
    )
    assert len(sizes) == CONFIG.shown_clips + RECOMBINATIONS
    assert all(width == 4 * 16 and height % 16 == 0 for width, height in sizes)


def test_two_runs_of_one_protocol_are_compared_by_figures_and_curves(opened):
    page = opened("index", WIDE)
    assert page.locator("#runs tbody tr").count() == 3
    row = page.locator("#comparison tr", has_text="prediction, PSNR")
    assert page.locator("#comparison thead th").all_inner_texts() == ["figure", "A", "B", "A \u2212 B"]
    # The second run is better by half a decibel; the sign is that of `moso metrics compare A B`.
    assert row.locator("td").nth(2).inner_text() == "\u22120.50 dB"
    assert page.locator("#comparison .chart path.line.c0").count() >= 2
    keep(page, "index")


def test_runs_of_two_protocols_are_refused_with_the_field_that_differs(opened):
    page = opened("index", WIDE)
    page.select_option("#b", label="other")
    assert "Not compared" in page.inner_text("#comparison")
    assert page.locator("#comparison tbody tr").all_inner_texts() == ["given_frames\t2\t1"]
    assert page.locator("#comparison .chart").count() == 0
    page.select_option("#b", label="second")
    assert page.locator("#comparison .chart").count() == 2


def test_a_run_leads_to_its_report(opened):
    page = opened("index", WIDE)
    page.click("#runs a >> nth=0")
    assert page.locator("#clips .film").count() == CONFIG.shown_clips
