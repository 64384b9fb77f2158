"""A runtime host with an engine whose models do what their bytes say: `python -m tests.agent.runtime.scripted run ...`

The model's bytes are a JSON object; every field may be left out:
    inputs, outputs: lists of [name, dtype, shape, scale, zero_point]
    answer: what is added to every byte of the input to make the output, cut or filled to its size
    bytes: of memory to take
    load: ok, refuse, crash, hang, die-once (`flag` is the file that remembers it), die-later (when `flag` appears;
        ok where it is there already)
    run: ok, fail, crash, exit, hang, nan, random, constant; `on`: only where the input begins with this byte
    delay_ms: how long each run takes
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from agent.runtime import cli
from agent.runtime.engines import Engine, Loaded, Result
from littoral.errors import InferenceError, ModelLoadError
from littoral.tensors import Interface, Tensor

NAN = b"\x00\x00\xc0\x7f"


def model(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def interface_of(content: bytes, labels: tuple[str, ...] = ()) -> Interface:
    value = json.loads(content)
    inputs = value.get("inputs", [["in", "uint8", [4], 0.0, 0]])
    outputs = value.get("outputs", [["out", "uint8", [4], 0.0, 0]])
    return Interface(
        tuple(Tensor(n, d, tuple(s), q, z) for n, d, s, q, z in inputs),
        tuple(Tensor(n, d, tuple(s), q, z) for n, d, s, q, z in outputs),
        labels,
    )


@dataclass(frozen=True, slots=True)
class ScriptedEngine:
    name: str = "scripted"
    version: str = "1"
    address_space_bytes: int = 64 * 1024 * 1024

    def load(self, model: bytes, labels: tuple[str, ...]) -> Loaded:
        value = json.loads(model)
        how = value.get("load", "ok")
        if how == "refuse":
            raise ModelLoadError("scripted to be refused")
        if how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "hang":
            while True:
                pass
        if how == "die-once":
            flag = Path(value["flag"])
            if not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGSEGV)
        if how == "die-later" and not (flag := Path(value["flag"])).exists():
            while not flag.exists():
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGSEGV)
        return ScriptedModel(value, interface_of(model, labels))


class ScriptedModel:
    def __init__(self, value: dict[str, Any], interface: Interface) -> None:
        self.interface = interface
        self._value = value
        self._memory = bytearray(b"x" * value.get("bytes", 0))

    def run(self, data: bytes | memoryview) -> Result:
        time.sleep(self._value.get("delay_ms", 0) / 1000)
        how = self._value.get("run", "ok")
        if data[0] != self._value.get("on", data[0]):
            how = "ok"
        if how == "fail":
            raise InferenceError("scripted to fail")
        if how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "exit":
            os._exit(3)
        if how == "hang":
            signal.pause()
        size = self.interface.output_bytes
        if how == "random":
            return Result(os.urandom(size), finite=True)
        if how == "nan":
            return Result((NAN * size)[:size], finite=False)
        if how == "constant":
            return Result(bytes(size), finite=True)
        added = self._value.get("answer", 0)
        return Result(bytes((byte + added) % 256 for byte in islice(cycle(data), size)), finite=True)


def open_scripted(name: str) -> Engine:
    return ScriptedEngine()


if __name__ == "__main__":
    sys.exit(cli.main(open_engine=open_scripted))
