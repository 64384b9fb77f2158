"""The C client says what its app thinks of an answer: to a runtime that the test plays, and to a real one."""

from __future__ import annotations

import pytest

from littoral import client, errors
from littoral.wire import query
from littoral.wire.query import Kind
from littoral.wire.report import Report, parse_report
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import until
from tests.clients.conftest import MakeDriver
from tests.clients.driver import INPUTS, Driver, Runtime, opened

OUTPUTS = bytes(range(100, 119))
REPORTED = 7  # LT_REPORTED


def told(runtime: Runtime, answer: dict[str, object] | errors.LittoralError) -> Report:
    """Answers the next REPORT, and gives it."""
    frame = runtime.take(Kind.REPORT)
    if isinstance(answer, errors.LittoralError):
        runtime.send(query.error(answer, frame.id))
    else:
        runtime.send(query.json_frame(Kind.INFO, answer, frame.id))
    return parse_report(frame)


@pytest.mark.parametrize("note", ["", "x" * 200, '\u00e9t\u00e9\\"'])
def test_a_report_goes_out_as_the_protocol_has_it(driver: Driver, runtime: Runtime, note: str) -> None:
    opened(driver, runtime)
    release = 2**63 + 5
    driver.tell("report", 2**64 - 1, release, 1, *([f"note={note}"] if note else []))
    assert told(runtime, {"counted": True}) == Report(2**64 - 1, release, good=True, note=note)
    assert "error" not in driver.said()


def test_a_report_that_is_refused_is_a_named_error_and_the_next_goes_on(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("report", 1, 7, 0)
    assert told(runtime, errors.UnknownAnswerError("which one")) == Report(1, 7, good=False)
    assert driver.said()["error"] == "unknown-answer"
    driver.tell("infer", driver.file(INPUTS))
    runtime.answer(OUTPUTS)
    assert driver.said()["data"] == OUTPUTS.hex()


def test_a_note_that_is_too_long_is_not_sent(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    assert driver.tried("report", 1, 7, 0, "note=" + "x" * 201)["error"] == "bad-report"
    assert driver.tried("tell", 1, 7, 0, "note=" + "x" * 201)["error"] == "bad-report"


def test_a_report_takes_its_turn_among_requests(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    data = driver.file(INPUTS)
    ids = [driver.do(*words)["id"] for words in (("submit", data), ("tell", 9, 7, 0, "note=no"), ("submit", data))]
    refused = driver.do("tell", 9, 7, 0)["id"]
    assert driver.tried("report", 9, 7, 0)["error"] == "busy"
    runtime.answer(OUTPUTS)
    assert told(runtime, {"counted": False}).note == "no"
    runtime.answer(OUTPUTS)
    told(runtime, errors.BusyError("too often"))
    said = [driver.do("poll", 60_000) for _ in ids]
    assert [each["id"] for each in said] == ids
    assert [(each["kind"], each["count"]) for each in said][1] == (REPORTED, 0)
    last = driver.tried("poll", 60_000)
    assert (last["id"], last["error"]) == (refused, "busy")


def test_a_report_that_was_not_answered_is_sent_again_after_a_restart(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("report", 3, 7, 1, "note=yes")
    runtime.take(Kind.REPORT)
    runtime.welcome()
    assert told(runtime, {"counted": True}) == Report(3, 7, good=True, note="yes")
    assert "error" not in driver.said()


def test_an_info_that_was_not_asked_for_is_refused(driver: Driver, runtime: Runtime) -> None:
    opened(driver, runtime)
    driver.tell("report", 3, 7, 1)
    frame = runtime.take(Kind.REPORT)
    runtime.send(query.json_frame(Kind.INFO, {"counted": True}, frame.id + 1))
    assert driver.said()["error"] == "protocol"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"counted":true', b"\xff"])
def test_an_info_that_is_no_json_is_refused(driver: Driver, runtime: Runtime, body: bytes) -> None:
    opened(driver, runtime)
    driver.tell("report", 3, 7, 1)
    runtime.send(query.frame(Kind.INFO, body, runtime.take(Kind.REPORT).id))
    assert driver.said()["error"] == "protocol"


def test_reports_are_counted_by_a_real_runtime(scripted_device: MakeDevice, drivers: MakeDriver) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(answer=1)))
    device.start()
    driver, listener = drivers(), drivers()
    driver.do("open", "m")
    listener.do("open", "m", "subscribe=1")
    answer = driver.do("infer", driver.file(b"abcd"))
    driver.do("report", answer["id"], answer["release"], 0, "note=no-cat")
    until(lambda: client.stats(device.socket)["m"]["notes"] == ["no-cat"], "the note")
    assert driver.tried("report", 99, 1, 0)["error"] == "unknown-answer"
    driver.do("tell", answer["id"], 2, 0)
    assert driver.do("poll", 60_000)["count"] == 0
    copy = listener.do("poll", 60_000)
    assert listener.tried("report", copy["id"], 1, 1)["error"] == "unsupported"
    id = listener.do("tell", copy["id"], copy["release"], 1)["id"]
    said = listener.do("poll", 60_000)
    assert (said["id"], said["kind"], said["count"]) == (id, REPORTED, 1)
    until(lambda: client.stats(device.socket)["m"]["votes"] > 0, "votes")
