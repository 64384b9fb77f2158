"""The fleet server's page in a real browser: what an operator sees while a release travels."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from examples.demo import damage
from examples.demo.assets import ensure
from examples.demo.fleet import MODEL, Fleet
from examples.demo.stage import Stage
from examples.demo.terminal import Terminal

pytestmark = [pytest.mark.slow, pytest.mark.mosquitto]

PATIENCE_MS = 60_000
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
QUICK = """
[updates]
jitter_s = 0

[probation]
healthy_s = 1
answers = 5
canary_s = 0.2
"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A fleet of one device; a short path, because sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="lt-") as folder:
        fleet = Fleet(Path(folder), Terminal(io.StringIO()))
        try:
            stage = Stage(fleet.terminal, fleet, ensure())
            fleet.found()
            fleet.serve()
            stage.prepare()
            fleet.enrol(["edge-1"], QUICK)
            yield stage
        finally:
            fleet.close()


@pytest.fixture(scope="module")
def page(stage: Stage) -> Iterator[Page]:
    """The page, opened once and never loaded again; what it complains of fails the test."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(stage.fleet.page)
        yield page
        browser.close()
    assert complaints == []


def row(page: Page, heading: str, text: str) -> None:
    """Waits for a line with `text` in the part of the page under `heading`."""
    part = page.locator("section").filter(has=page.get_by_role("heading", name=heading, exact=True))
    expect(part.locator("tr, details, article", has_text=text).first).to_be_visible(timeout=PATIENCE_MS)


def test_the_token_leaves_the_address_at_once(page: Page) -> None:
    assert "token" not in page.url


def test_the_page_follows_a_release_without_being_loaded_again(page: Page, stage: Stage) -> None:
    row(page, "Devices", "edge-1")
    page.evaluate("window.neverLoadedAgain = true")
    stage.publish(1, stage.good, "1.0")
    row(page, "Releases", MODEL)
    stage.roll_out(1, "committed")
    row(page, "Rollouts", "committed")
    row(page, "Events", "with evidence first")
    assert page.evaluate("window.neverLoadedAgain") is True


def test_the_page_says_why_a_release_failed(page: Page, stage: Stage) -> None:
    stage.publish(2, damage.crash(stage.good), "2.0", golden=False)
    stage.roll_out(2, "failed")
    row(page, "Rollouts", "SIGSEGV")
    expect(page.get_by_text("halted").first).to_be_visible(timeout=PATIENCE_MS)


def test_the_page_says_what_is_wrong_with_a_device_and_what_can_be_done(page: Page, stage: Stage) -> None:
    stage.fleet.devices["edge-1"].runtime.kill()
    for part in ("The runtime is away", "runtime-away", "See that littoral-runtime runs"):
        row(page, "Devices", part)
    row(page, "Events", "The runtime is away: nothing listens on its control socket")


def test_without_a_token_the_page_tells_nothing(page: Page, stage: Stage) -> None:
    context = page.context.browser.new_context() if page.context.browser else page.context
    stranger = context.new_page()
    stranger.goto(stage.fleet.page.split("?")[0])
    assert "edge-1" not in stranger.content()
    expect(stranger.locator("input")).to_be_visible()
    context.close()
