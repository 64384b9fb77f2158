"""Asks models one question after the other, through the real socket, exactly as an app does: those that are watched
again and again, others once.

A process that lives may still answer nobody. The asking is done by one small thread, since it waits for answers;
results are taken by poll().
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from littoral import client
from littoral.errors import DeadlineError, LittoralError, UnreachableError

TIMEOUT_S = 10.0  # above any inference that makes sense on a device, so that slow is not taken for dead
STOP_TIMEOUT_S = 2.0
RUNTIME_AWAY = "runtime-away"  # the host itself does not answer: no fault of the release
OTHER_RELEASE = "other-release"


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What came of one question. `release` is the one that was watched; code and text say why it is not ok.

    micros: from before the connection to after the answer. once: ask() asked it. model "": only whether the runtime
    answers for itself.
    """

    model: str
    release: int
    ok: bool
    code: str
    text: str
    micros: int
    once: bool = False


@dataclass(slots=True, eq=False)
class _Watched:
    """One model that is asked until further notice."""

    model: str
    release: int
    golden: Path | None
    due_s: float
    once: bool = False


class CanaryAsker:
    """Asks each watched model every `every_s` seconds, the first time at once.

    `wake` is called from another thread whenever poll() has something to give; it must be quick.
    """

    def __init__(self, socket: str, every_s: float, wake: Callable[[], None], timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket
        self._every_s = every_s
        self._wake = wake
        self._timeout_s = timeout_s
        self._watched: dict[str, _Watched] = {}
        self._asked: deque[_Watched] = deque()  # by ask(), and not answered yet
        self._results: deque[tuple[_Watched, CanaryResult]] = deque()
        self._changed = threading.Condition()
        self._running = False
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def start(self) -> None:
        self._running = True
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; one that waits for an answer is left behind after a moment."""
        if not self._running:
            return
        with self._changed:
            self._running = False
            self._changed.notify()
        self._thread.join(STOP_TIMEOUT_S)

    def watch(self, model: str, release: int, golden: Path | None) -> None:
        """Asks `model` from now on, and expects `release` to answer.

        The question is the first input of the golden vectors in the file `golden`, zeros where there is none.
        """
        with self._changed:
            self._watched[model] = _Watched(model, release, golden, time.monotonic())
            self._changed.notify()

    def unwatch(self, model: str) -> None:
        """Asks `model` no more; results that were not taken yet are dropped."""
        with self._changed:
            self._watched.pop(model, None)

    def ask(self, model: str, release: int, golden: Path | None) -> None:
        """Asks one question of `model`, once; "": only whether the runtime answers for itself."""
        with self._changed:
            self._asked.append(_Watched(model, release, golden, time.monotonic(), once=True))
            self._changed.notify()

    @property
    def watched(self) -> frozenset[str]:
        """The models that are asked again and again."""
        return frozenset(self._watched)

    def poll(self) -> list[CanaryResult]:
        """Results since the last call: of models that are still watched, and of those that were asked once."""
        results = []
        while self._results:
            watched, result = self._results.popleft()
            if watched.once or self._watched.get(watched.model) is watched:
                results.append(result)
        return results

    def _run(self) -> None:
        while (watched := self._next()) is not None:
            result = self._ask(watched)
            watched.due_s = time.monotonic() + self._every_s
            self._results.append((watched, result))
            with contextlib.suppress(OSError):  # a pipe that is full has woken the reader already
                self._wake()

    def _next(self) -> _Watched | None:
        """Waits for the next model that is due; None once stop() was called."""
        with self._changed:
            while self._running:
                first = min(self._watched.values(), key=lambda watched: watched.due_s, default=None)
                wait_s = None if first is None else first.due_s - time.monotonic()
                if first is not None and wait_s is not None and wait_s <= 0:
                    return first
                if self._asked:
                    return self._asked.popleft()
                self._changed.wait(wait_s)
        return None

    def _ask(self, watched: _Watched) -> CanaryResult:
        began = time.monotonic()
        code, text = "", ""
        if not watched.model:
            code, text = ("", "") if self._runtime_answers() else (RUNTIME_AWAY, "it does not answer for itself")
            return CanaryResult("", 0, not code, code, text, round((time.monotonic() - began) * 1e6), once=True)
        try:
            with client.Client(watched.model, self._socket, timeout_s=self._timeout_s, name="canary") as asked:
                answer = asked.infer(_question(watched.golden, asked.interface.input_bytes))
            if answer.release != watched.release:
                code, text = OTHER_RELEASE, f"release {answer.release} answered, not {watched.release}"
        except (DeadlineError, UnreachableError) as error:
            code, text = (error.code, error.cause) if self._runtime_answers() else (RUNTIME_AWAY, error.cause)
        except (LittoralError, OSError, ValueError) as error:
            code, text = getattr(error, "code", "canary-error"), getattr(error, "cause", repr(error))
        micros = round((time.monotonic() - began) * 1e6)
        return CanaryResult(watched.model, watched.release, not code, code, text, micros, watched.once)

    def _runtime_answers(self) -> bool:
        """Whether the runtime host answers for itself; if so, silence is the release's own."""
        try:
            client.models(self._socket, timeout_s=self._timeout_s)
        except LittoralError:
            return False
        return True


def _question(golden: Path | None, size_bytes: int) -> bytes:
    """The inputs of the first golden case, which stand at the beginning of the file. Raises OSError."""
    if golden is None:
        return bytes(size_bytes)
    with golden.open("rb") as file:
        data = file.read(size_bytes)
    return data if len(data) == size_bytes else bytes(size_bytes)
