"""embedding and raw: outputs as they are, or nearly."""

import numpy as np
import pytest

from littoral.tensors import Tensor
from littoral.wire.vision import ResultKind
from tests.agent.runtime.vision.scene import PICTURE, Scene


def test_an_embedding_is_made_real_and_of_length_one_where_the_card_says_so() -> None:
    outputs = (Tensor("out", "int8", (1, 1, 2), 0.5, 1),)
    plain = Scene(PICTURE + '[[output]]\ndecoder = "embedding"', outputs).decode([7, 9])
    unit = Scene(PICTURE + '[[output]]\ndecoder = "embedding"\nnormalise = "l2"', outputs).decode([7, 9])
    assert (plain.kind, plain.item_bytes, plain.count) == (ResultKind.EMBEDDING, 4, 2)
    assert np.frombuffer(plain.data, np.float32).tolist() == [3, 4]
    assert np.frombuffer(unit.data, np.float32).tolist() == pytest.approx([0.6, 0.8])


def test_an_embedding_of_nothing_but_zeros_stays_so() -> None:
    outputs = (Tensor("out", "float32", (1, 3)),)
    asked = Scene(PICTURE + '[[output]]\ndecoder = "embedding"\nnormalise = "l2"', outputs)
    assert np.frombuffer(asked.decode([0, 0, 0]).data, np.float32).tolist() == [0, 0, 0]


def test_without_an_output_in_the_card_results_are_the_raw_outputs() -> None:
    outputs = (Tensor("a", "uint8", (1, 2)), Tensor("b", "int16", (1, 1)))
    items = Scene(PICTURE, outputs).decode([1, 2], [3])
    assert (items.kind, items.item_bytes, items.count, items.data) == (ResultKind.RAW, 1, 4, b"\1\2\3\0")
