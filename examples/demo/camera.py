"""A camera app: asks every device about ten times a second what is in the picture, and counts what comes of it.

    python -m examples.demo.camera --model M --status F NAME=SOCKET...

The pictures are real photographs as a moving camera would see them. `--status` is a JSON file, replaced as a whole four
times a second; `Watch` says what it holds of each device.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from examples.demo import assets
from littoral.client import Answer, Client
from littoral.errors import DeadlineError, LittoralError, UnreachableError

PERIOD_S = 0.1
STATUS_S = 0.25
TIMEOUT_S = 5.0
SCORE_OFFSET, SCORE_UNITS = 128, 256
"""The classifier's scores are int8 with scale 1/256 and zero point -128."""


@dataclass(slots=True)
class Span:
    """Answers of one release in a row. `slowest_us` is the longest that the app waited for one of them."""

    release: int
    answers: int = 0
    slowest_us: int = 0


@dataclass(slots=True)
class Watch:
    """What one device has done for the app so far.

    asked = answered + refused + dropped, and one more while a question is open. refused: the device answered that it
    will not; dropped: no answer came; reconnected: the connection was lost, and a question asked again over a new one.
    spans: which release answered, in order. seen: by photograph, the newest answer as [label, percent, release].
    """

    asked: int = 0
    answered: int = 0
    refused: int = 0
    dropped: int = 0
    reconnected: int = 0
    problem: str = ""
    spans: list[Span] = field(default_factory=list)
    seen: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    def note(self, subject: str, answer: Answer, label: str, score: int, waited_us: int) -> None:
        self.answered += 1
        if not self.spans or self.spans[-1].release != answer.release:
            self.spans.append(Span(answer.release))
        span = self.spans[-1]
        span.answers += 1
        span.slowest_us = max(span.slowest_us, waited_us)
        self.seen[subject] = (label, score, answer.release)


class Camera:
    """Looks through one device."""

    def __init__(self, model: str, socket: str, pictures: Sequence[tuple[str, bytes]]) -> None:
        self._watch = Watch()
        self._lock = threading.Lock()
        self._model = model
        self._socket = socket
        self._pictures = pictures

    def status(self) -> dict[str, Any]:
        with self._lock:
            return asdict(self._watch)

    def run(self, stop: threading.Event) -> None:
        """Asks until `stop` is set; connects again whenever the connection is lost."""
        number = 0
        while not stop.is_set():
            try:
                with Client(self._model, self._socket, timeout_s=TIMEOUT_S, name="demo camera") as client:
                    while not stop.is_set():
                        due = time.monotonic() + PERIOD_S
                        self._ask(client, *self._pictures[number % len(self._pictures)])
                        number += 1
                        stop.wait(max(0.0, due - time.monotonic()))
            except LittoralError as error:
                with self._lock:
                    self._watch.problem = str(error)
                stop.wait(PERIOD_S)

    def _ask(self, client: Client, subject: str, picture: bytes) -> None:
        began, connections = time.monotonic(), client.connections
        with self._lock:
            self._watch.asked += 1
        answer, error = None, None
        try:
            answer = client.infer(picture)
        except LittoralError as raised:
            error = raised
        waited_us = round((time.monotonic() - began) * 1e6)
        with self._lock:
            self._watch.reconnected += client.connections - connections
            if answer is not None:
                self._watch.note(subject, answer, *best(answer, client.labels), waited_us)
            elif isinstance(error, UnreachableError | DeadlineError):
                self._watch.dropped += 1
            else:
                self._watch.refused += 1
        if error is not None:
            raise error


def best(answer: Answer, labels: Sequence[str]) -> tuple[str, int]:
    """The label with the highest score, and that score in percent."""
    scores = memoryview(answer.data).cast("b").tolist()
    index = max(range(len(scores)), key=scores.__getitem__)
    return labels[index], round(100 * (scores[index] + SCORE_OFFSET) / SCORE_UNITS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.demo.camera", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--status", required=True, type=Path, metavar="F")
    parser.add_argument("devices", nargs="+", metavar="NAME=SOCKET")
    options = parser.parse_args()
    stop = threading.Event()
    # Blocked here, and so in every thread; the loop below takes them.
    ends = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    pictures = assets.frames(assets.ensure())
    cameras: dict[str, Camera] = {}
    for device in options.devices:
        name, _, socket = device.partition("=")
        cameras[name] = Camera(options.model, socket, pictures)
    threads = [threading.Thread(target=camera.run, args=[stop]) for camera in cameras.values()]
    for thread in threads:
        thread.start()
    while signal.sigtimedwait(ends, STATUS_S) is None:
        write_status(options.status, cameras)
    stop.set()
    for thread in threads:
        thread.join()
    write_status(options.status, cameras)


def write_status(path: Path, cameras: dict[str, Camera]) -> None:
    """Replaces the file as a whole, so that a reader never sees half of it."""
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps({name: camera.status() for name, camera in cameras.items()}))
    scratch.replace(path)


if __name__ == "__main__":
    main()
