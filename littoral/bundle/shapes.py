"""How a decoder reads its outputs, and what their shapes must be for that.

Numbers of places, columns and classes are worked out here once, for the check of a card and for the decoders.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

from littoral.tensors import Tensor
from littoral.wire.vision import BOX_ITEM, POINT_ITEM, ResultKind

MAX_ITEM_BYTES = 65_535  # what RESULT can say of one item
MAX_POINTS = (MAX_ITEM_BYTES - BOX_ITEM.size) // POINT_ITEM.size
MAX_MASK_CLASSES = 255  # a mask has a byte per element, and 255 stands for none


@dataclass(frozen=True, slots=True)
class Output:
    """How outputs become results: the decoder, the number of the output in each role, and the fields of the decoder
    (docs/card.md). A field that the decoder has not keeps its default here and means nothing.
    """

    decoder: str
    kind: ResultKind
    roles: dict[str, int]
    activation: str = "none"
    offset: int = 0
    threshold: float = 0.0
    overlap: float = 1.0
    top: int = 1_000
    variant: str = ""
    transposed: bool = False
    coordinates: str = "normalised"
    strides: tuple[int, ...] = ()
    per_cell: tuple[int, ...] = ()
    centre: float = 0.5
    columns: tuple[str, ...] = ()
    box: str = ""
    bins: int = 0
    points: tuple[str, ...] = ()
    normalise: str = "none"


def classes(output: Output, tensors: Mapping[str, Tensor], size: tuple[int, int]) -> int:
    """How many classes the outputs tell apart, 0 where they do not say. tensors: by role; size: width and height of
    the model's picture. Raises ValueError where the decoder cannot read these shapes.
    """
    shape = {role: tensor.shape for role, tensor in tensors.items()}
    match output.decoder:
        case "classification":
            return prod(shape["tensor"])
        case "ssd":
            _check_ssd(shape)
        case "yolo":
            return yolo_columns(output, shape["tensor"])[1]
        case "anchor-free":
            return anchor_free_columns(output, tensors, size)["scores"]
        case "segmentation":
            return _mask_classes(tensors["tensor"])
        case "keypoints":
            return pose_columns(output, shape["tensor"])[0]
    return 0


def _check_ssd(shape: Mapping[str, tuple[int, ...]]) -> None:
    places = prod(shape["scores"])
    if prod(shape["boxes"]) != 4 * places or prod(shape["classes"]) != places or prod(shape["count"]) != 1:
        raise ValueError("needs boxes [1, n, 4], classes [1, n], scores [1, n] and count [1]")


def yolo_columns(output: Output, shape: tuple[int, ...]) -> tuple[int, int]:
    """(places, classes). One place has the box's x, y, width, height, with v5 the objectness, and the classes."""
    places, columns = _table(shape, columns_first=(output.variant == "v8") != output.transposed)
    found = columns - (5 if output.variant == "v5" else 4)
    if found < 1:
        raise ValueError(f"of variant {output.variant} has too few columns, or is transposed")
    return places, found


def pose_columns(output: Output, shape: tuple[int, ...]) -> tuple[int, int]:
    """(classes, points)."""
    named = len(output.points)
    if output.variant == "movenet":
        if len(shape) < 2 or shape[-1] != 3 or prod(shape) != 3 * shape[-2]:
            raise ValueError("of variant movenet needs [1, 1, points, 3]")
        found, points = 1, shape[-2]
    else:
        _, columns = _table(shape, columns_first=not output.transposed)
        points = named or (columns - 5) // 3
        found = columns - 4 - 3 * points
    if found < 1 or not 1 <= points <= MAX_POINTS or (named and named != points):
        raise ValueError(f"finds {points} points, the card names {named}")
    return found, points


def _table(shape: tuple[int, ...], columns_first: bool) -> tuple[int, int]:
    """(rows, columns) of a shape [1, rows, columns], or [1, columns, rows]."""
    if len(shape) != 3 or shape[0] != 1:
        raise ValueError("needs one table, of shape [1, a, b]")
    return (shape[2], shape[1]) if columns_first else (shape[1], shape[2])


def grid_places(output: Output, size: tuple[int, int]) -> int:
    """How many places the grids of an anchor-free decoder have."""
    grids = zip(output.strides, per_cell(output), strict=True)
    return sum(ceil(size[0] / stride) * ceil(size[1] / stride) * count for stride, count in grids)


def per_cell(output: Output) -> tuple[int, ...]:
    """Places in each cell, for each stride."""
    if len(output.per_cell) not in (1, len(output.strides)):
        raise ValueError(f"has {len(output.strides)} strides and {len(output.per_cell)} values of per_cell")
    return output.per_cell * len(output.strides) if len(output.per_cell) == 1 else output.per_cell


def anchor_free_columns(output: Output, tensors: Mapping[str, Tensor], size: tuple[int, int]) -> dict[str, int]:
    """How many columns boxes, objectness, scores and points have each; 0: not there."""
    places = grid_places(output, size)
    widths = {role: prod(tensor.shape) / places for role, tensor in tensors.items()}
    if any(width != int(width) for width in widths.values()):
        raise ValueError(f"has grids of {places} places, which do not divide its outputs")
    columns = output.columns
    if len(set(columns)) != len(columns) or "boxes" not in columns:
        raise ValueError(f"cannot have the columns {', '.join(columns)}")
    if ("scores" in columns) == ("scores" in tensors):
        raise ValueError("needs scores either among the columns or as an output of their own")
    if ("points" in columns) != bool(output.points) or (output.points and output.box != "offset"):
        raise ValueError("has points with box offset only: among the columns, and named in points")
    found = {
        "boxes": 4 * output.bins if output.box == "dfl" else 4,
        "objectness": int("objectness" in columns),
        "points": 2 * len(output.points),
        "scores": 0,
    }
    rest = int(widths["boxes"]) - sum(found.values())
    found["scores"] = int(widths["scores"]) if "scores" in tensors else rest
    if found["scores"] < 1 or ("scores" in tensors and rest):
        raise ValueError(f"has {widths['boxes']:g} columns for {', '.join(columns)}")
    return found


def is_label_map(tensor: Tensor) -> bool:
    """Whether its elements are labels, as ARG_MAX gives them, and no scores."""
    return len(tensor.shape) == 3 and "int" in tensor.dtype and not tensor.scale


def _mask_classes(tensor: Tensor) -> int:
    if len(tensor.shape) not in (3, 4) or tensor.shape[0] != 1 or tensor.shape[2] > MAX_ITEM_BYTES:
        raise ValueError("needs labels [1, height, width], or scores [1, height, width, classes]")
    found = tensor.shape[3] if len(tensor.shape) == 4 else 1
    if found > MAX_MASK_CLASSES:
        raise ValueError(f"tells {found} classes apart, a mask has at most {MAX_MASK_CLASSES}")
    return 0 if is_label_map(tensor) else found
