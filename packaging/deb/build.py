"""Builds the Debian packages of all architectures on this machine: `./dev deb`.

Nothing of a foreign architecture is run: wheels are unpacked, C is cross-compiled, libraries are stripped by the cross
binutils. The same source gives the same bytes, wherever and whenever it is built.
"""

import argparse
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from debs import sources, wheels
from debs.carried import ARCHITECTURES, Architecture

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache/deb"


class BuildError(Exception):
    """dpkg-buildpackage failed; holds the end of what it wrote."""


def build(architecture: Architecture, independent: bool, out: Path, work: Path, version: str | None) -> list[Path]:
    """The packages of one architecture, and with `independent` those of none, in `out`.

    Raises BuildError, MissingWheelError.
    """
    tree = work / architecture.name / "littoral"
    shutil.rmtree(tree.parent, ignore_errors=True)
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
        end = "\n".join(log.read_text().splitlines()[-40:])
        raise BuildError(f"{end}\nthe packages for {architecture.name} were not built; all of it is in {log}")
    made = sorted(path for path in tree.parent.iterdir() if path != tree)
    return [Path(shutil.move(path, out / path.name)) for path in made]


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
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = options.arch or list(ARCHITECTURES)

    def build_one(name: str) -> list[Path]:
        return build(ARCHITECTURES[name], name == chosen[0], options.out, options.work.resolve(), options.version)

    try:
        with ThreadPoolExecutor(os.cpu_count()) as builders:
            for built in builders.map(build_one, chosen):
                print(*built, sep="\n", flush=True)
    except (BuildError, wheels.MissingWheelError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
