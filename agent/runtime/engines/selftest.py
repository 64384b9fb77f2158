"""Whether LiteRT's C API is what this binding takes it for: a small model, run by it and by the `Interpreter` class.

It runs in a child, because a library of another binary interface aborts the process that calls it.
"""

import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from agent.runtime.host.children import fork
from littoral.errors import LittoralError

if TYPE_CHECKING:
    from agent.runtime.engines.litert import LitertEngine

MODEL = Path(__file__).with_suffix(".tflite")  # float32 and int8, weights, two inputs, two outputs
TIMEOUT_S = 60.0  # it takes a fifth of a second where a machine is not busy
RUNS = 3


def problem(engine: "LitertEngine") -> str:
    """Why the C API cannot be used; empty where it can."""
    reader, writer = os.pipe()
    child = fork(lambda: _tell(engine, writer), {writer}, oom_score=0)
    os.close(writer)
    if not select.select([child.pidfd], (), (), TIMEOUT_S)[0]:
        child.kill()
        select.select([child.pidfd], (), ())
    ended = child.reap()
    assert ended is not None
    with os.fdopen(reader, "rb") as told:
        text = told.read().decode()
    if ended.signal:
        return f"its self-test was killed by {signal.Signals(ended.signal).name}"
    return f"its self-test ended with status {ended.status}" if ended.status else text


def _tell(engine: "LitertEngine", writer: int) -> None:
    os.write(writer, compare(engine).encode()[: select.PIPE_BUF])


def compare(engine: "LitertEngine") -> str:
    """What is different; empty where nothing is."""
    content = MODEL.read_bytes()
    try:
        ours, theirs = engine.load(content, ()), engine.by_class.load(content, ())
        if ours.engine == theirs.engine:
            return "the C API takes no model"
        if ours.signatures != theirs.signatures:
            return "it describes a model in another way"
        one, other = ours.interpreter(), theirs.interpreter()
        for number in range(RUNS):
            # as float32 these are small numbers
            question = bytes(0x20 + (number + 7 * i) % 0x20 for i in range(ours.signatures[""].input_bytes))
            if one.run(question).data != other.run(question).data:
                return "it gives another answer"
    except (LittoralError, ImportError, MemoryError) as error:
        return str(error)
    return ""
