"""Debian trees: what a machine has on its disk before any package of ours, made by mmdebstrap and kept in .cache/trees.

A tree holds what our packages depend on, so that nothing is fetched when they are installed. Nothing of a tree is ever
changed: a machine writes into a layer of its own (bench/device/machine.py).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "trees"

# libfaketime is for what a device without a clock does.
SYSTEM = ("systemd", "systemd-sysv", "dbus", "libfaketime")
DEVICE = (*SYSTEM, "python3", "python3-numpy", "python3-cryptography", "python3-pil")
"""What the packages of a device depend on."""
SERVER = (*DEVICE, "mosquitto", "python3-certifi", "tzdata")
"""What the fleet server depends on beside that."""

PROGRAMS = ("systemd-nspawn", "mmdebstrap", "ip", "nsenter", "unshare", "mkfs.ext4")


def lacking() -> str:
    """Why no machine can be made here; empty where one can."""
    if os.geteuid() != 0:
        return "needs root"
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    return f"needs {' and '.join(missing)}" if missing else ""


def ensure(suite: str = "bookworm", packages: tuple[str, ...] = DEVICE) -> Path:
    """The tree of a Debian release with these packages; made where there is none yet (20 s, 300 MB).

    Raises subprocess.CalledProcessError where mmdebstrap cannot make it.
    """
    digest = hashlib.sha256(" ".join(sorted(packages)).encode()).hexdigest()
    folder = CACHE / f"{suite}-{digest[:12]}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=CACHE, prefix="making-"))
    try:
        made = scratch / "tree"
        command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(packages)}", suite, str(made)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        (made / "etc/machine-id").write_text("")  # each machine makes its own
        try:
            made.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, and its tree is as good
                raise
    finally:
        shutil.rmtree(scratch)
    return folder
