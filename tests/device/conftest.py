"""What all device tests need: root, and the programs that make a machine. They are slow."""

from pathlib import Path

import pytest

from bench.device import packages, tree

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    lacking = tree.lacking()
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.skipif(bool(lacking), reason=lacking))


@pytest.fixture(scope="session")
def debs() -> dict[str, Path]:
    """The packages of this working tree, by name."""
    return packages.ensure()
