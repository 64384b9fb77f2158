from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.engines.finite import Finite
from littoral.tensors import Tensor

CODES = {"float16": "e", "float32": "f", "float64": "d"}
LARGEST = {"float16": 65504.0, "float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}


def finite(dtype: str, *values: float) -> bool:
    data = struct.pack(f"<{len(values)}{CODES[dtype]}", *values)
    return Finite((Tensor("x", dtype, (len(values),)),))(data)


@pytest.mark.parametrize("dtype", sorted(CODES))
def test_only_nan_and_infinity_are_not_finite(dtype: str) -> None:
    usual = (0.0, -0.0, 1.5, -2.0, LARGEST[dtype], -LARGEST[dtype])
    assert finite(dtype, *usual)
    for odd in (math.nan, -math.nan, math.inf, -math.inf):
        for place in range(len(usual)):
            assert not finite(dtype, *usual[:place], odd, *usual[place:])


@pytest.mark.parametrize("dtype", sorted(CODES))
@given(data=st.binary(max_size=64))
def test_it_says_of_any_bits_what_python_says(dtype: str, data: bytes) -> None:
    size = struct.calcsize(CODES[dtype])
    data = data[: len(data) // size * size]
    values = struct.unpack(f"<{len(data) // size}{CODES[dtype]}", data)
    assert Finite((Tensor("x", dtype, (len(values),)),))(data) == all(map(math.isfinite, values))


def test_integers_are_no_floats_whatever_their_bits() -> None:
    nan = struct.pack("<f", math.nan)
    outputs = (Tensor("a", "int32", (1,)), Tensor("b", "float32", (1,)), Tensor("c", "uint8", (4,)))
    assert Finite(outputs)(nan + struct.pack("<f", 1.0) + nan)
    assert not Finite(outputs)(nan + nan + nan)
