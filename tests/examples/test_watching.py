"""How the demo counts what its camera app saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from examples.demo.watching import served


def watch(spans: Sequence[tuple[int, int, int]], **counts: int) -> dict[str, Any]:
    """A device as the camera app tells it; spans are (release, answers, slowest_us)."""
    asked = sum(answers for _, answers, _ in spans)
    told = [dict(zip(("release", "answers", "slowest_us"), span, strict=True)) for span in spans]
    return {"asked": asked, "refused": 0, "dropped": 0, "reconnected": 0, **counts, "spans": told}


BEFORE = {"edge-1": watch([(1, 50, 900)]), "edge-2": watch([(1, 40, 800)])}


def in_order(*releases: int) -> dict[str, Sequence[int]]:
    """On both devices."""
    return dict.fromkeys(BEFORE, releases)


def test_devices_may_see_releases_of_their_own() -> None:
    after = {"edge-1": watch([(1, 60, 900)]), "edge-2": watch([(1, 41, 800), (2, 5, 1), (1, 3, 1)])}
    assert served(BEFORE, after, {"edge-1": (1,), "edge-2": (1, 2, 1)}).out_of_order == 0
    assert served(BEFORE, after, in_order(1)).out_of_order == 8


def test_a_switch_in_order_disturbs_nobody() -> None:
    after = {"edge-1": watch([(1, 60, 900), (2, 30, 400)]), "edge-2": watch([(1, 55, 1200), (2, 20, 300)])}
    service = served(BEFORE, after, in_order(1, 2))
    assert service.undisturbed
    assert service.asked == 75
    assert service.by_release == {1: 25, 2: 50}


def test_only_waits_since_the_mark_count() -> None:
    after = {"edge-1": watch([(1, 60, 900), (2, 30, 400)]), "edge-2": watch([(1, 55, 800), (2, 20, 300)])}
    assert served(BEFORE, after, in_order(1, 2)).slowest_us == 400
    after["edge-2"] = watch([(1, 55, 1200), (2, 20, 300)])
    assert served(BEFORE, after, in_order(1, 2)).slowest_us == 1200


def test_answers_of_a_release_that_came_back_uncalled_are_out_of_order() -> None:
    after = {
        "edge-1": watch([(1, 60, 900), (2, 3, 1), (1, 4, 1), (2, 9, 1)]),
        "edge-2": watch([(1, 41, 800), (2, 5, 1)]),
    }
    assert served(BEFORE, after, in_order(1, 2)).out_of_order == 13


def test_a_release_that_never_answered_is_missed() -> None:
    after = {"edge-1": watch([(1, 60, 900), (2, 3, 1)]), "edge-2": watch([(1, 41, 800)])}
    service = served(BEFORE, after, in_order(1, 2))
    assert service.out_of_order == 1
    assert not service.undisturbed


def test_a_rollback_is_in_order_where_it_was_to_come() -> None:
    after = {name: watch([(1, 60, 900), (2, 3, 1), (1, 4, 1)]) for name in BEFORE}
    assert served(BEFORE, after, in_order(1, 2, 1)).out_of_order == 0
    assert served(BEFORE, after, in_order(1, 2)).out_of_order == 8


def test_whatever_was_refused_dropped_or_asked_again_disturbs() -> None:
    for count in ("refused", "dropped", "reconnected"):
        after = {name: watch([(1, 60, 900)], **{count: 1}) for name in BEFORE}
        service = served(BEFORE, after, in_order(1))
        assert not service.undisturbed
        assert getattr(service, count) == 2
