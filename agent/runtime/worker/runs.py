"""One request that is to be run, and what came of it: an INFER here, a DETECT in detection.py.

A run happens in the worker's loop or in a thread of its pool. It touches nothing but itself and its interpreter.
"""

import time
from struct import Struct

from agent.runtime.engine import Interpreter, Result
from agent.runtime.engines.finite import Finite
from agent.runtime.worker.connection import Connection
from agent.runtime.worker.counters import mark
from agent.runtime.worker.inbox import Request
from agent.runtime.worker.sampler import Taken
from agent.runtime.worker.signature import Signature
from littoral import errors
from littoral.wire import query
from littoral.wire.query import MAGIC, VERSION

LONGEST_US = 0xFFFF_FFFF  # that a field of ANSWER holds
HALF_US = 500  # ns: invoke times are rounded, as those of tiny models are a few microseconds
_HEAD_BYTES = query.ANSWER_HEAD.size
_KIND = int(query.Kind.ANSWER)
_ANSWER = Struct(query.HEADER.format + query.ANSWER_HEAD.format[1:])


def answer_head(welcome: query.Welcome, id: int, size_bytes: int, queued_us: int, invoked_us: int) -> bytes:
    """An ANSWER up to its data, in one piece."""
    if queued_us > LONGEST_US or invoked_us > LONGEST_US:
        queued_us, invoked_us = min(queued_us, LONGEST_US), min(invoked_us, LONGEST_US)
    size_bytes += _HEAD_BYTES
    return _ANSWER.pack(MAGIC, VERSION, _KIND, size_bytes, id, welcome.release, queued_us, invoked_us, welcome.stage)


class Inference:
    """An INFER. `question`: what the model was given; `mark`: what counters.py tells it apart by. `result`: what it
    gave; None before, and where `error` says why there is none. Times are microseconds.

    begun_ns: when an interpreter began with it; 0 before. done: a thread has ended it. What the understudy does with
    it: `asked`, it has it now; `refusal`, the code of the error it answered with; `answered`, its answer was sent, and
    nobody waits for this one.
    """

    __slots__ = (
        "answered",
        "asked",
        "begun_ns",
        "connection",
        "deadline_us",
        "done",
        "error",
        "id",
        "invoked_us",
        "mark",
        "question",
        "queued_us",
        "received_ns",
        "refusal",
        "result",
        "signature",
    )

    def __init__(
        self,
        signature: Signature,
        connection: Connection,
        request: Request,
        question: bytes | memoryview,
        deadline_us: int,
    ) -> None:
        self.signature = signature
        self.connection = connection
        self.id = request.id
        self.received_ns = request.received_ns
        self.question = question
        self.deadline_us = deadline_us
        self.queued_us = 0
        self.invoked_us = 0
        self.mark = b""
        self.result: Result | None = None
        self.error: Exception | None = None
        self.begun_ns = 0
        self.done = self.asked = self.answered = False
        self.refusal = ""

    @property
    def failed(self) -> bool:
        """Whether the release is to blame for what came of it."""
        if self.result is not None:
            return not self.sound
        return isinstance(self.error, errors.InferenceError)

    @property
    def sound(self) -> bool:
        """Whether its answer is finite, or what it was asked was not finite either."""
        assert self.result is not None
        return self.result.finite or not self._is_finite()

    @property
    def repeatable(self) -> bool:
        """Whether another worker would answer the same to it."""
        return True

    def again(self, id: int) -> bytes:
        """The whole frame for another worker: under this id, without a deadline, with all its bytes in it."""
        return b"".join(query.infer(query.Infer(self.signature.welcome.interface.digest, self.question), id))

    def run(self, interpreter: Interpreter) -> None:
        """Raises nothing: what went wrong is in `error`."""
        try:
            started_ns = self.started()
            self.mark = mark(self.question)
            self.result = interpreter.run(self.question, self.signature.key)
            self.invoked_us = (time.monotonic_ns() - started_ns + HALF_US) // 1_000
        except Exception as error:
            self.error = error

    def answer(self, id: int) -> tuple[bytes, bytes | memoryview]:
        """(the frame up to its data, its data) under this id."""
        assert self.result is not None
        data = self.result.data
        return answer_head(self.signature.welcome, id, len(data), self.queued_us, self.invoked_us), data

    def taken(self) -> Taken:
        """What is kept of an answered request, copied: to be asked before its bytes are given up."""
        assert self.result is not None
        interface = self.signature.welcome.interface
        return Taken(self.connection.uid, interface, bytes(self.question), self.result.data)

    def _is_finite(self) -> bool:
        """Whether what it was asked is."""
        return Finite(self.signature.welcome.interface.inputs)(bytes(self.question))

    def started(self) -> int:
        """When, in nanoseconds. Raises DeadlineError."""
        started_ns = self.begun_ns = time.monotonic_ns()
        queued_us = self.queued_us = (started_ns - self.received_ns) // 1_000
        if 0 < self.deadline_us < queued_us:
            raise errors.DeadlineError(f"after {queued_us} us in the queue, with {self.deadline_us} us allowed")
        return started_ns
