"""A real browser on a real studio: the distribution's Chromium, driven by Playwright; skipped where one is missing."""

import io
import os
import shutil

import pytest
import soundfile

from ..unit import studio

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
STEPS = 2  # in the form: quick takes


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in str(item.path):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium, or its path in $CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory, chromium):
    with studio.running(tmp_path_factory.mktemp("library")) as client:
        yield client


class Tab:
    """A page of the studio, and what a person does with it."""

    def __init__(self, page, client):
        self.page, self.client = page, client
        self.cards = page.locator("#cards .card")
        self.jobs = page.locator("#jobs .card")

    def open(self):
        self.page.goto(f"http://127.0.0.1:{self.client.port}/")
        self.page.locator("#model option").first.wait_for(state="attached")
        self.page.wait_for_function("() => document.getElementById('steps').placeholder")
        return self

    def say(self, prompt, seconds=0.5, steps=STEPS, count=1):
        """Fill the form."""
        page = self.page
        page.locator("#more").evaluate("details => { details.open = true }")
        for name, value in (("prompt", prompt), ("seconds", seconds), ("steps", steps), ("count", count)):
            page.fill(f"#{name}", str(value))
        return self

    def make(self):
        self.page.click("#make")

    def made(self, prompt, **settings):
        """Make one take and wait for its card."""
        self.say(prompt, **settings).make()
        card = self.cards.filter(has_text=prompt).first
        card.wait_for()
        return card

    def take(self, card):
        """What the server knows of a card's take."""
        return self.client.json("GET", f"/v1/takes/{card.get_attribute('data-take')}")

    def samples(self, take):
        """(L, C)."""
        sound, _ = soundfile.read(io.BytesIO(self.client.ask("GET", take["url"])[2]), dtype="float32", always_2d=True)
        return sound

    def drag(self, wave, start, end):
        """Drag over a waveform, in parts of its width."""
        box = wave.bounding_box()
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + start * box["width"], y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + end * box["width"], y, steps=4)
        self.page.mouse.up()


@pytest.fixture
def tabs(chromium, client):
    """tabs(): another tab of the same browser.  No error may appear in any console."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    errors = []

    def another(**settings):
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: message.type == "error" and errors.append(message.text))
        if settings:
            page.set_viewport_size(settings)
        return Tab(page, client).open()

    another.errors = errors
    yield another
    context.close()
    assert not errors, errors


@pytest.fixture
def tab(tabs):
    return tabs()
