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
            pixels.append(lit(window, numbers.uniform(0.3, 1.3), numbers))
            classes.append(number)
    return np.array(pixels), np.array(classes)


def pool(photographs: Mapping[str, Pixels], known: tuple[str, ...], views: int, side: int, seed: int) -> Pool:
    """`views` views in all lights. Three of four are of what the model `known` to it, none of it seen in training; where
    it knows none of the photographs, all views are wide.
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
    return grey.reshape(len(grey), 8, block, 8, block).mean(axis=(2, 4)).reshape(len(grey), 64)
