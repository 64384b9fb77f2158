"""Inputs are distinct where a camera sees something else, not where its sensor is noisy or the light changes.

The threshold of scenes.py was chosen on CHOSEN_ON of cameras.py; everything here is of TESTED_ON, but for the made-up
tensors.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from random import Random
from struct import pack

import pytest

from agent.runtime.worker import counters, scenes
from agent.runtime.worker.scenes import LOOK_EVERY, Bytewise, Scenes
from littoral.bundle import card
from littoral.tensors import Interface, Tensor
from tests.agent.runtime.worker.cameras import CHOSEN_ON, TESTED_ON, Sensor, moving, still

SENSORS = (Sensor(32, 3, "int8"), Sensor(96, 1), Sensor(224, 3), Sensor(96, 1, "float32"))


def seen(frames: Iterable[bytes], sensor: Sensor) -> int:
    """How many distinct inputs there are among these frames."""
    inputs = Scenes(sensor.dtype)
    for frame in frames:
        inputs.add(counters.mark(frame))
    return len(inputs)


@pytest.mark.parametrize("name", TESTED_ON)
def test_a_camera_that_moves_sees_many_scenes(name: str) -> None:
    for sensor in SENSORS:
        assert seen(moving(name, sensor, 250, every=LOOK_EVERY), sensor) >= 20


@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("name", TESTED_ON)
def test_a_constant_scene_is_one_however_noisy_the_sensor_is(name: str, sigma: float) -> None:
    for each in SENSORS:
        sensor = Sensor(each.side, each.channels, each.dtype, sigma)
        assert seen(still(name, sensor, 50), sensor) == 1


@pytest.mark.parametrize("light", [0.0, 0.02, 0.1])
@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0])
def test_a_night_is_one_scene(light: float, sigma: float) -> None:
    for each in SENSORS:
        sensor = Sensor(each.side, each.channels, each.dtype, sigma)
        for name in TESTED_ON:
            assert seen(still(name, sensor, 25, light=(light, light)), sensor) == 1


@pytest.mark.parametrize("name", TESTED_ON)
def test_dusk_and_dawn_are_one_scene(name: str) -> None:
    for sensor in SENSORS:
        assert seen(still(name, sensor, 80, light=(1.0, 0.01)), sensor) == 1
        assert seen(still(name, sensor, 80, light=(0.01, 1.0)), sensor) == 1


# --- made-up tensors ----------------------------------------------------------------------------------------------


def plain(random: Random, size: int = 96 * 96) -> bytes:
    """Blocks of one level each, as large as a sample's neighbourhood."""
    return b"".join(bytes([random.randrange(256)]) * 48 for _ in range(size // 48))


def test_scenes_are_told_apart_once_and_recognised_again() -> None:
    random = Random(1)
    inputs, pictures = Scenes("uint8"), [plain(random) for _ in range(20)]
    for picture in (*pictures, *pictures):
        inputs.add(counters.mark(picture))
    assert len(inputs) == 20


def test_brightness_and_contrast_make_no_other_scene() -> None:
    random = Random(2)
    inputs, picture = Scenes("uint8"), plain(random)
    for gain, offset in ((1.0, 0), (0.5, 0), (0.5, 100), (0.1, 30), (0.02, 200)):
        inputs.add(counters.mark(bytes(int(level * gain + offset) for level in picture)))
    assert len(inputs) == 1


def test_a_wall_is_no_scene_however_its_colour_changes() -> None:
    inputs = Scenes("uint8")
    for level in range(256):
        inputs.add(counters.mark(bytes([level]) * 9_216))
    assert len(inputs) == 1


def test_a_run_that_begins_in_the_dark_tells_apart_what_comes_by_day() -> None:
    random = Random(7)
    inputs = Scenes("uint8")
    for _ in range(5):
        inputs.add(counters.mark(bytes(random.randrange(4) for _ in range(9_216))))
    assert len(inputs) == 1
    for _ in range(20):
        inputs.add(counters.mark(plain(random)))
        inputs.add(counters.mark(bytes(9_216)))
    assert len(inputs) == 20


def test_so_many_scenes_are_kept_and_no_more() -> None:
    random = Random(3)
    inputs = Scenes("int8")
    for _ in range(2 * scenes.MOST_SCENES):
        inputs.add(counters.mark(plain(random)))
    assert len(inputs) == scenes.MOST_SCENES
    inputs.clear()
    assert len(inputs) == 0


def test_signed_and_unsigned_bytes_are_the_same_picture() -> None:
    random = Random(4)
    one, other = Scenes("uint8"), Scenes("int8")
    for _ in range(10):
        picture = plain(random)
        one.add(counters.mark(picture))
        other.add(counters.mark(bytes(level ^ 0x80 for level in picture)))
    assert len(one) == len(other) == 10


def floats(levels: bytes, scale: float, mean: float = 0.0) -> bytes:
    return pack(f"<{len(levels)}f", *((level - mean) * scale for level in levels))


@pytest.mark.parametrize(("scale", "mean"), [(1 / 255, 0.0), (1 / 127.5, 127.5), (1.0, 0.0), (1 / 58, 115.0)])
def test_floats_are_told_apart_in_the_levels_of_the_picture(scale: float, mean: float) -> None:
    """As the card has it, and as the values themselves say, however dark it is."""
    random = Random(5)
    for level in (scale, 0.0):
        inputs, night = Scenes("float32", level), Scenes("float32", level)
        pictures = [plain(random) for _ in range(12)]
        for picture in (*pictures, *pictures):
            inputs.add(counters.mark(floats(picture, scale, mean)))
        assert len(inputs) == 12
        for _ in range(50):
            dark = bytes(max(0, round(random.gauss(0, 6))) for _ in range(9_216))
            night.add(counters.mark(floats(dark, scale, mean)))
        assert len(night) == 1


def test_what_is_no_number_is_no_scene() -> None:
    inputs = Scenes("float32")
    for value in (float("nan"), float("inf")):
        inputs.add(counters.mark(pack("<1024f", *[value] * 1_024)))
    assert len(inputs) == 0


def test_values_that_are_all_the_same_are_one_scene() -> None:
    inputs = Scenes("float32")
    for value in (0.0, 0.0, 1e30, -1e30, 3e38):
        inputs.add(counters.mark(pack("<1024f", *[value] * 1_024)))
    assert len(inputs) == 1


# --- which inputs are told apart how ------------------------------------------------------------------------------


def interface(*dtypes: str, size: int = 32) -> Interface:
    tensors = tuple(Tensor(f"in{n}", dtype, (1, size, size, 3)) for n, dtype in enumerate(dtypes))
    return Interface(tensors, (Tensor("out", "int8", (1, 2)),))


@pytest.mark.parametrize(
    ("dtypes", "size", "kind"),
    [
        (("int8",), 32, Scenes),
        (("uint8",), 32, Scenes),
        (("float32",), 32, Scenes),
        (("int8", "int8"), 32, Scenes),
        (("int8",), 8, Bytewise),  # 192 bytes
        (("int16",), 32, Bytewise),
        (("int8", "float32"), 32, Bytewise),
    ],
)
def test_large_tensors_of_bytes_or_floats_are_scenes(dtypes: tuple[str, ...], size: int, kind: type) -> None:
    assert type(scenes.of(interface(*dtypes, size=size), card.Card())) is kind


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ('kind = "image"', 1 / 255),
        ('kind = "image"\nscale = "0.5"', 0.5),
        ('kind = "image"\nmean = "127.5"', 1.0),
        ('kind = "image"\nscale = ["0.25", "0.5", "0.5"]', 0.25),
        ('kind = "tensor"\nscale = "0.5"', 0.0),
    ],
)
def test_a_card_says_what_a_level_of_brightness_is(said: str, level: float) -> None:
    found = scenes.of(interface("float32"), card.parse(f"[[input]]\n{said}\n"))
    assert isinstance(found, Scenes)
    assert found._level == pytest.approx(level)


def test_samples_of_common_frames_lie_in_many_columns() -> None:
    for width, channels in ((96, 1), (128, 3), (192, 3), (224, 3), (320, 3), (416, 3), (640, 3)):
        row = width * channels
        columns = bytes(min(255, at * 256 // row) for at in range(row)) * (row // channels)
        assert len(set(scenes.samples(columns)[::8])) >= 8, (width, channels)


def test_the_mark_of_a_long_input_is_its_samples() -> None:
    random = Random(6)
    for size in (counters.WHOLE_BYTES + 8, 9_216, 9_217, 150_528, 307_200):
        data = random.randbytes(size)
        assert counters.mark(data) == scenes.samples(data)
        assert len(counters.mark(data)) >= scenes.SAMPLED_BYTES


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("names", [CHOSEN_ON, TESTED_ON], ids=["chosen", "tested"])
def test_the_threshold_lies_between_noise_and_movement(names: tuple[str, ...]) -> None:
    """The table of docs/health.md: most distinct inputs of what rests, fewest of what moves, by threshold."""
    for dtype, levels, threshold in (("uint8", (3, 4, 5, 6, 8), scenes.LEVELS), ("float32", (6, 8, 10, 12), 10.0)):
        for beyond in levels:
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(scenes, "LEVELS", beyond)
                patched.setattr(scenes, "FLOAT_LEVELS", beyond)
                rests, moves = at_rest(names, dtype), on_the_move(names, dtype)
            print(f"{dtype} {beyond}: at rest {rests}, moving {moves}")
            if beyond == threshold:
                assert rests == 1
                assert moves >= 10


def at_rest(names: tuple[str, ...], dtype: str) -> int:
    most = 0
    for side, channels, name in product((48, 96, 224), (1, 3), names):
        for sigma, light in product((2.0, 6.0), ((1.0, 1.0), (1.0, 0.02), (0.02, 1.0), (0.1, 0.1), (0.0, 0.0))):
            sensor = Sensor(side, channels, dtype, sigma)
            most = max(most, seen(still(name, sensor, 30, light), sensor))
    return most


def on_the_move(names: tuple[str, ...], dtype: str) -> int:
    sensors = [Sensor(side, channels, dtype) for side in (48, 96, 224) for channels in (1, 3)]
    return min(seen(moving(name, sensor, 250, LOOK_EVERY), sensor) for sensor in sensors for name in names)
