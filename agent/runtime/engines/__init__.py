"""Inference engines behind the interface of agent/runtime/engine.py: LiteRT and tflite-runtime.

A model is always loaded from bytes: a file that changes under a mapped model kills the process. Tensors that no raw
bytes can stand for (strings, per-channel quantized inputs) are refused by name.
"""

import os

from agent.runtime.engine import Engine
from agent.runtime.engines.interpreter import open_tflite
from agent.runtime.engines.litert import open_litert
from littoral.errors import EngineError

_ENGINES = {"litert": open_litert, "tflite": open_tflite}


def open_engine(name: str) -> Engine:
    """The engine called `name`: litert, tflite, or auto (litert where it is installed). Raises EngineError.

    It opens the engine's library and loads no model, so the process stays fit to fork.
    """
    if name not in ("auto", *_ENGINES):
        raise EngineError(f"no engine has the name {name!r}", remedy="Set runtime.engine to auto, litert or tflite.")
    wanted = tuple(_ENGINES) if name == "auto" else (name,)
    problems = []
    for candidate in wanted:
        try:
            return _ENGINES[candidate]()
        except ImportError as error:
            problems.append(f"{candidate}: {error}")
    raise EngineError(
        f"no engine can be used ({'; '.join(problems)})",
        remedy="Install ai-edge-litert, or tflite-runtime with a Python up to 3.11.",
    )


def engine_text(engine: Engine) -> str:
    """As people are told: "litert 2.3.0", and why it is not used as it should be where it is not."""
    text = f"{engine.name} {engine.version}"
    return f"{text} (Interpreter: {engine.fallback})" if engine.fallback else text


def degraded() -> str:
    """Why engines are slower here than they should be; empty where they are not.

    Without these two, XNNPACK switches itself off: 10 times slower float, 50 times slower int8, other outputs.
    """
    hidden = [path for path in ("/proc/cpuinfo", "/sys/devices/system/cpu") if not os.access(path, os.R_OK)]
    return f"{' and '.join(hidden)} cannot be read, so XNNPACK is off" if hidden else ""
