"""Run the demo's classifier in this process, with no part of Littoral between."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def scores(model: bytes, inputs: Iterable[bytes]) -> list[tuple[float, ...]]:
    """The scores in 0 to 1 that the classifier gives each of these int8 [1, 32, 32, 3] inputs."""
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = answered["quantization"]
    results = []
    for raw in inputs:
        interpreter.set_tensor(given["index"], np.frombuffer(raw, given["dtype"]).reshape(given["shape"]))
        interpreter.invoke()
        (row,) = interpreter.get_tensor(answered["index"])
        results.append(tuple((int(value) - zero_point) * scale for value in row))
    return results
