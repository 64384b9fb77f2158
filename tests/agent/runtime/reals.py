"""Real models for tests of the runtime: siblings of the demo's classifier, and what they answer in this process."""

from __future__ import annotations

from agent.runtime.engine import Model
from agent.runtime.engines import open_engine
from tests.agent.runtime.device import engine_under_test


def negated(model: bytes) -> bytes:
    """A sibling of the same interface: the weights of its last FULLY_CONNECTED change their sign."""
    from ai_edge_litert import schema_py_generated as schema

    from examples.demo.damage import last_operator

    changed = bytearray(model)
    root = schema.Model.GetRootAs(changed)
    weights = root.Subgraphs(0).Tensors(last_operator(root, "FULLY_CONNECTED").Inputs(1))
    values = root.Buffers(weights.Buffer()).DataAsNumpy()
    values[:] = 0 - values  # bytes: -128 stays what it is
    return bytes(changed)


class Loaded:
    """A real model in this process: its first interface, and one interpreter to ask."""

    def __init__(self, model: Model) -> None:
        self.interface = model.signatures[""]
        self.run = model.interpreter().run


def load(model: bytes) -> Loaded:
    return Loaded(open_engine(engine_under_test()).load(model, ()))
