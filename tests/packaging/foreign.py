"""Systems of another architecture: packages are unpacked and run by qemu, one process after the other.

It is a smoke test: 40 to 90 times slower than the device, and the processor is qemu's. Needs root, for the kernel
has to be told of qemu.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.device import tree
from tests.packaging import system

QEMU = {"arm64": "aarch64", "armhf": "arm"}
MULTIARCH = {"arm64": "aarch64-linux-gnu", "armhf": "arm-linux-gnueabihf"}
PACKAGES = ("dash", "python3", "python3-numpy", "python3-cryptography", "python3-pil")
BINFMT = Path("/proc/sys/fs/binfmt_misc")
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""
"""qemu shows this machine's, in which LiteRT on arm64 looks for ARM's fields: without them it ends with SIGSEGV."""

FEATURES = {
    "arm64": "fp asimd evtstrm crc32 cpuid",
    "armhf": "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm crc32",
}
VARIABLES = {"armhf": {"QEMU_GUEST_BASE": hex(1 << 32)}}
"""/proc/self/smaps shows this machine's addresses, by which the runtime gives memory back. So far apart, their lower
half is the guest's; by its own choice qemu puts them one page apart, and the wrong pages would go."""

ALTERNATIVES = ("blas/libblas.so.3", "lapack/liblapack.so.3")


def lacking(architecture: str) -> str:
    """Why nothing of this architecture can be run here; empty where it can."""
    if reason := system.lacking():
        return reason
    if shutil.which("mmdebstrap") is None:
        return "needs mmdebstrap"
    if not _registration(architecture).is_file():
        return "needs qemu-user-static"
    if not _mounted():
        return "the kernel of this machine has no binfmt_misc"
    return ""


@contextmanager
def runnable(architecture: str) -> Iterator[None]:
    """While the kernel starts programs of this architecture by qemu, in whatever root they lie."""
    entry = BINFMT / f"qemu-{QEMU[architecture]}"
    known = entry.exists()
    if not known:
        (BINFMT / "register").write_text(_registration(architecture).read_text().strip())
    try:
        yield
    finally:
        if not known:
            entry.write_text("-1")


def ensure(architecture: str) -> Path:
    """The tree of a device's Debian 12, unpacked and not set up; made where there is none yet.

    Raises subprocess.CalledProcessError where mmdebstrap cannot make it.
    """
    folder = tree.CACHE / f"bookworm-{architecture}"
    if folder.is_dir():
        return folder
    made = tree.CACHE / f"making-{architecture}-{os.getpid()}"
    command = [
        *("mmdebstrap", "--quiet", "--variant=extract", f"--architectures={architecture}"),
        # Nothing here is ever reached from outside, and a mirror of these two is more often half-way.
        "--setup-hook=sed -i -e /-security/d -e /-updates/d $1/etc/apt/sources.list",
        *(f"--include={','.join(PACKAGES)}", "bookworm", str(made)),
    ]
    tree.CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    libraries = made / "usr/lib" / MULTIARCH[architecture]
    for name in ALTERNATIVES:  # as the packages' scripts would have chosen
        (libraries / Path(name).name).symlink_to(name)
    made.rename(folder)
    return folder


def device(architecture: str, folder: Path) -> system.System:
    cpuinfo = CPUINFO.format(features=FEATURES[architecture])
    return system.System(ensure(architecture), folder, cpuinfo, VARIABLES.get(architecture))


def unpack(onto: system.System, *packages: Path) -> None:
    for package in packages:
        subprocess.run(["dpkg-deb", "--extract", str(package), str(onto.layer)], check=True)


def _registration(architecture: str) -> Path:
    return Path(f"/usr/lib/binfmt.d/qemu-{QEMU[architecture]}.conf")


def _mounted() -> bool:
    if not (BINFMT / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], check=False, capture_output=True)
    return (BINFMT / "register").exists()
