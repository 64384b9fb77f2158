"""`littoral models` and `littoral infer`: look at what this device serves, and ask it, from a shell.

numpy and Pillow are imported only when a file is read that needs them (extra `cli`).
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from littoral import client, errors
from littoral.tensors import Interface, Tensor

TOP = 5  # labels printed of a classification
VALUES = 8  # printed of an output without labels


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: arrays by tensor name, and what was done to a file to get them, for the user to read."""

    inputs: dict[str, Any]
    done: str


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 only where it answered; 1 for a named error, which is printed on stderr; 130 after Ctrl-C."""
    options = _parser().parse_args(argv)
    try:
        status: int = options.run(options)
    except errors.LittoralError as error:
        print(f"littoral: {error.code}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="littoral", description="Ask the models that this device serves.")
    commands = parser.add_subparsers(required=True, metavar="command")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--socket", metavar="PATH", help="the query socket (LITTORAL_SOCKET, else " + client.DEFAULT_SOCKET + ")"
    )
    common.add_argument("--json", action="store_true", help="print JSON")

    models = commands.add_parser("models", parents=[common], help="list what this device serves")
    models.set_defaults(run=_models)

    infer = commands.add_parser(
        "infer",
        parents=[common],
        help="ask a model",
        description="Asks a model. Arrays must have the dtype and shape of the input; an image is resized to the input "
        "and quantized by its scale.",
    )
    infer.add_argument("model", metavar="MODEL")
    infer.add_argument(
        "--input", required=True, type=Path, metavar="F", help="F.npz (arrays by tensor name), F.npy or an image"
    )
    infer.add_argument("--output", type=Path, metavar="F.npz", help="write the outputs, by tensor name")
    infer.set_defaults(run=_infer)
    return parser


# --- models -----------------------------------------------------------------------------------------------------


def _models(options: argparse.Namespace) -> int:
    entries = client.models(options.socket)
    if options.json:
        print(json.dumps(entries))
        return 0
    for entry in entries:
        if entry["release"]:
            release = f"release {entry['release']} ({entry['version']}), {entry['stage']}"
            print(f"{entry['model']}  {release}, {entry['engine']}")
            for side in ("inputs", "outputs"):
                print(f"  {side}: {', '.join(_tensor_text(Tensor.from_json(t)) for t in entry[side])}")
        else:
            print(f"{entry['model']}  serves no release")
    if not entries:
        print("no model")
    return 0


def _tensor_text(tensor: Tensor) -> str:
    quantized = f" scale {tensor.scale:g} zero point {tensor.zero_point}" if tensor.scale else ""
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}{quantized}"


# --- infer ------------------------------------------------------------------------------------------------------


def _infer(options: argparse.Namespace) -> int:
    if options.output is not None and options.output.suffix != ".npz":
        raise errors.ConfigError(f"--output {options.output} does not end in .npz")
    with client.Client(options.model, options.socket, name="littoral infer") as connection:
        question = read(options.input, connection.interface)
        answer = connection.infer(question.inputs)
    if options.output is not None:
        _write(options.output, answer.outputs)
    _print(answer, question, options)
    return 0


def read(path: Path, interface: Interface) -> Question:
    """The inputs in a file. Raises ConfigError where it cannot be read, WrongInputsError where it does not fit."""
    if not path.is_file():
        raise errors.ConfigError(f"{path} is no file")
    if path.suffix in (".npz", ".npy"):
        return _read_arrays(path, interface)
    return _read_image(path, interface)


def _read_arrays(path: Path, interface: Interface) -> Question:
    from zipfile import BadZipFile

    numpy = _needed("numpy", "arrays")
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
    image_module, numpy = _needed("PIL.Image", "images"), _needed("numpy", "images")
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
    shapes = ", ".join(_tensor_text(tensor) for tensor in interface.inputs)
    raise errors.WrongInputsError(f"the model takes no image but {shapes}", remedy="Give an .npz or .npy file.")


def _needed(module: str, what: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise errors.ConfigError(
            f"{module} is not installed, which reads {what}", remedy="Install littoral with its extra [cli]."
        ) from error


def _write(path: Path, outputs: dict[str, Any]) -> None:
    """An .npz by tensor name; it appears as a whole."""
    numpy = _needed("numpy", "arrays")
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            numpy.savez(file, **outputs)
        temporary.replace(path)
    except OSError as error:
        raise errors.ConfigError(f"{path} cannot be written: {error}") from error


# --- printing ---------------------------------------------------------------------------------------------------


def _print(answer: client.Answer, question: Question, options: argparse.Namespace) -> None:
    top = _top(answer)
    if options.json:
        value = {
            "model": options.model,
            "release": answer.release,
            "stage": answer.stage.name.lower(),
            "queued_us": answer.queued_us,
            "invoked_us": answer.invoked_us,
            "input": question.done,
            "top": [{"label": label, "score": score} for label, score in top],
            "outputs": {name: array.tolist() for name, array in answer.outputs.items()},
        }
        print(json.dumps(value))
        return
    if question.done:
        print(question.done)
    stage = answer.stage.name.lower()
    print(f"{options.model}: release {answer.release} ({stage}) answered in {answer.invoked_us} us")
    for label, score in top:
        print(f"  {score:8.3f}  {label}")
    if not top:
        for name, array in answer.outputs.items():
            values = ", ".join(f"{value:g}" for value in array.reshape(-1)[:VALUES].tolist())
            more = ", ..." if array.size > VALUES else ""
            print(f"  {name} {array.dtype}{list(array.shape)}: {values}{more}")
    if options.output is not None:
        print(f"outputs are in {options.output}")


def _top(answer: client.Answer) -> list[tuple[str, float]]:
    """The best labels with their scores, where the only output has one score for each label."""
    labels, outputs = answer.interface.labels, answer.interface.outputs
    if len(outputs) != 1 or not labels or answer.outputs[outputs[0].name].size != len(labels):
        return []
    tensor = outputs[0]
    array = answer.outputs[tensor.name]
    scores = (client.dequantize(array, tensor) if tensor.scale else array).reshape(-1).tolist()
    ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])
    return [(label, float(score)) for label, score in ranked[:TOP]]


if __name__ == "__main__":
    sys.exit(main())
