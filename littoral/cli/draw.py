"""Draws results on the image they were found in. Needs Pillow."""

from collections.abc import Iterable
from typing import Any

from littoral.cli.files import needed
from littoral.cli.text import NO_LABEL, boxes_of, mask_shares, name_of, name_of_item
from littoral.client.results import Box, Detection, Mask, Pose

# Told apart by people with any colour vision, on bright and on dark pictures (Okabe and Ito, 2008).
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
MASK_ALPHA = 128  # of 255
LINES = 5  # of classes, or labels of a mask, written on the image
LEAST_POINT_SCORE = 0.2  # keypoints below are guesses outside the picture


def annotated(image: Any, detection: Detection) -> Any:
    """A copy of a Pillow image with what was seen in it; coordinates of another size of the frame are scaled."""
    drawn = image.convert("RGB")
    texts = [(c.index, f"{name_of(c.label, c.index)} {c.score:.2f}") for c in detection.classes]
    if detection.mask is not None:
        shares = mask_shares(detection.mask, detection.labels)
        texts = [(index, f"{name} {_percent(share)}") for index, name, share in shares]
    items = boxes_of(detection)
    colours = _colours([index for index, _ in texts] or [item.index for item in items])
    if detection.mask is not None:
        drawn = _with_mask(drawn, detection.mask, colours)
    pen = _Pen(drawn)
    across = drawn.width / (detection.width or drawn.width)
    down = drawn.height / (detection.height or drawn.height)
    for item in reversed(items):  # the best is drawn last, on top
        pen.box(item, across, down, colours[item.index])
    for line, (index, text) in enumerate(texts[:LINES]):
        pen.label(pen.line, pen.line + line * pen.height, text, colours[index])
    return drawn


class _Pen:
    """Draws in sizes that suit the image."""

    def __init__(self, image: Any) -> None:
        self._draw = needed("PIL.ImageDraw", "images").Draw(image)
        self._width = image.width
        side = min(image.size)
        self.line = max(2, side // 250)
        self._font = needed("PIL.ImageFont", "images").load_default(max(11, side // 35))
        self.height = self._draw.textbbox((0, 0), "Ag", font=self._font)[3] + 2 * self.line

    def box(self, item: Box | Pose, across: float, down: float, colour: tuple[int, int, int]) -> None:
        x0, y0, x1, y1 = item.x0 * across, item.y0 * down, item.x1 * across, item.y1 * down
        self._draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=colour, width=self.line)
        for point in item.points if isinstance(item, Pose) else ():
            if point.score >= LEAST_POINT_SCORE:
                x, y, r = point.x * across, point.y * down, self.line * 2
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=(0, 0, 0))
        above = y0 - self.height
        self.label(x0, above if above >= 0 else y0, f"{name_of_item(item)} {item.score:.2f}", colour)

    def label(self, x: float, y: float, text: str, colour: tuple[int, int, int]) -> None:
        wide = self._draw.textlength(text, font=self._font) + 2 * self.line
        x = max(0.0, min(x, self._width - wide))
        self._draw.rectangle((x, y, x + wide, y + self.height), fill=colour)
        self._draw.text((x + self.line, y + self.line / 2), text, fill=_ink(colour), font=self._font)


def _with_mask(image: Any, mask: Mask, chosen: dict[int, tuple[int, int, int]]) -> Any:
    module = needed("PIL.Image", "images")
    labels = module.frombytes("L", (mask.width, mask.height), mask.data).resize(image.size, module.Resampling.NEAREST)
    colours = labels.copy()
    colours.putpalette([part for index in range(256) for part in chosen.get(index, COLOURS[0])])
    alpha = labels.point([0 if index == NO_LABEL else MASK_ALPHA for index in range(256)])
    return module.composite(colours.convert("RGB"), image, alpha)


def _colours(indices: Iterable[int]) -> dict[int, tuple[int, int, int]]:
    """A colour for each label, the same in every image unless another label, named before it, has that one."""
    chosen: dict[int, tuple[int, int, int]] = {}
    for index in dict.fromkeys(indices):
        turned = [COLOURS[(index + turn) % len(COLOURS)] for turn in range(len(COLOURS))]
        chosen[index] = next((colour for colour in turned if colour not in chosen.values()), turned[0])
    return chosen


def _percent(share: float) -> str:
    return "<1%" if share < 0.01 else f"{share:.0%}"


def _ink(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever can be read on it."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (255, 255, 255)
