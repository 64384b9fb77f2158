"""Real models for tests of the runtime: siblings of the demo's classifier, and what they answer in this process."""

from __future__ import annotations

from agent.runtime.engines import Loaded, open_engine
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


def load(model: bytes) -> Loaded:
    return open_engine(engine_under_test()).load(model, ())
