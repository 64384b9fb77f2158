"""Reads what the command is given in files, and writes what it got: arrays and images.

numpy and Pillow are imported when a file needs them.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from littoral import client, errors
from littoral.cli.models import tensor_text
from littoral.tensors import Interface, Tensor
from littoral.wire.vision import Format


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: arrays by tensor name, and what was done to a file to get them, for the user to read."""

    inputs: dict[str, Any]
    done: str


def read(path: Path, interface: Interface) -> Question:
    """The inputs in a file. Raises ConfigError where it cannot be read, WrongInputsError where it does not fit."""
    if not path.is_file():
        raise errors.ConfigError(f"there is no file {path}")
    if path.suffix in (".npz", ".npy"):
        return _read_arrays(path, interface)
    return _read_image(path, interface)


def _read_arrays(path: Path, interface: Interface) -> Question:
    from zipfile import BadZipFile

    numpy = needed("numpy", "arrays")
    try:
        with path.open("rb") as file:
            found = numpy.load(file, allow_pickle=False)
            if hasattr(found, "files"):
                return Question({name: found[name] for name in found.files}, "")
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise errors.ConfigError(f"{path} holds no arrays: {error}") from error
    if len(interface.inputs) != 1:
        raise errors.WrongInputsError(
            f"{path} holds one array, the model has {len(interface.inputs)} inputs",
            remedy="Give an .npz with arrays by tensor name.",
        )
    return Question({interface.inputs[0].name: found}, "")


def _read_image(path: Path, interface: Interface) -> Question:
    """An image resized to the one input, and its pixels as the input wants them.

    A quantized 8-bit input takes 0 to 255 as the whole range of real values it can store; another quantized input, and
    floats, take pixel / 255; other integers take the pixels themselves.
    """
    image_module, numpy = needed("PIL.Image", "images"), needed("numpy", "images")
    tensor = _image_tensor(interface)
    _, height, width, channels = tensor.shape
    try:
        with image_module.open(path) as image:
            pixels = image.convert("RGB" if channels == 3 else "L")
            pixels = pixels.resize((width, height), image_module.Resampling.BILINEAR)
    except (OSError, ValueError) as error:
        raise errors.ConfigError(f"{path} is no image that Pillow reads: {error}") from error
    array = numpy.asarray(pixels, "float32").reshape(tensor.shape)
    done = f"{path.name}: resized to {width}x{height}"
    if tensor.scale:
        real, how = _real(array, tensor)
        array = client.quantize(real, tensor)
        done += f", {how}, quantized with scale {tensor.scale:g}, zero point {tensor.zero_point}"
    elif tensor.dtype.startswith("float"):
        array = (array / 255).astype(tensor.dtype)
        done += f", pixels / 255 as {tensor.dtype}"
    else:
        array = array.astype(tensor.dtype)
        done += f", pixels as {tensor.dtype}"
    return Question({tensor.name: array}, done)


def _real(pixels: Any, tensor: Tensor) -> tuple[Any, str]:
    """Pixels in the range of real values that the input can store."""
    if tensor.dtype not in ("int8", "uint8"):
        return pixels / 255, "pixels / 255"
    lowest = -128 if tensor.dtype == "int8" else 0
    low, high = ((lowest + n - tensor.zero_point) * tensor.scale for n in (0, 255))
    return low + pixels * ((high - low) / 255), f"pixels 0..255 as {low:g}..{high:g}"


def _image_tensor(interface: Interface) -> Tensor:
    if len(interface.inputs) == 1:
        tensor = interface.inputs[0]
        if len(tensor.shape) == 4 and tensor.shape[0] == 1 and tensor.shape[3] in (1, 3):
            return tensor
    shapes = ", ".join(tensor_text(tensor) for tensor in interface.inputs)
    raise errors.WrongInputsError(f"the model takes no image but {shapes}", remedy="Give an .npz or .npy file.")


def read_picture(path: Path) -> client.Picture | bytes:
    """A JPEG file as it is; another image as its pixels. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise errors.ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if data.startswith(b"\xff\xd8"):
        return data
    with open_image(path) as image:
        return client.Picture(Format.RGB24, image.width, image.height, image.convert("RGB").tobytes())


def open_image(path: Path) -> Any:
    """A Pillow image, read whole. Raises ConfigError."""
    try:
        image = needed("PIL.Image", "images").open(path)
        image.load()
        return image
    except (OSError, ValueError) as error:
        raise errors.ConfigError(f"{path} is no image that Pillow reads: {error}") from error


def needed(module: str, what: str) -> Any:
    """A module that an extra brings. Raises ConfigError."""
    try:
        return import_module(module)
    except ImportError as error:
        raise errors.ConfigError(
            f"{module} is not installed, which reads {what}", remedy="Install littoral with its extra [cli]."
        ) from error


def write_arrays(path: Path, outputs: dict[str, Any]) -> None:
    """An .npz by tensor name; it appears as a whole."""
    numpy = needed("numpy", "arrays")
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            numpy.savez(file, **outputs)
        temporary.replace(path)
    except OSError as error:
        raise errors.ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
