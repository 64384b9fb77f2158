from __future__ import annotations

from agent.runtime.worker import counters, scenes
from agent.runtime.worker.counters import Tally


def test_the_same_answer_to_distinct_inputs_makes_a_run() -> None:
    tally = Tally()
    for question in (b"a", b"b", b"c"):
        tally.answered(question, b"same", 10, True)
    assert (tally.run_answers, tally.run_inputs, tally.longest_run_inputs) == (3, 3, 3)


def test_the_same_answer_to_the_same_input_spans_one_input() -> None:
    tally = Tally()
    for _ in range(5):
        tally.answered(b"a", b"same", 10, True)
    assert (tally.run_answers, tally.run_inputs) == (5, 1)


def test_another_answer_ends_the_run_and_the_longest_is_kept() -> None:
    tally = Tally()
    for question in (b"a", b"b", b"c"):
        tally.answered(question, b"same", 10, True)
    tally.answered(b"d", b"other", 10, True)
    assert (tally.run_answers, tally.run_inputs, tally.longest_run_inputs) == (1, 1, 3)
    tally.answered(b"a", b"other", 10, True)
    assert (tally.run_answers, tally.run_inputs, tally.longest_run_inputs) == (2, 2, 3)


def test_an_empty_first_answer_begins_a_run_too() -> None:
    tally = Tally()
    tally.answered(b"a", b"", 10, True)
    tally.answered(b"b", b"", 10, True)
    assert (tally.run_answers, tally.run_inputs) == (2, 2)


def test_distinct_inputs_are_counted_up_to_a_thousand() -> None:
    tally = Tally()
    for number in range(scenes.MOST_INPUTS + 50):
        tally.answered(number.to_bytes(4, "little"), b"same", 10, True)
    assert tally.run_inputs == scenes.MOST_INPUTS
    assert tally.run_answers == scenes.MOST_INPUTS + 50


def test_the_histogram_has_powers_of_two() -> None:
    tally = Tally()
    for invoked_us in (0, 1, 2, 3, 4, 1023, 1024, 2**40):
        tally.answered(b"a", b"b", invoked_us, True)
    assert [tally.histogram[i] for i in (0, 1, 2, 9, 10, 31)] == [2, 2, 1, 1, 1, 1]


def test_late_and_invalid_answers_are_counted() -> None:
    tally = Tally(late_us=100)
    for invoked_us, finite in ((100, True), (101, True), (5, False)):
        tally.answered(b"a", b"b", invoked_us, finite)
    assert (tally.late, tally.invalid, tally.answers) == (1, 1, 3)


def test_without_a_limit_nothing_is_late() -> None:
    tally = Tally()
    tally.answered(b"a", b"b", 10**9, True)
    assert tally.late == 0


def test_an_error_is_no_answer() -> None:
    tally = Tally()
    tally.failed()
    assert (tally.errors, tally.answers, sum(tally.histogram)) == (1, 0, 0)


def test_a_failure_begins_a_run_where_the_one_before_it_was_an_answer() -> None:
    tally = Tally()
    for after in (False, True, True, None, False):  # one answer each of another connection goes before them
        tally.answered(b"a", b"b", 10, True)
        tally.failed(after)
    assert (tally.errors, tally.error_runs) == (5, 3)


def test_a_moment_in_which_all_connections_fail_is_one_run() -> None:
    tally = Tally()
    tally.answered(b"a", b"b", 10, True)
    for after in (False, False, None, True, False):
        tally.failed(after)
    assert (tally.errors, tally.error_runs) == (5, 1)


def test_a_first_failure_of_a_connection_goes_by_what_came_before_it_anywhere() -> None:
    tally = Tally()
    tally.failed(None)
    tally.failed(None)
    assert tally.error_runs == 1
    tally.answered(b"a", b"b", 10, True)
    tally.failed(None)
    tally.failed(None)
    assert (tally.errors, tally.error_runs) == (4, 2)


class Counted:
    """Tells inputs apart by their first byte, and looks at every third answer of a run."""

    look_every = 3

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.looked = 0

    def __len__(self) -> int:
        return len(self.seen)

    def clear(self) -> None:
        self.seen.clear()

    def add(self, mark: bytes) -> None:
        self.looked += 1
        self.seen.add(mark[0])


def test_inputs_are_looked_at_as_often_as_they_ask_for_and_only_within_a_run() -> None:
    inputs = Counted()
    tally = Tally(inputs=inputs)
    for number in range(100):
        tally.answered(bytes([number]), bytes([number]), 10, True)
    assert inputs.looked == 0
    for number in range(12):
        tally.answered(bytes([number]), b"same", 10, True)
    assert inputs.looked == 1 + 12 // 3
    assert (tally.run_answers, tally.run_inputs) == (12, 5)
    tally.answered(b"x", b"other", 10, True)
    assert (tally.run_inputs, tally.longest_run_inputs, len(inputs)) == (1, 5, 0)


def test_long_inputs_are_told_apart_by_samples_and_short_ones_by_every_byte() -> None:
    short, long = bytes(counters.WHOLE_BYTES), bytes(150_528)
    assert counters.mark(short) != counters.mark(short[:-1] + b"x")
    assert counters.mark(long) == counters.mark(bytes(long))
    assert counters.mark(long) != counters.mark(bytes([1] * len(long)))
    assert len(counters.mark(long)) < 1_000


def test_a_mark_is_a_copy() -> None:
    question = bytearray(b"question")
    mark = counters.mark(memoryview(question))
    question[:] = b"overtake"
    assert mark == b"question"
