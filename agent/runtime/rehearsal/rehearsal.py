"""A rehearsal, as its child runs it: both releases answer what the ring holds, and what was measured is reported.

Only one of the two is loaded at a time, so that it takes no more memory than a trial. Whose turn it is is told before
each step: if the process dies, its host knows of whom.
"""

import io
import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agent.runtime.engine import Delegate, Engine, Interpreter
from agent.runtime.host import memory
from agent.runtime.rehearsal import probes
from agent.runtime.rehearsal.answers import Reader
from agent.runtime.rehearsal.inputs import Inputs, Pixels, Prepared
from agent.runtime.rehearsal.measures import Answers, Measures, Sketches, measure, worst
from agent.runtime.rehearsal.probes import Probe
from agent.runtime.release import Release
from agent.runtime.ring import Kept, Kind
from agent.runtime.worker.sampler import inputs_digest, is_picture
from littoral import errors
from littoral.bundle import task
from littoral.bundle.task import Task
from littoral.tensors import Interface

STRIKES = 3  # errors where the baseline answers; one may be chance
AGAIN = 3  # inputs that are asked twice
TIMED_AGAIN = 16  # runs, where one release seems slower
SLOW = 1.5  # times the baseline's median, from which on it is measured again
ALIKE = 0.98  # skill from which on no fault has anything to explain
HELD_BYTES = 48 * 1024 * 1024  # of a release's inputs and answers; what is beyond is not asked
LEAST_TOLD = 2_048  # values of an input whose sketch of 64 may be told: of fewer it would show too much
LEAST_INPUTS = 16  # below which nothing is compared
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Subject:
    """One of the two releases, and how it runs."""

    name: str  # release, baseline
    release: Release
    delegate: Delegate | None
    threads: int


class _FoundError(Exception):
    """The rehearsal ends here: the release is bad, or nothing can be said (code "")."""

    def __init__(self, code: str, reason: str, proven: bool = True) -> None:
        super().__init__(reason)
        self.code = code
        self.proven = proven


class Side:
    """One release, loaded only between load() and unload(). What it is, is known once it was loaded."""

    def __init__(self, engine: Engine, subject: Subject) -> None:
        self.name = subject.name
        self.interface = Interface((), ())
        self.task: Task | None = None
        self.stateful = False
        self.prepared: dict[int, Prepared] = {}  # by the input's number
        self.outputs: dict[int, bytes] = {}  # of those that were answered
        self.failed: dict[int, list[str]] = {}  # why not, each time that it was asked
        self.not_finite: set[int] = set()
        self.times_us: list[float] = []
        self.memory_bytes = 0
        self._engine = engine
        self._subject = subject
        self._before_bytes = 0
        self._held_bytes = 0
        self._interpreter: Interpreter | None = None

    def load(self) -> None:
        subject = self._subject
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        self._before_bytes = memory.status("VmRSS")
        model = self._engine.load(
            subject.release.blob("model"), subject.release.labels(), max(1, subject.threads), subject.delegate
        )
        self.interface, self.stateful = model.signatures[""], model.stateful
        self.task = task.read(subject.release.card(), self.interface)
        self._interpreter = model.interpreter()

    def unload(self) -> None:
        took_bytes = memory.status("VmHWM") - self._before_bytes - self._held_bytes
        self.memory_bytes = max(self.memory_bytes, took_bytes)
        self._interpreter = None

    def answer(self, kept: dict[int, Kept], made_for: Interface, until: float) -> None:
        """Each input once, as far as the time reaches."""
        inputs = Inputs(self.interface, self.task, made_for)
        for number, each in kept.items():
            if time.monotonic() >= until or self._held_bytes >= HELD_BYTES:
                break
            try:
                prepared = inputs.of(each)
            except errors.PictureError:
                continue
            if prepared is not None:
                self.prepared[number] = prepared
                self._held_bytes += len(prepared[0])
                self._answer(number, prepared[0])

    def again(self, data: bytes) -> bytes | None:
        """One more run; None where it fails."""
        assert self._interpreter is not None
        try:
            result = self._interpreter.run(data)
        except errors.InferenceError:
            return None
        return result.data if result.finite else None

    def median_us(self, numbers: list[int], until: float) -> float:
        """Measured anew on some inputs, as far as the time reaches."""
        times: list[float] = []
        for number in numbers:
            if times and time.monotonic() >= until:
                break
            started_ns = time.monotonic_ns()
            self.again(self.prepared[number][0])
            times.append((time.monotonic_ns() - started_ns) / 1_000)
        return float(np.median(times))

    def read(self, outputs: list[bytes], numbers: list[int]) -> Answers:
        reader = Reader(self.interface, self.task)
        return reader.read(outputs, [self.prepared[number][1] for number in numbers])

    def _answer(self, number: int, data: bytes) -> None:
        assert self._interpreter is not None
        started_ns = time.monotonic_ns()
        try:
            result = self._interpreter.run(data)
        except errors.InferenceError as error:
            failed = self.failed.setdefault(number, [])
            failed.append(str(error))
            if len(failed) < STRIKES:
                self._answer(number, data)
            return
        if number in self.failed:
            return  # by chance
        self.times_us.append((time.monotonic_ns() - started_ns) / 1_000)
        if result.finite:
            self.outputs[number] = result.data
            self._held_bytes += len(result.data)
        else:
            self.not_finite.add(number)


class Rehearsal:
    """`facts` are those of control.Rehearsed, and fill up as it goes."""

    def __init__(
        self, engine: Engine, release: Subject, baseline: Subject, end: socket.socket, budget_s: float
    ) -> None:
        self._release, self._baseline = Side(engine, release), Side(engine, baseline)
        self._limits = release.release.manifest.limits
        self._end = end
        self._started = time.monotonic()
        self._budget_s = budget_s
        self.turn = ""  # of release or baseline; empty while neither is loaded
        self.facts: dict[str, Any] = {}

    def run(self, kept: dict[int, Kept]) -> None:
        """Raises _FoundError."""
        baseline, release = self._baseline, self._release
        with self._turn_of(baseline):
            kept = _readable(kept, baseline)
            baseline.answer(kept, baseline.interface, self._until(0.3))
        known = {number: each for number, each in kept.items() if number in baseline.prepared}
        with self._turn_of(release):
            if release.stateful or baseline.stateful:
                raise _FoundError("", "the model keeps a state between its inputs, so they cannot be asked one by one")
            release.answer(known, baseline.interface, self._until(0.6))
        self._check_hard()
        numbers = [number for number in release.outputs if number in baseline.outputs]
        self.facts |= {"inputs": len(numbers), "memory_bytes": release.memory_bytes}
        self._check_shown(known, numbers)
        sketches = np.frombuffer(b"".join(known[n].sketch for n in numbers), np.uint8).reshape(len(numbers), -1)
        self._compare(known, numbers, sketches)

    def _check_hard(self) -> None:
        """What is wrong whatever the baseline answers, as long as it does."""
        release, baseline = self._release, self._baseline
        if found := release.not_finite & baseline.outputs.keys():
            raise _FoundError("not-finite", f"{len(found)} answers hold NaN or infinity, the baseline's do not")
        failed = [whys for number, whys in release.failed.items() if number in baseline.outputs]
        if sum(map(len, failed)) >= STRIKES:
            raise _FoundError(
                errors.InferenceError.code, f"it fails on {len(failed)} inputs, the baseline does not: {failed[0][0]}"
            )
        if 0 < self._limits.memory_bytes < release.memory_bytes:
            raise _FoundError(
                errors.LimitsError.code,
                f"it takes {release.memory_bytes} bytes of memory, its own limit is {self._limits.memory_bytes}",
                proven=False,
            )

    def _check_shown(self, known: dict[int, Kept], numbers: list[int]) -> None:
        if not known:
            raise _FoundError("", "nothing was kept of what this model was asked")
        if known and not self._release.prepared:
            raise _FoundError("", "its inputs have another shape than those that were kept")
        if len(numbers) < LEAST_INPUTS:
            raise _FoundError("", f"{len(numbers)} inputs were answered by both; {LEAST_INPUTS} are needed")

    def _compare(self, known: dict[int, Kept], numbers: list[int], sketches: Sketches) -> None:
        release, baseline = self._release, self._baseline
        reader, theirs_by = Reader(release.interface, release.task), Reader(baseline.interface, baseline.task)
        theirs = baseline.read([baseline.outputs[n] for n in numbers], numbers)
        ours = release.read([release.outputs[n] for n in numbers], numbers)
        ours = reader.aligned(ours, baseline.interface.labels)
        self.facts["kind"] = theirs_by.kind
        if reader.kind != theirs_by.kind or ours.values.shape != theirs.values.shape:
            raise _FoundError("", "its answers are of another kind than the baseline's")
        measured = measure(ours, theirs, sketches, is_picture(baseline.interface.inputs[0]))
        self.facts |= told(measured)
        changed = self._changed(numbers, measured)
        found = [*probes.of_inputs(ours, theirs, lambda side, change: changed.get((side, change)))]
        if is_open(measured):
            found += probes.of_outputs(ours, theirs)
        self.facts["probes"] = told_probes(found)
        self.facts["worst"] = [
            {
                "sketch": sketches[index].tobytes().hex()
                if _values(known[numbers[index]], baseline) >= LEAST_TOLD
                else "",
                "baseline": theirs_by.told(theirs, index),
                "release": theirs_by.told(ours, index),
                "far_ppm": _ppm(part),
            }
            for index, part in worst(ours, theirs)
        ]

    def _changed(self, numbers: list[int], measured: Measures) -> dict[tuple[str, str], Answers]:
        """The answers of both to changed inputs, where a fault may explain something; and what else needs them loaded
        once more: the same inputs again, and the time where one seems slower.
        """
        changed: dict[tuple[str, str], Answers] = {}
        release, baseline = self._release, self._baseline
        ratio = float(np.median(release.times_us) / max(np.median(baseline.times_us), 1.0))
        theirs_us = 0.0
        if is_open(measured) or ratio > SLOW:
            with self._turn_of(baseline):
                if is_open(measured):
                    changed |= self._under_changes(baseline, numbers, self._until(0.8))
                theirs_us = baseline.median_us(numbers[:TIMED_AGAIN], self._until(1.1))
        with self._turn_of(release):
            self._check_steady(numbers)
            if is_open(measured):
                changed |= self._under_changes(release, numbers, self._until(1.0))
            if ratio > SLOW:
                ratio = min(ratio, release.median_us(numbers[:TIMED_AGAIN], self._until(1.2)) / max(theirs_us, 1.0))
        self.facts |= {"median_us": round(float(np.median(release.times_us))), "ratio_ppm": _ppm(ratio)}
        return changed

    def _under_changes(self, side: Side, numbers: list[int], until: float) -> dict[tuple[str, str], Answers]:
        data = [side.prepared[number][0] for number in numbers]
        pixels = Pixels(side.interface.inputs[0], side.task, data)
        reader, found = Reader(side.interface, side.task), {}
        for change in probes.CHANGES:
            outputs = []
            for each in data:
                shown = pixels.change(each, change) if time.monotonic() < until else None
                answer = None if shown is None else side.again(shown)
                if answer is None:
                    break
                outputs.append(answer)
            else:
                answers = side.read(outputs, numbers)
                found[side.name, change] = reader.aligned(answers, self._baseline.interface.labels)
        return found

    def _check_steady(self, numbers: list[int]) -> None:
        release = self._release
        for number in numbers[:AGAIN]:
            if release.again(release.prepared[number][0]) != release.outputs[number]:
                raise _FoundError("unsteady", "the same input is answered differently each time")

    @contextmanager
    def _turn_of(self, side: Side) -> Iterator[None]:
        """Has one of the two loaded meanwhile. Where the process dies of it, the host knows whose turn it was."""
        self.turn = side.name
        self._tell_turn()
        side.load()
        try:
            yield
        finally:
            side.unload()
        self.turn = ""
        self._tell_turn()

    def _tell_turn(self) -> None:
        self._end.sendall(json.dumps({"turn": self.turn}).encode())

    def _until(self, part: float) -> float:
        return self._started + part * self._budget_s


def run(
    end: socket.socket, engine: Engine, release: Subject, baseline: Subject, kept: dict[int, Kept], budget_s: float
) -> None:
    """The child: measures and reports."""
    started = time.monotonic()
    rehearsal = Rehearsal(engine, release, baseline, end, budget_s)
    code, reason, proven = "", "", False
    try:
        rehearsal.run(kept)
    except _FoundError as error:
        code, reason, proven = error.code, str(error), error.proven and bool(error.code)
    except errors.LittoralError as error:
        code, reason = error.code, str(error)
    except MemoryError:
        code, reason = errors.NoRoomError.code, "it does not fit into the memory it may take"
        if not rehearsal.turn:
            code, reason = "", "the answers of both do not fit into the memory that comparing them may take"
    except Exception as error:  # whatever it is, it is about the comparing, and says nothing of the release
        code, reason = "", f"they cannot be compared: {error!r}"[:200]
    facts = {**rehearsal.facts, "took_ms": round((time.monotonic() - started) * 1_000)}
    if code and rehearsal.turn == baseline.name:
        code, reason, proven = "", f"the baseline cannot be rehearsed: {reason}", False
    if reason and not code:
        facts["why"], reason = reason, ""
    end.sendall(json.dumps({"code": code, "reason": reason, "proven": proven, "facts": facts}).encode())


def _readable(kept: dict[int, Kept], baseline: Side) -> dict[int, Kept]:
    """Without tensors that were made for another interface than the baseline's."""
    made_for = inputs_digest(baseline.interface)
    return {number: each for number, each in kept.items() if each.kind is Kind.PICTURE or each.interface == made_for}


def _values(kept: Kept, baseline: Side) -> int:
    """Of which its sketch was made."""
    if kept.kind is Kind.PICTURE:
        with Image.open(io.BytesIO(kept.data)) as picture:
            return picture.width * picture.height * len(picture.getbands())
    return math.prod(baseline.interface.inputs[0].shape)


def is_open(measured: Measures) -> bool:
    """Whether there is something that a fault could explain."""
    return (measured.skill is not None and measured.skill < ALIKE) or bool(measured.disagreements)


def told(measured: Measures) -> dict[str, Any]:
    """As facts."""
    value = asdict(measured)
    skill, boxes, by_chance = value.pop("skill"), value.pop("boxes"), value.pop("by_chance")
    del value["is_detector"]
    value["constant"] = int(measured.constant)
    value["by_chance_milli"] = round(by_chance * 1_000)
    value |= {name: _ppm(part) for name, part in (("skill_ppm", skill), ("boxes_ppm", boxes)) if part is not None}
    return value


def told_probes(found: list[Probe]) -> list[dict[str, Any]]:
    return [{"name": p.name, "text": p.text, "skill_ppm": _ppm(p.skill), "fires": int(p.fires)} for p in found]


def _ppm(value: float) -> int:
    return round(max(-1e6, min(1e6, value)) * MILLION) if math.isfinite(value) else -MILLION * MILLION
