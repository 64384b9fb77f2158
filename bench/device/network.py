"""The network of a lab: a bridge in the lab's namespace, and a network namespace for each machine.

No machine sees the network of the host, nor the host theirs. A parted machine's link stays up, as when the fault lies
further away: what it sends arrives nowhere. For slow and lossy links see bench/link.py.
"""

from __future__ import annotations

from bench.device.namespace import Namespace

PREFIX = "10.77.0."
BRIDGE = "bridge"


class Network:
    """Machines by name; each gets the next address."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._count = 0
        namespace.run("ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        namespace.run("ip", "link", "set", BRIDGE, "up")

    def join(self, name: str) -> str:
        """Makes a network namespace `name` whose eth0 is plugged into the bridge; its address."""
        self._count += 1
        address = f"{PREFIX}{self._count}"
        ip = "ip", "-n", name
        self._namespace.run("ip", "netns", "add", name)
        peer = ("peer", "name", "eth0", "netns", name)
        self._namespace.run("ip", "link", "add", self._port(), "type", "veth", *peer)
        self._namespace.run(*ip, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._namespace.run(*ip, "link", "set", device, "up")
        self._namespace.run("ip", "link", "set", self._port(), "master", BRIDGE, "up")
        return address

    def part(self, address: str) -> None:
        """What this machine sends arrives nowhere, and nothing arrives there."""
        self._namespace.run("ip", "link", "set", self._port(address), "nomaster")

    def heal(self, address: str) -> None:
        self._namespace.run("ip", "link", "set", self._port(address), "master", BRIDGE)

    def unplug(self, address: str) -> None:
        """The machine's link is down."""
        self._namespace.run("ip", "link", "set", self._port(address), "down")

    def plug(self, address: str) -> None:
        self._namespace.run("ip", "link", "set", self._port(address), "up")

    def _port(self, address: str = "") -> str:
        """The bridge's side of a machine's link; of the newest where none is named."""
        return f"port{address.removeprefix(PREFIX) or self._count}"
