"""agent/updater/device.py: what a device remembers of desired states."""

from pathlib import Path

import pytest

from agent import record
from agent.updater import clock
from agent.updater.device import DeviceMemory
from littoral.errors import OldGenerationError, WrongDeviceError
from littoral.wire.messages import Desired, SignedDesired, Want

WANT = Want(1, "a" * 64)


def signed(generation: int, device: str = "farm-1", key: str = "01", tenant: str = "main") -> SignedDesired:
    return SignedDesired(Desired(tenant, device, generation, "", {"cats": WANT}), key, "00")


@pytest.fixture
def memory(tmp_path: Path) -> DeviceMemory:
    return DeviceMemory(tmp_path, "main", "farm-1")


def test_a_newer_generation_is_news_and_survives_a_restart(memory: DeviceMemory, tmp_path: Path) -> None:
    assert memory.check(signed(3))
    memory.accept(signed(3))
    again = DeviceMemory(tmp_path, "main", "farm-1")
    assert again.generation == 3
    assert again.wanted() == signed(3).desired


def test_the_same_again_is_no_news(memory: DeviceMemory) -> None:
    memory.accept(signed(3))
    assert not memory.check(signed(3))


def test_an_old_generation_is_refused(memory: DeviceMemory) -> None:
    memory.accept(signed(3))
    with pytest.raises(OldGenerationError):
        memory.check(signed(2))


def test_the_same_generation_with_other_content_is_refused(memory: DeviceMemory) -> None:
    memory.accept(signed(3))
    other = SignedDesired(Desired("main", "farm-1", 3, "", {}), "01", "00")
    with pytest.raises(OldGenerationError):
        memory.check(other)


@pytest.mark.parametrize("spoiled", [b"", b"\xff" * 100, None])
def test_a_desired_state_that_the_disk_spoiled_is_taken_in_anew(
    memory: DeviceMemory, tmp_path: Path, spoiled: bytes | None
) -> None:
    memory.accept(signed(3))
    (tmp_path / "desired.json").unlink() if spoiled is None else (tmp_path / "desired.json").write_bytes(spoiled)
    again = DeviceMemory(tmp_path, "main", "farm-1")
    assert again.wanted() is None
    assert again.check(signed(3))
    with pytest.raises(OldGenerationError):
        again.check(signed(2))


def test_a_device_record_of_which_both_copies_are_lost_is_begun_anew(memory: DeviceMemory, tmp_path: Path) -> None:
    memory.accept(signed(3))
    (tmp_path / "device.dat").write_bytes(b"\xff" * 8192)
    again = DeviceMemory(tmp_path, "main", "farm-1")
    assert again.generation == 0
    again.accept(signed(4))
    assert DeviceMemory(tmp_path, "main", "farm-1").generation == 4


@pytest.mark.parametrize("foreign", [signed(1, device="farm-2"), signed(1, tenant="other")])
def test_another_device_or_tenant_is_refused(memory: DeviceMemory, foreign: SignedDesired) -> None:
    with pytest.raises(WrongDeviceError):
        memory.check(foreign)


def test_generations_count_per_director_key(memory: DeviceMemory) -> None:
    memory.accept(signed(1000, key="bad0"))
    assert memory.check(signed(5, key="9e0"))


NOW = clock.BUILT_AT + 1_000_000


def test_the_known_time_rises_at_most_each_day(memory: DeviceMemory) -> None:
    memory.learn_time(NOW, root_version=1)
    memory.learn_time(NOW + 60, root_version=1)
    assert memory.record.known_time == NOW
    memory.learn_time(NOW + 100_000, root_version=1)
    assert memory.record.known_time == NOW + 100_000


def test_the_known_time_never_falls_under_the_same_root(memory: DeviceMemory) -> None:
    memory.learn_time(NOW, root_version=1)
    memory.learn_time(NOW - 1_000, root_version=1)
    assert memory.record.known_time == NOW


def test_a_time_that_cannot_be_believed_is_cut(memory: DeviceMemory) -> None:
    memory.learn_time(clock.LATEST_BELIEVED + 10**9, root_version=1)
    assert memory.record.known_time == clock.LATEST_BELIEVED


def test_a_newer_root_under_an_earlier_clock_takes_a_poisoned_time_back(memory: DeviceMemory, tmp_path: Path) -> None:
    memory.learn_time(NOW + 10**8, root_version=1)
    memory.learn_time(NOW, root_version=2)
    assert DeviceMemory(tmp_path, "main", "farm-1").record.known_time == NOW


def test_a_record_of_a_newer_version_loses_no_generation(tmp_path: Path) -> None:
    record.write(tmp_path / "device.dat", {"generations": {"aa": 7}, "colour": "blue"})
    assert DeviceMemory(tmp_path, "main", "farm-1").generation == 7
