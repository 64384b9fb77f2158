"""A runtime to attack: the host as a real process, with real models."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.demo.assets import ensure
from tests.agent.runtime.conftest import MakeDevice, real_device, scripted_device
from tests.attacks.victim import Victim

__all__ = ["real_device", "scripted_device"]  # fixtures of the runtime's tests, for these too

MakeVictim = Callable[..., Victim]
CARD = b'[[input]]\nkind = "image"\nmean = "128"\nscale = "0.0078125"\n\n[[output]]\ndecoder = "classification"\n'


@pytest.fixture
def make_victim(real_device: MakeDevice) -> MakeVictim:
    """Makes a device that serves the classifier of photographs, with a card, and a model of words beside it."""
    assets = ensure()

    def make(**runtime: object) -> Victim:
        device = real_device(**runtime)
        labels = "\n".join(assets.labels).encode()
        classifier = device.add("classifier", 1, assets.classifier.read_bytes(), labels=labels, card=CARD)
        device.record("classifier", classifier)
        device.record("keywords", device.add("keywords", 1, assets.models["keywords-on-off"].read_bytes()))
        device.start()
        device.raw().hello("keywords")
        return Victim(device, "classifier")

    return make


@pytest.fixture
def victim(make_victim: MakeVictim) -> Victim:
    return make_victim()
