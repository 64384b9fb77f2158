"""A switch that clients do not see: 64 pipelined requests across 100 switches between real models of one interface."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.slots import Slot
from examples.demo.assets import ensure
from littoral.wire import query
from tests.agent.runtime import reals, scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Agent, Device, Raw, interface_digests

CLIENTS = 3
DEPTH = 64  # requests of each client on their way
SWITCHES = 100
QUESTIONS = 16


@dataclass
class Asker:
    """Keeps DEPTH requests on their way and checks each answer: its order, its bytes, and the release that gave it."""

    connection: Raw
    welcome: query.Welcome
    questions: list[bytes]
    answers: dict[int, list[bytes]]
    stop: threading.Event
    pieces: random.Random
    sent: int = 0
    answered: int = 0
    releases: list[int] = field(default_factory=list)
    problem: str = ""

    def run(self) -> None:
        try:
            for _ in range(DEPTH):
                self.ask()
            while self.answered < self.sent:
                self.check()
                if not self.stop.is_set():
                    self.ask()
        except Exception as error:
            self.problem = repr(error)

    def ask(self) -> None:
        question = self.questions[self.sent % len(self.questions)]
        request = query.infer(query.Infer(self.welcome.interface.digest, question), self.sent)
        frame = memoryview(b"".join(request))
        while frame:  # in pieces, so that a switch finds half a frame
            size = self.pieces.choice((5, 16, 500, 2_000, len(frame)))
            self.connection.send(frame[:size])
            frame = frame[size:]
        self.sent += 1

    def check(self) -> None:
        frame = self.connection.frame(query.Kind.ANSWER)
        answer = query.parse_answer(frame)
        assert frame.id == self.answered, f"answer {frame.id} in place of {self.answered}"
        expected = self.answers[answer.release][self.answered % len(self.questions)]
        assert answer.data == expected, f"release {answer.release} answered {frame.id} wrong"
        self.answered += 1
        if self.releases[-1:] != [answer.release]:
            self.releases.append(answer.release)


def switched(device: Device, found: list[Slot], agent: Agent, number: int, handover: bool) -> None:
    """Switches to the release that is not served now, as a trial or as committed."""
    active = number % 2
    device.record("m", found[0], found[1], active="ab"[active], trial=number % 3 == 0)
    serving = agent.apply("m", found[active].release, handover=handover)
    assert serving.reason == ""


@pytest.mark.parametrize("handover", [False, True], ids=["overlap", "handover"])
def test_no_request_is_lost_doubled_reordered_or_answered_wrong(real_device: MakeDevice, handover: bool) -> None:
    good = ensure().classifier.read_bytes()
    models = [good, reals.negated(good)]
    loaded = [reals.load(model) for model in models]
    interface = loaded[0].interface
    numbers = random.Random(5)
    questions = [numbers.randbytes(interface.input_bytes) for _ in range(QUESTIONS)]
    answers = {n + 1: [one.run(question).data for question in questions] for n, one in enumerate(loaded)}
    assert all(a != b for a, b in zip(answers[1], answers[2], strict=True))

    device = real_device()
    found = [device.add("m", n + 1, model, interface=interface_digests(interface)) for n, model in enumerate(models)]
    device.record("m", found[0], found[1])
    device.start()
    agent, stop = device.agent(), threading.Event()
    askers = []
    for seed in range(CLIENTS):
        connection = device.raw()
        askers.append(Asker(connection, connection.hello("m"), questions, answers, stop, random.Random(seed)))
    threads = [threading.Thread(target=asker.run) for asker in askers]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, SWITCHES + 1):
            switched(device, found, agent, number, handover)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for asker in askers:
        assert asker.problem == ""
        assert asker.answered == asker.sent >= DEPTH
        assert len(asker.releases) > 2, "the client was served by several releases in turn"
    assert open_descriptors(device) < 40, "the host holds on to no connection"


def open_descriptors(device: Device) -> int:
    assert device.process is not None
    return len(list(Path(f"/proc/{device.process.pid}/fd").iterdir()))


def test_half_an_answer_that_was_sent_goes_on_where_it_was(scripted_device: MakeDevice) -> None:
    size = 900_000
    outputs = [["out", "uint8", [size], 0.0, 0]]
    device = scripted_device()
    found = [device.add("m", n, scripted.model(answer=n, outputs=outputs)) for n in (1, 2)]
    device.record("m", found[0], found[1])
    device.start()
    connection, agent = device.raw(), device.agent()
    welcome = connection.hello("m")
    for number in range(4):
        request = query.infer(query.Infer(welcome.interface.digest, b"\0\0\0\0"), number)
        connection.send(*request)
    device.record("m", found[0], found[1], active="b")
    agent.apply("m", 2)
    for number in range(4):
        frame = connection.frame(query.Kind.ANSWER)
        answer = query.parse_answer(frame)
        assert frame.id == number
        assert answer.data == bytes([answer.release]) * size


def test_a_request_that_waited_through_a_switch_keeps_its_deadline(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    found = [device.add("m", n, scripted.model(answer=n, delay_ms=100)) for n in (1, 2)]
    device.record("m", found[0], found[1])
    device.start()
    connection, agent = device.raw(), device.agent()
    welcome = connection.hello("m")
    digest = welcome.interface.digest
    first = query.infer(query.Infer(digest, b"\0\0\0\0"), 0)
    second = query.infer(query.Infer(digest, b"\0\0\0\0", deadline_us=10_000), 1)
    connection.send(b"".join([*first, *second]))  # in one piece, so that both are received together
    device.record("m", found[0], found[1], active="b")
    agent.apply("m", 2, handover=True)
    connection.frame(query.Kind.ANSWER)
    assert connection.code() == "deadline"
