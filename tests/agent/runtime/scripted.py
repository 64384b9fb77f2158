"""A runtime host with an engine whose models do what their bytes say: `python -m tests.agent.runtime.scripted run ...`

Whether memory is short is what the file `meminfo` beside agent.toml says.

The model's bytes are a JSON object; every field may be left out:
    inputs, outputs: lists of [name, dtype, shape, scale, zero_point]
    answer: what is added to every byte of the input to make the output, cut or filled to its size
    bytes: of memory to take
    load: ok, refuse, crash, hang, die-once (`flag` is the file that remembers it), die-later (when `flag` appears;
        ok where it is there already)
    run: ok, fail, crash, exit, hang, nan, random, constant, slow (takes `slow_ms`); `on`: only where the input begins
        with this byte; `every`: only each so-many-th run of an interpreter
    delay_ms: how long each run takes; gate: a file that each run waits for; beside it
        `.runs` grows by a byte with each run that begins
    signatures: by name, other values of these fields; none: one without a name
    stateful: each run of an interpreter adds one more to its answer than the run before
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from agent.runtime import cli
from agent.runtime.engine import Delegate, Engine, Interpreter, Model, Result
from agent.runtime.host.pressure import AvailablePressure
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
    fallback: str = ""

    def address_space_bytes(self, threads: int) -> int:
        return 64 * 1024 * 1024

    def load(self, model: bytes, labels: tuple[str, ...], threads: int = 1, delegate: Delegate | None = None) -> Model:
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
        return ScriptedModel(value, interface_of(model, labels), delegate)


class ScriptedModel:
    """On a delegate it holds a lock on the file that is the delegate's path, which only one process can."""

    def __init__(self, value: dict[str, Any], interface: Interface, delegate: Delegate | None) -> None:
        self.engine = f"scripted 1 ({delegate.kind})" if delegate else "scripted 1"
        if delegate is not None:
            lock = os.open(delegate.path, os.O_WRONLY | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ModelLoadError("the delegate is open in another process") from error
        self.stateful = bool(value.get("stateful"))
        self.signatures: Mapping[str, Interface] = {"": interface}
        for number, (name, fields) in enumerate(value.get("signatures", {}).items()):
            own = interface_of(json.dumps({**value, **fields}).encode(), interface.labels)
            self.signatures = {**self.signatures, **({} if number else {"": own}), name: own}
        self._value = value
        self._memory = bytearray(b"x" * value.get("bytes", 0))

    def interpreter(self) -> Interpreter:
        return ScriptedInterpreter(self._value, self.signatures)


class ScriptedInterpreter:
    def __init__(self, value: dict[str, Any], signatures: Mapping[str, Interface]) -> None:
        self._value = value
        self._signatures = signatures
        self._runs = 0

    def run(self, data: bytes | bytearray | memoryview, signature: str = "") -> Result:
        self._runs += 1
        named = self._value.get("signatures", {})
        value = {**self._value, **named.get(signature or next(iter(named), ""), {})}
        time.sleep(value.get("delay_ms", 0) / 1000)
        if "gate" in value:
            with Path(value["gate"] + ".runs").open("a") as runs:
                runs.write("1")
            while not Path(value["gate"]).exists():
                time.sleep(0.002)
        how = value.get("run", "ok")
        if data[0] != value.get("on", data[0]):
            how = "ok"
        if self._runs % value.get("every", 1):
            how = "ok"
        if how == "slow":
            time.sleep(value["slow_ms"] / 1000)
        if how == "fail":
            raise InferenceError("scripted to fail")
        if how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "exit":
            os._exit(3)
        if how == "hang":
            signal.pause()
        size = self._signatures[signature].output_bytes
        if how == "random":
            return Result(os.urandom(size), finite=True)
        if how == "nan":
            return Result((NAN * size)[:size], finite=False)
        if how == "constant":
            return Result(bytes(size), finite=True)
        added = value.get("answer", 0) + (self._runs - 1 if value.get("stateful") else 0)
        return Result(bytes((byte + added) % 256 for byte in islice(cycle(data), size)), finite=True)


def open_scripted(name: str) -> Engine:
    return ScriptedEngine()


if __name__ == "__main__":
    meminfo = Path(sys.argv[-1]).parent / "meminfo"
    sys.exit(cli.main(open_engine=open_scripted, open_pressure=lambda: AvailablePressure(meminfo, every_s=0.1)))
