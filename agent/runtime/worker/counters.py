"""What one worker has done: counts, a histogram of invoke times, and how long it has answered the same thing."""

import math

from agent.runtime.worker.scenes import SAMPLES, Bytewise, Inputs

BUCKETS = 32
WHOLE_BYTES = 4_096  # of inputs up to here the mark is every byte, of longer ones samples


class Tally:
    """The counts of one worker since it started. agent/control.py, Counters, says what each one means."""

    __slots__ = (
        "_answer",
        "_by_bits",
        "_failed_after",
        "_first_mark",
        "_inputs",
        "_late_us",
        "_looked",
        "busy",
        "error_runs",
        "errors",
        "excused",
        "expired",
        "invalid",
        "invoked_us",
        "late",
        "longest_run_inputs",
        "outdone",
        "overtaken",
        "queued_us",
        "received",
        "replaced",
        "run_answers",
        "run_inputs",
        "votes",
        "votes_bad",
    )

    def __init__(self, late_us: int = 0, inputs: Inputs | None = None) -> None:
        """An answer over late_us is late; 0: none is. inputs: tells them apart."""
        self.received = self.outdone = self.overtaken = self.excused = 0
        self.error_runs = self.errors = self.invalid = self.late = self.busy = self.replaced = self.expired = 0
        self.queued_us = self.invoked_us = 0
        self.run_answers = self.run_inputs = self.longest_run_inputs = 0
        self.votes = self.votes_bad = 0
        self._late_us = late_us or math.inf
        self._by_bits = [0] * 65  # answers by the bits of their invoke time: the histogram, and how many there were
        self._answer: bytes | None = None  # of the present run
        self._first_mark = b""  # of the present run
        self._inputs: Inputs = Bytewise() if inputs is None else inputs  # of the present run, once it was looked at
        self._looked = False  # at an input of the present run
        self._failed_after = -1  # answers given before the last error

    @property
    def answers(self) -> int:
        return sum(self._by_bits)

    @property
    def histogram(self) -> list[int]:
        """Answers by invoke time: bucket i holds 2^i <= us < 2^(i+1)."""
        bits = self._by_bits
        return [bits[0] + bits[1], *bits[2:BUCKETS], sum(bits[BUCKETS:])]

    def answered(self, mark: bytes, answer: bytes, invoked_us: int, finite: bool, queued_us: int = 0) -> None:
        """Counts one answer. mark: of its input."""
        self._by_bits[invoked_us.bit_length()] += 1
        self.invoked_us += invoked_us
        if queued_us:
            self.queued_us += queued_us
        if not finite:
            self.invalid += 1
        if invoked_us > self._late_us:
            self.late += 1
        if answer == self._answer:
            self._same_again(mark)
            return
        self._answer = answer
        self._first_mark = mark
        self.run_answers = self.run_inputs = 1
        if self._looked:
            self._looked = False
            self._inputs.clear()
        elif not self.longest_run_inputs:
            self.longest_run_inputs = 1

    def failed(self, after: bool | None = None) -> None:
        """Counts one request that the engine could not run. after: whether the one before it on its connection failed,
        None where it is the first there. It begins a run where neither that one failed nor the one before it of all: a
        moment in which all clients are failed is one run, and so are the failures of a client that connects anew for
        each request.
        """
        self.errors += 1
        answers = self.answers
        if not after and answers != self._failed_after:
            self.error_runs += 1
        self._failed_after = answers

    def counts(self) -> dict[str, int | list[int]]:
        """The fields that Counters of agent/control.py takes, but for those of the moment."""
        return {
            "answers": self.answers,
            "error_runs": self.error_runs,
            "errors": self.errors,
            "invalid": self.invalid,
            "late": self.late,
            "busy": self.busy,
            "replaced": self.replaced,
            "expired": self.expired,
            "outdone": self.outdone,
            "overtaken": self.overtaken,
            "excused": self.excused,
            "queued_us": self.queued_us,
            "invoked_us": self.invoked_us,
            "run_answers": self.run_answers,
            "run_inputs": self.run_inputs,
            "longest_run_inputs": self.longest_run_inputs,
            "votes": self.votes,
            "votes_bad": self.votes_bad,
            "histogram": self.histogram,
        }

    def _same_again(self, mark: bytes) -> None:
        self.run_answers += 1
        inputs = self._inputs
        if self.run_answers % inputs.look_every:
            return
        if not self._looked:  # none is looked at while answers differ
            self._looked = True
            inputs.add(self._first_mark)
        inputs.add(mark)
        if len(inputs) > self.run_inputs:
            self.run_inputs = len(inputs)
            self.longest_run_inputs = max(self.longest_run_inputs, self.run_inputs)


def mark(question: bytes | memoryview) -> bytes:
    """What tells an input apart from others; a copy. To be taken before the model runs, while caches still hold it.

    Of a long input only samples: to read all of a camera's frame again would cost more than to answer it, and two
    frames of a live sensor do not agree in all samples.
    """
    size = len(question)
    if size <= WHOLE_BYTES:
        return bytes(question)
    words = memoryview(question)[: size // 8 * 8].cast("Q")  # as scenes.samples does it, without a call
    return words[:: len(words) // SAMPLES - 1 | 1].tobytes()
