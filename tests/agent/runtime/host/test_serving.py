"""Which release is served, and the switch between two; with models that do what their bytes say, on a real host."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from agent import control, slots
from agent.slots import Slot
from littoral import client, errors
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, until

QUESTION = b"\x00\x01\x02\x03"


# --- start and apply --------------------------------------------------------------------------------------------


def two_releases(device: Device, new: dict[str, object] | None = None, **old: object) -> tuple[Slot, Slot]:
    return (
        device.add("m", 1, scripted.model(answer=1, **old)),
        device.add("m", 2, scripted.model(**{"answer": 2, **(new or {})})),
    )


def on_trial(device: Device, **new: object) -> tuple[Slot, Slot]:
    """A record with release 2 on trial and release 1 as its baseline; the host was started and serves 1."""
    old, new_slot = two_releases(device, new)
    device.record("m", old, new_slot, active="b", trial=True)
    device.start()
    return old, new_slot


def test_without_an_agent_the_baseline_of_a_trial_is_served(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    on_trial(device)
    with device.client("m") as asking:
        answer = asking.infer(QUESTION)
    assert (answer.release, answer.stage) == (1, query.Stage.COMMITTED)
    assert device.agent().expect(control.Serving).reason == "unvouched"


def test_an_agent_is_greeted_and_told_what_is_served(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=123_000_000)
    old, _ = two_releases(device)
    device.record("m", old)
    device.start()
    with device.client("m"):
        agent = device.agent()
    assert agent.expect(control.Greeting).budget_bytes == 123_000_000
    assert agent.expect(control.Serving) == control.Serving("m", 1, old.bundle, "committed")


def test_a_trial_is_served_when_the_agent_applies_it(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, new = on_trial(device)
    asking, agent = device.client("m"), device.agent()
    assert asking.infer(QUESTION).release == 1
    assert agent.apply("m", 2) == control.Serving("m", 2, new.bundle, "trial")
    answer = asking.infer(QUESTION)
    assert (answer.release, answer.stage, answer.data) == (2, query.Stage.TRIAL, b"\2\3\4\5")


def test_a_commit_changes_the_stage_without_loading_anew(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, new = on_trial(device)
    asking, agent = device.client("m"), device.agent()
    agent.apply("m", 2)
    worker = agent.expect(control.Counters, lambda c: c.release == 2).worker
    assert oom_score(worker) > 0
    device.record("m", old, new, active="b")
    assert agent.apply("m", 2).stage == "committed"
    assert agent.expect(control.Counters, lambda c: c.stage == "committed").worker == worker
    assert asking.infer(QUESTION).stage is query.Stage.COMMITTED
    assert oom_score(worker) == 0


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_a_model_that_came_after_the_start_is_served_by_apply(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.start()
    with pytest.raises(errors.UnknownModelError):
        device.client("m")
    device.record("m", None, active="")
    with pytest.raises(errors.NoReleaseError):  # the agent has a record of it, and nothing it could serve
        device.client("m")
    device.record("m", device.add("m", 1, scripted.model()))
    device.agent().apply("m", 1)
    assert device.client("m").infer(QUESTION).release == 1


def test_an_unloaded_model_answers_no_release_and_after_its_record_is_gone_unknown_model(
    scripted_device: MakeDevice,
) -> None:
    device = scripted_device()
    old, _ = two_releases(device)
    device.record("m", old)
    device.start()
    held, agent = device.raw(), device.agent()
    held.hello("m")
    agent.send(control.Unload("m"))
    assert agent.expect(control.Serving, lambda s: s.release == 0).stage == "none"
    assert held.code() == "no-release"
    with pytest.raises(errors.NoReleaseError):
        device.client("m")
    slots.path_of(device.state, "m").unlink()
    agent.apply("m", 0)
    with pytest.raises(errors.UnknownModelError):
        device.client("m")


def test_a_record_that_cannot_be_read_changes_nothing(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, _ = two_releases(device)
    device.record("m", old)
    device.start()
    asking, agent = device.client("m"), device.agent()
    agent.expect(control.Serving)
    slots.path_of(device.state, "m").write_bytes(b"garbage")
    agent.send(control.Apply("m"))
    assert agent.expect(control.Failed).code == "bad-record"
    assert agent.expect(control.Serving).release == 1
    assert asking.infer(QUESTION).release == 1


# --- the voucher ------------------------------------------------------------------------------------------------


def test_when_the_agent_goes_the_baseline_is_served_after_the_grace(scripted_device: MakeDevice) -> None:
    device = scripted_device(vouch_grace_s=0.2)
    on_trial(device)
    asking, agent = device.client("m"), device.agent()
    agent.apply("m", 2)
    agent.close()
    until(lambda: asking.infer(QUESTION).release == 1, "the baseline")
    assert device.agent().expect(control.Serving).reason == "unvouched"


def test_an_agent_that_is_back_within_the_grace_finds_the_trial_still_loaded(scripted_device: MakeDevice) -> None:
    device = scripted_device(vouch_grace_s=30)
    on_trial(device)
    first = device.agent()
    first.apply("m", 2)
    worker = first.expect(control.Counters, lambda c: c.release == 2).worker
    first.close()
    second = device.agent()
    assert second.expect(control.Serving).release == 2
    second.apply("m", 2)
    assert second.expect(control.Counters, lambda c: c.release == 2).worker == worker


def test_an_agent_that_is_back_and_does_not_apply_does_not_vouch(scripted_device: MakeDevice) -> None:
    device = scripted_device(vouch_grace_s=0.2)
    on_trial(device)
    first = device.agent()
    first.apply("m", 2)
    first.close()
    assert device.agent().expect(control.Serving, lambda s: s.release == 1).reason == "unvouched"


def test_the_newest_agent_wins(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    on_trial(device)
    first = device.agent()
    first.expect(control.Greeting)
    second = device.agent()
    assert first.gone()
    second.apply("m", 2)


def test_garbage_on_the_control_socket_harms_nobody(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    on_trial(device)
    for line in (
        b"\x00\xff not a message",
        b'{"op": "try", "id": 1, "model": "m", "bundle": 5}',
        b'{"op": "try", "id": 1, "model": "m", "bundle": "a\\u0000b"}',
        b'{"op": "try", "id": 1, "model": "m", "bundle": "\\ud800"}',
        b'{"op": "unload", "model": []}',
        b'{"op": "apply", "model": "../m"}',
    ):
        bad = device.agent()
        bad.send_bytes(line + b"\n")
        assert bad.gone()
    assert device.client("m").infer(QUESTION).release == 1
    device.agent().apply("m", 2)


def test_an_agent_that_goes_while_it_is_told_something_harms_nobody(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    on_trial(device)
    for _ in range(5):
        agent = device.agent()
        agent.send(control.Measure())
        agent.send(control.Apply("m"))
        agent.close()
    assert device.client("m").infer(QUESTION).data


# --- deaths -----------------------------------------------------------------------------------------------------


def test_when_a_trial_dies_the_baseline_is_served_at_once_and_the_agent_told(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, new = on_trial(device, run="crash", on=9)
    asking, agent = device.client("m"), device.agent()
    agent.apply("m", 2)
    assert asking.infer(QUESTION).release == 2
    assert asking.infer(b"\x09\0\0\0").data == b"\x0a\1\1\1"  # asked again, and answered by the baseline
    died = agent.expect(control.Died)
    assert (died.release, died.bundle, died.stage, died.signal, died.memory) == (2, new.bundle, "trial", 11, False)
    serving = agent.expect(control.Serving)
    assert (serving.release, serving.stage, serving.reason) == (1, "committed", "died")
    assert agent.apply("m", 2).stage == "trial"  # the agent may try once more


def test_a_committed_release_that_dies_is_started_again(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(answer=1, run="exit", on=9)))
    device.start()
    asking, agent = device.client("m"), device.agent()
    kill(device)
    died = agent.expect(control.Died)
    assert (died.signal, died.status, died.stage) == (0, 3, "committed")
    assert agent.expect(control.Serving).release == 1
    assert asking.infer(QUESTION).release == 1


def kill(device: Device) -> None:
    """Asks the question that the served model dies of."""
    connection = device.raw()
    welcome = connection.hello("m")
    connection.send(*query.infer(query.Infer(welcome.interface.digest, b"\x09\0\0\0"), 1))
    assert connection.next() is None


def test_after_three_deaths_within_a_minute_the_other_slots_release_is_served(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, new = two_releases(device, new={"run": "exit", "on": 9})
    device.record("m", old, new, active="b")
    device.start()
    agent = device.agent()
    for _ in range(3):
        kill(device)
        agent.expect(control.Died)
    serving = agent.expect(control.Serving, lambda s: s.release == 1)
    assert (serving.bundle, serving.reason) == (old.bundle, "safe")
    assert device.client("m").infer(QUESTION).release == 1


def test_a_committed_release_that_cannot_be_loaded_is_tried_again_and_its_clients_are_refused_meanwhile(
    scripted_device: MakeDevice,
) -> None:
    device = scripted_device()
    slot = device.add("m", 1, scripted.model(load="refuse"))
    device.record("m", slot)
    device.start()
    agent = device.agent()
    for _ in range(3):
        assert agent.expect(control.Failed).code == "model-load"
    until(lambda: refused(device), "a refusal")


def refused(device: Device) -> bool:
    try:
        client.Client("m", device.socket, timeout_s=5)
    except errors.NoReleaseError:
        return True
    return False


def test_a_worker_that_dies_as_it_gets_a_connection_loses_none(scripted_device: MakeDevice) -> None:
    """The host keeps its copy until the worker has said that it has the connection."""
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(answer=1)))
    device.start()
    device.client("m")
    agent = device.agent()
    worker = agent.expect(control.Counters).worker
    os.kill(worker, signal.SIGSTOP)
    connections = [device.raw() for _ in range(3)]
    for connection in connections:
        connection.send(query.hello(query.Hello("m")))
    until(lambda: client.models(device.socket), "the host to have read what came before")
    os.kill(worker, signal.SIGKILL)
    for connection in connections:
        assert connection.frame(query.Kind.WELCOME).json()["release"] == 1
    assert agent.expect(control.Died).signal == signal.SIGKILL


def test_a_client_that_comes_while_the_model_is_loaded_waits_for_it(
    scripted_device: MakeDevice, tmp_path: Path
) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(load="die-once", flag=str(tmp_path / "flag"))))
    device.start()
    assert device.client("m").release == 1


# --- interfaces -------------------------------------------------------------------------------------------------


def test_a_connection_learns_of_another_interface_with_its_next_request(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    on_trial(device, inputs=[["other", "uint8", [8], 0.0, 0]])
    connection, agent = device.raw(), device.agent()
    old = connection.hello("m")
    agent.apply("m", 2)
    connection.send(*query.infer(query.Infer(old.interface.digest, QUESTION), 5))
    frame = connection.frame(query.Kind.ERROR)
    assert (frame.id, frame.json()["code"]) == (5, "stale-interface")
    new = query.parse_welcome(frame.json()["welcome"])
    assert (new.release, new.interface.inputs[0].name) == (2, "other")
    connection.send(*query.infer(query.Infer(new.interface.digest, QUESTION * 2), 6))
    assert query.parse_answer(connection.frame(query.Kind.ANSWER)).release == 2


def test_a_switch_to_a_smaller_interface_does_not_cut_off_frames_already_on_their_way(
    scripted_device: MakeDevice,
) -> None:
    device = scripted_device()
    large = device.add("m", 1, scripted.model(inputs=[["in", "uint8", [3_000_000], 0.0, 0]]))
    small = device.add("m", 2, scripted.model())
    device.record("m", large, small, active="b", trial=True)
    device.start()
    connection, agent = device.raw(), device.agent()
    welcome = connection.hello("m")
    frame = b"".join(query.infer(query.Infer(welcome.interface.digest, bytes(3_000_000)), 5))
    connection.send(frame[:1_000_000])
    agent.apply("m", 2)
    connection.send(frame[1_000_000:])
    assert connection.code() == "stale-interface"


@pytest.mark.slow
def test_a_release_that_hangs_in_a_run_does_not_hold_up_the_switch_for_ever(scripted_device: MakeDevice) -> None:
    device = scripted_device("[probation]\nunderstudy = false")
    old, new = on_trial(device, run="hang", on=9)
    asking, hanging, agent = device.client("m"), device.raw(), device.agent()
    agent.apply("m", 2)
    welcome = hanging.hello("m")
    hanging.send(*query.infer(query.Infer(welcome.interface.digest, b"\x09\0\0\0"), 1))
    device.record("m", old, new)
    assert agent.apply("m", 1).stage == "committed"
    assert asking.infer(QUESTION).release == 1
    assert hanging.next() is None
