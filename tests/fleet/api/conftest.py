"""The real application on a real uvicorn, with nothing behind it that is connected."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import uvicorn

from fleet.api.app import make_app
from fleet.broker import Address
from fleet.ca import Authority
from fleet.content import Content
from fleet.repo import Repository
from fleet.service import Service
from fleet.store import Store
from tests.fleet import parts
from tests.fleet.parts import WAIT_S, Bundle, eventually

STATUS = {
    "tenant": "main",
    "broker": {"engine": "mosquitto", "host": "hub.example", "port": 8883, "tls": True, "pid": 1, "connected": False},
    "warnings": [],
}


Publish = Callable[[Bundle], None]


class Quiet:
    """A publisher that is never connected."""

    def publish_metadata(self) -> None: ...
    def publish_desired(self, devices: object) -> None: ...
    def publish_chunks(self, digests: object) -> None: ...
    def acknowledge(self, messages: object) -> None: ...


@pytest.fixture
def service(data: Path, opened: Store, repository: Repository) -> Service:
    content = Content(opened, repository, "main")
    broker = Address("hub.example", 8883, tls=True)
    return Service(opened, repository, content, Authority(data), Quiet(), broker, "main")


@contextmanager
def running(service: Service, mirrored: bool = False) -> Iterator[httpx.Client]:
    """The application behind a door, and a client that has nothing to show."""
    app = make_app(service, lambda: STATUS, mirrored=mirrored)
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    with config.bind_socket() as door:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        eventually(lambda: server.started)
        with httpx.Client(base_url=f"http://127.0.0.1:{door.getsockname()[1]}", timeout=WAIT_S) as client:
            yield client
        service.changes.close()
        server.should_exit = True
        thread.join()


@pytest.fixture
def visitor(service: Service) -> Iterator[httpx.Client]:
    """A client that has nothing to show."""
    with running(service) as client:
        yield client


@pytest.fixture
def client(visitor: httpx.Client, opened: Store) -> httpx.Client:
    """An administrator."""
    visitor.headers["Authorization"] = f"Bearer {opened.access.add_admin()}"
    return visitor


@pytest.fixture
def publish(service: Service, repository: Repository, new_fleet: Path) -> Publish:
    """Publishes a bundle past the door."""
    return partial(parts.publish, service, repository, new_fleet / "keys")
