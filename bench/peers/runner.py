"""How an application without Littoral runs a model: the `Interpreter` class, one thread, numpy arrays."""

from __future__ import annotations

import time

import numpy
from ai_edge_litert.interpreter import Interpreter


class Runner:
    def __init__(self, path: str) -> None:
        self._interpreter = Interpreter(model_path=path, num_threads=1)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self.input_bytes = int(numpy.prod(self._input["shape"])) * numpy.dtype(self._input["dtype"]).itemsize

    def run(self, data: bytes | memoryview) -> tuple[bytes, int]:
        """All outputs one after the other, and how long it took in microseconds."""
        start_ns = time.monotonic_ns()
        tensor = numpy.frombuffer(data, self._input["dtype"]).reshape(self._input["shape"])
        self._interpreter.set_tensor(self._input["index"], tensor)
        self._interpreter.invoke()
        outputs = b"".join(self._interpreter.get_tensor(each["index"]).tobytes() for each in self._outputs)
        return outputs, (time.monotonic_ns() - start_ns) // 1_000
