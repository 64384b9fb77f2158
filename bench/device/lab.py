"""A lab: machines that are real Debian systems, joined by a network of their own. Needs root and systemd-nspawn.

with lab.opened(folder) as room:
    device = room.machine("edge-1")
    device.boot()
    device.run("systemctl", "is-system-running")
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.device import namespace, tree
from bench.device.machine import Machine
from bench.device.network import Network


def lacking() -> str:
    """Why there can be no lab here; empty where there can."""
    if missing := tree.lacking():
        return missing
    try:
        with namespace.opened() as space:
            Network(space)
            space.make_groups("probe")
            space.run("losetup", "--find")
    except (OSError, RuntimeError) as error:
        return f"needs namespaces, control groups and loop devices: {error}"
    return ""


class Lab:
    def __init__(self, folder: Path, space: namespace.Namespace) -> None:
        self.network = Network(space)
        self.machines: dict[str, Machine] = {}
        self._folder = folder
        self._namespace = space

    def machine(
        self,
        name: str,
        suite: str = "bookworm",
        packages: tuple[str, ...] = tree.DEVICE,
        disk: Path | None = None,
    ) -> Machine:
        """A new machine, which is off. Its disk is below the lab's folder: empty, or a copy of another machine's."""
        address = self.network.join(name)
        base = tree.ensure(suite, packages)
        machine = Machine(name, address, base, self._folder / name, self._namespace, disk)
        self.machines[name] = machine
        return machine


@contextmanager
def opened(folder: Path) -> Iterator[Lab]:
    """A lab whose machines have their disks in `folder`. Nothing runs or is mounted afterwards, and the disks are gone.

    Raises RuntimeError where there can be none; `lacking` says why beforehand.
    """
    with ExitStack() as stack:
        room = Lab(folder, stack.enter_context(namespace.opened()))
        try:
            yield room
        finally:
            stack.close()
            for machine in room.machines.values():
                machine.discard()
