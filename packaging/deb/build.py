"""Builds the Debian packages of all architectures on this machine: `./dev deb`.

Nothing of a foreign architecture is run: wheels are unpacked, C is cross-compiled, libraries are stripped by the cross
binutils. The same source gives the same bytes, wherever and whenever it is built.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from debs import sources, wheels
from debs.carried import ARCHITECTURES, Architecture

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/deb"


def build(architecture: Architecture, independent: bool, out: Path, work: Path, version: str | None = None) -> None:
    """Writes the packages of one architecture, and with `independent` those of none, into `out`."""
    tree = work / architecture.name / "littoral"
    sources.make(ROOT, tree, version)
    wheels.lay_out(architecture, [ROOT / name for name in sources.LOCKS], CACHE / "wheels", tree / "carried")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DEB_", "PYTHON"))},
        "DEB_BUILD_OPTIONS": "nocheck noautodbgsym",
        "DEB_BUILD_PROFILES": "nocheck" if architecture.name == native() else "nocheck cross",
        "LC_ALL": "C.UTF-8",
    }
    command = [
        *("dpkg-buildpackage", f"--host-arch={architecture.name}", "--build=" + "any,all"[: 7 if independent else 3]),
        *("--no-check-builddeps", "--no-sign", "--no-pre-clean", "--rules-file=debian/rules"),
    ]
    log = work / f"{architecture.name}.log"
    with log.open("w") as written:
        status = subprocess.run(command, cwd=tree, env=environment, stdout=written, stderr=subprocess.STDOUT)
    if status.returncode != 0:
        print("\n".join(log.read_text().splitlines()[-40:]), file=sys.stderr)
        raise SystemExit(f"the packages for {architecture.name} were not built; all of it is in {log}")
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(tree.parent.glob("littoral*_*")) + sorted(tree.parent.glob("python3-littoral_*")):
        shutil.move(path, out / path.name)
        print(out / path.name)


def native() -> str:
    shown = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True)
    return shown.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev deb", description=__doc__)
    parser.add_argument(
        "--arch", action="append", choices=ARCHITECTURES, help="only this architecture; may be given several times"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="where they go (dist)")
    parser.add_argument("--work", type=Path, default=CACHE / "work", metavar="DIR", help="where they are built")
    parser.add_argument("--version", metavar="V", help="another version than the changelog's, to try an upgrade")
    options = parser.parse_args()
    for number, name in enumerate(options.arch or ARCHITECTURES):
        build(ARCHITECTURES[name], number == 0, options.out, options.work, options.version)


if __name__ == "__main__":
    main()
