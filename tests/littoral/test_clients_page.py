"""Every example of docs/clients.md runs."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from littoral.client import Box, Client, Picture
from littoral.fake import FakeModel, FakeServer
from littoral.fake.model import from_json
from littoral.wire.vision import Format
from tests.agent.runtime.device import ROOT

PAGE = (ROOT / "docs/clients.md").read_text()
JPEG = b"\xff\xd8 and so on"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """What the page's apps find on their device."""
    people = FakeModel(labels=("person", "dog"), sees=(Box("person", 0.9, 1, 2, 3, 4),))
    scores = FakeModel(labels=("ant", "bee", "cat", "dog"))
    with FakeServer({"keywords": FakeModel(), "classifier": scores, "person-detect": people}) as made:
        monkeypatch.setenv("LITTORAL_SOCKET", str(made.socket))
        monkeypatch.chdir(tmp_path)
        (tmp_path / "street.jpg").write_bytes(JPEG)
        yield made


@pytest.fixture
def others(server: FakeServer) -> Iterator[None]:
    """Another app that asks all the time, for who subscribes."""
    done = threading.Event()

    def ask() -> None:
        with Client("person-detect", server.socket) as asking:
            while not done.wait(0.01):
                asking.detect(Picture(Format.GREY, 1, 1, b"\0"))

    thread = threading.Thread(target=ask)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.mark.parametrize("block", blocks("python"), ids=range(len(blocks("python"))))
@pytest.mark.usefixtures("server", "others")
def test_the_example_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(block, "docs/clients.md", "exec", dont_inherit=True), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    for test in tests:
        test()
    assert tests or capsys.readouterr().out, "it shows something"


def test_the_described_models_can_be_read() -> None:
    [described] = blocks("json")
    assert [from_json(model).labels for model in json.loads(described).values()] == [("person",)]


def test_every_call_of_the_fake_server_is_on_the_page() -> None:
    calls = {name for name in vars(FakeServer) if not name.startswith("_")}
    internal = {"model", "wait_while_paused", "check_busy", "count", "gave", "heard", "info", "forget"}
    assert [name for name in sorted(calls - internal) if f"`{name}(" not in PAGE] == []
