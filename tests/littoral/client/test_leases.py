"""Leases as an app takes them, of the real host and of the fake server."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from littoral import errors
from littoral.client import Lease, lease, models
from littoral.fake import FakeModel, FakeServer
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.device import Raw, until
from tests.littoral.client.sides import Side


def test_a_lease_is_held_until_it_is_closed(side: Side) -> None:
    side.serve(scripted.model(), scripted.model())
    with lease("m", side.socket) as held:
        assert held.hold_s == 3600.0
        side.switch(2)
        assert held.ended is None
    assert held.ended is None


def test_a_lease_that_the_runtime_takes_along_when_it_dies_is_known_to_be_lost(side: Side) -> None:
    side.serve(scripted.model())
    with lease("m", side.socket) as held:
        side.kill()
        until(lambda: held.ended, "the lease to end")
        side.revive()
        assert isinstance(held.ended, errors.UnreachableError)  # it is not taken again by itself


def test_an_unknown_model_is_a_named_error(side: Side) -> None:
    side.serve(scripted.model())
    with pytest.raises(errors.UnknownModelError):
        lease("nobody", side.socket)
    assert models(side.socket)


def test_where_nobody_listens_it_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(errors.UnreachableError):
        lease("m", tmp_path / "none.sock")


def test_who_says_something_on_a_lease_loses_it_on_both_sides(side: Side) -> None:
    side.serve(scripted.model())
    raw = Raw(side.socket)
    raw.send(query.hello(query.Hello("m", mode=query.Mode.LEASE)))
    raw.frame(query.Kind.INFO)
    raw.send(b"L")
    assert raw.code() == "protocol"
    assert raw.next() is None
    raw.close()


def test_the_fake_server_counts_leases_and_can_end_them() -> None:
    with FakeServer({"m": FakeModel(), "n": FakeModel()}) as server:
        first, second, other = (Lease(name, server.socket) for name in ("m", "m", "n"))
        assert server.leases("m") == 2
        first.close()
        until(lambda: server.leases("m") == 1, "the lease to end")
        server.expire_leases("m")
        until(lambda: second.ended, "the client to hear of it")
        assert isinstance(second.ended, errors.LeaseExpiredError)
        until(lambda: server.leases("m") == 0, "the lease to end")
        assert other.ended is None
        second.close()
        other.close()


def test_what_a_fake_model_refuses_with_is_raised() -> None:
    refusing = FakeModel(refuses=errors.AccessDeniedError("not for you"))
    with FakeServer({"m": refusing}) as server, pytest.raises(errors.AccessDeniedError):
        lease("m", server.socket)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (query.json_frame(query.Kind.INFO, {"engine": "of another time"}), errors.ProtocolError),
        (query.json_frame(query.Kind.INFO, {"hold_s": None}), errors.ProtocolError),
        (b"", errors.UnreachableError),
    ],
    ids=["another INFO", "no number", "none at all"],
)
def test_an_answer_that_gives_no_lease_is_a_named_error(
    tmp_path: Path, answer: bytes, error: type[errors.LittoralError]
) -> None:
    def answers() -> None:
        with listener.accept()[0] as sock:
            sock.recv(query.MAX_HELLO_BYTES)
            sock.sendall(answer)

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        runtime = threading.Thread(target=answers)
        runtime.start()
        with pytest.raises(error):
            lease("m", tmp_path / "s")
        runtime.join()
