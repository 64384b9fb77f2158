"""What apps wrote: bounded, and told once in a while."""

from __future__ import annotations

from agent.control import MAX_NOTE, MOST_NOTES
from agent.runtime.host.notes import EVERY_S, Notes


def noted(*notes: object) -> Notes:
    made = Notes()
    made.take(notes)
    return made


def test_the_first_note_is_told_at_once_and_once() -> None:
    notes = noted("a")
    assert notes.news(1_000.0) == ("a",)
    assert notes.news(1_000.0 + 2 * EVERY_S) == ()


def test_later_ones_are_told_together_when_it_is_time() -> None:
    notes = noted("a")
    notes.news(1_000.0)
    notes.take(["a", "b"])
    assert notes.news(1_000.0 + EVERY_S - 1) == ()
    notes.take(["a", "b", "c"])
    assert notes.news(1_000.0 + EVERY_S) == ("a", "b", "c")


def test_who_comes_later_is_told_at_once() -> None:
    notes = noted("a")
    notes.news(1_000.0)
    notes.forget_told()
    assert notes.news(1_000.0) == ("a",)


def test_no_worker_has_more_or_longer_notes_kept() -> None:
    assert noted(*"abcde", "x" * 1_000).newest == ("d", "e", "x" * MAX_NOTE)
    assert len(noted(*range(9)).newest) == MOST_NOTES


def test_without_notes_nothing_is_told() -> None:
    assert Notes().news(1_000.0) == ()
