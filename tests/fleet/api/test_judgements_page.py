"""What the page draws of judgements, in a real browser: good evidence whole, of odd evidence what makes sense."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from fleet.enrolment import Application
from fleet.link import Received
from fleet.service import Service
from fleet.steering import Policy
from fleet.store import Store
from littoral.wire.messages import Ending, Event, ModelState
from tests.fleet.api.conftest import Publish, running
from tests.fleet.parts import SKETCH, evidence, make_bundle, make_csr, new_key, reported

pytestmark = pytest.mark.slow

PATIENCE_MS = 60_000
ODD: dict[str, Any] = {
    "empty": {},
    "wrong-types": {"outcome": 7, "code": [], "reason": {"a": 1}, "tests": [1], "rehearsal": "text", "shadow": [None]},
    "prototype": {"outcome": "constructor", "tests": {"__proto__": {}, "toString": {"bad": 1, "requests": 2}}},
    "inner": {"rehearsal": {"skill_ppm": "x", "gate": "toString", "probes": {"a": 1}, "worst": [3, {"sketch": "zz"}]}},
    "markup": {"outcome": "failed", "reason": "<img src=x onerror=alert(1)>", "tests": {"<b>": {"bad": 1}}},
    "negative": {"tests": {"late": {"ratio_milli": -9_000, "bound_milli": 0}}, "shadow": {"skill_ppm": -(10**12)}},
}


@pytest.fixture
def page(service: Service, opened: Store) -> Iterator[Page]:
    """The page, which must complain of nothing."""
    complaints: list[str] = []
    with running(service) as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{client.base_url}/?token={opened.access.add_admin()}")
        expect(page.locator("#live")).to_have_text("live", timeout=PATIENCE_MS)
        yield page
        browser.close()
    assert complaints == []


def enrol(service: Service, *names: str) -> None:
    for name in names:
        service.enrol(Application(service.create_token(), make_csr(new_key()), name, {}, "x86_64"))


def judge(service: Service, name: str, facts: dict[str, Any]) -> None:
    event = Event(f"judged {name}", 7, "judged", "eye", 2, "text", facts)
    service.take([Received(name, "event", event.encode(), 1, 1)])


def panel(page: Page, name: str) -> Locator:
    found = page.locator("details.panel", has_text=f"on {name}")
    expect(found).to_be_visible(timeout=PATIENCE_MS)
    return found


def test_a_verdict_is_drawn_with_what_it_rests_on(page: Page, service: Service) -> None:
    enrol(service, "door")
    judge(service, "door", evidence())
    found = panel(page, "door")
    expect(found).to_have_attribute("open", "")
    text = found.inner_text()
    for part in ("It sees red and blue exchanged: skill 0.97", "rolled-back", "misread", "64 recent inputs, 27 scenes"):
        assert part in text
    for part in ("0.41, at least 0.00", "11 of 48, 35 is bad", "1.2, 9.2 is bad", "3 of 120 requests, 2 of 40 blocks"):
        assert part in text
    assert found.locator(".probes li.fires").all_inner_texts()[0].startswith("it sees red and blue exchanged")
    assert found.locator(".probes li").count() == 2
    assert [*found.locator(".examples li").first.locator("dd").all_inner_texts()] == [
        "fire engine 0.93",
        "swimming pool 0.71",
    ]
    filled, whole = (found.get_by_role("img", name="1.2, 9.2 is bad").locator(at) for at in (".filled", "xpath=."))
    width = [one.evaluate("node => node.getBoundingClientRect().width") for one in (filled, whole)]
    assert width[0] / width[1] == pytest.approx(1.2 / (9.21 * 1.15), abs=0.02)


def test_a_sketch_is_drawn_in_its_grey_values(page: Page, service: Service) -> None:
    enrol(service, "door")
    judge(service, "door", evidence())
    pixels = (
        panel(page, "door")
        .locator("canvas")
        .first.evaluate("canvas => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data]")
    )
    assert pixels[::4] == pixels[1::4] == pixels[2::4] == list(bytes.fromhex(SKETCH))
    assert set(pixels[3::4]) == {255}


def test_where_nothing_could_be_compared_the_reason_is_drawn(page: Page, service: Service) -> None:
    enrol(service, "door")
    nothing = {"evidence": "none", "why": "3 different scenes among 64 inputs", "skill_ppm": 1, "verdict": ""}
    judge(service, "door", evidence("committed", code="", reason="", rehearsal=nothing))
    found = panel(page, "door")
    expect(found).not_to_have_attribute("open", "")
    found.locator("summary").click()
    expect(found.get_by_text("3 different scenes among 64 inputs")).to_be_visible()
    expect(found.get_by_text("no evidence")).to_be_visible()
    assert found.get_by_text("Skill", exact=True).count() == 0
    assert "Nothing was found that is worse than before." in found.inner_text()


def test_odd_evidence_breaks_neither_its_panel_nor_the_page(page: Page, service: Service) -> None:
    enrol(service, "door", *ODD)
    for name, facts in ODD.items():
        judge(service, name, facts)
    judge(service, "door", evidence())
    for name in (*ODD, "door"):
        panel(page, name)
    assert "<img src=x onerror=alert(1)>" in panel(page, "markup").inner_text()
    assert page.locator("#judgements img").count() == 0
    expect(page.locator("#devices td.name", has_text="wrong-types")).to_be_visible()
    expect(page.locator("#events td", has_text="judged").first).to_be_visible()


def test_what_a_reader_unfolded_stays_so_when_something_newer_comes(page: Page, service: Service) -> None:
    enrol(service, "door", "gate")
    judge(service, "door", evidence())
    panel(page, "door").locator("summary").click()
    expect(panel(page, "door")).not_to_have_attribute("open", "")
    judge(service, "gate", evidence("failed"))
    panel(page, "gate")
    judge(service, "door", evidence(reason="it is late"))
    expect(panel(page, "door")).to_contain_text("It is late")
    expect(panel(page, "door")).not_to_have_attribute("open", "")


def test_a_halted_rollout_names_what_most_devices_found(page: Page, service: Service, publish: Publish) -> None:
    bundle = make_bundle()
    publish(bundle)
    enrol(service, "door", "gate", "yard")
    service.start_rollout("eye", 1, "all", Policy(gate="strict", shadow_s=5400))
    for name, code in (("door", "errors"), ("gate", "misread"), ("yard", "misread")):
        last = Ending(1, bundle.digest, 1, "failed", code, f"it is {code}")
        service.take([Received(name, "state", reported(name, 1, eye=ModelState(last=last)).encode(), 1, 1)])
    card = page.locator("#rollouts article")
    expect(card).to_contain_text("Most often, on 2 of 3 devices: misread, it is misread", timeout=PATIENCE_MS)
    expect(card).to_contain_text("Halted by door failed: it is errors")
    expect(card).to_contain_text("gate strict · 1.5 h in the shadow")
