"""What packages are made from, and where the wheels come from: the build's own logic, without building."""

import zipfile
from pathlib import Path

import pytest

from debs import sources, wheels
from debs.carried import ARCHITECTURES, FLEET, LITERT, NEVER, Wheel
from littoral import __version__
from tests.packaging.built import ROOT

DEBIAN = ROOT / "packaging/deb/debian"
LOCKS = [ROOT / name for name in sources.LOCKS]

NOT_CARRIED = {
    "certifi": "Debian's, which follows its certificates",
    "cffi": "of cryptography",
    "cryptography": "Debian's",
    "ml-dtypes": "of LiteRT's tensor buffers, which nothing imports",
    "numpy": "Debian's",
    "pip": "of sqlite-utils' command to install plugins",
    "protobuf": "of LiteRT's compilers",
    "pycparser": "of cffi",
    "tqdm": "of LiteRT's tools",
    "tzdata": "Debian's time zones",
    "backports-strenum": "for Pythons before 3.11",
    "iotcore": "mosquitto is there",
}
"""What the fleet server's packages ask for, and is not carried, and why."""


def test_every_carried_wheel_is_pinned_by_hash_in_a_lock() -> None:
    known = wheels.locked(*LOCKS)
    for architecture in ARCHITECTURES.values():
        for carried in architecture.wheels.values():
            assert all("--hash=sha256:" in known[wheel.name] for wheel in carried)


def test_a_requirement_of_the_build_has_no_marker_of_developers_machines(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(
        "one==1.0 ; sys_platform == 'linux' \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "two-three==2 \\\n    --hash=sha256:cc\n"
    )
    assert wheels.locked(lock) == {
        "one": "one==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n",
        "two-three": "two-three==2 \\\n    --hash=sha256:cc\n",
    }


def test_a_package_that_no_lock_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(wheels.MissingWheelError, match="no lock names unheard-of"):
        wheels.fetch((Wheel("unheard-of"),), ARCHITECTURES["amd64"], "311", LOCKS, tmp_path)


def test_all_that_the_fleet_servers_packages_ask_for_is_carried_or_said_why_not() -> None:
    from importlib import metadata

    from packaging.requirements import Requirement

    carried = {wheel.name for wheel in FLEET}
    for name in carried:
        for line in metadata.requires(name) or []:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                asked = wanted.name.lower().replace("_", "-").replace(".", "-")
                assert asked in carried or asked in NOT_CARRIED, f"{name} asks for {asked}"


def test_only_what_is_kept_of_a_wheel_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some_thing-1-py3-none-any.whl", "w") as archive:
        for name in ("some_thing/a.py", "some_thing/tests/b.py", "some_thing/a.pyi", "some_thing-1.dist-info/RECORD"):
            archive.writestr(name, name)
    wheels.unpack(Wheel("some-thing", drop=NEVER), tmp_path, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["a.py"]


def test_libraries_that_are_equal_for_two_pythons_are_there_once(tmp_path: Path) -> None:
    for python, other in (("cp311", b"one"), ("cp313", b"two")):
        (tmp_path / python / "engine").mkdir(parents=True)
        (tmp_path / python / "engine/same.so").write_bytes(b"same")
        (tmp_path / python / "engine/other.so").write_bytes(other)
        (tmp_path / python / "engine/same.py").write_bytes(b"same")
    wheels.link_equal_libraries(tmp_path / "cp311", tmp_path / "cp313")
    linked = [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert [path.relative_to(tmp_path) for path in linked] == [Path("cp313/engine/same.so")]
    assert str(linked[0].readlink()) == "../../cp311/engine/same.so"
    assert linked[0].read_bytes() == b"same"


def test_an_entry_for_another_version_keeps_the_date() -> None:
    changelog = (DEBIAN / "changelog").read_text()
    added = sources.entry(changelog, "0.1.0+1")
    assert added.startswith("littoral (0.1.0+1) unstable")
    assert added.splitlines()[-2] in changelog


def test_the_packages_have_the_version_of_the_code() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"littoral ({__version__}) ")


def test_everything_carried_stands_in_the_copyright_file() -> None:
    text = (DEBIAN / "copyright").read_text()
    everything = {wheel for each in ARCHITECTURES.values() for carried in each.wheels.values() for wheel in carried}
    assert [wheel.name for wheel in everything if f"Comment: {wheel.name}\n" not in text] == []


def test_what_webgpu_and_compilers_need_is_not_kept() -> None:
    assert LITERT.keeps("ai_edge_litert/libLiteRt.so")
    for left in ("libLiteRtWebGpuAccelerator.so", "aot/aot_compile.py", "_pywrap_litert_converter.so", "tools/x.py"):
        assert not LITERT.keeps(f"ai_edge_litert/{left}")
