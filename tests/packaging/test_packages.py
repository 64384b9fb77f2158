"""The packages themselves: what is in them, how large they are, what they depend on, that they come out the same."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_reference import PROGRAMS as COMMANDS
from tests.packaging import built
from tests.packaging.built import ROOT, built_packages, package

MB = 1_000_000
ENGINES = {"amd64": ("cp311", "cp313"), "arm64": ("cp311", "cp313"), "armhf": ("cp311",)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(built.lacking()), reason=built.lacking()),
]


@pytest.fixture(scope="session")
def packages() -> Path:
    return built_packages()


def field(path: Path, name: str) -> str:
    shown = subprocess.run(["dpkg-deb", "--field", str(path), name], check=True, capture_output=True, text=True)
    return shown.stdout.strip()


def contents(path: Path) -> list[str]:
    """Files and links, without folders."""
    shown = subprocess.run(["dpkg-deb", "--contents", str(path)], check=True, capture_output=True, text=True)
    names = [line.split(None, 5)[5].split(" -> ")[0].removeprefix(".") for line in shown.stdout.splitlines()]
    return [name for name in names if not name.endswith("/")]


def control(path: Path, name: str) -> str:
    shown = subprocess.run(["dpkg-deb", "--info", str(path), name], capture_output=True, text=True)
    return shown.stdout


@pytest.mark.skipif(shutil.which("lintian") is None, reason="needs lintian")
def test_lintian_has_neither_errors_nor_warnings(packages: Path) -> None:
    files = [*map(str, packages.glob("*.changes")), *map(str, packages.glob("*.deb"))]
    command = ["lintian", "--fail-on", "error,warning", "--allow-root", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_same_source_gives_the_same_bytes(packages: Path, tmp_path: Path) -> None:
    """In another folder, at another time, with another umask, time zone and language. arm64 is made as armhf is."""
    build = f"{sys.executable} {ROOT}/packaging/deb/build.py --arch amd64 --arch armhf"
    script = f"umask 077; exec {build} --out again --work {tmp_path}/else/where"
    environment = {**os.environ, "TZ": "Asia/Tokyo", "LANG": "C", "HOME": str(tmp_path)}
    subprocess.run(["sh", "-c", script], check=True, cwd=tmp_path, env=environment, capture_output=True)
    made = sorted(path.name for path in (tmp_path / "again").glob("*.deb"))
    assert len(made) == 6
    different = [name for name in made if (packages / name).read_bytes() != (tmp_path / "again" / name).read_bytes()]
    assert different == []


@pytest.mark.parametrize(("architecture", "limit"), [("amd64", 16 * MB), ("arm64", 16 * MB), ("armhf", 4 * MB)])
def test_the_agent_is_small(packages: Path, architecture: str, limit: int) -> None:
    assert package("littoral-agent", architecture).stat().st_size <= limit


def test_nothing_lies_outside_of_a_packages_folders(packages: Path) -> None:
    places = {
        "littoral-agent": r"/usr/lib/littoral/|/usr/bin/littoral-(agent|runtime)$|/lib/systemd/system/littoral-"
        r"|/usr/lib/(sysusers|tmpfiles)\.d/littoral-agent\.conf$|/usr/lib/systemd/catalog/littoral-agent\.catalog$",
        "python3-littoral": r"/usr/lib/python3/dist-packages/littoral/|/usr/bin/littoral$",
        "littoral-client-dev": r"/usr/include/littoral\.h$|/usr/lib/[a-z0-9_-]+/(liblittoral\.a$|pkgconfig/)",
        "littoral-fleet": r"/usr/lib/littoral-fleet/|/usr/bin/littoral-fleet$"
        r"|/lib/systemd/system/littoral-fleet\.service$|/usr/lib/(sysusers|tmpfiles)\.d/littoral-fleet\.conf$|/etc/default/littoral-fleet$",
    }
    shared = r"/usr/share/(doc|man|python3/runtime\.d|lintian/overrides)/"
    for path in packages.glob("*.deb"):
        allowed = re.compile(f"{places[field(path, 'Package')]}|{shared}")
        assert [name for name in contents(path) if not allowed.match(name)] == []


def test_no_tests_no_compiled_python_and_no_webgpu_are_carried(packages: Path) -> None:
    unwanted = re.compile(r"\.pyc$|\.pyi$|/tests?/|/test_|/conftest|WebGpu|/aot/|\.egg-info|/RECORD$|\.whl$")
    for path in packages.glob("*.deb"):
        assert [name for name in contents(path) if unwanted.search(name)] == []


@pytest.mark.parametrize("architecture", ENGINES)
def test_the_agent_has_an_engine_for_each_python(packages: Path, architecture: str) -> None:
    names = contents(package("littoral-agent", architecture))
    engine = "tflite_runtime" if architecture == "armhf" else "ai_edge_litert"
    found = {name.split("/")[4] for name in names if name.endswith(f"/{engine}/interpreter.py")}
    assert found == set(ENGINES[architecture])
    assert any(f"/{engine}-" in name and name.endswith("dist-info/METADATA") for name in names)


def test_carried_libraries_need_no_newer_libc_than_the_package_says(packages: Path, tmp_path: Path) -> None:
    for architecture in ENGINES:
        path = package("littoral-agent", architecture)
        subprocess.run(["dpkg-deb", "--extract", str(path), str(tmp_path / architecture)], check=True)
        said = re.search(r"libc6 \(>= ([0-9.]+)\)", field(path, "Depends"))
        assert said is not None
        wanted = {
            tuple(map(int, version.decode().split(".")))
            for library in (tmp_path / architecture).rglob("*.so")
            for version in re.findall(rb"\0GLIBC_([0-9.]+)\0", library.read_bytes())
        }
        assert max(wanted) <= tuple(map(int, said[1].split(".")))


def test_carried_libraries_are_stripped(packages: Path, tmp_path: Path) -> None:
    for architecture in ENGINES:
        folder = tmp_path / architecture
        subprocess.run(["dpkg-deb", "--extract", str(package("littoral-agent", architecture)), str(folder)], check=True)
        libraries = [path for path in folder.rglob("*.so") if not path.is_symlink()]
        shown = subprocess.run(["file", *map(str, libraries)], check=True, capture_output=True, text=True).stdout
        assert "not stripped" not in shown


def test_the_agent_takes_its_large_dependencies_from_debian(packages: Path) -> None:
    for architecture in ENGINES:
        depends = field(package("littoral-agent", architecture), "Depends").split(", ")
        version = field(package("littoral-agent", architecture), "Version")
        assert {
            f"python3-littoral (= {version})",
            "python3-cryptography",
            "python3-numpy",
            "python3-pil",
            "systemd",
        } <= set(depends)


def test_on_armhf_a_later_python_is_refused_and_the_package_says_why(packages: Path) -> None:
    path = package("littoral-agent", "armhf")
    assert "python3 (<< 3.12)" in field(path, "Depends").split(", ")
    assert "TensorFlow Lite is published for armhf and Python" in field(path, "Description")
    for architecture in ("amd64", "arm64"):
        depends = field(package("littoral-agent", architecture), "Depends").split(", ")
        assert "python3 (<< 3.12)" not in depends
        assert "python3 (<< 3.12) | python3 (>= 3.13)" in depends


def test_the_client_needs_nothing_but_python(packages: Path) -> None:
    path = package("python3-littoral", "all")
    assert field(path, "Depends") == "python3:any"
    assert "python3-numpy" in field(path, "Recommends")


def test_the_client_alone_imports_with_the_standard_library_only(packages: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", str(package("python3-littoral", "all")), str(tmp_path)], check=True)
    folder = tmp_path / "usr/lib/python3/dist-packages"
    code = (
        f"import sys; sys.path = [{str(folder)!r}] + [p for p in sys.path if 'site-packages' not in p];"
        "import littoral.client, littoral.cli; print(littoral.client.__file__)"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(str(folder))


def test_the_c_client_links_by_pkg_config(packages: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "--extract", str(package("littoral-client-dev", "amd64")), str(tmp_path)], check=True)
    (found,) = tmp_path.rglob("littoral.pc")
    lines = dict(line.split(": ", 1) for line in found.read_text().splitlines() if ": " in line)
    paths = dict(line.split("=", 1) for line in found.read_text().splitlines() if "=" in line and ": " not in line)
    flags = f"{lines['Cflags']} {lines['Libs']}".replace("${", "{").format(**paths).replace("/usr/", f"{tmp_path}/usr/")
    (tmp_path / "app.c").write_text("#include <littoral.h>\nint main(void) { return lt_open == 0; }\n")
    command = ["gcc", str(tmp_path / "app.c"), *flags.split(), "-o", str(tmp_path / "app")]
    subprocess.run(command, check=True)
    subprocess.run([str(tmp_path / "app")], check=True)


def test_conffiles_are_the_servers_options_only(packages: Path) -> None:
    found = {field(path, "Package"): control(path, "conffiles").split() for path in packages.glob("*.deb")}
    assert {name: files for name, files in found.items() if files} == {
        "littoral-fleet": ["/etc/default/littoral-fleet"]
    }


def test_an_upgrade_restarts_services_and_leaves_sockets(packages: Path) -> None:
    script = control(package("littoral-agent", "amd64"), "postinst")
    (start, restart) = re.findall(r"deb-systemd-invoke (\S+) (.*) >/dev/null", script)
    assert start == ("start", "'littoral-runtime-control.socket' 'littoral-runtime.socket'")
    assert restart == ("$_dh_action", "'littoral-agent.service' 'littoral-runtime.service'")
    before = control(package("littoral-agent", "amd64"), "prerm")
    assert all('"$1" = remove' in line for line in before.splitlines() if "systemd/system" in line)


def test_each_command_has_a_man_page_that_names_what_it_can(packages: Path) -> None:
    from tests.command_reference import commands, parser_of

    files = {name for path in packages.glob("*_a[ml][dl]*.deb") for name in contents(path)}
    for program in COMMANDS:
        assert f"/usr/share/man/man1/{program}.1.gz" in files
        page = (ROOT / f"packaging/deb/man/{program}.1").read_text().replace("\\-", "-")
        missing = [
            parser.prog
            for parser, _ in commands(parser_of(program))
            if parser.prog.removeprefix(f"{program} ") not in page
        ]
        assert missing == []


def test_no_unit_or_launcher_is_left_out(packages: Path) -> None:
    files = {Path(name).name for path in packages.glob("*_a[ml][dl]*.deb") for name in contents(path)}
    units = {path.name for path in (ROOT / "systemd").iterdir() if path.suffix in (".service", ".socket", ".timer")}
    assert units <= files
    assert set(COMMANDS) <= files


def test_files_are_as_old_as_the_changelog_says(packages: Path) -> None:
    shown = subprocess.run(
        ["dpkg-deb", "--contents", str(package("littoral-agent", "arm64"))], check=True, capture_output=True, text=True
    )
    assert len({line.split()[3] for line in shown.stdout.splitlines()}) == 1
