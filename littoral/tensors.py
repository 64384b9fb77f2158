"""Tensors and interfaces: what a model takes and gives, as both ends of the socket and of a bundle know it."""

import hashlib
from dataclasses import dataclass
from math import prod
from typing import Any

from littoral import canonical

# bytes per element. String tensors are refused by name.
DTYPES = {
    "float32": 4,
    "float16": 2,
    "float64": 8,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "int32": 4,
    "uint32": 4,
    "int64": 8,
    "uint64": 8,
    "bool": 1,
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output. real value = scale * (stored value - zero_point); scale 0.0 means not quantized."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * DTYPES[self.dtype]

    def to_json(self) -> dict[str, Any]:
        """As WELCOME carries it. The scale is written as a hexadecimal float, so that no bit is lost."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "scale": float(self.scale).hex(),
            "zero_point": self.zero_point,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Tensor":
        """Raises KeyError, TypeError or ValueError where `value` is not what to_json gives."""
        dtype = value["dtype"]
        if dtype not in DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}")
        shape = tuple(int(n) for n in value["shape"])
        return cls(str(value["name"]), dtype, shape, float.fromhex(value["scale"]), int(value["zero_point"]))


@dataclass(frozen=True, slots=True)
class Interface:
    """All that raw bytes of a request and its answer depend on."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    labels: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """32 hex digits (the first 16 bytes of a sha256) over names, dtypes, shapes, quantization and labels."""
        return hashlib.sha256(canonical.encode(self.to_json())).hexdigest()[:32]

    @property
    def input_bytes(self) -> int:
        return sum(t.size_bytes for t in self.inputs)

    @property
    def output_bytes(self) -> int:
        return sum(t.size_bytes for t in self.outputs)

    def shapes(self) -> dict[str, Any]:
        """What an app notices when it changes: names, dtypes and shapes, without quantization and labels."""
        return {
            side: [[t.name, t.dtype, list(t.shape)] for t in tensors]
            for side, tensors in (("inputs", self.inputs), ("outputs", self.outputs))
        }

    def declared(self) -> dict[str, str]:
        """What an app depends on, as bundle.json declares it: a digest of the shapes and one of the labels."""
        parts = {"shapes": self.shapes(), "labels": list(self.labels)}
        return {name: canonical.digest(canonical.encode(part)) for name, part in parts.items()}

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": [t.to_json() for t in self.inputs],
            "outputs": [t.to_json() for t in self.outputs],
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Interface":
        """Raises KeyError, TypeError or ValueError where `value` is not what to_json gives."""
        return cls(
            tuple(Tensor.from_json(t) for t in value["inputs"]),
            tuple(Tensor.from_json(t) for t in value["outputs"]),
            tuple(str(label) for label in value["labels"]),
        )
