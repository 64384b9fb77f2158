"""A bad link on this machine: real TCP over a TUN device whose packets are delayed, lost and held to a rate.

Linux has netem for that; where the kernel lacks it, this does the same for one subnet. Whoever connects to FAR reaches
NEAR, which is the same machine, and every packet of both ways goes through `carry`. It needs the right to make a TUN
device: a network namespace of one's own, as `unshare -rn` gives.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import time
from dataclasses import dataclass

NEAR, FAR, MASK = "10.99.0.1", "10.99.0.2", "255.255.255.0"
NAMESPACE = ("unshare", "-rn")  # runs what follows in a network namespace of its own
MTU = 1_500
QUEUE_BYTES = 64_000  # of one way; what comes while they wait is lost, as in a modem
_NAME = b"bad0"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFFLAGS, _SIOCSIFMTU = 0x8916, 0x891C, 0x8914, 0x8922
_IFF_UP, _IFF_RUNNING = 0x1, 0x40


@dataclass(frozen=True, slots=True)
class Condition:
    """rate: bytes a second each way, 0 for as many as come. delay_s: one way. loss: share of the packets."""

    name: str
    rate: float = 0.0
    delay_s: float = 0.0
    loss: float = 0.0


def lacking() -> str:
    """Why no link can be made here; empty where one can."""
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun, or no right to use it"
    done = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


def open_link() -> int:
    """Makes the device and its addresses; the descriptor to carry packets with. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", _NAME, _IFF_TUN | _IFF_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, address in ((_SIOCSIFADDR, NEAR), (_SIOCSIFNETMASK, MASK)):
            where = struct.pack("16sHH4s8x", _NAME, socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, request, where)
        fcntl.ioctl(control, _SIOCSIFMTU, struct.pack("16si12x", _NAME, MTU))
        for name in (_NAME, b"lo"):
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", name, _IFF_UP | _IFF_RUNNING))
    return descriptor


def carry(descriptor: int, condition: Condition, seed: int) -> None:
    """Carries packets for ever. What goes to FAR comes back as from FAR to NEAR: TCP's checksum does not change when
    the addresses trade places.
    """
    chance = random.Random(seed)
    waiting: list[tuple[float, int, bytes]] = []
    free_at = {False: 0.0, True: 0.0}  # by way: when its wire is free again
    count = 0
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            os.write(descriptor, heapq.heappop(waiting)[2])
        ready, _, _ = select.select([descriptor], [], [], waiting[0][0] - now if waiting else None)
        if not ready:
            continue
        packet = os.read(descriptor, 65_536)
        now = time.monotonic()
        if packet[0] >> 4 != 4 or chance.random() < condition.loss:
            continue
        source, target = struct.unpack_from("!HH", packet, (packet[0] & 15) * 4)
        way = source < target  # servers here listen on low ports
        leaves_at = max(now, free_at[way])
        if condition.rate:
            if (leaves_at - now) * condition.rate > QUEUE_BYTES:
                continue
            leaves_at += len(packet) / condition.rate
            free_at[way] = leaves_at
        count += 1
        swapped = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
        heapq.heappush(waiting, (leaves_at + condition.delay_s, count, swapped))
