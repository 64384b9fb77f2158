"""Golden vectors: inputs with the answers expected of them, from an .npz to the raw blob that travels.

The .npz is read on the operator's side only. Per case the blob holds all inputs, then all outputs, raw and
little-endian, in the interface's order; where people labelled them, the number of the right class as int32 in place of
the outputs.
"""

import json
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from littoral.bundle import task
from littoral.bundle.card import Card
from littoral.bundle.manifest import LABEL_BYTES
from littoral.errors import GoldenError, ModelLoadError
from littoral.tensors import Interface, Tensor

RUN_TIMEOUT_S = 180.0
NO_CARD = Card()
LABELS = "labels"  # the array with what people say of each case


@dataclass(frozen=True, slots=True)
class Measured:
    """What running the model took on the operator's machine. memory_bytes: growth over an empty process."""

    p95_us: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """`blob` as it travels. `expected` as in the manifest. `measured` is None where the model was not run."""

    cases: int
    blob: bytes
    expected: str = "given"
    measured: Measured | None = None


def given(file: Path, interface: Interface, card: Card = NO_CARD) -> Vectors:
    """Inputs, with outputs or labels, from `file` (`--golden`). The model is not run. Raises GoldenError, and CardError
    where labels do not fit the card."""
    arrays = _read(file)
    inputs = _sides(arrays, interface.inputs, "inputs", {t.name for t in interface.outputs})
    if LABELS in arrays and all(tensor.name != LABELS for tensor in interface.outputs):
        classes = _classes(arrays.pop(LABELS), interface, card)
        if arrays:
            raise GoldenError(f"both {LABELS} and {', '.join(sorted(arrays))}", remedy="Give one or the other.")
        if len(classes) != len(inputs):
            raise GoldenError(f"{len(inputs)} cases of inputs, {len(classes)} labels")
        answers = [number.to_bytes(LABEL_BYTES, "little") for number in classes]
        return Vectors(len(inputs), _joined(inputs, answers), "labelled")
    outputs = _sides(arrays, interface.outputs, "outputs", {t.name for t in interface.inputs})
    _nothing_left(arrays)
    counts = {len(side) for side in (inputs, outputs)}
    if len(counts) != 1:
        raise GoldenError(f"{len(inputs)} cases of inputs, {len(outputs)} of outputs")
    return Vectors(len(inputs), _joined(inputs, outputs))


def copied(file: Path, interface: Interface, model: bytes) -> Vectors:
    """Inputs from `file` (`--golden-inputs`), with the model's own answers to them.

    Raises GoldenError, or ModelLoadError where the model cannot be run.
    """
    arrays = _read(file)
    numbered = [f"arr_{index}" for index in range(len(interface.inputs))]
    if set(arrays) == set(numbered):  # as numpy.savez names them by itself: in the model's order
        arrays = {f"inputs/{t.name}": arrays[n] for n, t in zip(numbered, interface.inputs, strict=True)}
    inputs = _sides(arrays, interface.inputs, "inputs", set())
    _nothing_left(arrays)
    outputs, measured = run(model, inputs, interface)
    return Vectors(len(inputs), _joined(inputs, outputs), "copied", measured)


def run(model: bytes, inputs: Sequence[bytes], interface: Interface) -> tuple[list[bytes], Measured]:
    """The model's answers, from a child process under limits. Raises ModelLoadError, GoldenError."""
    with tempfile.TemporaryDirectory(prefix="littoral-golden-") as scratch:
        folder = Path(scratch)
        (folder / "model").write_bytes(model)
        (folder / "inputs").write_bytes(b"".join(inputs))
        command = [sys.executable, "-P", "-m", "fleet.modelrun", scratch]
        try:
            child = subprocess.run(command, capture_output=True, timeout=RUN_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise ModelLoadError(f"the model did not come to an end within {RUN_TIMEOUT_S:.0f} s") from error
        if child.returncode < 0:
            name = signal.Signals(-child.returncode).name
            raise ModelLoadError(f"the model killed the process that ran it ({name})")
        if child.returncode > 0:
            last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise ModelLoadError(f"the engine refuses the model: {''.join(last)[:400]}")
        data = (folder / "outputs").read_bytes()
        measured = json.loads((folder / "measured.json").read_text())
    size = interface.output_bytes
    if len(data) != size * len(inputs):
        raise GoldenError(f"the engine gave {len(data)} bytes of answers, the model's file says {size} a case")
    outputs = [data[at : at + size] for at in range(0, len(data), size)]
    _check_finite(outputs, interface)
    return outputs, Measured(int(measured["p95_us"]), int(measured["memory_bytes"]))


def _joined(inputs: Sequence[bytes], answers: Sequence[bytes]) -> bytes:
    return b"".join(asked + answer for asked, answer in zip(inputs, answers, strict=True))


def _classes(array: Any, interface: Interface, card: Card) -> list[int]:
    """The right class of each case, as a place in the output with the scores: given as numbers, or as names out of the
    model's labels. Raises GoldenError, CardError."""
    number, offset = task.scores(card, interface)
    if array.dtype.kind not in "iuU" or array.ndim > 1:
        raise GoldenError(
            f"{LABELS} is {array.dtype.name} of shape {array.shape}",
            remedy="It is one class number, or one name out of --labels, for each case.",
        )
    given: list[Any] = array.reshape(-1).tolist()
    if array.dtype.kind == "U":
        given = [_label_number(name, interface.labels) - offset for name in given]
    count = interface.outputs[number].shape[-1]
    if strange := [each for each in given if not 0 <= each < count]:
        raise GoldenError(f"a case is of class {strange[0]}; the model's classes are 0 to {count - 1}")
    return given


def _label_number(name: str, labels: Sequence[str]) -> int:
    if labels.count(name) != 1:
        known = f"stands {labels.count(name)} times" if labels else "is given without --labels"
        raise GoldenError(f"a case is labelled {name!r}, which {known} among the model's labels")
    return labels.index(name)


def _check_finite(outputs: Sequence[bytes], interface: Interface) -> None:
    for case, raw in enumerate(outputs):
        at = 0
        for tensor in interface.outputs:
            array = np.frombuffer(raw[at : at + tensor.size_bytes], tensor.dtype)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise GoldenError(f"the model answers case {case} with NaN or infinity in {tensor.name!r}")
            at += tensor.size_bytes


def _read(file: Path) -> dict[str, Any]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise GoldenError(f"{file} is no .npz", remedy="Write it with numpy.savez, arrays by tensor name.")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise GoldenError(f"{file} cannot be read as .npz: {error}") from error


def _sides(arrays: dict[str, Any], tensors: Sequence[Tensor], side: str, others: set[str]) -> list[bytes]:
    """Per case the raw bytes of all `tensors`. Takes what it used out of `arrays`. Raises GoldenError."""
    columns = []
    for tensor in tensors:
        array = arrays.pop(f"{side}/{tensor.name}", None)
        if array is None and tensor.name not in others:
            array = arrays.pop(tensor.name, None)
        if array is None:
            raise GoldenError(
                f"no array for {tensor.name!r} of the {side}",
                remedy=f"Name it {tensor.name!r} or '{side}/{tensor.name}'; the latter where both sides have the name.",
            )
        columns.append(_cases(array, tensor))
    if len({len(column) for column in columns}) != 1:
        counts = ", ".join(f"{t.name}: {len(c)}" for t, c in zip(tensors, columns, strict=True))
        raise GoldenError(f"the {side} have different numbers of cases ({counts})")
    return [b"".join(parts) for parts in zip(*columns, strict=True)]


def _cases(array: Any, tensor: Tensor) -> list[bytes]:
    """The array with a leading axis of cases; without one it is a single case; a batch axis of 1 may be left out."""
    if array.dtype.name != tensor.dtype:
        raise GoldenError(f"{tensor.name!r} is {array.dtype.name}, the model has {tensor.dtype}")
    if array.shape == tensor.shape:
        array = array[np.newaxis]
    batchless = tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape
    if array.ndim < 1 or array.shape[1:] not in (tensor.shape, batchless) or not len(array):
        raise GoldenError(f"{tensor.name!r} has shape {array.shape}; it is (cases, *{tensor.shape})")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return [np.ascontiguousarray(case).tobytes() for case in little]


def _nothing_left(arrays: dict[str, Any]) -> None:
    if arrays:
        raise GoldenError(f"the model has no tensor {', '.join(sorted(arrays))}")
