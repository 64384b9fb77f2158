from __future__ import annotations

import numpy as np
import pytest

from agent.runtime.trial import golden
from littoral.bundle import card as cards
from littoral.bundle.manifest import Golden
from littoral.errors import GoldenError
from littoral.tensors import Interface, Tensor

QUANTIZED = Interface((Tensor("in", "int8", (2,), 0.5, 0),), (Tensor("out", "int8", (2,), 0.25, 0),))
REAL = Interface((Tensor("in", "float32", (1,)),), (Tensor("a", "float32", (2,)), Tensor("b", "float32", (1,))))


def int8(*values: int) -> bytes:
    return np.array(values, "int8").tobytes()


def float32(*values: float) -> bytes:
    return np.array(values, "float32").tobytes()


def test_a_blob_is_cases_of_inputs_and_outputs() -> None:
    cases = golden.parse(int8(1, 2, 3, 4, 5, 6, 7, 8), Golden(2), QUANTIZED)
    assert cases == [golden.Case(int8(1, 2), int8(3, 4)), golden.Case(int8(5, 6), int8(7, 8))]


def test_a_blob_of_another_size_is_refused() -> None:
    with pytest.raises(GoldenError, match="2 cases take 8"):
        golden.parse(bytes(7), Golden(2), QUANTIZED)


def test_a_quantized_output_differs_by_parts_of_all_its_dtype_can_express() -> None:
    assert golden.difference_ppm(QUANTIZED, int8(10, 0), int8(10, 0)) == 0
    assert golden.difference_ppm(QUANTIZED, int8(-128, 0), int8(127, 0)) == 1_000_000
    assert golden.difference_ppm(QUANTIZED, int8(0, 51), int8(0, 0)) == 200_000


def test_a_float_output_differs_by_parts_of_the_largest_expected() -> None:
    same = float32(4, -8) + float32(100)
    assert golden.difference_ppm(REAL, same, same) == 0
    assert golden.difference_ppm(REAL, float32(4, -7) + float32(100), same) == 125_000
    assert golden.difference_ppm(REAL, float32(4, -8) + float32(90), same) == 100_000


def test_what_is_no_number_on_one_side_differs_by_everything() -> None:
    expected = float32(4, 8, 100)
    for value in (float("nan"), float("inf")):
        assert golden.difference_ppm(REAL, float32(value, 8, 100), expected) >= 1_000_000


def test_where_nothing_but_zeros_is_expected_the_range_is_one() -> None:
    assert golden.difference_ppm(REAL, float32(0.5, 0, 0), float32(0, 0, 0)) == 500_000


def test_top1_is_the_place_of_the_greatest_value() -> None:
    assert golden.same_top1(QUANTIZED, int8(3, 9), int8(-100, 90))
    assert not golden.same_top1(QUANTIZED, int8(9, 3), int8(-100, 90))


# --- labelled by people -------------------------------------------------------------------------------------------

LABELLED = Golden(2, "top1", 0, "labelled", 800_000)


def label(number: int) -> bytes:
    return number.to_bytes(4, "little", signed=True)


def test_a_labelled_blob_is_cases_of_inputs_and_one_class_each() -> None:
    cases = golden.parse(int8(1, 2) + label(1) + int8(3, 4) + label(0), LABELLED, QUANTIZED)
    assert [(bytes(case.question), case.label) for case in cases] == [(int8(1, 2), 1), (int8(3, 4), 0)]


@pytest.mark.parametrize("number", [-1, 2])
def test_a_label_beyond_the_classes_is_refused(number: int) -> None:
    with pytest.raises(GoldenError, match="classes are 0 to 1"):
        golden.parse(int8(1, 2) + label(0) + int8(3, 4) + label(number), LABELLED, QUANTIZED)


def test_a_labelled_blob_of_another_size_is_refused() -> None:
    with pytest.raises(GoldenError, match="2 cases take 12"):
        golden.parse(bytes(8), LABELLED, QUANTIZED)


def test_labels_for_an_output_that_is_no_row_of_scores_are_refused() -> None:
    flat = Interface(QUANTIZED.inputs, (Tensor("boxes", "float32", (1, 10, 4)),))
    with pytest.raises(GoldenError, match="boxes float32"):
        golden.parse(int8(1, 2) + label(0) + int8(3, 4) + label(0), LABELLED, flat)


def test_the_class_of_an_answer_is_read_from_the_output_that_the_card_names() -> None:
    answer = float32(1, 0) + float32(0, 0, 7)
    both = Interface(REAL.inputs, (REAL.outputs[0], Tensor("b", "float32", (1, 3))))
    card = cards.parse('[[output]]\ndecoder = "classification"\ntensor = "b"\n')
    assert golden.top_class(both, 0, answer) == 0
    assert golden.top_class(both, 1, answer) == 2
    golden.parse(float32(1) + label(2) + float32(2) + label(0), LABELLED, both, card)
    with pytest.raises(GoldenError, match="0 to 1"):
        golden.parse(float32(1) + label(2) + float32(2) + label(0), LABELLED, both)


def test_so_many_cases_must_be_right_as_make_the_share() -> None:
    shares = {(100, 800_000): 80, (3, 800_000): 3, (7, 0): 0, (7, 1): 1, (7, 1_000_000): 7}
    for (cases, right_ppm), needed in shares.items():
        assert Golden(cases, "top1", 0, "labelled", right_ppm).right_cases == needed
