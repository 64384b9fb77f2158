"""The packages of the tree as it is, built once and kept in .cache/deb until something in them would change."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from debs import sources

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/deb"
PROGRAMS = ("dpkg-buildpackage", "dh", "dh_python3", "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc")


def lacking(*programs: str) -> str:
    """Why packages cannot be built here; empty where they can."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [name for name in (*PROGRAMS, *programs) if shutil.which(name, path=path) is None]
    return f"needs {' and '.join(missing)}: `./dev deb` installs what it needs" if missing else ""


def foreign_machine() -> str:
    """Why the packages of amd64 do not run here; empty where they do."""
    return "" if platform.machine() == "x86_64" else "the trees of these tests are of amd64"


@cache
def built_packages(version: str | None = None) -> Path:
    """The folder with all packages, of the changelog's version or of another one."""
    digest = sources.digest(ROOT)[:16]
    folder = CACHE / "built" / f"{digest}-{version or 'own'}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (CACHE / "built.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for old in folder.parent.glob("*"):
                if not old.name.startswith(digest):
                    shutil.rmtree(old)
            build(folder, CACHE / "work-of-tests", *(["--version", version] if version else []))
            (folder / "complete").touch()
    return folder


def build(out: Path, work: Path, *options: str) -> None:
    command = [sys.executable, str(ROOT / "packaging/deb/build.py"), "--out", str(out), "--work", str(work), *options]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def package(name: str, architecture: str, folder: Path | None = None) -> Path:
    (found,) = (folder or built_packages()).glob(f"{name}_*_{architecture}.deb")
    return found
