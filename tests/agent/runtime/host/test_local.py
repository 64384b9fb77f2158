"""`littoral-runtime serve`: one file, served without a record or a signature; in a real process (scripted.py)."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.runtime.host import local
from littoral import client, errors
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.device import PATIENCE_S, ROOT, SCRIPTED_HOST, until

QUESTION = b"\x00\x01\x02\x03"
Serve = Callable[..., "subprocess.Popen[str]"]


def answers(path: Path) -> bool:
    """Whether something listens there: the file is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "Person_Detect.v2.tflite"
    path.write_bytes(scripted.model(answer=1, outputs=[["out", "uint8", [2], 0.0, 0]]))
    return path


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves with these arguments on q.sock, until the test ends."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "meminfo").touch()  # scripted.py looks there whether memory is short

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, *SCRIPTED_HOST, "serve", *arguments, "--socket", tmp_path / "q.sock"]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        until(lambda: answers(tmp_path / "q.sock") or started[-1].poll() is not None, "the socket")
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


def test_a_file_is_served_and_every_answer_says_that_it_is_local(serve: Serve, file: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    process = serve(file, "--labels", tmp_path / "labels.txt")
    with client.Client("person-detect-v2", tmp_path / "q.sock") as asking:
        answer = asking.infer(QUESTION)
        assert (answer.release, answer.stage, answer.data) == (0, query.Stage.LOCAL, b"\1\2")
        assert asking.labels == ("cat", "dog")
    entry = client.models(tmp_path / "q.sock")[0]
    assert (entry["stage"], entry["version"]) == ("local", "Person_Detect.v2.tflite")
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert f"export LITTORAL_SOCKET={tmp_path / 'q.sock'}\n  littoral infer person-detect-v2 --input FILE" in told
    assert not (tmp_path / "q.sock").exists()


def test_another_name_may_be_given(serve: Serve, file: Path, tmp_path: Path) -> None:
    serve(file, "--name", "mine")
    assert client.models(tmp_path / "q.sock")[0]["model"] == "mine"


@pytest.mark.parametrize(
    ("name", "model"),
    [("a.tflite", "a"), ("Some Model (3).tflite", "some-model-3"), ("__.tflite", "model"), ("x" * 80, "x" * 63)],
)
def test_a_files_name_makes_a_models_name(tmp_path: Path, name: str, model: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with local.shelf(tmp_path / name, None, None, "") as shelf:
        assert shelf.models() == [model]
        assert shelf.record("other") is None
    assert not shelf.folder.exists()


def test_a_file_that_cannot_be_read_and_a_senseless_name_are_named_errors(tmp_path: Path, file: Path) -> None:
    with pytest.raises(errors.ConfigError), local.shelf(tmp_path / "none", None, None, ""):
        pass
    with pytest.raises(errors.BadNameError), local.shelf(file, None, None, "../x"):
        pass
    with pytest.raises(errors.ConfigError), local.shelf(file, tmp_path / "none", None, ""):
        pass


def test_a_card_and_labels_that_make_no_sense_are_told_before_anything_is_served(tmp_path: Path, file: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_bytes(b"kindly = \xff")
    with pytest.raises(errors.CardError), local.shelf(file, None, bad, ""):
        pass
    with pytest.raises(errors.ManifestError), local.shelf(file, bad, None, ""):
        pass


def test_who_gave_a_card_of_images_is_told_to_show_it_one(tmp_path: Path, file: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text('[[input]]\nkind = "image"\n')
    with local.shelf(file, None, card, "m") as shelf:
        assert "littoral detect m IMAGE" in local.hint(shelf, local.settings(shelf, None, "auto"))


def test_the_socket_lies_where_only_its_user_gets_at_it(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local.shelf(file, None, None, "") as shelf:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        assert local.settings(shelf, None, "auto").query_socket == tmp_path / "littoral.sock"
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        settings = local.settings(shelf, None, "auto")
    assert settings.query_socket.name.startswith("littoral-")
    assert settings.runtime.socket_mode == "0600"
