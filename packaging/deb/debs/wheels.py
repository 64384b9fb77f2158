"""Fetches the wheels that the packages carry, by the hashes of the lock files, and unpacks what is kept of them.

pip downloads for another machine without running anything of it. What was fetched once stays in the cache.
"""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from debs.carried import Architecture, Wheel

GLIBC = range(36, 16, -1)
"""Minor versions of the glibc that a wheel may ask for: Debian 12 has 2.36."""

_ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*\\\n((?: +--hash=\S+(?: \\)?\n?)+)", re.MULTILINE)


class MissingWheelError(Exception):
    """A wheel that is to be carried and is not in a lock, or not to be had."""


def locked(*locks: Path) -> dict[str, str]:
    """By name, a requirement with its hashes and without its markers: they speak of developers' machines."""
    found: dict[str, str] = {}
    for lock in locks:
        for name, version, hashes in _ENTRY.findall(lock.read_text()):
            found.setdefault(name, f"{name}=={version} \\\n{hashes.rstrip()}\n")
    return found


def fetch(wheels: tuple[Wheel, ...], architecture: Architecture, python: str, locks: list[Path], cache: Path) -> Path:
    """A folder with these wheels for that architecture and Python. Raises MissingWheelError."""
    known = locked(*locks)
    if missing := [wheel.name for wheel in wheels if wheel.name not in known]:
        raise MissingWheelError(f"no lock names {', '.join(missing)}: ./dev lock writes them")
    requirements = "".join(sorted({known[wheel.name] for wheel in wheels}))
    digest = hashlib.sha256(f"{architecture.machine} {python}\n{requirements}".encode()).hexdigest()[:16]
    folder = cache / f"{architecture.machine}-{python}-{digest}"
    if (folder / "complete").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    listed = folder / "requirements.txt"
    listed.write_text(requirements)
    platforms = [f"--platform=manylinux_2_{minor}_{architecture.machine}" for minor in GLIBC]
    command = [
        *(sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--implementation=cp", f"--python-version={python}"),
        *(f"--abi={abi}" for abi in (f"cp{python}", "abi3", "none")),
        *(*platforms, f"--platform=manylinux2014_{architecture.machine}", "--dest", str(folder), "-r", str(listed)),
    ]
    if subprocess.run(command).returncode != 0:
        raise MissingWheelError(f"pip did not fetch the wheels for {architecture.name} and Python {python}")
    (folder / "complete").touch()
    return folder


def unpack(wheel: Wheel, folder: Path, target: Path) -> None:
    """What is kept of the wheel, into the target folder. Raises MissingWheelError where nothing is."""
    name = wheel.name.replace("-", "_")
    archives = [path for path in folder.glob("*.whl") if path.name.lower().startswith(f"{name}-")]
    if len(archives) != 1:
        raise MissingWheelError(f"{folder} has {len(archives)} wheels of {wheel.name}")
    with zipfile.ZipFile(archives[0]) as archive:
        kept = [path for path in archive.namelist() if not path.endswith("/") and wheel.keeps(path)]
        if not kept:
            raise MissingWheelError(f"nothing is kept of {archives[0].name}")
        for path in kept:
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(archive.read(path))


def link_equal_libraries(first: Path, second: Path) -> None:
    """Makes each library of the second folder that equals the first's a link to it: both are installed together."""
    for path in sorted(second.rglob("*.so")):
        twin = first / path.relative_to(second)
        if twin.is_file() and twin.read_bytes() == path.read_bytes():
            path.unlink()
            path.symlink_to(os.path.relpath(twin, path.parent))


def lay_out(architecture: Architecture, locks: list[Path], cache: Path, target: Path) -> None:
    """Everything that is carried on this architecture, by binary package: for any Python, and for one (`cp311`)."""
    for package, wheels in architecture.wheels.items():
        pure = tuple(wheel for wheel in wheels if not wheel.compiled)
        fetched = fetch(pure, architecture, architecture.pythons[0], locks, cache)
        for wheel in pure:
            unpack(wheel, fetched, target / package / "any")
        compiled = tuple(wheel for wheel in wheels if wheel.compiled)
        for python in architecture.pythons:
            fetched = fetch(compiled, architecture, python, locks, cache)
            for wheel in compiled:
                unpack(wheel, fetched, target / package / f"cp{python}")
        for python in architecture.pythons[1:]:
            link_equal_libraries(target / package / f"cp{architecture.pythons[0]}", target / package / f"cp{python}")
