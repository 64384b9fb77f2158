"""Models made for the tests of the engines, each with one thing that must be got right."""

from __future__ import annotations

import struct

from tests.agent.runtime.engines.building import (
    ADD,
    ASSIGN_VARIABLE,
    CALL_ONCE,
    CAST,
    CUSTOM,
    DEQUANTIZE,
    FLOAT16,
    FLOAT32,
    FULLY_CONNECTED,
    INT8,
    INT16,
    INT64,
    READ_VARIABLE,
    RESOURCE,
    VAR_HANDLE,
    Graph,
    Operator,
    Signature,
    Tensor,
    model,
)


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def add(dtype: int, scale: float = 0.0, shape: tuple[int, ...] = (1, 4), open_shape: tuple[int, ...] = ()) -> bytes:
    """One input, added to itself."""
    x, y = (Tensor(name, dtype, shape, scale=scale, open_shape=open_shape) for name in ("x", "y"))
    return model(Graph((x, y), (Operator(ADD, (0, 0), (1,)),), (0,), (1,)))


def convert(source: int, target: int) -> bytes:
    """One input of four numbers in another dtype."""
    tensors = Tensor("x", source, (1, 4)), Tensor("y", target, (1, 4))
    code = DEQUANTIZE if source == FLOAT16 else CAST
    return model(Graph(tensors, (Operator(code, (0,), (1,)),), (0,), (1,)))


def two_by_two() -> bytes:
    """Inputs a (1, 2) and b (1, 3) of float32; outputs a + a and b + b. The signature names them the other way."""
    tensors = tuple(
        Tensor(name, FLOAT32, (1, size)) for name, size in (("a", 2), ("b", 3), ("twice a", 2), ("twice b", 3))
    )
    graph = Graph(tensors, (Operator(ADD, (0, 0), (2,)), Operator(ADD, (1, 1), (3,))), (0, 1), (2, 3))
    signature = Signature("serve", 0, {"first": 1, "second": 0}, {"p": 3, "q": 2})
    return model(graph, signatures=(signature,))


def two_signatures() -> bytes:
    """`double` x (1, 4) on the first graph; `sum` of p (1, 2) and q (1, 2) on the second, named first in the file."""
    x, y = Tensor("x", FLOAT32, (1, 4)), Tensor("y", FLOAT32, (1, 4))
    double = Graph((x, y), (Operator(ADD, (0, 0), (1,)),), (0,), (1,))
    p, q, r = (Tensor(name, FLOAT32, (1, 2)) for name in "pqr")
    total = Graph((p, q, r), (Operator(ADD, (0, 1), (2,)),), (0, 1), (2,))
    return model(
        double,
        total,
        signatures=(
            Signature("sum", 1, {"left": 1, "right": 0}, {"sum": 2}),
            Signature("double", 0, {"x": 0}, {"y": 1}),
        ),
    )


def counting() -> bytes:
    """The answer is the sum of all inputs so far: it is kept in a resource variable."""
    tensors = (
        Tensor("x", FLOAT32, (1, 4)),
        Tensor("handle", RESOURCE, (1,)),
        Tensor("before", FLOAT32, (1, 4)),
        Tensor("y", FLOAT32, (1, 4)),
    )
    operators = (
        Operator(CALL_ONCE, (), ()),
        Operator(VAR_HANDLE, (), (1,)),
        Operator(READ_VARIABLE, (1,), (2,)),
        Operator(ADD, (0, 2), (3,)),
        Operator(ASSIGN_VARIABLE, (1, 3), ()),
    )
    start = Graph(
        (Tensor("handle", RESOURCE, (1,)), Tensor("zero", FLOAT32, (1, 4), data=floats(0, 0, 0, 0))),
        (Operator(VAR_HANDLE, (), (0,)), Operator(ASSIGN_VARIABLE, (0, 1), ())),
        (),
        (),
    )
    return model(Graph(tensors, operators, (0,), (3,)), start)


def with_variable() -> bytes:
    """A tensor marked as a variable, which the C API refuses and the class takes."""
    tensors = (
        Tensor("x", FLOAT32, (1, 4)),
        Tensor("kept", FLOAT32, (1, 4), variable=True),
        Tensor("y", FLOAT32, (1, 4)),
    )
    return model(Graph(tensors, (Operator(ADD, (0, 1), (2,)),), (0,), (2,)))


def unknown_operator() -> bytes:
    """A custom operator that nobody has."""
    x, y = Tensor("x", FLOAT32, (1, 4)), Tensor("y", FLOAT32, (1, 4))
    return model(Graph((x, y), (Operator(CUSTOM, (0,), (1,)),), (0,), (1,)))


def selftest() -> bytes:
    """Two inputs, two outputs, weights, float32 and int8: what ships as agent/runtime/engines/selftest.tflite."""
    tensors = (
        Tensor("a", FLOAT32, (1, 4)),
        Tensor("b", INT8, (1, 8), scale=0.5, zero_point=-3),
        Tensor("weights", FLOAT32, (3, 4), data=floats(*(n / 8 - 0.5 for n in range(12)))),
        Tensor("bias", FLOAT32, (3,), data=floats(0.5, -0.25, 2.0)),
        Tensor("p", FLOAT32, (1, 3)),
        Tensor("q", INT8, (1, 8), scale=1.0, zero_point=7),
    )
    operators = (Operator(FULLY_CONNECTED, (0, 2, 3), (4,)), Operator(ADD, (1, 1), (5,)))
    return model(Graph(tensors, operators, (0, 1), (4, 5)))


FLOAT_SAMPLE = add(FLOAT32)
INT16_SAMPLE = add(INT16, scale=0.5)
INT64_SAMPLE = add(INT64)
HALF_SAMPLE = convert(FLOAT16, FLOAT32)
TO_HALF_SAMPLE = convert(FLOAT32, FLOAT16)
