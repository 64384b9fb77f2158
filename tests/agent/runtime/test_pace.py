"""A real host whose device is in trouble: the agent says a pace, every worker keeps it, and it goes with the agent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from agent.control import Counters, Pace
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.device import SCRIPTED_HOST, Device, Raw
from tests.agent.runtime.worker.test_server import wait_for_runs

QUESTION = b"\x00\x01\x02\x03"
MANY = 20


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    """Two devices, each with a host and the model `m`, whose every run takes a while."""
    with ExitStack() as ends:
        made = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            device = Device(tmp_path / name, SCRIPTED_HOST, {"vouch_grace_s": 0.3})
            device.record("m", device.add("m", 1, scripted.model(answer=1, delay_ms=8)))
            device.start()
            ends.callback(device.stop)
            made.append(device)
        yield made[0], made[1]


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[tuple[Device, Path]]:
    """A device whose model answers only once the file is there; of its worker the threads wait, and not the loop."""
    device, gate = Device(tmp_path, SCRIPTED_HOST, {}), tmp_path / "gate"
    slot = device.add("m", 1, scripted.model(answer=1, gate=str(gate)))
    device.record("m", replace(slot, interpreters=2))
    device.start()
    yield device, gate
    gate.touch()
    device.stop()


def ask_many(device: Device, model: str) -> tuple[Raw, query.Welcome]:
    raw = device.raw()
    welcome = raw.hello(model)
    digest = welcome.interface.digest
    asked = [part for n in range(MANY) for part in query.infer(query.Infer(digest, bytes([n] * 4)), n)]
    raw.send(b"".join(asked))  # at once: a worker reads no more while it runs one
    return raw, welcome


def all_answered(raw: Raw) -> None:
    for number in range(MANY):
        frame = raw.frame(query.Kind.ANSWER)
        assert frame.id == number
        assert query.parse_answer(frame).data == bytes([number + 1] * 4)


def test_a_paced_host_answers_everything_in_its_order_and_less_of_it(hosts: tuple[Device, Device]) -> None:
    free, slow = hosts
    agent = slow.agent()
    agent.send(Pace(400, shadows=False))
    counted: Counter[str] = Counter()
    enough = threading.Event()

    def ask_all_the_time(name: str, device: Device) -> None:
        raw = device.raw()
        digest = raw.hello("m").interface.digest
        while not enough.is_set():
            raw.send(*query.infer(query.Infer(digest, QUESTION), 1))
            assert query.parse_answer(raw.frame(query.Kind.ANSWER)).data == b"\x01\x02\x03\x04"
            counted[name] += 1
            if counted["free"] >= 150:
                enough.set()

    clients = [threading.Thread(target=ask_all_the_time, args=each) for each in (("free", free), ("slow", slow))]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert 0 < counted["slow"] < counted["free"] / 2
    raw, _ = ask_many(slow, "m")
    all_answered(raw)
    agent.expect_counts("m", answers=counted["slow"] + MANY, busy=0, errors=0)


def test_the_pace_ends_with_the_agent(gated: tuple[Device, Path]) -> None:
    device, gate = gated
    agent = device.agent()
    agent.send(Pace(100, shadows=False))
    agent.expect(Counters)
    raw, _ = ask_many(device, "m")
    wait_for_runs(gate, 1)
    agent.expect_counts("m", waiting=1)  # of twenty: the others wait with their client
    agent.close()
    again = device.agent()
    again.expect_counts("m", waiting=MANY - 1)
    gate.touch()
    all_answered(raw)


def test_what_is_loaded_later_keeps_the_pace_too(gated: tuple[Device, Path]) -> None:
    device, gate = gated
    agent = device.agent()
    agent.send(Pace(100, shadows=False))
    slot = device.add("later", 1, scripted.model(answer=1, gate=str(gate)))
    device.record("later", replace(slot, interpreters=2))
    agent.apply("later", 1)
    raw, _ = ask_many(device, "later")
    wait_for_runs(gate, 1)
    agent.expect_counts("later", waiting=1)
    agent.send(Pace(0, shadows=True))
    agent.expect_counts("later", waiting=MANY - 1)
    gate.touch()
    all_answered(raw)
