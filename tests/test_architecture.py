"""The walls of the house: who may import whom, and what has to be documented."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"littoral": ROOT / "littoral", "agent": ROOT / "agent", "fleet": ROOT / "fleet-server/fleet"}
DEVICE_ROOMS = ("runtime", "updater", "health", "link")
NEEDS_LIBRARIES = {"littoral.bundle.keys"}  # says so in its docstring; only agent.updater and fleet import it


def modules(room: str) -> list[Path]:
    return sorted(ROOMS[room].rglob("*.py"))


def imports(path: Path, only_top: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if only_top else list(ast.walk(tree))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def module_name(path: Path) -> str:
    relative = path.relative_to(ROOT / "fleet-server") if "fleet-server" in path.parts else path.relative_to(ROOT)
    return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [("littoral", ("agent", "fleet")), ("agent", ("fleet", "examples")), ("fleet", ("agent", "examples"))],
)
def test_arrows_point_at_littoral_only(room: str, forbidden: tuple[str, ...]) -> None:
    crossing = {
        (module_name(path), name) for path in modules(room) for name in imports(path) if name.split(".")[0] in forbidden
    }
    assert crossing == set()


def test_the_rooms_of_the_agent_never_import_each_other() -> None:
    crossing = {
        (module_name(path), name)
        for room in DEVICE_ROOMS
        for path in (ROOT / "agent" / room).rglob("*.py")
        for name in imports(path)
        if any(name.startswith(f"agent.{other}") for other in DEVICE_ROOMS if other != room)
        or name in ("agent.main", "agent.cli", "agent.enroll")
    }
    assert crossing == set()


def test_littoral_needs_nothing_but_python() -> None:
    foreign = {
        (module_name(path), name)
        for path in modules("littoral")
        if module_name(path) not in NEEDS_LIBRARIES
        for name in imports(path, only_top=True)
        if name.split(".")[0] not in sys.stdlib_module_names | {"littoral"}
    }
    assert foreign == set()


def test_every_module_opens_with_a_docstring() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in modules(room)
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_packaging_and_systemd_are_no_packages() -> None:
    assert not [name for name in ("packaging", "systemd") if list((ROOT / name).rglob("__init__.py"))]


def test_no_file_is_longer_than_two_rooms() -> None:
    long = [
        (str(path.relative_to(ROOT)), lines)
        for room in ROOMS
        for path in modules(room)
        if (lines := len(path.read_text().splitlines())) > 450
    ]
    assert long == []
