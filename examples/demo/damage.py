"""Make releases to try the safety of updates with, good and bad, from one good model.

Every change is made in place, in the bytes of the flatbuffer. Nothing is packed anew, as the Python packer
does not keep the 16-byte alignment that engines want of weights; so the length stays the same too.

    python -m examples.demo.damage {restamp,constant,crash} IN OUT

It needs the model schema that comes with LiteRT (`ai-edge-litert`, `flatbuffers`, numpy: extra `fleet`),
and runs no model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema


def restamp(model: bytes, text: str = "restamped") -> bytes:
    """A good sibling: the same answers from other bytes.

    The model's description becomes `text`, padded with spaces. Raises ValueError where the description has no
    room for it.
    """
    old = schema.Model.GetRootAs(model).Description() or b""
    new = text.encode()
    if len(new) > len(old):
        raise ValueError(f"the description of this model holds {len(old)} bytes, {text!r} takes {len(new)}")
    as_stored = len(old).to_bytes(4, "little") + old + b"\0"
    start, end = model.index(as_stored) + 4, model.rindex(as_stored) + 4
    if start != end:
        raise ValueError(f"the description of this model, {old!r}, occurs in it more than once")
    return model[:start] + new.ljust(len(old)) + model[start + len(old) :]


def constant(model: bytes) -> bytes:
    """A model that loads, runs, and answers the same to everything.

    The weights of its last FULLY_CONNECTED are zero, so only the bias speaks. Its own self-test cannot see
    it, if the expected answers were made with itself. Raises ValueError where the model has no such
    operator.
    """
    damaged = bytearray(model)
    root = schema.Model.GetRootAs(damaged)
    operator = last_operator(root, "FULLY_CONNECTED")
    weights = root.Subgraphs(0).Tensors(operator.Inputs(1))
    root.Buffers(weights.Buffer()).DataAsNumpy()[:] = 0
    return bytes(damaged)


def crash(model: bytes) -> bytes:
    """A model that kills the process that loads it (SIGSEGV in `allocate_tensors`).

    The shape given to its last RESHAPE is said to be tensor -1. LiteRT 2.3.0 and tflite-runtime 2.14.0 both
    die of it. Raises ValueError where the model has no RESHAPE with a second input.
    """
    damaged = bytearray(model)
    operator = last_operator(schema.Model.GetRootAs(damaged), "RESHAPE")
    if operator.InputsLength() < 2:
        raise ValueError("the last RESHAPE of this model takes no shape as its second input")
    operator.InputsAsNumpy()[1] = -1
    return bytes(damaged)


def last_operator(root: Any, kind: str) -> Any:
    """The last operator of this kind in the first subgraph; the arrays it gives are views into the model."""
    code = getattr(schema.BuiltinOperator, kind)
    graph = root.Subgraphs(0)
    for index in reversed(range(graph.OperatorsLength())):
        operator = graph.Operators(index)
        if root.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() == code:
            return operator
    raise ValueError(f"this model has no operator {kind}")


KINDS: dict[str, Callable[[bytes], bytes]] = {"restamp": restamp, "constant": constant, "crash": crash}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.demo.damage", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("source", metavar="IN", type=Path)
    parser.add_argument("destination", metavar="OUT", type=Path)
    options = parser.parse_args()
    try:
        damaged = KINDS[options.kind](options.source.read_bytes())
    except ValueError as error:
        parser.error(str(error))
    options.destination.write_bytes(damaged)


if __name__ == "__main__":
    main()
