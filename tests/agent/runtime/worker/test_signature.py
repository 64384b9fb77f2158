"""Signatures: what a connection is bound to."""

import sys

import pytest

from agent.runtime.worker.signature import Signature
from littoral.bundle import card, task
from littoral.errors import UnsupportedError
from littoral.tensors import Interface, Tensor
from littoral.wire import query

INTERFACE = Interface((Tensor("in", "uint8", (1, 8, 8, 3)),), (Tensor("out", "uint8", (1, 4)),))
WELCOME = query.Welcome("m", 1, "1", query.Stage.COMMITTED, "e", INTERFACE, 1024)


def signature(text: str) -> Signature:
    return Signature("", WELCOME, task.read(card.parse(text), INTERFACE))


def test_a_card_that_describes_no_picture_makes_no_pipeline() -> None:
    with pytest.raises(UnsupportedError, match="neither picture nor window"):
        signature("").pipeline()


def test_a_pipeline_is_made_once() -> None:
    asked = signature('[[input]]\nkind = "image"')
    assert asked.pipeline() is asked.pipeline()


@pytest.mark.parametrize("missing", ["numpy", "PIL"])
def test_a_device_without_numpy_or_pillow_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith("agent.runtime.vision."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UnsupportedError, match=r"python3-numpy, python3-pil"):
        signature('[[input]]\nkind = "image"').pipeline()
