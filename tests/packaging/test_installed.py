"""Packages installed by apt in Debian 12 and 13, without a network: they run, and leave nothing when purged."""

import shutil
from pathlib import Path

import pytest

from bench.device import tree
from tests.packaging import built, fleet, system
from tests.packaging.built import built_packages, package
from tests.packaging.system import System

SUITES = {"bookworm": "311", "trixie": "313"}

lacking = system.lacking() or built.lacking("mmdebstrap") or built.foreign_machine()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(lacking), reason=lacking),
]


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def installed(suite: str, tmp_path_factory: pytest.TempPathFactory) -> System:
    """All packages, as a person would install them."""
    machine = System(tree.ensure(suite, tree.SERVER), tmp_path_factory.mktemp(suite) / "system")
    machine.install(*(path for path in built_packages().glob("*.deb") if path.stem.split("_")[-1] in ("all", "amd64")))
    return machine


def python(machine: System, code: str, suite: str) -> str:
    folders = ["/usr/lib/littoral", f"/usr/lib/littoral/cp{SUITES[suite]}"]
    return machine.run("python3", "-I", "-c", f"import sys; sys.path[:0] = {folders!r}\n{code}")


def test_the_c_api_passes_its_self_test(installed: System, suite: str) -> None:
    code = (
        "from agent.runtime import engines; engine = engines.open_engine('litert'); "
        "print(engine.name, engine.version, engine.fallback)"
    )
    assert python(installed, code, suite).split() == ["litert", "2.3.0"]


def test_the_interpreter_class_answers_as_the_c_api_does(installed: System, suite: str) -> None:
    """It loads models with variable tensors, and all that run on delegates; with the suite's numpy."""
    code = f"""
from agent.runtime import engines
from agent.runtime.engines import selftest
engine = engines.open_engine("litert")
content = open({fleet.MODEL!r}, "rb").read()
print(engine.load(content, ()).engine, engine.by_class.load(content, ()).engine, sep=", ")
print(repr(selftest.compare(engine)))
"""
    assert python(installed, code, suite).splitlines()[-2:] == ["litert 2.3.0, litert 2.3.0 (Interpreter)", "''"]


def test_every_command_starts(installed: System) -> None:
    for command in ("littoral", "littoral-agent", "littoral-runtime", "littoral-fleet"):
        assert f"usage: {command}" in installed.run(command, "--help")
    assert "litert" in installed.run("littoral-runtime", "bench", fleet.MODEL, "--seconds", "0.1")
    assert "litert" in installed.run("littoral", "bench", fleet.MODEL, "--seconds", "0.1")


def test_all_python_is_compiled_at_install(installed: System, suite: str) -> None:
    """A service may not write it, and would compile it at each start."""
    tag = f"cpython-{SUITES[suite]}"
    for folder in ("usr/lib/littoral", "usr/lib/littoral-fleet", "usr/lib/python3/dist-packages/littoral"):
        sources = list((installed.layer / folder).rglob("*.py"))
        assert sources
        missing = [path for path in sources if not (path.parent / f"__pycache__/{path.stem}.{tag}.pyc").exists()]
        assert missing == []


def test_own_packages_come_before_debians_and_before_the_users(installed: System) -> None:
    for module in ("paho", "tuf", "agent"):
        folder = installed.layer / "usr/lib/python3/dist-packages" / module
        folder.mkdir()
        (folder / "__init__.py").write_text("raise SystemExit('another package of this name')")
        (installed.shared / f"{module}.py").write_text("raise SystemExit('a file of this name')")
    try:
        installed.run("sh", "-c", f"cd /srv && PYTHONPATH=/srv littoral-runtime bench {fleet.MODEL} --seconds 0.1")
        installed.run("sh", "-c", "cd /srv && PYTHONPATH=/srv littoral-agent tuf --help")
    finally:
        for module in ("paho", "tuf", "agent"):
            shutil.rmtree(installed.layer / "usr/lib/python3/dist-packages" / module)
            (installed.shared / f"{module}.py").unlink()


def test_users_and_folders_are_there(installed: System) -> None:
    listed = installed.run("stat", "-c", "%U:%G %a %n", "/var/lib/littoral", "/var/lib/littoral-fleet")
    assert listed.splitlines() == [
        "littoral-agent:littoral-agent 750 /var/lib/littoral",
        "littoral-fleet:littoral-fleet 700 /var/lib/littoral-fleet",
    ]
    assert "littoral-agent" in installed.run("id", "-nG", "littoral-runtime").split()
    assert "littoral" in installed.run("id", "-nG", "littoral-agent").split()


def test_the_server_makes_a_fleet_and_publishes_two_releases(installed: System) -> None:
    """mosquitto is Debian's, golden answers come from the carried engine, Debian's cryptography signs."""
    folder = fleet.run(installed)
    assert {path.name for path in (folder / "stick-2").iterdir()} == {"meta", "chunk", "blob"}
    assert "mosquitto" in (folder / "server.log").read_text()


def test_purge_leaves_nothing_but_users_and_a_fleets_keys(installed: System) -> None:
    """The last test of the module: afterwards nothing is installed."""
    (installed.layer / "var/lib/littoral/identity").mkdir(exist_ok=True)
    installed.run("apt-get", "purge", "-q", "-y", "littoral-agent", "littoral-fleet", "python3-littoral")
    left = installed.run("find", "/usr", "/etc", "/var/lib", "-name", "*littoral*", "-not", "-path", "*/dpkg/*").split()
    client = ("/usr/include", "/usr/share/doc/littoral-client-dev", f"/usr/lib/{'x86_64-linux-gnu'}")
    assert [path for path in left if not path.startswith(client)] == ["/var/lib/littoral-fleet"]
    assert installed.run("ls", "/var/lib/littoral-fleet/ca")
    assert "littoral-agent" in installed.run("getent", "passwd", "littoral-agent")


def test_a_package_alone_is_refused_with_what_it_lacks(suite: str, tmp_path: Path) -> None:
    machine = System(tree.ensure(suite, tree.SERVER), tmp_path / "system")
    shutil.copy(package("littoral-agent", "amd64"), machine.layer / "agent.deb")
    done = machine.attempt("apt-get", "install", "-y", "/agent.deb")
    assert done.status != 0
    assert "Depends: python3-littoral" in done.output
