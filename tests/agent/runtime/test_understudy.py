"""The baseline beside its trial, on a real host: what clients of a bad trial see, and what becomes of both."""

from __future__ import annotations

import os
import signal
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agent import control
from agent.slots import Slot
from littoral.wire import query
from tests.agent.runtime import reals, scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Agent, Device, Raw, interface_digests, until
from tests.agent.runtime.engines.building import ADD, DIV, FLOAT32, GATHER, INT32, Graph, Operator, Tensor, model
from tests.agent.runtime.engines.samples import floats

MIB = 1024 * 1024
QUESTION = b"\x00\x01\x02\x03"
BAD = b"\x09\x01\x02\x03"
OFF = "[probation]\nunderstudy = false"


def on_trial(device: Device, new: dict[str, object] | None = None, **old: object) -> tuple[Slot, Slot, Agent]:
    """Release 2 is on trial, which adds 2; release 1, its baseline, adds 1. An agent vouches."""
    slots = (
        device.add("m", 1, scripted.model(**{"answer": 1, **old})),
        device.add("m", 2, scripted.model(**{"answer": 2, **(new or {})})),
    )
    device.record("m", *slots, active="b", trial=True)
    device.start()
    agent = device.agent()
    agent.apply("m", 2)
    return *slots, agent


def workers(device: Device) -> set[int]:
    """Process ids of the host's children."""
    assert device.process is not None
    pid = device.process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def is_gone(device: Device, pid: int) -> bool:
    return pid not in workers(device)


def understudy(device: Device, agent: Agent) -> int:
    """The process id of the baseline beside the trial, once it is ready to be asked."""
    trial = agent.expect(control.Counters, lambda c: c.release == 2).worker
    until(lambda: len(os.listdir(f"/proc/{trial}/task")) > 1, "the trial to have an understudy")  # noqa: PTH208
    (pid,) = workers(device) - {trial}
    return pid


def ask(connection: Raw, welcome: query.Welcome, data: bytes = QUESTION, id: int = 1) -> int:
    """The release that answered, and rightly."""
    connection.send(*query.infer(query.Infer(welcome.interface.digest, data), id))
    frame = connection.frame(query.Kind.ANSWER)
    answer = query.parse_answer(frame)
    assert (frame.id, answer.data) == (id, bytes((n + answer.release) % 256 for n in data))
    return answer.release


# --- a bad trial ------------------------------------------------------------------------------------------------


def test_a_crash_in_every_two_hundredth_run_is_followed_by_the_baseline_that_was_loaded_already(
    scripted_device: MakeDevice,
) -> None:
    device = scripted_device()
    old, _, agent = on_trial(device, {"run": "crash", "every": 200})
    beside = understudy(device, agent)
    asking = device.client("m")
    found = []
    for number in range(300):
        data = bytes([number % 250] * 4)
        answer = asking.infer(data)
        assert answer.data == bytes([number % 250 + answer.release] * 4)
        found.append(answer.release)
    assert found == [2] * 199 + [1] * 101
    died = agent.expect(control.Died)
    assert (died.bundle != old.bundle, died.signal) == (True, signal.SIGSEGV)
    assert agent.expect(control.Serving).reason == "died"
    assert agent.expect(control.Counters, lambda c: c.release == 1).worker == beside


def test_no_client_hears_of_errors_that_the_baseline_does_not_make(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, _, agent = on_trial(device, {"run": "fail", "every": 5})
    understudy(device, agent)
    asking = device.client("m")
    assert [asking.infer(QUESTION).release for _ in range(50)].count(1) == 10
    counts = agent.expect_counts("m", outdone=10, errors=0, answers=40)
    assert (counts.release, counts.stage) == (2, "trial")


@pytest.mark.slow
def test_a_trial_that_hangs_is_ended_and_no_connection_with_it(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, new, agent = on_trial(device, {"run": "hang", "on": 9})
    beside = understudy(device, agent)
    stuck, other = device.raw(), device.raw()
    welcome = stuck.hello("m")
    other.hello("m")
    for number, data in enumerate((BAD, QUESTION)):
        stuck.send(*query.infer(query.Infer(welcome.interface.digest, data), number))
    assert query.parse_answer(stuck.frame(query.Kind.ANSWER)).release == 1
    assert query.parse_answer(stuck.frame(query.Kind.ANSWER)).release == 1
    assert ask(other, welcome) == 1
    died = agent.expect(control.Died)
    assert (died.release, died.bundle, died.hung) == (2, new.bundle, True)
    serving = agent.expect(control.Serving, lambda s: s.release == 1)
    assert (serving.stage, serving.reason) == ("committed", "died")
    assert agent.expect(control.Counters, lambda c: c.release == 1).worker == beside
    until(lambda: workers(device) == {beside}, "the worker that hangs to be gone")


def test_a_rollback_goes_on_with_the_baseline_that_was_loaded_already(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, _, agent = on_trial(device, {"run": "hang", "on": 9})
    beside = understudy(device, agent)
    stuck, other = device.raw(), device.raw()
    welcome = stuck.hello("m")
    other.hello("m")
    stuck.send(*query.infer(query.Infer(welcome.interface.digest, BAD), 1))
    device.record("m", old)
    assert agent.apply("m", 1).stage == "committed"
    assert query.parse_answer(stuck.frame(query.Kind.ANSWER)).release == 1
    assert ask(other, welcome) == 1
    assert agent.expect(control.Counters, lambda c: c.release == 1).worker == beside


def test_a_commit_keeps_the_trials_worker_and_unloads_its_understudy(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, new, agent = on_trial(device)
    understudy(device, agent)
    connection = device.raw()
    welcome = connection.hello("m")
    trial = agent.expect(control.Counters).worker
    device.record("m", old, new, active="b")
    assert agent.apply("m", 2).stage == "committed"
    until(lambda: workers(device) == {trial}, "the understudy to be unloaded")
    assert ask(connection, welcome) == 2
    assert len(os.listdir(f"/proc/{trial}/task")) == 1  # noqa: PTH208
    assert agent.expect(control.Counters, lambda c: c.stage == "committed").worker == trial


# --- the understudy itself --------------------------------------------------------------------------------------


def test_an_understudy_that_dies_comes_back_a_few_times_and_the_trial_goes_on(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, _, agent = on_trial(device)
    connection = device.raw()
    welcome = connection.hello("m")
    trial = agent.expect(control.Counters, lambda c: c.release == 2).worker
    killed = set()
    for _ in range(3):
        pid = understudy(device, agent)
        killed.add(pid)
        os.kill(pid, signal.SIGKILL)
        until(partial(is_gone, device, pid), "it to be gone")
        assert ask(connection, welcome) == 2
    until(lambda: workers(device) == {trial}, "no further one")
    assert len(killed) == 3
    until(lambda: len(os.listdir(f"/proc/{trial}/task")) == 1, "the thread to end")  # noqa: PTH208
    assert ask(connection, welcome) == 2


def test_a_trial_without_room_for_its_baseline_goes_on_without(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=100 * MIB)
    old = replace(device.add("m", 1, scripted.model(answer=1)), memory_bytes=60 * MIB)
    new = device.add("m", 2, scripted.model(answer=2, bytes=60 * MIB, run="fail", on=9))
    device.record("m", old, new, active="b", trial=True)
    device.start()
    agent = device.agent()
    agent.apply("m", 2)
    connection = device.raw()
    welcome = connection.hello("m")
    assert ask(connection, welcome) == 2
    assert len(workers(device)) == 1
    connection.send(*query.infer(query.Infer(welcome.interface.digest, BAD), 2))
    assert connection.code() == "inference-failed"
    agent.expect_counts("m", errors=1, outdone=0)


def test_when_memory_is_short_the_understudy_goes_first_and_stays_away(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, _, agent = on_trial(device)
    beside = understudy(device, agent)
    connection = device.raw()
    welcome = connection.hello("m")
    device.has_memory(False)
    until(lambda: beside not in workers(device), "the understudy to go")
    device.has_memory(True)
    assert ask(connection, welcome) == 2
    agent.apply("m", 2)
    assert ask(connection, welcome) == 2
    trial = agent.expect(control.Counters, lambda c: c.release == 2).worker
    assert len(os.listdir(f"/proc/{trial}/task")) == 1  # noqa: PTH208
    assert device.client("m@baseline").infer(QUESTION).release == 1  # who asks for it gets it


def test_an_understudy_makes_room_for_another_model(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=200 * MIB)
    _, _, agent = on_trial(device, {"bytes": 60 * MIB}, bytes=60 * MIB)
    beside = understudy(device, agent)
    until(lambda: device.entry("m")["memory_bytes"] > 120 * MIB, "both to be measured")
    late = replace(device.add("late", 1, scripted.model(answer=1)), memory_bytes=100 * MIB)
    device.record("late", late)
    agent.apply("late", 1)
    assert device.client("late").infer(QUESTION).release == 1
    assert beside not in workers(device)
    assert device.client("m").infer(QUESTION).release == 2


def test_a_setting_turns_it_off(scripted_device: MakeDevice) -> None:
    device = scripted_device(OFF)
    on_trial(device, {"run": "fail", "on": 9})
    connection = device.raw()
    welcome = connection.hello("m")
    assert ask(connection, welcome) == 2
    connection.send(*query.infer(query.Infer(welcome.interface.digest, BAD), 2))
    assert connection.code() == "inference-failed"
    assert len(workers(device)) == 1


# --- a worker that hangs with nobody beside it ------------------------------------------------------------------


@pytest.mark.slow
def test_a_committed_release_that_hangs_is_ended_and_started_again(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(answer=1, run="hang", on=9)))
    device.start()
    agent, stuck, waiting = device.agent(), device.raw(), device.raw()
    welcome = stuck.hello("m")
    waiting.hello("m")
    hung = agent.expect(control.Counters).worker
    stuck.send(*query.infer(query.Infer(welcome.interface.digest, BAD), 1))
    waiting.send(*query.infer(query.Infer(welcome.interface.digest, QUESTION), 1))
    died = agent.expect(control.Died)
    assert (died.release, died.stage, died.signal, died.hung) == (1, "committed", signal.SIGKILL, True)
    assert stuck.next() is None
    assert waiting.next() is None
    assert device.client("m").infer(QUESTION).release == 1
    assert agent.expect(control.Counters, lambda c: c.worker != hung).release == 1


# --- real models ------------------------------------------------------------------------------------------------


def real_trial(device: Device, good: bytes, bad: bytes) -> Agent:
    interface = reals.load(good).interface
    slots = [device.add("m", n + 1, m, interface=interface_digests(interface)) for n, m in enumerate((good, bad))]
    device.record("m", *slots, active="b", trial=True)
    device.start()
    agent = device.agent()
    agent.apply("m", 2)
    understudy(device, agent)
    return agent


def test_a_real_release_whose_numbers_are_not_finite_is_outdone_by_its_baseline(real_device: MakeDevice) -> None:
    """The trial divides by its input, the baseline adds it to itself: at zero the one gives NaN, the other 0."""
    x, y = Tensor("x", FLOAT32, (1, 4)), Tensor("y", FLOAT32, (1, 4))
    good, bad = (model(Graph((x, y), (Operator(code, (0, 0), (1,)),), (0,), (1,))) for code in (ADD, DIV))
    device = real_device()
    agent = real_trial(device, good, bad)
    asking = device.client("m")
    for _ in range(20):
        first, second = asking.infer(floats(3, 3, 3, 3)), asking.infer(floats(3, 0, 3, 3))
        assert (first.release, bytes(first.data)) == (2, floats(1, 1, 1, 1))
        assert (second.release, bytes(second.data)) == (1, floats(6, 0, 6, 6))
    counts = agent.expect_counts("m", outdone=20, answers=40)
    assert (counts.invalid, counts.errors) == (20, 0)


def test_a_real_release_that_the_engine_fails_on_is_outdone_by_its_baseline(real_device: MakeDevice) -> None:
    """The trial looks its answers up in a table of four, the baseline adds."""
    x, table, y = Tensor("x", INT32, (1,)), Tensor("table", INT32, (4,), numbers(0, 2, 4, 6)), Tensor("y", INT32, (1,))
    good = model(Graph((x, y), (Operator(ADD, (0, 0), (1,)),), (0,), (1,)))
    bad = model(Graph((x, table, y), (Operator(GATHER, (1, 0), (2,)),), (0,), (2,)))
    device = real_device()
    agent = real_trial(device, good, bad)
    asking = device.client("m")
    for number in range(200):
        answer = asking.infer(numbers(number % 5))
        assert bytes(answer.data) == numbers(2 * (number % 5))
        assert answer.release == (1 if number % 5 == 4 else 2)
    assert agent.expect_counts("m", outdone=40, answers=160).errors == 0


def numbers(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}i", *values)
