"""The self-test of a release, as the trial child runs it: load, compare with what was declared, run, measure.

It is the first time the bytes are loaded, so it runs in a child under limits (trials.py makes it) and ends in one
report. A child that dies instead has reported too.
"""

import json
import random
import socket
import statistics
import struct
import time
from dataclasses import asdict, dataclass, field

from agent.runtime import golden, memory
from agent.runtime.engines import Engine, Loaded
from agent.runtime.release import Release
from littoral import errors
from littoral.tensors import Interface

TIMED_RUNS = 20
REPORT_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Report:
    """How the self-test ended. code "": it passed. control.Tried says what the codes and facts are."""

    code: str = ""
    reason: str = ""
    proven: bool = False
    facts: dict[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()[:REPORT_BYTES]

    @classmethod
    def decode(cls, data: bytes) -> "Report":
        """Raises ValueError or TypeError."""
        return cls(**json.loads(data))


class _FailedError(Exception):
    """A self-test that ends here. Not one of the named errors: its code may be of the trial's own list."""

    def __init__(self, code: str, reason: str, proven: bool = True) -> None:
        super().__init__(reason)
        self.code = code
        self.proven = proven


def run(end: socket.socket, engine: Engine, release: Release, room_bytes: int) -> None:
    """The trial child: tests the release and reports. `room_bytes` is what the model may take of memory."""
    facts: dict[str, int] = {}
    try:
        SelfTest(engine, release, room_bytes, facts).run()
        report = Report(facts=facts)
    except _FailedError as error:
        report = Report(error.code, str(error), error.proven, facts)
    except errors.LittoralError as error:
        # Bytes that changed on this disk, or cannot be read, prove nothing of the release.
        proven = not isinstance(error, errors.DigestError | errors.BundleError)
        report = Report(error.code, str(error), proven, facts)
    except MemoryError:
        report = Report(errors.NoRoomError.code, "the model does not fit into the memory it may take", False, facts)
    end.sendall(report.encode())


class SelfTest:
    """Raises the first failure it finds; `facts` fills up as it goes."""

    def __init__(self, engine: Engine, release: Release, room_bytes: int, facts: dict[str, int]) -> None:
        self._engine = engine
        self._release = release
        self._room_bytes = room_bytes
        self._facts = facts

    def run(self) -> None:
        manifest = self._release.manifest
        model = self._release.blob("model")
        self._release.card()
        at_start_bytes = memory.status("VmRSS")
        loaded = self._load(model)
        self._check_interface(loaded.interface)
        questions = self._check_golden(loaded)
        questions = questions or [random_input(loaded.interface)]
        self._check_repeats(loaded, model, questions)
        p95_us = self._time(loaded, questions)
        took_bytes = max(0, memory.status("VmHWM") - at_start_bytes)
        self._facts["memory_bytes"] = took_bytes
        self._check_limits(took_bytes, p95_us, manifest.limits.memory_bytes, manifest.limits.p95_us)

    def _load(self, model: bytes) -> Loaded:
        started_ns = time.monotonic_ns()
        loaded = self._engine.load(model, self._release.labels())
        self._facts["load_us"] = (time.monotonic_ns() - started_ns) // 1_000
        return loaded

    def _check_interface(self, interface: Interface) -> None:
        declared = self._release.manifest.interface
        for part, digest in interface.declared().items():
            if declared.get(part) != digest:
                raise _FailedError("wrong-interface", f"the {part} are not those its bundle.json declares")

    def _check_golden(self, loaded: Loaded) -> list[bytes]:
        """The golden inputs, all answered as expected; none where there are none."""
        described = self._release.manifest.golden
        if described is None:
            return []
        cases = golden.parse(self._release.blob("golden"), described, loaded.interface)
        self._facts["cases"] = len(cases)
        worst_ppm = wrong = 0
        for case in cases:
            answer = self._answer(loaded, case.question)
            ppm = golden.difference_ppm(loaded.interface, answer, case.expected)
            worst_ppm = max(worst_ppm, ppm)
            if described.compare == "top1":
                wrong += not golden.same_top1(loaded.interface, answer, case.expected)
            else:
                wrong += ppm > described.tolerance_ppm
        self._facts["worst_ppm"] = worst_ppm
        if wrong:
            raise _FailedError(
                "golden-mismatch",
                f"{wrong} of {len(cases)} golden vectors were not answered as expected ({described.compare}; "
                f"worst difference {worst_ppm} ppm, {described.tolerance_ppm} allowed)",
            )
        return [case.question for case in cases]

    def _check_repeats(self, loaded: Loaded, model: bytes, questions: list[bytes]) -> None:
        """The same input gives the same bytes; a model that keeps a state does so from its beginning."""
        question = questions[0]
        if self._answer(loaded, question) == self._answer(loaded, question):
            return
        runs = []
        for _ in range(2):
            fresh = self._engine.load(model, self._release.labels())
            runs.append([self._answer(fresh, question) for _ in range(3)])
        if runs[0] != runs[1]:
            raise _FailedError("golden-mismatch", "the same input is answered differently each time")

    def _answer(self, loaded: Loaded, question: bytes) -> bytes:
        result = loaded.run(question)
        if not result.finite:
            raise _FailedError("not-finite", "an output holds NaN or infinity")
        return result.data

    def _time(self, loaded: Loaded, questions: list[bytes]) -> int:
        """p95 of the invoke times, microseconds."""
        times_us = []
        for number in range(TIMED_RUNS):
            started_ns = time.monotonic_ns()
            loaded.run(questions[number % len(questions)])
            times_us.append((time.monotonic_ns() - started_ns) // 1_000)
        times_us.sort()
        self._facts["invoke_p50_us"] = int(statistics.median(times_us))
        p95_us = times_us[TIMED_RUNS * 95 // 100 - 1]
        self._facts["invoke_p95_us"] = p95_us
        return p95_us

    def _check_limits(self, took_bytes: int, p95_us: int, memory_limit_bytes: int, p95_limit_us: int) -> None:
        """Limits were measured elsewhere: being over them here says as much about this device as of the release."""
        if took_bytes > self._room_bytes:
            raise _FailedError(
                errors.NoRoomError.code, f"it takes {took_bytes} bytes, {self._room_bytes} are free", proven=False
            )
        if 0 < memory_limit_bytes < took_bytes:
            raise _FailedError(
                errors.LimitsError.code,
                f"it takes {took_bytes} bytes of memory, its own limit is {memory_limit_bytes}",
                proven=False,
            )
        if 0 < p95_limit_us < p95_us:
            raise _FailedError(
                errors.LimitsError.code, f"p95 is {p95_us} us here, its own limit is {p95_limit_us}", proven=False
            )


def random_input(interface: Interface) -> bytes:
    """An input for all tensors, the same each time: values in [0, 1) for floats, any bytes for narrow integers, and 0
    for wide ones, which may be indices.
    """
    numbers = random.Random(1)
    parts: list[bytes] = []
    for tensor in interface.inputs:
        if tensor.dtype.startswith("float"):
            count = tensor.size_bytes // (size := int(tensor.dtype[5:]) // 8)
            code = {2: "e", 4: "f", 8: "d"}[size]
            parts.append(struct.pack(f"<{count}{code}", *(numbers.random() for _ in range(count))))
        elif tensor.dtype in ("int8", "uint8", "int16", "uint16"):
            parts.append(numbers.randbytes(tensor.size_bytes))
        else:
            parts.append(bytes(tensor.size_bytes))
    return b"".join(parts)
