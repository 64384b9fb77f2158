"""The demo's real model and photographs."""

from __future__ import annotations

import pytest

from examples.demo.assets import Assets, ensure


@pytest.fixture(scope="session")
def assets() -> Assets:
    return ensure()


@pytest.fixture(scope="session")
def classifier(assets: Assets) -> bytes:
    return assets.classifier.read_bytes()
