"""What a daemon that somebody took over would try. Runs on a device in the daemon's place, in its unit's sandbox.

    python3 probe.py SERVER_ADDRESS SERVER_PORT

Prints one JSON object: what it could do, and why not. It imports nothing of the tests.
"""

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DISKS = ("overlay", "ext4")
SKIPPED = ("/proc", "/sys")


def attempt(what: Callable[[], object]) -> str:
    """The name of the error that it meets; empty where it could be done."""
    try:
        what()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    return ""


def dial(family: socket.AddressFamily, address: object) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.settimeout(3)
        stream.connect(address)  # type: ignore[arg-type]


def system_call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def write_and_execute() -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def writable() -> list[str]:
    """Folders on a disk in which a file can be made."""
    found = []
    for folder, names, _ in os.walk("/"):
        names[:] = [name for name in names if f"{folder.rstrip('/')}/{name}" not in SKIPPED]
        path = Path(folder, "probe")
        if attempt(path.touch) == "":
            path.unlink()
            found.append(folder)
    return [folder for folder in found if file_system(folder) in DISKS]


def file_system(path: str) -> str:
    shown = subprocess.run(["stat", "--file-system", "--format=%T", path], capture_output=True, text=True)
    name = shown.stdout.strip()
    return {"overlayfs": "overlay", "ext2/ext3": "ext4"}.get(name, name)


def processes_of_others() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and entry.stat().st_uid != os.getuid():
                found.append(entry.name)
        except OSError:
            continue
    return found


def most_memory() -> int:
    """MB that a child can take before it is killed, at most 1000."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        taken = []
        for count in range(1, 101):
            taken.append(bytearray(b"x" * (10 << 20)))
            os.write(writer, count.to_bytes(1, "little"))
        os._exit(0)
    os.close(writer)
    steps = b""
    while data := os.read(reader, 1000):
        steps += data
    os.waitpid(child, 0)
    return 10 * len(steps)


def most_tasks(most: int) -> int:
    """How many children can be had at once, at most `most`."""
    children: list[int] = []
    try:
        while len(children) < most:
            child = os.fork()
            if not child:
                time.sleep(600)
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    return len(children)


def processors() -> float:
    """How many processors four busy children get, over two seconds."""
    began = time.monotonic()
    before = os.times()
    for child in [os.fork() for _ in range(4)]:
        if not child:
            while time.monotonic() < began + 2:
                pass
            os._exit(0)
    for _ in range(4):
        os.wait()
    return (os.times().children_user + os.times().children_system - before.children_user) / (time.monotonic() - began)


def main(address: str, port: int) -> None:
    identity = Path("/var/lib/littoral/identity")
    tried = {
        "connect to the server": attempt(lambda: dial(socket.AF_INET, (address, port))),
        "connect to this machine": attempt(lambda: dial(socket.AF_INET, ("127.0.0.1", port))),
        "speak to the kernel's network": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        "see packets": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "list the keys": attempt(lambda: list(identity.iterdir())),
        "read the key": attempt(lambda: (identity / "device.key").read_bytes()),
        "command the agent": attempt(lambda: dial(socket.AF_UNIX, "/var/lib/littoral/agent.sock")),
        "read who logs in": attempt(lambda: Path("/etc/shadow").read_bytes()),
        "read a home": attempt(lambda: list(Path("/root").iterdir())),
        "change the slot record": attempt(lambda: next(Path("/var/lib/littoral").rglob("slots.dat")).open("r+b")),
        "make executable memory": attempt(write_and_execute),
        "make a namespace": attempt(lambda: system_call("unshare", 0x10000000)),
        "become root": attempt(lambda: os.setuid(0)),
        "make a device": attempt(lambda: os.mknod("/dev/shm/disk", 0o60600, os.makedev(7, 0))),
        "set the clock": attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
        "mount": attempt(lambda: system_call("mount", b"tmpfs", b"/mnt", b"tmpfs", 0, None)),
        "signal the first process": attempt(lambda: os.kill(1, 0)),
        "read the kernel's log": attempt(lambda: Path("/dev/kmsg").read_bytes()),
        "read /proc/cpuinfo": attempt(lambda: Path("/proc/cpuinfo").read_text()),
        "read /sys/devices/system/cpu": attempt(lambda: Path("/sys/devices/system/cpu/online").read_text()),
    }
    found = {
        "tried": tried,
        "writable": writable(),
        "others": processes_of_others(),
        "interfaces": [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]],
        "devices": sorted(path.name for path in Path("/dev").iterdir() if path.is_block_device()),
        "memory_mb": most_memory(),
        "tasks": most_tasks(600),
        "processors": processors(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
