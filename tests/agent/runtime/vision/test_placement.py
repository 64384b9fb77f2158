"""Placement: where a frame lies in the model's picture, and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.vision.placement import place

SIDES = st.integers(1, 16_384)


def test_a_stretched_frame_fills_the_picture() -> None:
    placed = place("stretch", 640, 480, 320, 320)
    assert (placed.left, placed.top, placed.inner_width, placed.inner_height) == (0, 0, 320, 320)
    assert placed.x == (2.0, 0.0)
    assert placed.y == (1.5, 0.0)


def test_a_letterbox_keeps_the_shape_and_stands_in_the_middle() -> None:
    placed = place("letterbox", 1920, 1080, 320, 320)
    assert (placed.left, placed.top, placed.inner_width, placed.inner_height) == (0, 70, 320, 180)
    assert placed.x == (6.0, 0.0)
    assert placed.y == (6.0, -420.0)


def test_a_crop_is_the_largest_middle_part_of_the_pictures_shape() -> None:
    placed = place("crop", 640, 480, 224, 224)
    assert placed.box == (80.0, 0.0, 560.0, 480.0)
    assert placed.x == (480 / 224, 80.0)
    assert placed.y == (480 / 224, 0.0)


def test_a_letterbox_that_rounds_still_maps_its_edges_onto_the_frames_edges() -> None:
    placed = place("letterbox", 451, 300, 513, 513)
    (a, b), right = placed.y, placed.top + placed.inner_height
    assert a * placed.top + b == 0.0
    assert a * right + b == pytest.approx(300.0)


@settings(deadline=None)
@given(
    resize=st.sampled_from(["stretch", "letterbox", "crop"]),
    frame=st.tuples(SIDES, SIDES),
    into=st.tuples(SIDES, SIDES),
)
def test_the_part_that_is_seen_lies_within_frame_and_picture(
    resize: str, frame: tuple[int, int], into: tuple[int, int]
) -> None:
    placed = place(resize, *frame, *into)
    left, top, right, bottom = placed.box
    assert 0 <= left < right <= frame[0]
    assert 0 <= top < bottom <= frame[1]
    assert placed.inner_width >= 1
    assert placed.inner_height >= 1
    assert 0 <= placed.left <= into[0] - placed.inner_width
    assert 0 <= placed.top <= into[1] - placed.inner_height
