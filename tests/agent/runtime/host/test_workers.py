"""What a worker counts with that may run several interpreters."""

from __future__ import annotations

from dataclasses import replace

from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import until
from tests.agent.runtime.scripted import model


def test_a_release_that_may_run_two_interpreters_counts_with_both_before_the_second_is_made(
    scripted_device: MakeDevice,
) -> None:
    device = scripted_device()
    slot = replace(device.add("m", 1, model(answer=1)), memory_bytes=100_000_000)
    device.record("m", replace(slot, interpreters=2))
    device.record("n", device.add("n", 1, model(answer=1)))
    device.start()
    for name in ("m", "n"):
        device.client(name)
    until(lambda: device.entry("m")["memory_bytes"] == 100_000_000, "what its trial saw")
    assert 0 < device.entry("n")["memory_bytes"] < 100_000_000
