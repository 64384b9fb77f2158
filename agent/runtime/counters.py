"""What one worker has done: counts, a histogram of invoke times, and how long it has answered the same thing."""

import zlib
from dataclasses import dataclass, field

BUCKETS = 32
MAX_DISTINCT = 1_000  # inputs told apart within one run of equal answers


@dataclass(slots=True)
class Tally:
    """The counts of one worker since it started. agent/control.py, Counters, says what each one means."""

    late_us: int = 0  # an answer over it is late; 0: none is
    answers: int = 0
    errors: int = 0
    invalid: int = 0
    late: int = 0
    run_answers: int = 0
    run_inputs: int = 0
    longest_run_inputs: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    _last_answer: bytes = b""
    _first_input: bytes | memoryview = b""
    _inputs: set[int] = field(default_factory=set)

    def answered(self, question: bytes | memoryview, answer: bytes, invoked_us: int, finite: bool) -> None:
        """Counts one answer. `question` is kept until another answer is given: it must not change."""
        self.answers += 1
        self.invalid += not finite
        self.late += 0 < self.late_us < invoked_us
        self.histogram[min(max(invoked_us.bit_length() - 1, 0), BUCKETS - 1)] += 1
        if self.run_answers and answer == self._last_answer:
            self._same_again(question)
        else:
            self._last_answer, self._first_input = answer, question
            self._inputs.clear()
            self.run_answers = self.run_inputs = 1
        self.longest_run_inputs = max(self.longest_run_inputs, self.run_inputs)

    def failed(self) -> None:
        """Counts one request that the engine could not run."""
        self.errors += 1

    def counts(self) -> dict[str, int | list[int]]:
        """The fields that Counters of agent/control.py takes."""
        return {
            "answers": self.answers,
            "errors": self.errors,
            "invalid": self.invalid,
            "late": self.late,
            "run_answers": self.run_answers,
            "run_inputs": self.run_inputs,
            "longest_run_inputs": self.longest_run_inputs,
            "histogram": list(self.histogram),
        }

    def _same_again(self, question: bytes | memoryview) -> None:
        self.run_answers += 1
        if len(self._inputs) >= MAX_DISTINCT:
            return
        if not self._inputs:  # digests cost time: none is made while answers differ
            self._inputs.add(zlib.crc32(self._first_input))
            self._first_input = b""
        self._inputs.add(zlib.crc32(question))
        self.run_inputs = len(self._inputs)
