"""The demo page in a real browser that reaches nothing but the service."""

import base64
import io
import os
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from PIL import Image

from moso.cli.inputs import Source
from moso.serving.app import create_app
from moso.serving.champion import Champion
from moso.serving.service import Service
from moso.video.layout import MARGIN
from tests.small_model import SIZE, T, smooth_clips, write_model

BROWSER = os.environ.get("MOSO_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.slow  # gradio and a browser: `pytest tests/serving/test_demo_in_chromium.py`
PATIENCE_MS = 90_000
BOX = SIZE + 2 * MARGIN


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Service:
    champion = Champion(str(write_model(tmp_path_factory.mktemp("served") / "model", 1)), "cpu")
    champion.load()
    return Service(champion)


@pytest.fixture(scope="module")
def address(service, tmp_path_factory):
    pytest.importorskip("gradio", reason="needs gradio, of the extra demo")
    from moso.serving.demo import add_demo

    folder = tmp_path_factory.mktemp("clips")
    for name, clip in zip("ab", smooth_clips(2), strict=True):
        np.save(folder / f"{name}.npy", clip)
    sources = [Source(str(folder / f"{name}.npy")) for name in "ab"]
    app = add_demo(create_app(service), service, sources)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture(scope="module")
def page(address):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
    if BROWSER is None:
        pytest.skip("no Chromium on this machine; MOSO_CHROMIUM may name one")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened = running.new_page(viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(PATIENCE_MS)
        opened.elsewhere = []
        host = urlsplit(address).netloc

        def only_the_service(route) -> None:
            place = urlsplit(route.request.url)
            if place.scheme in ("data", "blob") or place.netloc == host:
                route.continue_()
            else:
                opened.elsewhere.append(route.request.url)
                route.abort()

        opened.route("**/*", only_the_service)
        opened.goto(f"{address}/demo/", timeout=PATIENCE_MS)
        opened.wait_for_selector("#predict")
        yield opened
        running.close()


def seen(page, words: str) -> Image.Image:
    """The picture on the page, once it is the one with these words."""
    image = page.wait_for_selector(f"#seen img[alt*='{words}']")
    picture = image.get_attribute("src").partition("base64,")[2]
    assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    return Image.open(io.BytesIO(base64.b64decode(picture)))


def test_the_page_predicts_beside_the_truth_and_draws_more_samples(page, service):
    assert service.champion.get().model.digest[:12] in page.inner_text("#about")
    page.click("#predict button, button#predict")
    film = seen(page, "sample of seed 1")
    assert film.size == (3 * BOX, BOX)  # the truth and two samples
    page.click("#more button, button#more")
    assert seen(page, "sample of seed 3").size == (3 * BOX, BOX)


def test_the_page_shows_the_components_and_swaps_two_clips(page):
    page.click("#components button, button#components")
    assert seen(page, "each alone").size == (5 * BOX, BOX)
    page.click("#swap button, button#swap")
    assert seen(page, "other way round").size == (4 * BOX, BOX)


def test_a_dropped_clip_that_is_too_short_is_refused_in_words(page, tmp_path):
    np.save(tmp_path / "short.npy", smooth_clips(1)[:, : T - 1])
    page.set_input_files("#drop-clip input[type=file]", str(tmp_path / "short.npy"))
    page.wait_for_selector("#drop-clip >> text=short")
    page.click("#components button, button#components")
    page.wait_for_selector(f"text=has {T - 1} frames, {T} are needed")


def test_nothing_was_asked_of_any_other_host(page):
    assert page.elsewhere == []
    shots = Path(__file__).resolve().parents[2] / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=shots / "demo.png")
