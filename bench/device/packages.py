"""The Debian packages of this working tree for this machine's architecture, built once for each state of the source."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEB = ROOT / "packaging/deb"
CACHE = ROOT / ".cache/debs"

DEVICE = ("python3-littoral", "littoral-agent")
SERVER = ("python3-littoral", "littoral-fleet")

_DIGEST = "import pathlib, sys; from debs import sources; print(sources.digest(pathlib.Path(sys.argv[1]))[:16])"


def ensure() -> dict[str, Path]:
    """Packages by name; built where the source has changed (one minute). Raises subprocess.CalledProcessError."""
    digest = _said(sys.executable, "-c", _DIGEST, str(ROOT), cwd=DEB)
    ours = _said("dpkg", "--print-architecture")
    folder = ROOT / f".cache/deb/built/{digest}-own"  # where tests/packaging builds those of all architectures
    if not (folder / "complete").exists():
        folder = CACHE / digest
        if not folder.is_dir():
            _build(folder, ours)
    return {path.name.partition("_")[0]: path for end in (ours, "all") for path in folder.glob(f"*_{end}.deb")}


def other_version(package: Path, version: str, folder: Path) -> Path:
    """The same package under another version, and asking for that of its siblings; in `folder`."""
    unpacked = folder / "unpacked"
    subprocess.run(["dpkg-deb", "-R", package, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    (was,) = (line.split()[1] for line in control.read_text().splitlines() if line.startswith("Version:"))
    control.write_text(
        control.read_text().replace(f"Version: {was}", f"Version: {version}").replace(f"(= {was})", f"(= {version})")
    )
    made = folder / package.name.replace(f"_{was}_", f"_{version}_")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "-b", unpacked, made], check=True, stdout=subprocess.DEVNULL
    )
    shutil.rmtree(unpacked)
    return made


def _build(folder: Path, architecture: str) -> None:
    """Another process may be at it as well: each works in a folder of its own, and the last one's packages stay."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="building-") as scratch:
        out, work = Path(scratch, "out"), Path(scratch, "work")
        command: list[str | Path] = [sys.executable, DEB / "build.py", "--arch", architecture]
        subprocess.run([*command, "--out", out, "--work", work], check=True, stdout=subprocess.DEVNULL)
        for old in CACHE.iterdir():
            if not old.name.startswith("building-"):
                shutil.rmtree(old)
        out.rename(folder)


def _said(*command: str, cwd: Path = ROOT) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()
