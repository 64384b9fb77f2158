"""What cameras see, and that what tests was never looked at."""

import numpy as np

from bench.health import pictures
from bench.health.photographs import CHOOSING, DIGITS, PACKAGES, SOURCES, TESTING
from bench.health.pictures import LIGHTS
from bench.health.subjects import DIGITS as PARTS
from bench.health.subjects import KNOWN

NUMBERS = np.random.default_rng(0)
PHOTOGRAPHS = {name: NUMBERS.integers(0, 256, (96, 120, 3)).astype(np.uint8) for name in ("a", "b", "c")}


def test_no_photograph_is_in_both_pools() -> None:
    assert not CHOOSING.keys() & TESTING.keys()
    digests = [source.sha256 for source in SOURCES]
    assert len(set(digests)) == len(digests)
    assert {source.package for source in SOURCES} == set(PACKAGES)


def test_a_model_knows_photographs_of_its_own_pool_only() -> None:
    assert set(KNOWN["choosing"]) < set(CHOOSING)
    assert set(KNOWN["testing"]) < set(TESTING)


def test_no_digit_is_in_two_parts() -> None:
    parts = [set(range(1_797)[part]) for part in PARTS.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1_797
    assert DIGITS.name == "digits.csv.gz"


def test_what_is_held_out_shares_no_pixel_with_what_is_trained_on() -> None:
    """Each pixel of this photograph tells its place, so windows tell where they are from."""
    rows, columns = np.mgrid[0:64, 0:64] * 4
    photograph = np.stack((rows, columns, rows * 0), axis=-1).astype(np.uint8)
    seen = []
    for held_out in (False, True):
        numbers = np.random.default_rng(1)
        windows = [pictures.cell_window(photograph, 16, numbers, held_out=held_out) for _ in range(400)]
        # a cell is 16 pixels, of 4 each
        seen.append(
            {
                (int(window[y, x, 0]) // 64, int(window[y, x, 1]) // 64)
                for window in windows
                for y in (1, 14)
                for x in (1, 14)
            }
        )
    assert not seen[0] & seen[1]
    assert len(seen[0] | seen[1]) == 16


def test_a_pool_has_each_view_in_all_lights_and_is_the_same_each_time() -> None:
    found = pictures.pool(PHOTOGRAPHS, ("a",), 6, 16, seed=1)
    again = pictures.pool(PHOTOGRAPHS, ("a",), 6, 16, seed=1)
    assert np.array_equal(found.pixels, again.pixels)
    assert len(found) == 6 * len(LIGHTS)
    means = found.pixels.mean(axis=(1, 2, 3)).reshape(6, len(LIGHTS))
    assert (np.diff(means, axis=1) > 0).all()


def test_signs_lie_where_their_boxes_say() -> None:
    digits = np.full((5, 8, 8), 255, np.uint8), np.arange(5)
    black = [np.zeros((64, 64, 3), np.uint8)]
    found = pictures.signs(black, digits, 20, 32, seed=1, absent=0.3)
    assert 0 < np.isnan(found.box[:, 0]).sum() < 20
    for pixels, red, box in zip(found.pixels, found.red, found.box, strict=True):
        lit = np.argwhere(pixels[..., 0 if red else 2] > 100)
        if np.isnan(box[0]):
            assert len(lit) == 0
            continue
        top, left = lit.min(axis=0)
        assert (left, top) == ((box[0] - box[2] / 2) * 32, (box[1] - box[3] / 2) * 32)


def test_sketches_are_grey_means_of_64_parts() -> None:
    pixels = np.zeros((1, 16, 16, 3), np.uint8)
    pixels[0, :2, :2] = (30, 60, 90)
    assert pictures.sketches(pixels)[0].tolist() == [60.0, *[0.0] * 63]
