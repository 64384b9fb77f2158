"""The server hears what the device is, newest last, and what it did, each window once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alarms import Symptom, alarms
from agent.control import Counters
from agent.link.events import Connected, Delivered, Disconnected
from agent.link.outbox import Outbox
from agent.link.reporter import BUCKETS, MOST_ALARMS, Reporter, fitting, quantile_us
from littoral.wire import messages
from littoral.wire.messages import MAX_MESSAGE_BYTES, Ending, Metrics, ModelState, Progress, Reported
from tests.agent.link.loopback import TOPICS, Device, Fleet, Mosquitto, wait_for

STATE = TOPICS.up("cam-1", "state")
METRICS = TOPICS.up("cam-1", "metrics")


@dataclass
class Wire:
    """A link that takes everything while it is connected."""

    connected: bool = True
    sent: list[tuple[str, bytes, bool]] = field(default_factory=list)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None:
        if not self.connected:
            return None
        self.sent.append((topic, payload, retain))
        return len(self.sent)

    def generations(self) -> list[int]:
        return [messages.parse_reported(body).generation for topic, body, _ in self.sent if topic == STATE]

    def metrics(self) -> list[Metrics]:
        return [messages.parse_metrics(body) for topic, body, _ in self.sent if topic == METRICS]


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.db", TOPICS, "cam-1", limit=100)
    yield made
    made.close()


@pytest.fixture
def reporter(wire: Wire, box: Outbox) -> Reporter:
    return Reporter(wire, box, TOPICS, "cam-1", "boot-1", metrics_s=60.0)


def state(generation: int, **models: ModelState) -> Reported:
    return Reported("cam-1", "boot-1", "0.1.0", "x86_64", "litert 2.3.0", generation, models=models)


def test_a_state_is_sent_retained_when_it_is_news_and_not_again(reporter: Reporter, wire: Wire) -> None:
    reporter.report(state(1))
    for now in (0.0, 1.0, 2.0):
        reporter.tick(now, 0)
    reporter.report(state(1))
    reporter.tick(3.0, 0)
    assert wire.sent == [(STATE, state(1).encode(), True)]


def test_many_changes_in_short_time_are_sent_as_the_newest(reporter: Reporter, wire: Wire) -> None:
    for generation in range(1, 101):
        reporter.report(state(generation))
        reporter.tick(generation / 1_000, 0)
    assert wire.generations() == [1]
    reporter.tick(0.3, 0)
    assert wire.generations() == [1, 100]


def test_the_state_is_sent_again_after_every_reconnect(reporter: Reporter, wire: Wire) -> None:
    reporter.report(state(1))
    reporter.tick(0.0, 0)
    reporter.heard(Disconnected("gone"))
    wire.connected = False
    reporter.report(state(2))
    reporter.tick(1.0, 0)
    wire.connected = True
    reporter.heard(Connected())
    reporter.tick(2.0, 0)
    reporter.heard(Connected())
    reporter.tick(3.0, 0)
    assert wire.generations() == [1, 2, 2]


def test_a_state_too_large_for_a_message_loses_what_ended_first(reporter: Reporter) -> None:
    ending = Ending(3, "b" * 64, 1, "rolled-back", "late", "r" * 160, {f"n{n}": n for n in range(30)})
    model = ModelState(2, "a" * 64, "1.0", "committed", "full", 1, Progress(3, "b" * 64, 1, "fetch"), ending)
    few = state(1, **{f"m{n}": model for n in range(10)})
    assert messages.parse_reported(fitting(few)) == few
    for count, has_last in ((75, True), (150, False), (300, False)):
        data = fitting(state(1, **{f"m{n}": model for n in range(count)}))
        assert len(data) <= MAX_MESSAGE_BYTES
        got = messages.parse_reported(data)
        assert len(got.models) == count
        assert got.models["m0"].release == 2
        assert (got.models["m0"].last is not None) is has_last
        assert [alarm.code for alarm in got.warnings] == ["state-cut"]


def test_of_many_alarms_a_cut_state_keeps_the_worst() -> None:
    many = [Symptom("not-served", "x" * 900, f"m{n}") for n in range(200)]
    cut = fitting(replace(state(1), warnings=alarms([Symptom("warm", "70 degrees"), *many])))
    assert len(cut) <= MAX_MESSAGE_BYTES
    codes = [alarm.code for alarm in messages.parse_reported(cut).warnings]
    assert codes == [*["not-served"] * MOST_ALARMS, "state-cut"]


def counters(answers: int, worker: int = 7, release: int = 1, bucket: int = 10, **more: int | str) -> Counters:
    histogram = tuple(answers if i == bucket else 0 for i in range(BUCKETS))
    made = Counters("m", release, "b" * 64, "committed", worker, answers, histogram=histogram, memory_bytes=5)
    return replace(made, **more)  # type: ignore[arg-type]


def windows(reporter: Reporter, wire: Wire, box: Outbox, now_s: float) -> list[Metrics]:
    reporter.tick(now_s, 1_000)
    return wire.metrics()


def test_a_window_holds_what_happened_within_it(reporter: Reporter, wire: Wire, box: Outbox) -> None:
    reporter.tick(0.0, 900)
    reporter.counters(counters(1_000, errors=50))  # an earlier agent has reported these
    reporter.counters(counters(1_010, errors=51))
    reporter.counters(counters(1_030, errors=53))
    assert windows(reporter, wire, box, 59.0) == []
    first = windows(reporter, wire, box, 60.0)
    assert [(m.boot, m.seq, m.at, m.window_s) for m in first] == [("boot-1", 0, 1_000, 60)]
    assert [(r.model, r.release, r.answers, r.errors, r.memory_bytes) for r in first[0].models] == [("m", 1, 30, 3, 5)]
    assert 1_024 <= first[0].models[0].invoke_p50_us < first[0].models[0].invoke_p95_us <= 2_048
    reporter.counters(counters(1_031, errors=53))
    second = windows(reporter, wire, box, 120.0)[1]
    assert (second.seq, [r.answers for r in second.models]) == (1, [1])


def test_a_new_worker_counts_from_nothing(reporter: Reporter, wire: Wire, box: Outbox) -> None:
    reporter.tick(0.0, 0)
    reporter.counters(counters(500))
    reporter.counters(counters(510))
    reporter.counters(counters(4, worker=8, release=2, bucket=12))
    reporter.counters(counters(9, worker=8, release=2, bucket=12))
    reporter.counters(counters(20, worker=10, release=2, bucket=12))  # already further than the one before
    reporter.counters(counters(3, worker=9, release=2, bucket=12))
    reporter.counters(counters(1, worker=9, release=2, bucket=12))  # the same process id, used again
    models = windows(reporter, wire, box, 60.0)[0].models
    assert [(r.release, r.answers) for r in models] == [(1, 10), (2, 33)]
    assert 4_096 <= models[1].invoke_p50_us <= 8_192


def test_a_device_that_serves_nothing_sends_no_windows(reporter: Reporter, wire: Wire, box: Outbox) -> None:
    for now in range(0, 600, 10):
        reporter.tick(float(now), 0)
    assert wire.metrics() == []


def test_events_arrive_in_order(reporter: Reporter, wire: Wire) -> None:
    for number in range(3):
        reporter.event(messages.Event(f"e{number}", 1, "staged", "m", 2, "text", {"n": number}))
    reporter.tick(0.0, 0)
    assert [messages.parse_event(body).id for _, body, _ in wire.sent] == ["e0", "e1", "e2"]


@given(st.lists(st.integers(0, 1_000), min_size=BUCKETS, max_size=BUCKETS), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_that_holds_it(histogram: list[int], share: float) -> None:
    got = quantile_us(histogram, share)
    if not any(histogram):
        assert got == 0
        return
    wanted = share * sum(histogram)
    bucket = next(i for i in range(BUCKETS) if sum(histogram[: i + 1]) >= wanted)
    assert 1 << bucket <= got <= 1 << bucket + 1


def generations(fleet: Fleet) -> list[int]:
    return [messages.parse_reported(body).generation for body in fleet.of(STATE)]


@pytest.mark.mosquitto
def test_the_server_finds_the_newest_state_whenever_it_looks(
    broker: Mosquitto, fleet: Fleet, device: Device, box: Outbox
) -> None:
    reporter = Reporter(device.link, box, TOPICS, "cam-1", "boot-1", 60.0)
    clock = iter(range(1_000_000))
    device.listeners += [reporter.heard, box.heard]
    device.tickers.append(lambda: reporter.tick(float(next(clock)), 0))
    reporter.report(state(1))
    device.connect()
    device.until(lambda: device.count(Delivered) >= 2)
    reporter.report(state(2))
    device.until(lambda: generations(fleet) == [1, 2])
    broker.kill()
    device.until(lambda: not device.link.connected)
    broker.start()
    late = Fleet(broker)
    device.until(lambda: generations(late) == [2])
    later = Fleet(broker)
    wait_for(lambda: later.of(STATE) == [state(2).encode()])
    late.close()
    later.close()
