"""The self-test of a release, as the trial child runs it: load, compare with what was declared, run, measure.

It is the first time the bytes are loaded, so it runs in a child under limits (trials.py makes it) and ends in one
report. A child that dies instead has reported too.
"""

import socket
import struct
import time
from dataclasses import asdict, replace

from agent.runtime.engine import Delegate, Engine, Interpreter, Model, Tuning
from agent.runtime.host import memory
from agent.runtime.release import Release
from agent.runtime.trial import golden, tuning
from agent.runtime.trial.golden import Question
from agent.runtime.trial.report import MOST_INTERPRETERS, Report
from littoral import errors
from littoral.bundle import task
from littoral.bundle.card import Card
from littoral.bundle.manifest import Golden
from littoral.tensors import Interface

TIMED_RUNS = 20
# Bytes that changed on this disk or cannot be read, and what this device lacks, say nothing of the release.
UNPROVEN = (errors.DigestError, errors.BundleError, errors.IncompatibleError)


class _FailedError(Exception):
    """A self-test that ends here. Not one of the named errors: its code may be of the trial's own list."""

    def __init__(self, code: str, reason: str, proven: bool = True) -> None:
        super().__init__(reason)
        self.code = code
        self.proven = proven


def run(end: socket.socket, engine: Engine, release: Release, delegate: Delegate | None, room_bytes: int) -> None:
    """The trial child: tests the release and reports. `room_bytes` is what the model may take of memory."""
    facts: dict[str, int] = {}
    try:
        report = Report(reason=SelfTest(engine, release, delegate, room_bytes, facts).run(), facts=facts)
    except _FailedError as error:
        report = Report(error.code, str(error), error.proven, facts)
    except errors.LittoralError as error:
        report = Report(error.code, str(error), not isinstance(error, UNPROVEN), facts)
    except MemoryError:
        report = Report(errors.NoRoomError.code, "the model does not fit into the memory it may take", False, facts)
    end.sendall(report.encode())


class SelfTest:
    """Raises the first failure it finds; `facts` fills up as it goes."""

    def __init__(
        self, engine: Engine, release: Release, delegate: Delegate | None, room_bytes: int, facts: dict[str, int]
    ) -> None:
        self._engine = engine
        self._release = release
        self._delegate = delegate
        self._room_bytes = room_bytes
        self._facts = facts
        self._labels: tuple[str, ...] = ()
        self._content = b""
        self._golden = b""
        self._notice = ""  # why it ran on the CPU though there is a delegate for it

    def run(self) -> str:
        """What is to be known of a release that passed; mostly nothing."""
        self._content, self._labels = self._release.blob("model"), self._release.labels()
        self._golden = self._release.blob("golden")  # before it is measured, and kept: no memory of the model's
        card = self._release.card()
        at_start_bytes = memory.status("VmRSS")
        model = self._load()
        interface, stateful = model.signatures[""], model.stateful
        self._check_interface(interface)
        task.read(card, interface)
        interpreter = model.interpreter()
        questions = self._check_golden(interpreter, interface, card) or [random_input(interface)]
        self._answer(interpreter, questions[0])
        for key in list(model.signatures)[1:-1]:  # the first is done, and the last is its other name
            interpreter.run(random_input(model.signatures[key]), key)
        self._facts["memory_bytes"] = _grown(at_start_bytes)
        self._check_repeats(model, interpreter, questions[0])
        if self._delegate is not None:
            self._compare_with_cpu(model, questions)
        del model, interpreter  # while others are measured
        if self._delegate is not None:
            best = Tuning(1, 1)
        else:
            best = self._tune(questions[0], stateful)
            if best.interpreters > 1:
                self._facts["memory_bytes"] = _grown(at_start_bytes)
        self._facts.update(asdict(best))
        self._check_limits(self._time(questions, best))
        return self._notice

    def _load(self) -> Model:
        started_ns = time.monotonic_ns()
        if self._delegate is None:
            model = self._engine.load(self._content, self._labels)
        else:
            model = self._load_on(self._delegate)
        self._facts["load_us"] = (time.monotonic_ns() - started_ns) // 1_000
        return model

    def _load_on(self, delegate: Delegate) -> Model:
        """One that only one process may have open is in use while the release before is served: that is no failure."""
        try:
            return self._engine.load(self._content, self._labels, 1, replace(delegate, required=True))
        except errors.IncompatibleError as error:
            if delegate.required and not delegate.exclusive:
                raise
            self._delegate = None
            self._notice = f"tried on the CPU: {error}"
            return self._engine.load(self._content, self._labels)

    def _check_interface(self, interface: Interface) -> None:
        declared = self._release.manifest.interface
        for part, digest in interface.declared().items():
            if declared.get(part) != digest:
                raise _FailedError("wrong-interface", f"the {part} are not those its bundle.json declares")

    def _check_golden(self, interpreter: Interpreter, interface: Interface, card: Card) -> list[Question]:
        """The golden inputs, all answered as expected; none where there are none."""
        described = self._release.manifest.golden
        if described is None:
            return []
        cases = golden.parse(self._golden, described, interface, card)
        self._facts["cases"] = len(cases)
        if described.expected == "labelled":
            at, _ = task.scores(card, interface)
            answers = ((self._answer(interpreter, case.question), case.label) for case in cases)
            self._check_right(
                sum(golden.top_class(interface, at, answer) == label for answer, label in answers), described
            )
            return [case.question for case in cases]
        worst_ppm = wrong = 0
        for case in cases:
            answer, expected = self._answer(interpreter, case.question), bytes(case.expected)
            ppm = golden.difference_ppm(interface, answer, expected)
            worst_ppm = max(worst_ppm, ppm)
            if described.compare == "top1":
                wrong += not golden.same_top1(interface, answer, expected)
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

    def _check_right(self, right: int, described: Golden) -> None:
        """No model is always right: of the cases that people labelled, a share must be."""
        self._facts["right"] = right
        if right < described.right_cases:
            raise _FailedError(
                "golden-mismatch",
                f"{right} of {described.cases} labelled golden cases were answered right, "
                f"{described.right_cases} must be",
            )

    def _check_repeats(self, model: Model, interpreter: Interpreter, question: Question) -> None:
        """The same input gives the same bytes; a model that keeps a state does so from its beginning."""
        if self._answer(interpreter, question) == self._answer(interpreter, question):
            return
        runs = []
        for _ in range(2):
            fresh = model.interpreter()
            runs.append([self._answer(fresh, question) for _ in range(3)])
        if runs[0] != runs[1]:
            raise _FailedError("golden-mismatch", "the same input is answered differently each time")

    def _compare_with_cpu(self, model: Model, questions: list[Question]) -> None:
        """How far the accelerator's answers are from the CPU's."""
        ours, theirs = model.interpreter(), self._engine.load(self._content, self._labels).interpreter()
        self._facts["delegate_ppm"] = max(
            golden.difference_ppm(model.signatures[""], self._answer(ours, question), self._answer(theirs, question))
            for question in questions
        )

    def _tune(self, question: Question, stateful: bool) -> Tuning:
        """A model that keeps a state has an interpreter for each connection, so there is none to add."""
        allowed = tuning.allowed_cpus()
        most = 1 if stateful or 2 * self._facts["memory_bytes"] > self._room_bytes else MOST_INTERPRETERS
        bench = tuning.ModelBench(self._interpreter, question, allowed)
        return tuning.choose(bench, allowed, tuning.fast_cpus(allowed), most)

    def _interpreter(self, threads: int) -> Interpreter:
        return self._engine.load(self._content, self._labels, threads, self._delegate).interpreter()

    def _answer(self, interpreter: Interpreter, question: Question, signature: str = "") -> bytes:
        result = interpreter.run(question, signature)
        if not result.finite:
            raise _FailedError("not-finite", "an output holds NaN or infinity")
        return result.data

    def _time(self, questions: list[Question], best: Tuning) -> int:
        """p95 of the invoke times, microseconds, run as it will be."""
        if best.cpus:
            tuning.pin(best.cpus)
        interpreter = self._interpreter(best.threads)
        interpreter.run(questions[0])
        times_us = []
        for number in range(TIMED_RUNS):
            started_ns = time.monotonic_ns()
            interpreter.run(questions[number % len(questions)])
            times_us.append((time.monotonic_ns() - started_ns) // 1_000)
        times_us.sort()
        self._facts["invoke_p50_us"] = times_us[TIMED_RUNS // 2]
        self._facts["invoke_p95_us"] = times_us[TIMED_RUNS * 95 // 100 - 1]
        return self._facts["invoke_p95_us"]

    def _check_limits(self, p95_us: int) -> None:
        """Limits were measured elsewhere: being over them here says as much about this device as of the release."""
        limits, took_bytes = self._release.manifest.limits, self._facts["memory_bytes"]
        if took_bytes > self._room_bytes:
            raise _FailedError(
                errors.NoRoomError.code, f"it takes {took_bytes} bytes, {self._room_bytes} are free", proven=False
            )
        if 0 < limits.memory_bytes < took_bytes:
            raise _FailedError(
                errors.LimitsError.code,
                f"it takes {took_bytes} bytes of memory, its own limit is {limits.memory_bytes}",
                proven=False,
            )
        if 0 < limits.p95_us < p95_us:
            raise _FailedError(
                errors.LimitsError.code, f"p95 is {p95_us} us here, its own limit is {limits.p95_us}", proven=False
            )


def _grown(since_bytes: int) -> int:
    """Bytes of memory that this process has taken at most, beyond those it had."""
    return max(0, memory.status("VmHWM") - since_bytes)


def random_input(interface: Interface) -> bytes:
    """An input for all tensors, the same each time: values in [0, 1) for floats, any bytes for narrow integers, and 0
    for wide ones, which may be indices.
    """
    import random  # only in the child: the host, which is there all the time, does without

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
