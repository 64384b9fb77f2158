"""Stored and real values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.vision import stored
from littoral.tensors import Interface, Tensor


@settings(deadline=None)
@given(
    threshold=st.integers(0, 1_000).map(lambda thousandths: thousandths / 1_000),
    activation=st.sampled_from(["none", "sigmoid", "softmax"]),
    dtype=st.sampled_from(["int8", "uint8", "int16"]),
    scale=st.sampled_from([1 / 256, 1 / 255, 0.05, 0.17, 1.0]),
    zero_point=st.integers(-128, 127),
)
def test_no_score_that_reaches_the_threshold_is_stored_below_the_least(
    threshold: float, activation: str, dtype: str, scale: float, zero_point: int
) -> None:
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1, dtype=dtype)
    tensor = Tensor("t", dtype, values.shape, scale, zero_point)
    with np.errstate(all="ignore"):
        scores = stored.activated(stored.dequantized(values, tensor), activation)
    assert not ((scores >= threshold) & (values < stored.least_stored(threshold, activation, tensor))).any()


def test_the_least_stored_value_leaves_little_over() -> None:
    tensor = Tensor("t", "int8", (256,), 1 / 256, -128)
    assert stored.least_stored(0.5, "none", tensor) in (-1, 0)
    assert stored.least_stored(0.5, "sigmoid", tensor) == -128
    assert stored.least_stored(0.9, "sigmoid", Tensor("t", "float32", (1,))) == pytest.approx(math.log(9), rel=2e-3)


@settings(deadline=None)
@given(real=st.floats(allow_nan=True, allow_infinity=True, width=32), dtype=st.sampled_from(["int8", "uint8", "int16"]))
def test_any_float_is_stored_within_the_range(real: float, dtype: str) -> None:
    tensor = Tensor("t", dtype, (1,), 0.1, 3)
    found = stored.quantized(np.array([real], np.float32), tensor)
    if math.isnan(real):
        assert found[0] == 3
    else:
        limits = np.iinfo(dtype)
        wanted = min(max(real / 0.1 + 3, limits.min), limits.max)
        assert abs(int(found[0]) - wanted) <= 0.51


def test_outputs_are_found_one_after_the_other() -> None:
    outputs = (Tensor("a", "int8", (2, 2), 0.5, 1), Tensor("b", "float32", (3,)))
    data = np.array([1, 2, 3, -3], np.int8).tobytes() + np.array([0.5, 1, 2], np.float32).tobytes()
    found = stored.Outputs(Interface((), outputs), data)
    assert found.stored(0).tolist() == [[1, 2], [3, -3]]
    assert found.real(0).tolist() == [[0.0, 0.5], [1.0, -2.0]]
    assert found.real(1).tolist() == [0.5, 1, 2]


def test_softmax_is_over_the_last_axis_and_stands_great_values() -> None:
    with np.errstate(all="ignore"):
        found = stored.activated(np.array([[1000, 1000], [0, math.log(3)]], np.float32), "softmax")
    assert found == pytest.approx(np.array([[0.5, 0.5], [0.25, 0.75]]), rel=1e-6)
