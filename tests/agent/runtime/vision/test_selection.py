"""Selection: against a plain and slow reading of the same rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.vision.items import Found
from agent.runtime.vision.selection import MAX_CANDIDATES, Wanted, passing, select, want
from littoral.errors import PictureError
from littoral.wire.vision import Options
from tests.agent.runtime.vision.scene import PICTURE, task_of

BOX = st.tuples(*[st.integers(0, 20)] * 4)
THING = st.tuples(st.integers(-1, 3), st.integers(0, 10), BOX)


def found_of(things: list[tuple[int, float, tuple[float, ...]]]) -> Found:
    labels, scores, boxes = zip(*things, strict=True) if things else ((), (), ())
    return Found(
        np.array(labels, np.int64), np.array(scores, np.float32), np.array(boxes, np.float32).reshape(len(things), 4)
    )


def area(box: tuple[float, ...]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


@settings(deadline=None)
@given(
    things=st.lists(THING, max_size=30),
    threshold=st.integers(0, 10),
    limit=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    top=st.integers(1, 10),
    labels=st.none() | st.lists(st.integers(0, 3), min_size=1),
)
def test_the_better_of_two_that_overlap_stays(
    things: list[tuple[int, int, tuple[int, ...]]], threshold: int, limit: float, top: int, labels: list[int] | None
) -> None:
    things = [(label, score, (min(x, z), min(y, w), max(x, z), max(y, w))) for label, score, (x, y, z, w) in things]
    wanted = Wanted(threshold / 10, limit, top, None if labels is None else np.array(labels, np.int64))
    chosen = select(found_of([(label, score / 10, box) for label, score, box in things]), wanted)

    left = [t for t in things if t[1] >= threshold and t[0] >= 0 and (labels is None or t[0] in labels)]
    left.sort(key=lambda thing: -thing[1])
    kept: list[tuple[int, int, tuple[int, ...]]] = []
    for one in left:
        if not any(other[0] == one[0] and overlap(one[2], other[2]) > limit for other in kept):
            kept.append(one)
    assert [(int(label), tuple(box)) for label, box in zip(chosen.labels, chosen.boxes.tolist(), strict=True)] == [
        (label, tuple(map(float, box))) for label, _, box in kept[:top]
    ]


def test_nothing_among_nothing_is_nothing() -> None:
    assert len(select(found_of([]), Wanted(0, 0.5, 5, None)).scores) == 0


def test_nan_reaches_no_threshold() -> None:
    wanted = Wanted(0.0, 0.5, 5, None)
    assert passing(np.arange(2), np.array([np.nan, 0.1], np.float32), wanted).tolist() == [1]


def test_a_threshold_that_lets_everything_through_costs_a_bounded_time() -> None:
    many = MAX_CANDIDATES + 10
    boxes = (
        np.tile(np.array([0, 0, 1, 1], np.float32), (many, 1)) + np.arange(many, dtype=np.float32)[:, np.newaxis] * 2
    )
    found = Found(np.zeros(many, np.int64), np.linspace(0, 1, many, dtype=np.float32), boxes)
    chosen = select(found, Wanted(0.0, 0.5, many, None))
    assert len(chosen.scores) == MAX_CANDIDATES
    assert chosen.scores[0] == 1.0


def test_what_a_request_leaves_out_is_as_the_card_says() -> None:
    card = PICTURE + '[[output]]\ndecoder = "classification"\nthreshold = "0.25"\ntop = 3'
    asked = task_of(card, labels="a b c d")
    default, own = want(asked, Options()), want(asked, Options(threshold=0.0, top=1, labels=("d", "b")))
    assert (default.threshold, default.top, default.labels) == (0.25, 3, None)
    assert own.labels is not None
    assert (own.threshold, own.top, own.labels.tolist()) == (0.0, 1, [1, 3])


def test_a_label_that_the_model_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(PictureError, match="'cow'"):
        want(task_of(PICTURE, labels="a b c d"), Options(labels=("a", "cow")))
