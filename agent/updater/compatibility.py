"""Whether a release could run on this device at all: said before a single blob is fetched, with the reason.

It judges what the signed bundle.json asks for. Whether the disk has room is the matter of delivery.py; whether the
model really loads, only the trial can say.
"""

import re
from dataclasses import dataclass

from littoral.bundle.manifest import Manifest, parse_engine
from littoral.errors import IncompatibleError, NoRoomError

_ENGINE = re.compile(r"(?P<name>\S+)( (?P<version>\d+(\.\d+)*))?")


@dataclass(frozen=True, slots=True)
class Here:
    """What this device is. engine "" and budget_bytes 0: the runtime has not said it yet, and nothing is refused
    for it.
    """

    architecture: str  # as uname -m
    engine: str = ""  # as the runtime greets: "litert 2.3.0"
    budget_bytes: int = 0  # memory for models
    delegates: frozenset[str] = frozenset()  # kinds that are configured


def check(found: Manifest, device: Here) -> None:
    """Raises IncompatibleError or NoRoomError."""
    needs = found.needs
    if needs.architectures and device.architecture not in needs.architectures:
        raise IncompatibleError(f"it is for {', '.join(needs.architectures)}; this device is {device.architecture}")
    if needs.engines and device.engine and not any(_runs(device.engine, wanted) for wanted in needs.engines):
        raise IncompatibleError(f"it needs the engine {' or '.join(needs.engines)}; here it is {device.engine}")
    if needs.delegate and needs.cpu == "refuse" and needs.delegate not in device.delegates:
        raise IncompatibleError(f"it needs a {needs.delegate} delegate; none is configured here")
    if device.budget_bytes and needs.memory_bytes > device.budget_bytes:
        raise NoRoomError(f"it needs {needs.memory_bytes} bytes of memory; the budget is {device.budget_bytes}")


def _runs(engine: str, wanted: str) -> bool:
    """Whether `engine` is the one that is wanted, and not too old. One of an unknown version is not too old."""
    name, least = parse_engine(wanted)
    here = _ENGINE.match(engine)
    if here is None or here["name"] != name:
        return False
    return not here["version"] or tuple(int(part) for part in here["version"].split(".")) >= least
