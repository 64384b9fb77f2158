"""`name@trial` and `name@baseline`, on a real host (scripted.py)."""

from __future__ import annotations

import pytest

from agent import control, slots
from agent.slots import Slot
from littoral import errors
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Agent, Device, Raw, until

MIB = 1024 * 1024
QUESTION = b"\x00\x01\x02\x03"


def on_trial(device: Device, **fields: object) -> tuple[Slot, Slot, Agent]:
    """Release 2 is on trial, release 1 its baseline, and an agent vouches."""
    old, new = (device.add("m", n, scripted.model(answer=n, **fields)) for n in (1, 2))
    device.record("m", old, new, active="b", trial=True)
    device.start()
    agent = device.agent()
    agent.apply("m", 2)
    return old, new, agent


def ask(connection: Raw, welcome: query.Welcome) -> int:
    """The release that answers."""
    connection.send(*query.infer(query.Infer(welcome.interface.digest, QUESTION), 1))
    return query.parse_answer(connection.frame(query.Kind.ANSWER)).release


@pytest.mark.parametrize("name", ["m", "m@baseline"])
def test_without_a_trial_the_baseline_is_what_is_served(scripted_device: MakeDevice, name: str) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(answer=1)))
    device.start()
    assert device.client(name).infer(QUESTION).release == 1
    with pytest.raises(errors.NoReleaseError, match="on trial"):
        device.client("m@trial")


def test_during_a_trial_each_alias_is_answered_by_its_own_release(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    on_trial(device)
    names = ("m@baseline", "m@trial", "m")
    assert [device.client(name).infer(QUESTION).release for name in names] == [1, 2, 2]
    assert [device.client(name).infer(QUESTION).stage for name in names] == [0, 1, 1]


def test_a_client_of_the_baseline_stays_with_it_when_a_trial_begins(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, new = (device.add("m", n, scripted.model(answer=n)) for n in (1, 2))
    device.record("m", old)
    device.start()
    agent, baseline, plain = device.agent(), device.raw(), device.raw()
    welcome = baseline.hello("m@baseline")
    plain.hello("m")
    device.record("m", old, new, active="b", trial=True)
    agent.apply("m", 2)
    assert ask(plain, welcome) == 2
    assert ask(baseline, welcome) == 1


def test_when_the_trial_is_committed_its_own_clients_end_and_those_of_the_baseline_go_on(
    scripted_device: MakeDevice,
) -> None:
    device = scripted_device()
    old, new, agent = on_trial(device)
    trial, baseline, plain = device.raw(), device.raw(), device.raw()
    trial.hello("m@trial")
    welcome = baseline.hello("m@baseline")
    plain.hello("m")
    device.record("m", old, new, active="b")
    agent.apply("m", 2)
    assert trial.code() == "no-release"
    assert trial.next() is None
    until(lambda: ask(baseline, welcome) == 2, "the baseline's client to be moved")
    assert ask(plain, welcome) == 2


def test_when_the_trial_is_rolled_back_the_baseline_beside_it_serves_everybody(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, _, agent = on_trial(device)
    trial, baseline, plain = device.raw(), device.raw(), device.raw()
    trial.hello("m@trial")
    welcome = baseline.hello("m@baseline")
    plain.hello("m")
    device.record("m", old)
    assert agent.apply("m", 1).stage == "committed"
    assert trial.code() == "no-release"
    assert ask(baseline, welcome) == ask(plain, welcome) == 1


def test_the_baseline_is_unloaded_when_its_last_client_has_gone(scripted_device: MakeDevice) -> None:
    device = scripted_device("[probation]\nunderstudy = false")
    on_trial(device, bytes=40 * MIB)
    alone_bytes = device.entry("m")["memory_bytes"]
    assert alone_bytes > 40 * MIB
    with device.client("m@baseline") as asking:
        assert asking.infer(QUESTION).release == 1
        until(lambda: device.entry("m")["memory_bytes"] > alone_bytes + 30 * MIB, "the baseline to be measured")
    until(lambda: device.entry("m")["memory_bytes"] < alone_bytes + 30 * MIB, "the baseline to be unloaded")
    assert device.client("m").infer(QUESTION).release == 2


def test_a_baseline_that_does_not_fit_beside_its_trial_is_refused(scripted_device: MakeDevice) -> None:
    device = scripted_device(memory_budget_bytes=100 * MIB)
    old = device.add("m", 1, scripted.model(answer=1))
    new = device.add("m", 2, scripted.model(answer=2, bytes=60 * MIB))
    device.record("m", Slot(1, old.bundle, "v1", memory_bytes=60 * MIB), new, active="b", trial=True)
    device.start()
    device.agent().apply("m", 2)
    with pytest.raises(errors.NoReleaseError, match="bytes"):
        device.client("m@baseline")
    assert device.client("m").infer(QUESTION).release == 2


def test_a_baseline_that_cannot_be_loaded_is_refused_and_the_trial_goes_on(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    old, _, agent = on_trial(device)
    (slots.release_folder(device.state, old.bundle) / "model").write_bytes(scripted.model(answer=3))
    with pytest.raises(errors.NoReleaseError, match="baseline"):
        device.client("m@baseline")
    assert device.client("m").infer(QUESTION).release == 2
    assert agent.apply("m", 2).stage == "trial"


def test_an_alias_that_does_not_exist_is_unsupported(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model()))
    device.start()
    with pytest.raises(errors.UnsupportedError, match="alias"):
        device.client("m@newest")


def test_the_baseline_is_what_an_unvouched_trial_leaves_served(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    _, _, agent = on_trial(device)
    baseline = device.raw()
    welcome = baseline.hello("m@baseline")
    agent.close()
    assert device.agent().expect(control.Serving, lambda s: s.release == 1).reason == "unvouched"
    assert ask(baseline, welcome) == 1
    with pytest.raises(errors.NoReleaseError):
        device.client("m@trial")
