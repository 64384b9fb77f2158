"""agent/enroll.py: what a device accepts of a fleet server, over real HTTP."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from agent import config
from agent.enroll import enroll
from littoral import errors

ROOT = '{"signed": "the first root"}'
REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "secret." + hashlib.sha256(ROOT.encode()).hexdigest()[:32]


class Door:
    """A server that answers enrolments with what the test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = {
            "root": ROOT,
            "ca": "CA",
            "certificate": "CERT",
            "tenant": "main",
            "device": "farm-1",
            "broker": {"host": "10.0.0.1", "port": 8883, "tls": True, "username": "", "password": 'a"b\\'},
        }
        self.asked: list[dict[str, Any]] = []
        door = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                door.asked.append({"path": self.path, **json.loads(body)})
                data = json.dumps(door.answer).encode() if not isinstance(door.answer, bytes) else door.answer
                self.send_response(door.status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def door() -> Iterator[Door]:
    door = Door()
    yield door
    door.close()


def test_an_enrolled_device_has_settings_that_both_daemons_take(door: Door, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert enroll(door.url, TOKEN, state, "farm-1", {"site": "north"}) == "farm-1"
    found = config.read(state / "agent.toml")
    assert (found.device, found.tenant, found.tags) == ("farm-1", "main", {"site": "north"})
    assert found.broker == config.Broker("10.0.0.1", 8883, True, "", 'a"b\\')
    assert found.query_socket == state / "query.sock"
    assert (state / "identity/root.json").read_text() == ROOT
    assert (state / "identity/device.key").stat().st_mode & 0o777 == 0o600
    asked = door.asked[0]
    assert (asked["path"], asked["token"], asked["name"]) == ("/api/v1/enroll", TOKEN, "farm-1")
    assert x509.load_pem_x509_csr(asked["csr"].encode()).is_signature_valid


def test_a_root_that_is_not_the_tokens_is_refused_and_nothing_is_kept(door: Door, tmp_path: Path) -> None:
    door.answer["root"] = '{"signed": "another root"}'
    with pytest.raises(errors.RootMismatchError):
        enroll(door.url, TOKEN, tmp_path / "state", None, {})
    assert [path.name for path in (tmp_path / "state/identity").iterdir()] == ["device.key"]
    assert not (tmp_path / "state/agent.toml").exists()


def test_an_enrolment_that_is_tried_again_asks_with_the_same_key(door: Door, tmp_path: Path) -> None:
    door.status, answer = 500, door.answer
    door.answer = b"lost"
    with pytest.raises(errors.ServerUnreachableError):
        enroll(door.url, TOKEN, tmp_path, None, {})
    door.status, door.answer = 200, answer
    enroll(door.url, TOKEN, tmp_path, None, {})
    first, second = (x509.load_pem_x509_csr(asked["csr"].encode()) for asked in door.asked)
    assert first.public_key() == second.public_key()


def test_a_state_that_cannot_be_written_spends_no_token(door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.ConfigError):
        enroll(door.url, TOKEN, tmp_path / "file", None, {})
    assert door.asked == []


@pytest.mark.parametrize("server", ["10.0.0.1:8080", "http://[", "http://a b/"])
def test_an_address_that_is_none_is_a_named_error(tmp_path: Path, server: str) -> None:
    with pytest.raises(errors.LittoralError):
        enroll(server, TOKEN, tmp_path / "state", None, {})


@pytest.mark.parametrize(
    "error", [errors.TokenUsedError, errors.TokenExpiredError, errors.TokenUnknownError, errors.NameTakenError]
)
def test_a_refusal_keeps_its_name(door: Door, tmp_path: Path, error: type[errors.LittoralError]) -> None:
    door.status = 409
    door.answer = {"error": {"code": error.code, "cause": "no", "remedy": ""}}
    with pytest.raises(error):
        enroll(door.url, TOKEN, tmp_path / "state", None, {})


@pytest.mark.parametrize("answer", [b"<html>", b"[]", {"root": ROOT}, {"root": 1}])
def test_an_answer_that_is_none_of_a_fleet_server_is_a_named_error(door: Door, tmp_path: Path, answer: Any) -> None:
    door.answer = answer
    with pytest.raises(errors.LittoralError):
        enroll(door.url, TOKEN, tmp_path / "state", None, {})
    assert not (tmp_path / "state/agent.toml").exists()


def test_no_server_is_a_named_error(door: Door, tmp_path: Path) -> None:
    door.close()
    with pytest.raises(errors.ServerUnreachableError):
        enroll(door.url, TOKEN, tmp_path / "state", None, {})
    door.thread = threading.Thread(target=lambda: None)
    door.thread.start()


@pytest.mark.parametrize(
    ("token", "name", "tags", "error"),
    [
        ("no-dot", None, {}, errors.TokenUnknownError),
        (TOKEN, "Farm 1", {}, errors.BadNameError),
        (TOKEN, None, {"site": "../x"}, errors.BadNameError),
    ],
)
def test_what_is_wrong_here_asks_nobody(
    door: Door, tmp_path: Path, token: str, name: str | None, tags: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        enroll(door.url, token, tmp_path / "state", name, tags)
    assert door.asked == []


def test_a_state_folder_serves_one_device(door: Door, tmp_path: Path) -> None:
    enroll(door.url, TOKEN, tmp_path, None, {})
    with pytest.raises(errors.ConflictError):
        enroll(door.url, TOKEN, tmp_path, None, {})


def test_a_state_folder_too_deep_for_a_socket_is_refused_first(door: Door, tmp_path: Path) -> None:
    with pytest.raises(errors.SocketPathError):
        enroll(door.url, TOKEN, tmp_path / ("x" * 100), None, {})
    assert door.asked == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_what_root_enrols_belongs_to_the_owner_of_the_folder_and_its_group_reads_the_settings(
    door: Door, open_folder: Path
) -> None:
    state = open_folder / "state"
    state.mkdir()
    os.chown(state, 12_345, 12_346)
    enroll(door.url, TOKEN, state, None, {})
    for path in (state / "agent.toml", state / "identity", state / "identity" / "device.key"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12_345, 12_346)
    assert (state / "agent.toml").stat().st_mode & 0o777 == 0o640
    assert (state / "identity").stat().st_mode & 0o777 == 0o700
    assert os.geteuid() == 0


def test_a_device_whose_daemons_are_services_has_its_sockets_where_their_units_say(
    door: Door, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "STATE", open_folder)
    if os.getuid() == 0:
        with pytest.raises(errors.ConfigError, match="belongs to root"):
            enroll(door.url, TOKEN, open_folder, None, {})
        os.chown(open_folder, 12_345, 12_346)
    enroll(door.url, TOKEN, open_folder, None, {})
    found = config.read(open_folder / "agent.toml")
    assert (found.query_socket, found.control_socket) == (
        Path("/run/littoral/query.sock"),
        Path("/run/littoral/control.sock"),
    )
    units = "".join(path.read_text() for path in (REPOSITORY / "systemd").glob("*.socket"))
    assert f"ListenStream={found.query_socket}\n" in units
    assert f"ListenStream={found.control_socket}\n" in units


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_a_folder_that_this_user_may_not_look_into_is_a_named_error(open_folder: Path) -> None:
    (open_folder / "state").mkdir(0o700)
    os.seteuid(12_345)
    try:
        with pytest.raises(errors.ConfigError, match="Run it as root"):
            enroll("http://127.0.0.1:1", TOKEN, open_folder / "state", None, {})
    finally:
        os.seteuid(0)
