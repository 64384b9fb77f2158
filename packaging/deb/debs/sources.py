"""The clean source tree that a package is built from: what git knows of the working tree, and what is carried."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

CONTENTS = ("LICENSE", "agent", "clients/c", "fleet-server/fleet", "littoral", "packaging/deb", "systemd")
LOCKS = ("requirements.lock", "requirements-tflite.lock")


def files(root: Path) -> Iterator[Path]:
    """What packages are made from, relative to the root: what git has, and what it would take with `git add`."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listed = subprocess.run([*command, *CONTENTS, *LOCKS], check=True, capture_output=True, text=True).stdout
    for name in sorted(set(listed.split("\0")) - {""}):
        if (root / name).is_file():
            yield Path(name)


def digest(root: Path) -> str:
    """Of all that the packages depend on, beside the tools that build them."""
    total = hashlib.sha256()
    for path in files(root):
        content = (root / path).read_bytes()
        total.update(f"{path}\0{(root / path).stat().st_mode & 0o100}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def make(root: Path, target: Path, version: str | None) -> None:
    """The tree, in a target folder that is not there yet. version: another than the changelog's, in an entry above."""
    for path in files(root):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / path, target / path)
    shutil.move(target / "packaging/deb/debian", target / "debian")
    if version is not None:
        changelog = target / "debian/changelog"
        changelog.write_text(entry(changelog.read_text(), version) + changelog.read_text())


def entry(changelog: str, version: str) -> str:
    """One entry that has the newest one's date, so that the same source always gives the same packages."""
    trailer = re.search(r"^ -- .*$", changelog, re.MULTILINE)
    if trailer is None:
        raise ValueError("the changelog has no entry")
    return f"littoral ({version}) unstable; urgency=medium\n\n  * A build of its own.\n\n{trailer[0]}\n\n"
