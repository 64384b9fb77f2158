"""Reports arrive, in order and once, over lost connections and restarts; a bad disk loses reports and nothing else."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agent.link import outbox as module
from agent.link.events import Delivered, Disconnected, Refused
from agent.link.outbox import HOLD_S, WINDOW, Outbox
from littoral.wire.messages import MAX_MESSAGE_BYTES
from tests.agent.link.loopback import TOPICS, Device, Fleet, Mosquitto, wait_for

EVENT = TOPICS.up("cam-1", "event")
METRICS = TOPICS.up("cam-1", "metrics")


class Wire:
    """What the outbox sees of a link: it takes publishes, and confirms none by itself."""

    def __init__(self) -> None:
        self.connected = True
        self.sent: list[tuple[int, bytes]] = []
        self.takes = 1_000

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None:
        if not self.connected or self.takes < 1:
            return None
        self.takes -= 1
        self.sent.append((len(self.sent) + 1, payload))
        return len(self.sent)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def box(path: Path) -> Iterator[Outbox]:
    made = Outbox(path, TOPICS, "cam-1", limit=100)
    yield made
    made.close()


def fill(box: Outbox, count: int, kind: str = "event", begin: int = 0) -> list[bytes]:
    bodies = [f"{kind}-{n}".encode() for n in range(begin, begin + count)]
    for body in bodies:
        box.add(kind, body.decode(), body)
    return bodies


def rows(path: Path) -> list[bytes]:
    """What is on the disk."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [payload for (payload,) in database.execute("SELECT payload FROM outbox ORDER BY seq")]


def confirm_all(box: Outbox, wire: Wire) -> list[bytes]:
    """Pumps and confirms until nothing more is sent; the payloads in the order they were confirmed."""
    confirmed: list[bytes] = []
    while True:
        done = len(wire.sent)
        box.pump(wire, 0.0)
        if len(wire.sent) == done:
            return confirmed
        for mid, payload in wire.sent[done:]:
            box.heard(Delivered(mid))
            confirmed.append(payload)


def test_reports_go_out_in_order_a_small_window_at_a_time(box: Outbox, wire: Wire) -> None:
    bodies = fill(box, 20)
    box.pump(wire, 0.0)
    box.pump(wire, 0.0)
    assert [payload for _, payload in wire.sent] == bodies[:WINDOW]
    box.heard(Delivered(1))
    box.heard(Delivered(2))
    box.pump(wire, 0.0)
    assert [payload for _, payload in wire.sent] == bodies[: WINDOW + 2]


def test_a_report_stays_until_it_is_confirmed(box: Outbox, wire: Wire) -> None:
    fill(box, 3)
    box.pump(wire, 0.0)
    assert len(box) == 3
    box.heard(Delivered(2))
    box.heard(Delivered(2))
    box.heard(Delivered(77))
    assert len(box) == 2


def test_what_was_not_confirmed_is_sent_again_on_the_next_connection(box: Outbox, wire: Wire) -> None:
    bodies = fill(box, 4)
    box.pump(wire, 0.0)
    box.heard(Delivered(1))
    wire.connected = False
    box.heard(Disconnected("gone"))
    box.pump(wire, 0.0)
    wire.connected = True
    assert confirm_all(box, wire) == bodies[1:]
    assert len(box) == 0


def test_a_confirmation_of_the_connection_before_confirms_nothing(box: Outbox, wire: Wire) -> None:
    fill(box, 1)
    box.pump(wire, 0.0)
    box.heard(Disconnected("gone"))
    box.heard(Delivered(1))
    assert len(box) == 1


def test_what_the_link_does_not_take_is_offered_again(box: Outbox, wire: Wire) -> None:
    bodies = fill(box, 3)
    wire.takes = 1
    box.pump(wire, 0.0)
    wire.takes = 10
    box.pump(wire, 0.0)
    assert [payload for _, payload in wire.sent] == bodies


def test_refused_reports_wait_a_minute_and_are_not_lost(box: Outbox, wire: Wire) -> None:
    bodies = fill(box, 2)
    box.pump(wire, 0.0)
    box.heard(Refused(1, "Not authorized"))
    for now in (1.0, 2.0, 60.0):
        box.pump(wire, now)
    assert len(wire.sent) == 2
    box.pump(wire, 1.0 + module.REFUSED_PAUSE_S)
    assert [payload for _, payload in wire.sent[2:]] == bodies


def test_a_new_connection_ends_the_wait_after_a_refusal(box: Outbox, wire: Wire) -> None:
    fill(box, 1)
    box.pump(wire, 0.0)
    box.heard(Refused(1, "Not authorized"))
    box.pump(wire, 1.0)
    box.heard(Disconnected("gone"))
    box.pump(wire, 2.0)
    assert len(wire.sent) == 2


def test_reports_survive_a_restart(box: Outbox, wire: Wire, path: Path) -> None:
    bodies = fill(box, 5)
    box.pump(wire, 0.0)
    box.heard(Delivered(1))
    box.close()
    again = Outbox(path, TOPICS, "cam-1", limit=100)
    assert len(again) == 4
    assert confirm_all(again, Wire()) == bodies[1:]
    again.close()


def test_what_is_held_and_confirmed_is_never_written(box: Outbox, wire: Wire, path: Path) -> None:
    box.hold("metrics", "m-1", b"held", 0.0)
    box.pump(wire, 1.0)
    assert (len(box), rows(path)) == (1, [])
    box.heard(Delivered(1))
    assert (len(box), rows(path)) == (0, [])


def test_what_is_held_for_long_is_written_and_sent_from_there(box: Outbox, wire: Wire, path: Path) -> None:
    wire.connected = False
    box.hold("metrics", "m-1", b"old", 0.0)
    box.hold("metrics", "m-2", b"new", HOLD_S - 1)
    box.pump(wire, HOLD_S - 0.5)
    assert rows(path) == []
    box.pump(wire, HOLD_S)
    assert (len(box), rows(path)) == (2, [b"old", b"new"])
    wire.connected = True
    assert confirm_all(box, wire) == [b"old", b"new"]
    assert (len(box), rows(path)) == (0, [])


def test_what_is_held_goes_again_over_the_next_connection_and_is_kept_at_the_end(
    box: Outbox, wire: Wire, path: Path
) -> None:
    box.hold("metrics", "m-1", b"held", 0.0)
    box.pump(wire, 1.0)
    box.heard(Disconnected("lost"))
    box.pump(wire, 2.0)
    assert [payload for _, payload in wire.sent] == [b"held", b"held"]
    box.close()
    assert rows(path) == [b"held"]


def test_what_is_held_waits_for_its_place_in_the_window(box: Outbox, wire: Wire) -> None:
    for number in range(WINDOW + 3):
        box.hold("metrics", f"m-{number}", b"%d" % number, 0.0)
    box.pump(wire, 1.0)
    assert len(wire.sent) == WINDOW
    for mid, _ in list(wire.sent):
        box.heard(Delivered(mid))
    assert len(confirm_all(box, wire)) == 3
    assert len(box) == 0


def test_the_oldest_of_its_kind_makes_room_and_is_counted(box: Outbox, wire: Wire) -> None:
    events = fill(box, 3)
    metrics = fill(box, 130, kind="metrics")
    assert box.dropped == 30
    assert len(box) == 103
    assert confirm_all(box, wire) == events + metrics[30:]


def test_one_id_is_kept_once(box: Outbox, wire: Wire) -> None:
    box.add("event", "same", b"1")
    box.add("event", "same", b"1")
    box.add("metrics", "same", b"2")
    assert len(box) == 2
    assert confirm_all(box, wire) == [b"1", b"2"]


def test_a_report_too_large_for_any_message_is_dropped_and_counted(box: Outbox) -> None:
    box.add("event", "large", b"x" * (MAX_MESSAGE_BYTES + 1))
    assert (len(box), box.dropped) == (0, 1)


def test_an_unknown_kind_is_the_callers_mistake(box: Outbox) -> None:
    with pytest.raises(ValueError, match="kind"):
        box.add("state", "1", b"")


def test_a_full_disk_drops_and_counts_and_later_there_is_room(box: Outbox, wire: Wire) -> None:
    kept = fill(box, 2)
    pages = box._database.execute("PRAGMA page_count").fetchone()[0]
    box._database.execute(f"PRAGMA max_page_count = {pages}")
    box.add("event", "large", b"x" * 50_000)
    assert box.dropped == 1
    assert "full" in box.problem
    box.pump(wire, 0.0)
    box.heard(Delivered(1))
    assert [payload for _, payload in wire.sent] == kept
    box._database.execute("PRAGMA max_page_count = 1000000")
    box.add("event", "after", b"after")
    assert (len(box), box.dropped) == (2, 1)


def test_a_file_that_is_no_database_is_begun_anew(path: Path, wire: Wire) -> None:
    path.write_bytes(b"not a database at all" * 500)
    box = Outbox(path, TOPICS, "cam-1", limit=10)
    assert confirm_all(box, wire) == []
    bodies = fill(box, 2)
    box.close()
    again = Outbox(path, TOPICS, "cam-1", limit=10)
    assert confirm_all(again, wire) == bodies
    again.close()


def test_a_database_that_breaks_under_way_is_begun_anew_and_its_loss_counted(path: Path) -> None:
    box = Outbox(path, TOPICS, "cam-1", limit=1_000)
    for n in range(300):
        box.add("event", str(n), b"x" * 1_000)
    box._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    box.close()
    data = bytearray(path.read_bytes())
    data[4_096 * 3 : 4_096 * 60] = b"\xa5" * (4_096 * 57)
    path.write_bytes(data)
    broken = Outbox(path, TOPICS, "cam-1", limit=1_000)
    wire = Wire()
    confirm_all(broken, wire)
    for n in range(300, 310):
        broken.add("event", str(n), b"y")
        confirm_all(broken, wire)
    assert not broken.problem  # a new file is in its place, and what was lost is counted
    assert b"y" in {payload for _, payload in wire.sent}
    assert broken.dropped + len([p for _, p in wire.sent if p != b"y"]) >= 300
    broken.close()


def test_a_folder_that_takes_no_file_leaves_a_queue_in_memory(tmp_path: Path, wire: Wire) -> None:
    box = Outbox(tmp_path / "missing" / "outbox.db", TOPICS, "cam-1", limit=10)
    assert "unable to open" in box.problem
    bodies = fill(box, 3)
    assert confirm_all(box, wire) == bodies
    box.close()


class _Failing(sqlite3.Connection):
    """A disk that gives input/output errors."""

    def execute(self, *arguments: object) -> sqlite3.Cursor:
        raise sqlite3.OperationalError("disk I/O error")


def test_a_dead_disk_raises_nothing(box: Outbox, wire: Wire) -> None:
    fill(box, 1)
    box.pump(wire, 0.0)
    box.close()
    box._database = sqlite3.connect(":memory:", factory=_Failing)
    box.heard(Delivered(1))
    box.add("event", "more", b"more")
    box.heard(Disconnected("gone"))
    box.pump(wire, 0.0)
    assert box.dropped == 1
    assert "I/O" in box.problem


@hypothesis_settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["add", "pump", "confirm", "lose", "restart"]), max_size=60))
def test_whatever_happens_every_report_is_confirmed_in_the_end_and_none_is_forgotten(
    tmp_path: Path, steps: list[str]
) -> None:
    path = tmp_path / "outbox.db"
    path.unlink(missing_ok=True)
    box, wire = Outbox(path, TOPICS, "cam-1", limit=1_000), Wire()
    added: list[bytes] = []
    confirmed: list[bytes] = []
    told = 0
    for step in steps:
        if step == "add":
            added += fill(box, 1, begin=len(added))
        elif step == "pump":
            box.pump(wire, 0.0)
        elif step == "confirm" and told < len(wire.sent):
            box.heard(Delivered(wire.sent[told][0]))
            confirmed.append(wire.sent[told][1])
            told += 1
        elif step == "lose":
            box.heard(Disconnected("gone"))
            told = len(wire.sent)
        elif step == "restart":
            box.close()
            box = Outbox(path, TOPICS, "cam-1", limit=1_000)
            told = len(wire.sent)
    for mid, payload in wire.sent[told:]:
        box.heard(Delivered(mid))
        confirmed.append(payload)
    confirmed += confirm_all(box, wire)
    assert sorted(confirmed) == sorted(added)
    assert len(box) == 0
    box.close()


@pytest.mark.mosquitto
def test_reports_reach_the_server_over_a_broker_that_is_killed_half_way(
    broker: Mosquitto, device: Device, path: Path
) -> None:
    box = Outbox(path, TOPICS, "cam-1", limit=1_000)
    device.listeners.append(box.heard)
    device.tickers.append(lambda: box.pump(device.link, 0.0))
    first = Fleet(broker)
    device.connect()
    bodies = fill(box, 300)
    device.until(lambda: len(box) <= 250)
    broker.kill()
    first.close()
    device.until(lambda: not device.link.connected)
    bodies += fill(box, 20, begin=300)
    unconfirmed = set(bodies[-len(box) :])  # what a broker confirms and loses as it dies, nobody can bring back
    broker.start()
    second = Fleet(broker)
    device.until(lambda: len(box) == 0)
    wait_for(lambda: unconfirmed <= set(second.of(EVENT)))
    assert len(unconfirmed) > 20
    heard = second.of(EVENT)
    assert heard == sorted(set(heard), key=bodies.index), "in order, and each once"
    second.close()
    box.close()
