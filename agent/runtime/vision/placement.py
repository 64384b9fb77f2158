"""Where a frame lies in the picture that the model sees, and so where in the frame the model's finds are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """A frame of `width` x `height` pixels in a picture of another size.

    box: the part of the frame that is seen, as left, top, right, bottom in the frame's pixels. left, top, inner_width,
    inner_height: where that part lies in the picture, in the picture's pixels; around it is fill.
    """

    width: int
    height: int
    box: tuple[float, float, float, float]
    left: int
    top: int
    inner_width: int
    inner_height: int

    @property
    def x(self) -> tuple[float, float]:
        """(a, b) with frame x = a * picture x + b."""
        a = (self.box[2] - self.box[0]) / self.inner_width
        return a, self.box[0] - a * self.left

    @property
    def y(self) -> tuple[float, float]:
        """(a, b) with frame y = a * picture y + b."""
        a = (self.box[3] - self.box[1]) / self.inner_height
        return a, self.box[1] - a * self.top


def place(resize: str, width: int, height: int, into_width: int, into_height: int) -> Placement:
    """How a frame of width x height is fitted.

    stretch: all of it, its shape changed. letterbox: all of it, its shape kept, in the middle with fill around. crop:
    the largest middle part that has the picture's shape.
    """
    left, top, inner_width, inner_height = 0, 0, into_width, into_height
    box = (0.0, 0.0, float(width), float(height))
    if resize == "letterbox":
        scale = min(into_width / width, into_height / height)
        inner_width = max(1, round(width * scale))
        inner_height = max(1, round(height * scale))
        left, top = (into_width - inner_width) // 2, (into_height - inner_height) // 2
    elif resize == "crop":
        scale = max(into_width / width, into_height / height)
        beside, above = (width - into_width / scale) / 2, (height - into_height / scale) / 2
        box = (max(0.0, beside), max(0.0, above), min(width, width - beside), min(height, height - above))
    return Placement(width, height, box, left, top, inner_width, inner_height)
