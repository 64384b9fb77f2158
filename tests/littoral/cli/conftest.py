"""A real host that the command finds by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.runtime.device import SCRIPTED_HOST, Device


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    made = Device(tmp_path, SCRIPTED_HOST, {})
    monkeypatch.setenv("LITTORAL_SOCKET", str(made.socket))
    yield made
    made.stop()
