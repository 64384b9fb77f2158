"""What cameras give: frames out of real photographs, by day and by night, moving and at rest. Fixed seeds.

`CHOSEN_ON` are the photographs on which the threshold of scenes.py was chosen, `TESTED_ON` those that test it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from examples.demo.assets import ensure

CHOSEN_ON = ("astronaut", "brick", "camera", "coins", "grass", "rocket")
TESTED_ON = ("cat", "coffee", "horse", "moon", "motorcycle", "stars")
Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sensor:
    """A camera whose model takes `side` x `side` pixels of `channels`, stored as dtype: int8, uint8, or float32 from
    0 to 1. sigma: of its noise, in levels of 255.
    """

    side: int
    channels: int
    dtype: str = "uint8"
    sigma: float = 2.0

    def frame(self, view: Pixels, random: np.random.Generator) -> bytes:
        noisy = np.clip(np.rint(view + random.normal(0, self.sigma, view.shape)), 0, 255)
        if self.dtype == "float32":
            return (noisy / 255).astype(np.float32).tobytes()
        stored: bytes = (noisy.astype(np.uint8) ^ (0x80 if self.dtype == "int8" else 0)).tobytes()
        return stored

    def view(self, photograph: Image.Image, box: tuple[float, float, float, float]) -> Pixels:
        mode = "L" if self.channels == 1 else "RGB"
        scaled = photograph.convert(mode).resize((self.side, self.side), Image.Resampling.BILINEAR, box=box)
        return np.asarray(scaled, np.float32)


def photograph(name: str) -> Image.Image:
    return Image.open(ensure().photos[name])


def moving(name: str, sensor: Sensor, frames: int, every: int = 1, seed: int = 1) -> Iterator[bytes]:
    """A camera that drives about: half of the photograph is in view, and a frame is a fiftieth of its width further.
    Of these only one in `every` is given.
    """
    random = np.random.default_rng(seed)
    picture = photograph(name)
    width, height = picture.width, picture.height
    at = random.uniform(0, 0.5, 2)
    heading = random.uniform(0, 2 * np.pi)
    for number in range(1, frames + 1):
        left, top = float(at[0] * width), float(at[1] * height)
        if number % every == 0:
            yield sensor.frame(sensor.view(picture, (left, top, left + width / 2, top + height / 2)), random)
        heading += random.normal(0, 0.2)
        at = at + 0.02 * np.array([np.cos(heading), np.sin(heading)])
        if not ((at >= 0) & (at <= 0.5)).all():
            at, heading = np.clip(at, 0, 0.5), heading + np.pi / 2


def still(
    name: str, sensor: Sensor, frames: int, light: tuple[float, float] = (1.0, 1.0), seed: int = 1
) -> Iterator[bytes]:
    """A camera on a wall: one scene, whose light goes evenly from one share of the day's to another."""
    random = np.random.default_rng(seed)
    picture = photograph(name)
    view = sensor.view(picture, (0, 0, picture.width, picture.height))
    for share in np.linspace(*light, frames):
        yield sensor.frame(view * np.float32(share), random)
