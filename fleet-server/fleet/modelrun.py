"""A child process that runs one model once per case: `python -m fleet.modelrun FOLDER`. See `golden.run`.

FOLDER holds `model` and `inputs` (per case all inputs, raw); it leaves `outputs` (per case all outputs, raw) and
`measured.json`. The operator's machine is guarded by limits on memory, time and core files; whatever the model does
to this process, the parent lives.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

MIB = 1024 * 1024
ADDRESS_SPACE_BYTES = 8 * 1024 * MIB  # the engine maps much more than it touches
CPU_S = 120
LEAST_RUNS = 32  # times are measured over at least so many


def main(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of the imports
    before = _memory_bytes("smaps_rollup", "Rss")
    interpreter = Interpreter(model_content=(folder / "model").read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    data = (folder / "inputs").read_bytes()
    size = sum(_bytes(details) for details in interpreter.get_input_details())
    cases = [data[at : at + size] for at in range(0, len(data), size)]
    times: list[int] = []
    with (folder / "outputs").open("wb") as outputs:
        for case in cases:
            outputs.write(_run(interpreter, case, times))
    while len(times) < LEAST_RUNS:
        _run(interpreter, cases[len(times) % len(cases)], times)
    times.sort()
    peak = max(_memory_bytes("status", "VmHWM"), _memory_bytes("smaps_rollup", "Rss"))
    measured = {"p95_us": times[len(times) * 95 // 100], "memory_bytes": max(peak - before, 0)}
    (folder / "measured.json").write_text(json.dumps(measured))


def _run(interpreter: Any, case: bytes, times: list[int]) -> bytes:
    at = 0
    for details in interpreter.get_input_details():
        part = case[at : at + _bytes(details)]
        interpreter.set_tensor(details["index"], np.frombuffer(part, details["dtype"]).reshape(details["shape"]))
        at += len(part)
    started = time.perf_counter_ns()
    interpreter.invoke()
    times.append((time.perf_counter_ns() - started) // 1000)
    arrays = [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]
    return b"".join(array.tobytes() for array in arrays)


def _bytes(details: Any) -> int:
    return int(np.prod(details["shape"], dtype=np.int64)) * int(np.dtype(details["dtype"]).itemsize)


def _memory_bytes(file: str, field: str) -> int:
    """Of this process: Rss is exact, VmHWM the highest so far. getrusage would count the parent's peak too."""
    text = (Path("/proc/self") / file).read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
