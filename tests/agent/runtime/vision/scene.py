"""A pipeline out of a card's text and tensors made up for it, and its items as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from agent.runtime.vision.items import Items
from agent.runtime.vision.pipeline import Pipeline, Prepared
from littoral.bundle import card, task
from littoral.tensors import Interface, Tensor
from littoral.wire.vision import Format, Layout, Options

Array = npt.NDArray[Any]

PICTURE = '[[input]]\nkind = "image"\n'
PLAIN = Options()


def image_input(width: int = 8, height: int = 8, channels: int = 3, dtype: str = "uint8", scale: float = 0.0) -> Tensor:
    return Tensor("image", dtype, (1, height, width, channels), scale, 0)


def task_of(text: str, outputs: tuple[Tensor, ...] = (), given: Tensor | None = None, labels: str = "") -> task.Task:
    """labels: separated by spaces."""
    outputs = outputs or (Tensor("out", "uint8", (1, 4)),)
    found = task.read(card.parse(text), Interface((given or image_input(),), outputs, tuple(labels.split())))
    assert found is not None
    return found


class Scene:
    """One model's card and tensors, asked with arrays."""

    def __init__(
        self, text: str, outputs: tuple[Tensor, ...] = (), given: Tensor | None = None, labels: str = ""
    ) -> None:
        self.task = task_of(text, outputs, given, labels)
        self.pipeline = Pipeline(self.task)

    def prepare(self, picture: Array, format: Format = Format.RGB24) -> Prepared:
        layout = Layout(format, picture.shape[1], picture.shape[0])
        return self.pipeline.prepare(layout, picture.tobytes())

    def input(self, picture: Array, format: Format = Format.RGB24) -> Array:
        """What the model would be given, in its shape."""
        tensor = self.task.input.tensor
        return np.frombuffer(self.prepare(picture, format).data, tensor.dtype).reshape(tensor.shape)

    def decode(self, *outputs: Any, size: tuple[int, int] | None = None, options: Options = PLAIN) -> Items:
        """The results of a frame of `size` (width and height; the model's own where left out)."""
        width, height = size or self.task.size
        prepared = self.prepare(np.zeros((height, width, 3), np.uint8))
        tensors = self.task.interface.outputs
        data = b"".join(
            np.asarray(array, tensor.dtype).reshape(tensor.shape).tobytes()
            for array, tensor in zip(outputs, tensors, strict=True)
        )
        return self.pipeline.decode(data, prepared, options)


def read_classes(items: Items) -> list[Any]:
    """(label, score) of each class."""
    found = np.frombuffer(items.data, [("label", "<u4"), ("score", "<f4")])
    assert (len(found), found.itemsize) == (items.count, items.item_bytes)
    return [(int(label), float(score)) for label, score in found]


def read_boxes(items: Items) -> list[Any]:
    """(label, score, [x0, y0, x1, y1], points) of boxes and poses."""
    points = (items.item_bytes - 24) // 12
    dtype = np.dtype([("label", "<u4"), ("score", "<f4"), ("box", "<f4", 4), ("points", "<f4", (points, 3))])
    found = np.frombuffer(items.data, dtype)
    assert (len(found), dtype.itemsize) == (items.count, items.item_bytes)
    return [(int(one["label"]), float(one["score"]), one["box"].tolist(), one["points"].tolist()) for one in found]


def read_mask(items: Items) -> Array:
    return np.frombuffer(items.data, np.uint8).reshape(items.count, items.item_bytes)
