"""What DETECT does with a model: a card's words, applied to the model's own tensors.

It decides whether a card fits, without reading a pixel or an answer: the work itself is in agent/runtime/vision/.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from littoral.bundle import fields, shapes
from littoral.bundle.card import Card
from littoral.bundle.shapes import Output
from littoral.errors import CardError, GoldenError
from littoral.tensors import Interface, Tensor
from littoral.wire.vision import ResultKind

KINDS = {
    "classification": ResultKind.CLASSES,
    "ssd": ResultKind.BOXES,
    "yolo": ResultKind.BOXES,
    "anchor-free": ResultKind.BOXES,
    "segmentation": ResultKind.MASK,
    "embedding": ResultKind.EMBEDDING,
    "keypoints": ResultKind.POSES,
    "raw": ResultKind.RAW,
}
NOT_FILLED = ("bool", "int64", "uint64")  # dtypes of inputs that no pixel or sample is made into
OF_WINDOWS = ("classification", "embedding", "raw")  # decoders that need no picture


@dataclass(frozen=True, slots=True)
class Picture:
    """How a frame becomes the input. scaling: (mean, scale) of each channel, in the model's order of channels, where
    real value = (pixel - mean) * scale; empty: as agent/runtime/vision/stored.py does it unasked.
    """

    tensor: Tensor
    width: int
    height: int
    planar: bool
    colour: str
    resize: str
    fill: int
    matrix: str
    range: str
    scaling: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """How samples become the input: `length` samples of `channels` values each, moved by `hop`. scaling: as Picture's,
    for samples that come as float32; empty: they are real values already.
    """

    tensor: Tensor
    length: int
    channels: int
    rate: int
    hop: int
    scaling: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Task:
    """All that DETECT does with one model."""

    input: Picture | Window
    output: Output
    interface: Interface

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture that the model sees, 0 where it sees none."""
        return (self.input.width, self.input.height) if isinstance(self.input, Picture) else (0, 0)


def read(card: Card, interface: Interface) -> Task | None:
    """None where the card describes neither picture nor window. Raises CardError where card and interface do not
    fit each other.
    """
    described = [entry for entry in card.inputs if entry.get("kind", "tensor") != "tensor"]
    if not described:
        return None
    if len(described) > 1 or len(interface.inputs) != 1:
        raise CardError(
            f"the card describes {len(described)} inputs for DETECT to fill, the model has {len(interface.inputs)}; "
            "DETECT fills the only input of a model"
        )
    if len(card.outputs) > 1:
        raise CardError(f"the card has {len(card.outputs)} [[output]]; DETECT gives one kind of result")
    tensor = interface.inputs[0]
    values = fields.read(described[0], fields.INPUTS[described[0]["kind"]])
    if values["name"] not in (None, tensor.name):
        raise CardError(f"[[input]] names {values['name']!r}, the model's input is {tensor.name!r}")
    if min(tensor.shape, default=1) < 1 or tensor.dtype in NOT_FILLED:
        raise CardError(f"DETECT cannot fill {_told(tensor)}")
    output = _output(card.outputs[0] if card.outputs else {}, interface)
    if values["kind"] == "window":
        if output.decoder not in OF_WINDOWS:
            raise CardError(f"decoder {output.decoder} finds things in pictures, and the input is a window")
        _check_labels(output, (0, 0), interface)
        return Task(_window(tensor, values), output, interface)
    picture = _picture(tensor, values)
    if output.kind is ResultKind.MASK and picture.resize == "crop":
        raise CardError("a mask covers the whole frame, and resize crop leaves a part of it unseen")
    _check_labels(output, (picture.width, picture.height), interface)
    return Task(picture, output, interface)


def scores(card: Card, interface: Interface) -> tuple[int, int]:
    """The output whose greatest value is the class of an answer, and what is added to a class for its label.

    It is the one that a card with decoder classification names, without a card the first. Raises CardError for a card
    of another decoder or another model, GoldenError for an output that does not hold one score for each class.
    """
    entries = [entry for entry in card.outputs if entry.get("decoder", "raw") != "raw"]
    if [entry["decoder"] for entry in entries] not in ([], ["classification"]):
        raise CardError(f"decoder {entries[0]['decoder']} answers no one class, which labelled golden cases expect")
    named = fields.read(entries[0] if entries else {}, fields.OUTPUTS["classification"])
    number = _role("tensor", named["tensor"], interface)
    tensor = interface.outputs[number]
    classes = prod(tensor.shape)
    if classes < 2 or tensor.shape[-1] != classes:
        raise GoldenError(f"labelled golden cases need an output with a score for each class; {_told(tensor)} is none")
    return number, named["offset"]


def _picture(tensor: Tensor, values: dict[str, Any]) -> Picture:
    channels = 1 if values["colour"] == "grey" else 3
    shape = tensor.shape
    if len(shape) != 4 or shape[0] != 1 or channels not in (shape[1], shape[3]):
        raise CardError(f"a picture of colour {values['colour']} does not fit into {_told(tensor)}")
    planar = shape[3] != channels
    height, width = shape[2:] if planar else shape[1:3]
    return Picture(
        tensor=tensor,
        width=width,
        height=height,
        planar=planar,
        scaling=_scaling(values, channels),
        **{name: values[name] for name in ("colour", "resize", "fill", "matrix", "range")},
    )


def _window(tensor: Tensor, values: dict[str, Any]) -> Window:
    channels = values["channels"]
    length, rest = divmod(prod(tensor.shape), channels)
    if rest:
        raise CardError(f"{channels} channels do not divide {_told(tensor)}")
    for name in ("rate", "hop"):
        if values[name] is None:
            raise CardError(f"[[input]] of kind window needs {name}")
    if values["hop"] > length:
        raise CardError(f"hop is {values['hop']} samples, the window has {length}")
    return Window(tensor, length, channels, values["rate"], values["hop"], _scaling(values, channels))


def _scaling(values: dict[str, Any], channels: int) -> tuple[tuple[float, float], ...]:
    """Empty where the card says nothing of it."""
    if values["mean"] is None and values["scale"] is None:
        return ()
    mean, scale = values["mean"] or (0.0,), values["scale"] or (1.0,)
    for name, given in (("mean", mean), ("scale", scale)):
        if len(given) not in (1, channels):
            raise CardError(f"{name} has {len(given)} values, the input has {channels} channels")
    return tuple(zip(_repeated(mean, channels), _repeated(scale, channels), strict=True))


def _repeated(values: tuple[float, ...], count: int) -> tuple[float, ...]:
    return values * count if len(values) == 1 else values


def _output(entry: dict[str, Any], interface: Interface) -> Output:
    decoder = entry.get("decoder", "raw")
    known = fields.OUTPUTS[decoder]
    values = fields.read(entry, known)
    named = {name: values.pop(name) for name in known if known[name].read is fields.tensor}
    roles = {name: _role(name, given, interface) for name, given in named.items() if given is not None}
    del values["decoder"]
    if "points" in values:
        values["points"] = values["points"] or ()
    return Output(decoder=decoder, kind=_kind(decoder, values), roles=roles, **values)


def _kind(decoder: str, values: dict[str, Any]) -> ResultKind:
    with_points = decoder == "anchor-free" and "points" in values["columns"]
    return ResultKind.POSES if with_points else KINDS[decoder]


def _role(role: str, given: str | int, interface: Interface) -> int:
    names = [tensor.name for tensor in interface.outputs]
    if isinstance(given, str):
        if names.count(given) != 1:
            raise CardError(f"[[output]] {role} names {given!r}; the model's outputs are {', '.join(names)}")
        return names.index(given)
    if given >= len(names):
        raise CardError(f"[[output]] {role} is output {given}, counted from 0; the model has {len(names)}")
    return given


def _check_labels(output: Output, size: tuple[int, int], interface: Interface) -> None:
    """Raises CardError where the decoder cannot read the shapes of its outputs, or labels would be missing."""
    tensors = {role: interface.outputs[number] for role, number in output.roles.items()}
    for tensor in tensors.values():
        if min(tensor.shape, default=1) < 1:
            raise CardError(f"decoder {output.decoder} cannot read {_told(tensor)}, which has no fixed size")
    try:
        classes = shapes.classes(output, tensors, size)
    except ValueError as error:
        told = "; ".join(f"{role} {_told(tensor)}" for role, tensor in tensors.items())
        raise CardError(f"decoder {output.decoder} {error}; the card gives it {told}") from error
    labels = len(interface.labels)
    if labels and classes + output.offset > labels:
        raise CardError(f"{classes} classes and offset {output.offset} need more labels than the model's {labels}")


def _told(tensor: Tensor) -> str:
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"
