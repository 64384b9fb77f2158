"""The measures of a comparison, on answers made by hand."""

import numpy as np
import pytest

from agent.runtime.rehearsal.measures import Answers, Sketches, box_skill, measure, scenes, skill, varies, worst
from agent.runtime.vision.stored import Reals

N, CLASSES = 64, 10


def one_hot(classes: list[int], sure: float = 0.9) -> Reals:
    rows = np.full((len(classes), CLASSES), (1 - sure) / (CLASSES - 1), np.float32)
    rows[np.arange(len(classes)), classes] = sure
    return rows


def scores(shift: int = 0, sure: float = 0.9) -> Answers:
    return Answers(one_hot([(n + shift) % CLASSES for n in range(N)], sure), scores=True)


def different(count: int) -> Sketches:
    """Sketches of as many scenes."""
    return np.random.default_rng(1).integers(0, 256, (count, 64)).astype(np.uint8)


def test_equal_answers_have_skill_one_and_no_disagreement() -> None:
    found = measure(scores(), scores(), different(N))
    assert (found.inputs, found.scenes, found.skill) == (N, N, 1.0)
    assert (found.sure, found.disagreements, found.agreed) == (N, 0, N)
    assert not found.constant
    assert found.boxes is None


def test_answers_moved_by_one_class_disagree_wherever_both_are_sure() -> None:
    found = measure(scores(1), scores(), different(N))
    assert found.skill is not None
    assert found.skill < 0
    assert (found.sure, found.disagreements, found.agreed) == (N, N, 0)
    assert found.by_chance == pytest.approx(N / CLASSES, abs=0.5)


def test_unsure_answers_are_no_disagreement() -> None:
    found = measure(scores(1, sure=0.15), scores(), different(N))
    assert (found.sure, found.disagreements) == (0, 0)


def test_the_mean_of_the_baseline_has_skill_nothing() -> None:
    theirs = scores().values
    ours = np.repeat(theirs.mean(axis=0, keepdims=True), N, axis=0)
    assert skill(ours, theirs) == pytest.approx(0, abs=1e-6)
    found = measure(Answers(ours, scores=True), Answers(theirs, scores=True), different(N))
    assert found.constant


def test_a_constant_release_beside_a_constant_baseline_is_not_constant() -> None:
    same = Answers(one_hot([3] * N), scores=True)
    assert not measure(same, same, different(N)).constant


@pytest.mark.parametrize(("alike", "constant"), [(48, True), (47, False)])
def test_one_class_for_three_of_four_inputs_is_constant_where_the_baseline_tells_them_apart(
    alike: int, constant: bool
) -> None:
    theirs = [n % CLASSES for n in range(N)]
    ours = [*[0] * alike, *[1 + n % 9 for n in range(N - alike)]]
    found = measure(Answers(one_hot(ours, 0.4), True), Answers(one_hot(theirs), True), different(N))
    assert found.constant == constant
    streets = [*[0] * (alike - 20), *theirs[alike - 20 :]]  # mostly one thing, for the baseline too
    assert not measure(Answers(one_hot(ours), True), Answers(one_hot(streets), True), different(N)).constant


def test_skill_says_nothing_where_the_baseline_hardly_varies() -> None:
    still = Answers(one_hot([3] * N), scores=True)
    assert not varies(still)
    assert measure(scores(), still, different(N)).skill is None


def test_what_are_no_scores_varies_in_parts_of_its_own_size() -> None:
    numbers = np.linspace(100, 101, N, dtype=np.float32).reshape(N, 1)
    assert not varies(Answers(numbers))
    assert varies(Answers(numbers * 30 - 3_000))


def test_scenes_are_counted_by_what_they_show() -> None:
    base = np.full((1, 64), 100, np.uint8)
    near = base + 7
    far = base + 8
    assert scenes(np.concatenate((base, base, near)), pictures=False) == [0]
    assert scenes(np.concatenate((base, near, far, base)), pictures=False) == [0, 2]
    assert len(scenes(different(40))) == 40


def test_a_picture_in_another_light_shows_the_same_scene_and_the_dark_shows_one() -> None:
    by_day = different(3) / 2
    lights = [by_day * gain + offset for gain, offset in ((1, 0), (0.3, 0), (1.6, 20), (0.02, 1))]
    assert scenes(np.rint(np.concatenate(lights)).astype(np.uint8)) == [0, 1, 2, 9]


def test_the_worst_examples_come_first_with_their_part_of_all_distance() -> None:
    theirs = scores()
    ours = theirs.values.copy()
    ours[5] = one_hot([9])[0]
    ours[7] = (ours[7] + one_hot([9])[0]) / 2
    found = worst(Answers(ours, scores=True), theirs)
    assert [index for index, _ in found] == [5, 7]
    assert sum(part for _, part in found) == pytest.approx(1.0)


# --- detectors ----------------------------------------------------------------------------------------------------


def boxes(*rows: tuple[float, ...]) -> Reals:
    return np.array(rows, np.float32).reshape(-1, 6)


def walking(swapped: bool = False, score: float = 0.9) -> Answers:
    """One person who walks through the picture."""
    found = []
    for n in range(N):
        x = n / N * 0.8
        corners = (0.3, x, 0.5, x + 0.1) if swapped else (x, 0.3, x + 0.1, 0.5)
        found.append(boxes((0, score, *corners)))
    return Answers(np.full((N, 2), score, np.float32), boxes=tuple(found))


def test_exchanged_coordinates_are_seen_by_the_boxes_alone() -> None:
    ours, theirs = walking(swapped=True), walking()
    assert skill(ours.values, theirs.values) in (1.0, -np.inf)
    found = measure(ours, theirs, different(N))
    assert found.boxes is not None
    assert found.boxes < 0.2
    assert found.disagreements > N // 2


def test_boxes_where_they_were_have_skill_one() -> None:
    found = measure(walking(), walking(), different(N))
    assert (found.boxes, found.sure, found.disagreements) == (1.0, N, 0)


def test_a_box_that_is_clear_on_one_side_and_nowhere_on_the_other_is_a_disagreement() -> None:
    nothing = Answers(np.zeros((N, 2), np.float32), boxes=(boxes(),) * N)
    assert measure(nothing, walking(), different(N)).disagreements == N
    assert measure(walking(), nothing, different(N)).disagreements == N
    assert measure(nothing, walking(score=0.5), different(N)).sure == 0


def test_boxes_are_paired_within_their_label_the_nearest_first() -> None:
    theirs = [boxes((0, 0.9, 0.1, 0.1, 0.2, 0.2), (0, 0.9, 0.7, 0.7, 0.8, 0.8)), boxes((1, 0.9, 0.4, 0.4, 0.5, 0.5))]
    ours = [boxes((0, 0.9, 0.7, 0.7, 0.8, 0.8), (0, 0.9, 0.1, 0.1, 0.2, 0.2)), boxes((0, 0.9, 0.4, 0.4, 0.5, 0.5))]
    assert box_skill(ours, theirs) == 1.0
    assert box_skill([ours[1]], [theirs[1]]) is None
