from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.tuf_client.client import Client
from tests.agent.tuf_client.repository import TufRepository, serving


@pytest.fixture
def repository() -> TufRepository:
    return TufRepository()


@pytest.fixture
def client(repository: TufRepository, tmp_path: Path) -> Iterator[Client]:
    with serving(repository) as url:
        made = Client(tmp_path, url, repository)
        assert made.init() == 0
        assert repository.asked == []
        yield made
