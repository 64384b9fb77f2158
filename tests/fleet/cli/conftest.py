"""A real server's application behind its HTTP door, and what an operator has on disk to publish there."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from examples.demo import assets, damage
from fleet import cli
from fleet.api.app import make_app
from tests.fleet.parts import PASSPHRASE, Fleet, eventually


@pytest.fixture
def work(tmp_path: Path) -> Path:
    demo = assets.ensure()
    model = demo.classifier.read_bytes()
    (tmp_path / "labels").write_text("\n".join(demo.labels))
    (tmp_path / "one.tflite").write_bytes(model)
    (tmp_path / "two.tflite").write_bytes(damage.restamp(model, "two"))
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    return tmp_path


@pytest.fixture
def served(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The fleet behind its HTTP door, named by the environment as an operator would."""
    door = uvicorn.Server(
        uvicorn.Config(make_app(fleet.service, dict), "127.0.0.1", 0, log_level="warning", ws="none", lifespan="off")
    )
    thread = threading.Thread(target=door.run)
    thread.start()
    eventually(lambda: door.started, "the door did not open")
    port = door.servers[0].sockets[0].getsockname()[1]
    monkeypatch.setenv("LITTORAL_SERVER", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("LITTORAL_TOKEN", (fleet.data / "admin-token").read_text().strip())
    yield fleet
    door.should_exit = True
    thread.join()


def build(work: Path, release: int, model: str = "one", *more: str) -> Path:
    out = work / f"bundle-{release}"
    arguments = ["--model", str(work / f"{model}.tflite"), "--name", "cifar", "--release", str(release)]
    arguments += ["--version", f"v{release}", "--out", str(out), *more]
    assert cli.main(["bundle", "build", "--labels", str(work / "labels"), *arguments]) == 0
    return out


def publish(work: Path, served: Fleet, folder: Path, *more: str) -> int:
    arguments = ["publish", str(folder), "--keys", str(served.operator_keys)]
    return cli.main([*arguments, "--passphrase-file", str(work / "passphrase"), *more])
