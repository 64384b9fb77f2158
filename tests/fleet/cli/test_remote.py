import argparse
import socket

import httpx
import pytest

from fleet.cli.remote import Remote, add_options, connect
from littoral.errors import ConfigError, NotFoundError, ServerUnreachableError, UnauthorizedError


def remote_that_gets(answer: httpx.Response | Exception) -> Remote:
    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    remote = Remote("http://fleet", "token")
    remote._client = httpx.Client(base_url="http://fleet", transport=httpx.MockTransport(respond))
    return remote


def test_a_named_error_arrives_as_itself() -> None:
    body = {"error": {"code": "not-found", "cause": "no device 'door'", "remedy": "Look again."}}
    with remote_that_gets(httpx.Response(404, json=body)) as remote, pytest.raises(NotFoundError) as caught:
        remote.get("/api/v1/devices/door")
    assert (caught.value.cause, caught.value.remedy) == ("no device 'door'", "Look again.")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gibberish"),
        httpx.UnsupportedProtocol("ftp"),
        httpx.Response(502, text="<html>"),
        httpx.Response(500, json=[]),
        httpx.Response(404, json={"error": "other"}),
        httpx.Response(301),
    ],
)
def test_what_is_no_fleet_server_is_a_named_error(answer: httpx.Response | Exception) -> None:
    with remote_that_gets(answer) as remote, pytest.raises(ServerUnreachableError):
        remote.get("/api/v1/devices")


def test_what_is_too_large_to_hold_comes_in_parts_and_errors_by_their_names() -> None:
    with remote_that_gets(httpx.Response(200, content=iter([b"one", b"two"]))) as remote:
        assert b"".join(remote.parts("/api/v1/blobs/x")) == b"onetwo"
    body = {"error": {"code": "not-found", "cause": "no blob", "remedy": ""}}
    with remote_that_gets(httpx.Response(404, json=body)) as remote, pytest.raises(NotFoundError):
        list(remote.parts("/api/v1/blobs/x"))
    with remote_that_gets(httpx.ReadTimeout("slow")) as remote, pytest.raises(ServerUnreachableError):
        list(remote.parts("/api/v1/blobs/x"))


def test_nothing_listening_is_a_named_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Remote(f"http://127.0.0.1:{port}", "token") as remote, pytest.raises(ServerUnreachableError):
        remote.get("/")


@pytest.mark.parametrize(("status", "there"), [(200, True), (404, False)])
def test_has_says_whether_something_is_there(status: int, there: bool) -> None:
    with remote_that_gets(httpx.Response(status)) as remote:
        assert remote.has("/api/v1/blobs/x") is there


def test_has_tells_a_wrong_token_from_an_absent_thing() -> None:
    with remote_that_gets(httpx.Response(401)) as remote, pytest.raises(UnauthorizedError):
        remote.has("/api/v1/blobs/x")


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


def test_options_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITTORAL_SERVER", raising=False)
    monkeypatch.delenv("LITTORAL_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="LITTORAL_SERVER"):
        connect(arguments())
    monkeypatch.setenv("LITTORAL_SERVER", "http://from-environment")
    with pytest.raises(ConfigError, match="LITTORAL_TOKEN"):
        connect(arguments())
    monkeypatch.setenv("LITTORAL_TOKEN", "from-environment")
    with connect(arguments()) as remote:
        assert remote._server == "http://from-environment"
    with connect(arguments("--server", "http://given", "--token", "given")) as remote:
        assert remote._server == "http://given"
        assert remote._client.headers["authorization"] == "Bearer given"


@pytest.mark.parametrize("server", ["", "fleet", "ftp://fleet", "http://", "http://a b\0"])
def test_a_senseless_address_is_a_named_error(server: str) -> None:
    with pytest.raises(ConfigError):
        Remote(server, "token")


def test_a_token_that_is_none_is_a_named_error() -> None:
    for token in ("törken", "a\nb"):
        with pytest.raises(ConfigError):
            Remote("http://fleet", token)
