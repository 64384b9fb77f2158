"""What cameras see of the photographs: windows at random places and scales, in other light, mirrored.

A view is one place that a camera looks at; it is seen in several lights, from night to glare. Numbers of a seed: the
same pictures each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.health.photographs import Pixels

LIGHTS = (0.03, 0.2, 0.45, 0.7, 0.85, 1.0, 1.15, 1.3)
"""How bright a view is at most over a day, as factors of the photograph's own light."""
NIGHT = 2  # the first lights are those of the dark
TRAINED_LIGHTS = (0.6, 1.2)
NOISE = 2.5  # of a sensor, in grey levels: a standard deviation
CELLS = 4  # a photograph is cut into so many rows and columns, coloured as a chessboard is


@dataclass(frozen=True, slots=True)
class Pool:
    """pixels: uint8 [n, side, side, 3]. Of each picture: the photograph, the view, and the light it is seen in."""

    pixels: Pixels
    photograph: NDArray[np.int64]
    view: NDArray[np.int64]
    light: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)


def lit(pixels: Pixels, factor: float, numbers: np.random.Generator) -> Pixels:
    noise = numbers.normal(0, NOISE, pixels.shape)
    return np.clip(pixels * factor + noise, 0, 255).astype(np.uint8)


def wide_window(photograph: Pixels, side: int, numbers: np.random.Generator) -> Pixels:
    """From two fifths of the photograph to nearly all of it, square, mirrored or not."""
    height, width = photograph.shape[:2]
    size = int(min(height, width) * numbers.uniform(0.4, 0.95))
    top, left = numbers.integers(0, height - size + 1), numbers.integers(0, width - size + 1)
    return scaled(photograph[top : top + size, left : left + size], side, numbers)


def cell_window(photograph: Pixels, side: int, numbers: np.random.Generator, *, held_out: bool) -> Pixels:
    """Within one cell of the photograph: a white one, or a black one where it is held out from training."""
    row, column = numbers.integers(0, CELLS, 2)
    column += (row + column + held_out) % 2 * (1 if column < CELLS - 1 else -1)
    height, width = photograph.shape[0] // CELLS, photograph.shape[1] // CELLS
    size = int(min(height, width) * numbers.uniform(0.7, 1.0))
    top = row * height + numbers.integers(0, height - size + 1)
    left = column * width + numbers.integers(0, width - size + 1)
    return scaled(photograph[top : top + size, left : left + size], side, numbers)


def scaled(window: Pixels, side: int, numbers: np.random.Generator) -> Pixels:
    picture = Image.fromarray(window).resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture)
    return pixels[:, ::-1] if numbers.integers(0, 2) else pixels


def examples(
    photographs: list[Pixels], each: int, side: int, seed: int, *, held_out: bool
) -> tuple[Pixels, NDArray[np.int64]]:
    """Pictures to learn from or to test on, and which photograph each is of."""
    numbers = np.random.default_rng(seed)
    pixels, classes = [], []
    for number, photograph in enumerate(photographs):
        for _ in range(each):
            window = cell_window(photograph, side, numbers, held_out=held_out)
            pixels.append(lit(window, numbers.uniform(*TRAINED_LIGHTS), numbers))
            classes.append(number)
    return np.array(pixels), np.array(classes)


@dataclass(frozen=True, slots=True)
class Signs:
    """Handwritten digits, red or blue, on parts of photographs. boxes: of each, middle, width and height in parts of
    the picture; NaN where there is none.
    """

    pixels: Pixels
    digit: NDArray[np.int64]
    red: NDArray[np.int64]
    box: NDArray[np.float32]


def signs(
    photographs: list[Pixels], digits: tuple[Pixels, NDArray[np.int64]], count: int, side: int, seed: int, absent: float
) -> Signs:
    """Pictures without a light of their own; a part `absent` of them show no sign. Digits are 0 to 4."""
    numbers = np.random.default_rng(seed)
    drawn, classes = digits
    few = np.flatnonzero(classes < 5)
    pixels, digit, red, boxes = [], [], [], []
    for _ in range(count):
        which, is_red = few[numbers.integers(len(few))], int(numbers.integers(2))
        picture = wide_window(photographs[numbers.integers(len(photographs))], side, numbers).astype(np.float64)
        box = [np.nan] * 4
        if numbers.random() >= absent:
            width, height = (int(part) for part in numbers.integers(side // 2, side * 7 // 8, 2))
            shape = np.asarray(Image.fromarray(drawn[which]).resize((width, height), Image.Resampling.BICUBIC))
            shape = shape[..., np.newaxis] / 255
            top, left = numbers.integers(0, side - height + 1), numbers.integers(0, side - width + 1)
            ink = np.array([numbers.uniform(170, 250), *numbers.uniform(0, 60, 2)])[:: 1 if is_red else -1]
            part = picture[top : top + height, left : left + width]
            part[:] = part * (1 - shape) + ink * shape
            box = [left + width / 2, top + height / 2, width, height]
        pixels.append(picture.astype(np.uint8))
        digit.append(classes[which])
        red.append(is_red)
        boxes.append(np.array(box) / side)
    return Signs(np.array(pixels), np.array(digit), np.array(red), np.array(boxes, np.float32))


def day(views: Pixels, seed: int) -> Pool:
    """Each view in all lights; each is its own photograph."""
    numbers = np.random.default_rng(seed)
    count, lights = len(views), len(LIGHTS)
    return Pool(
        pixels=np.array([lit(view, light, numbers) for view in views for light in LIGHTS]),
        photograph=np.repeat(np.arange(count), lights),
        view=np.repeat(np.arange(count), lights),
        light=np.tile(np.arange(lights), count),
    )


def pool(photographs: Mapping[str, Pixels], known: tuple[str, ...], views: int, side: int, seed: int) -> Pool:
    """`views` views in all lights. Three of four are of photographs that are known to the model, of parts that it was
    not trained on; where it knows none, all views are wide.
    """
    numbers = np.random.default_rng(seed)
    names = sorted(photographs)
    strange = [name for name in names if name not in known]
    pixels, whose = [], []
    for number in range(views):
        if known and number % 4:
            name = known[numbers.integers(len(known))]
            window = cell_window(photographs[name], side, numbers, held_out=True)
        else:
            name = strange[numbers.integers(len(strange))]
            window = wide_window(photographs[name], side, numbers)
        pixels += [lit(window, light, numbers) for light in LIGHTS]
        whose.append(names.index(name))
    count = len(LIGHTS)
    return Pool(
        pixels=np.array(pixels),
        photograph=np.repeat(whose, count),
        view=np.repeat(np.arange(views), count),
        light=np.tile(np.arange(count), views),
    )


def sketches(pixels: Pixels) -> NDArray[np.float32]:
    """[n, 64]: 8 x 8 grey means of each picture, whose side is a multiple of 8."""
    grey = pixels.astype(np.float32).mean(axis=-1)
    block = grey.shape[1] // 8
    means: NDArray[np.float32] = grey.reshape(len(grey), 8, block, 8, block).mean(axis=(2, 4))
    return means.reshape(len(grey), 64)
