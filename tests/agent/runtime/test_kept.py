"""What a real device keeps of what it is asked: over requests of both kinds, a worker's death, and a switch."""

from __future__ import annotations

import io
import os
import random
import signal

import numpy as np
import pytest
from PIL import Image

from agent import control
from littoral.client import Client
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import Device, until

SIDE = 16
FIELDS = {"inputs": [["in", "uint8", [1, SIDE, SIDE, 3], 0.0, 0]], "outputs": [["out", "uint8", [1, 4], 1 / 256, 0]]}
CARD = b'[[input]]\nkind = "image"\n[[output]]\ndecoder = "classification"\n'


def ask_until_kept(device: Device, client: Client, count: int, seed: int = 0) -> None:
    """Asks about one distinct input after the other."""
    pixels = random.Random(seed)

    def asked() -> bool:
        client.infer(pixels.randbytes(SIDE * SIDE * 3))
        return int(device.entry("m")["kept"]) >= count

    until(asked, f"{count} inputs to be kept")


def test_distinct_inputs_are_kept_over_a_death_and_a_switch_and_rehearsed(scripted_device: MakeDevice) -> None:
    device = scripted_device()
    first = device.add("m", 1, scripted.model(**FIELDS))
    second = device.add("m", 2, scripted.model(**FIELDS, answer=1))
    device.record("m", first)
    device.start()
    client, agent = device.client("m"), device.agent()
    ask_until_kept(device, client, 2)

    os.kill(agent.expect(control.Counters).worker, signal.SIGKILL)
    agent.expect(control.Died)
    ask_until_kept(device, client, 3, seed=1)

    device.record("m", second, first)
    agent.apply("m", 2)
    ask_until_kept(device, client, 4, seed=2)

    agent.send(control.Rehearse(9, "m", second.bundle, first.bundle))
    told = agent.expect(control.Rehearsed)
    assert (told.id, told.facts["why"]) == (
        9,
        f"{device.entry('m')['kept']} inputs were answered by both; 16 are needed",
    )


def test_nothing_is_kept_where_it_is_switched_off(scripted_device: MakeDevice) -> None:
    device = scripted_device("[rehearsal]\nring = false")
    slot = device.add("m", 1, scripted.model(**FIELDS))
    device.record("m", slot)
    device.start()
    client, agent = device.client("m"), device.agent()
    for n in range(40):
        client.infer(random.Random(n).randbytes(SIDE * SIDE * 3))
    agent.expect_counts("m", answers=40)
    agent.send(control.Rehearse(9, "m", slot.bundle, slot.bundle))
    assert "not kept" in agent.expect(control.Rehearsed).facts["why"]
    assert device.entry("m")["kept"] == 0


@pytest.mark.parametrize("form", ["rgb24", "jpeg"])
def test_of_a_detect_the_frame_is_kept_small(scripted_device: MakeDevice, form: str) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(**FIELDS), card=CARD))
    device.start()
    client = device.client("m")
    pixels = np.random.default_rng(1).integers(0, 256, (9, 16, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((1280, 720))

    def seen() -> bool:
        if form == "jpeg":
            held = io.BytesIO()
            image.save(held, "JPEG")
            client.detect(held.getvalue())
        else:
            client.detect(np.asarray(image))
        return bool(device.entry("m")["kept"])

    until(seen, "the frame to be kept")
    # Of 2.8 MB as it came. What the ring takes counts with the model's neighbours.
    agent = device.agent()
    agent.send(control.Measure())
    assert agent.expect(control.Memory).models["m"] > 0
