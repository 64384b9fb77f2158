"""A DETECT that is to be run, and what came of it. Only a worker that is asked one imports this.

Of its connection it touches the window, which no other run of that connection can touch meanwhile.
"""

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from agent.runtime.engine import Interpreter
from agent.runtime.worker.connection import Connection
from agent.runtime.worker.counters import mark
from agent.runtime.worker.inbox import Request
from agent.runtime.worker.runs import Inference
from agent.runtime.worker.sampler import Taken
from agent.runtime.worker.signature import Signature
from littoral.wire import query, vision

if TYPE_CHECKING:
    from agent.runtime.vision.pipeline import Prepared


def read(connection: Connection, request: Request) -> "Detection":
    """What the request asks for. Raises PictureError, ShareError, UnsupportedError."""
    # parse_detect only looks: it may as well look at the frame where it was received.
    body = cast(bytes, connection.inbox.body(request))
    detect = vision.parse_detect(query.Frame(query.Kind.DETECT, request.id, body))
    frame = detect.data if detect.place is None else connection.shares.view(detect.place, detect.size_bytes)
    return Detection(connection.signature, connection, request, detect, frame)


class Detection(Inference):
    """A DETECT. `question` is the frame until it is prepared."""

    __slots__ = ("_decoded_us", "_items", "_layout", "_options", "_pipeline", "_prepared_us", "_size", "_wanted")

    def __init__(
        self,
        signature: Signature,
        connection: Connection,
        request: Request,
        detect: vision.Detect,
        frame: bytes | memoryview,
    ) -> None:
        """Raises PictureError, UnsupportedError."""
        super().__init__(signature, connection, request, frame, detect.deadline_us)
        self._pipeline = signature.pipeline()
        self._layout = detect.layout
        self._wanted = replace(detect, data=frame, place=None, deadline_us=0)
        self._options = vision.parse_options(bytes(detect.options))
        self._items = (vision.ResultKind.NOTHING, 0, 0, b"")
        self._size = (0, 0)
        self._prepared_us = self._decoded_us = 0

    @property
    def repeatable(self) -> bool:
        return self._layout.format is not vision.Format.SAMPLES  # the window before it is here

    def again(self, id: int) -> bytes:
        return b"".join(vision.detect(self._wanted, id))

    def run(self, interpreter: Interpreter) -> None:
        try:
            started_ns = self.started()
            prepared = self._prepare()
            prepared_ns = time.monotonic_ns()
            self._prepared_us = (prepared_ns - started_ns) // 1_000
            if prepared is None:
                return
            self.question, self._size = prepared.data, (prepared.width, prepared.height)
            self.mark = mark(self.question)
            result = interpreter.run(self.question, self.signature.key)
            invoked_ns = time.monotonic_ns()
            self.invoked_us = (invoked_ns - prepared_ns) // 1_000
            items = self._pipeline.decode(result.data, prepared, self._options)
            self._items = (items.kind, items.item_bytes, items.count, items.data)
            self._decoded_us = (time.monotonic_ns() - invoked_ns) // 1_000
            self.result = result
        except Exception as error:
            self.error = error

    def answer(self, id: int) -> tuple[bytes, bytes | memoryview]:
        welcome = self.signature.welcome
        kind, item_bytes, count, items = self._items
        times_us = (self.queued_us, self._prepared_us, self.invoked_us, self._decoded_us)
        told = (*times_us, *self._size, kind, item_bytes, count, items)
        head, data = vision.result(vision.Result(welcome.interface.digest, welcome.release, welcome.stage, *told), id)
        return bytes(head), data

    def taken(self) -> Taken:
        """The frame, not what was made of it: another release may want it in another size."""
        taken = super().taken()
        if self._layout.format is vision.Format.SAMPLES:
            return taken
        sketch, keep = partial(self._pipeline.sketch, self._layout), partial(self._pipeline.keep, self._layout)
        return replace(taken, data=bytes(self._wanted.data), sketch=sketch, keep=keep)

    def _prepare(self) -> "Prepared | None":
        """None while another hop of the window is not complete."""
        if self._layout.format is not vision.Format.SAMPLES:
            return self._pipeline.prepare(self._layout, self.question)
        so_far = self.connection.window
        self.connection.window, prepared = self._pipeline.window(so_far, self._layout, self.question)
        return prepared
