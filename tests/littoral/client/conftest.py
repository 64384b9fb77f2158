"""What the tests of the client talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.littoral.client.sides import FakeSide, RealSide, Side


@pytest.fixture(params=[RealSide, FakeSide], ids=["real", "fake"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    """Once the real host, once the fake server."""
    made: Side = request.param(tmp_path)
    yield made
    made.stop()
