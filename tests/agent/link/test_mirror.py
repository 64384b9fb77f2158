"""The mirror against a real HTTP server: pieces by Range, and every way for a server to answer badly."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config import Config
from agent.config import Mirror as Settings
from agent.link.mirror import Mirror, Missed
from agent.source import Got, Wanted
from littoral.errors import ConfigError
from tests.agent.link.authority import Authority
from tests.agent.link.loopback import free_port, wait_for
from tests.agent.link.web import Request, Web, say_nothing

PIECE = 1000
BLOB = bytes(n * 7 % 251 for n in range(20_500))
DIGEST = hashlib.sha256(BLOB).hexdigest()


def pieces(blob: bytes = BLOB) -> list[Wanted]:
    name = hashlib.sha256(blob).hexdigest()
    parts = [(at, blob[at : at + PIECE]) for at in range(0, len(blob), PIECE)]
    return [Wanted(f"chunk/{hashlib.sha256(part).hexdigest()}", name, at, len(part)) for at, part in parts]


def whole(wanted: list[Wanted], blob: bytes = BLOB) -> set[Got]:
    return {Got(each.name, blob[each.offset : each.offset + each.length]) for each in wanted}


class Bench:
    """A mirror and all it gave."""

    def __init__(self, url: str, timeout_s: float = 10.0, ca: str = "") -> None:
        config = Config(state=Path("/nonexistent"), mirror=Settings(url, ca))
        self.woken = threading.Event()
        self.mirror = Mirror(config, timeout_s, self.woken.set)
        self.ended: list[Got | Missed] = []

    def until(self, count: int) -> list[Got | Missed]:
        """Polls until so much came or was missed."""

        def enough() -> bool:
            self.ended += self.mirror.poll()
            return len(self.ended) >= count

        wait_for(enough)
        return self.ended


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    made.blobs[DIGEST] = BLOB
    yield made
    made.stop()


@pytest.fixture
def bench(web: Web) -> Iterator[Bench]:
    made = Bench(web.url)
    yield made
    made.mirror.stop()


@pytest.fixture
def hasty(web: Web) -> Iterator[Bench]:
    made = Bench(web.url, timeout_s=0.3)
    yield made
    made.mirror.stop()


def test_pieces_side_by_side_come_in_one_request(bench: Bench, web: Web) -> None:
    wanted = pieces()
    bench.mirror.ask(wanted)
    assert set(bench.until(len(wanted))) == whole(wanted)
    assert web.ranges == [(0, len(BLOB) - 1)]
    assert bench.woken.is_set()


def test_what_lies_apart_is_asked_for_apart_over_one_connection(bench: Bench, web: Web) -> None:
    other = bytes(reversed(BLOB))
    web.blobs[hashlib.sha256(other).hexdigest()] = other
    wanted = [*pieces()[:2], *pieces()[5:6], *pieces(other)[6:8]]
    bench.mirror.ask(wanted)
    assert set(bench.until(5)) == whole(wanted[:3]) | whole(wanted[3:], other)
    assert web.ranges == [(0, 1999), (5000, 5999), (6000, 7999)]
    assert web.connections == 1


def test_what_is_forgotten_is_neither_given_nor_missed(bench: Bench) -> None:
    wanted = pieces()
    bench.mirror.ask(wanted)
    bench.mirror.forget([each.name for each in wanted[1:]])
    bench.mirror.ask(wanted[:1])
    bench.until(1)
    assert Got(wanted[0].name, BLOB[:PIECE]) in bench.ended


def test_a_connection_that_was_closed_meanwhile_is_opened_again(bench: Bench, web: Web) -> None:
    def answer_and_close(request: Request) -> None:
        request.answer()
        request.close_connection = True  # said to nobody

    web.behave = answer_and_close
    for count, each in enumerate(pieces()[:5], 1):
        bench.mirror.ask([each])
        bench.until(count)
    assert not [each for each in bench.ended if isinstance(each, Missed)]


def refuse(request: Request) -> None:
    request.send_error(503)


def redirect(request: Request) -> None:
    request.send_response(302)
    request.send_header("Location", "https://elsewhere.invalid/")
    request.send_header("Content-Length", "0")
    request.end_headers()


def send_all(request: Request) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(BLOB)))
    request.end_headers()
    request.wfile.write(BLOB)


def send_another_range(request: Request) -> None:
    request.head(1, PIECE, len(BLOB), PIECE)
    request.wfile.write(BLOB[1 : PIECE + 1])


def send_too_little(request: Request) -> None:
    _, first, last = request.wanted()
    request.head(first, last, len(BLOB), PIECE)
    request.wfile.write(BLOB[first : first + PIECE // 2])
    request.close_connection = True


def hang_up(request: Request) -> None:
    request.close_connection = True


@pytest.mark.parametrize("behave", [refuse, redirect, send_all, send_another_range, send_too_little, hang_up])
def test_an_answer_that_is_not_what_was_asked_for_is_missed(
    bench: Bench, web: Web, behave: Callable[[Request], None]
) -> None:
    web.behave = behave
    wanted = pieces()[:2]
    bench.mirror.ask(wanted)
    assert [each.wanted for each in bench.until(2) if isinstance(each, Missed)] == wanted
    web.behave = None
    bench.ended.clear()
    bench.mirror.ask(wanted)
    assert set(bench.until(2)) == whole(wanted)


def test_a_blob_that_is_not_there_is_missed_and_not_absent(bench: Bench, web: Web) -> None:
    web.blobs.clear()
    bench.mirror.ask(pieces()[:1])
    (missed,) = bench.until(1)
    assert isinstance(missed, Missed)
    assert "404" in missed.reason


def test_wrong_bytes_are_given_as_they_are(bench: Bench, web: Web) -> None:
    web.blobs[DIGEST] = bytes(len(BLOB))
    bench.mirror.ask(pieces()[:1])
    assert bench.until(1) == [Got(pieces()[0].name, bytes(PIECE))]


def test_no_more_is_read_of_an_answer_without_end_than_was_asked_for(bench: Bench, web: Web) -> None:
    stopped = threading.Event()

    def never_end(request: Request) -> None:
        _, first, last = request.wanted()
        request.head(first, last, len(BLOB), None)
        request.wfile.write(BLOB[first : last + 1])
        try:
            while not web.ended.is_set():
                request.wfile.write(b"more" * 10_000)
        finally:
            stopped.set()

    web.behave = never_end
    bench.mirror.ask(pieces()[:2])
    assert set(bench.until(2)) == whole(pieces()[:2])
    wait_for(stopped.is_set)  # as the connection was closed


def test_an_answer_that_goes_on_does_not_spoil_the_next(bench: Bench, web: Web) -> None:
    def say_more(request: Request) -> None:
        _, first, last = request.wanted()
        request.head(first, last, len(BLOB), last + 2 - first)
        request.wfile.write(BLOB[first : last + 1] + b"!")

    web.behave = say_more
    for count, each in enumerate(pieces()[:3], 1):
        bench.mirror.ask([each])
        bench.until(count)
    assert set(bench.ended) == whole(pieces()[:3])


def drip_body(request: Request) -> None:
    _, first, last = request.wanted()
    request.head(first, last, len(BLOB), last + 1 - first)
    while not request.web.ended.wait(0.02):
        request.wfile.write(b"x")


def drip_head(request: Request) -> None:
    request.wfile.write(b"HTTP/1.1 206 Partial Content\r\n")
    while not request.web.ended.wait(0.02):
        request.wfile.write(b"X")


@pytest.mark.parametrize("behave", [drip_body, drip_head, say_nothing])
def test_who_is_slow_on_purpose_is_left_when_the_time_of_a_piece_is_over(
    hasty: Bench, web: Web, behave: Callable[[Request], None]
) -> None:
    web.behave = behave
    wanted = pieces()[:3]
    hasty.mirror.ask(wanted)
    assert [each.wanted for each in hasty.until(3) if isinstance(each, Missed)] == wanted
    web.behave = None

    def comes() -> bool:
        hasty.mirror.ask([each for each in wanted if each.name not in {got.name for got in came}])
        came.update(each for each in hasty.mirror.poll() if isinstance(each, Got))
        return came == whole(wanted)

    came: set[Got] = set()
    wait_for(comes)


def test_where_nobody_listens_it_is_missed() -> None:
    bench = Bench(f"http://127.0.0.1:{free_port()}")
    bench.mirror.ask(pieces()[:1])
    (missed,) = bench.until(1)
    assert isinstance(missed, Missed)
    bench.mirror.stop()


def test_nothing_is_opened_before_something_is_wanted(bench: Bench, web: Web) -> None:
    assert bench.mirror.poll() == []
    assert web.connections == 0


@pytest.mark.parametrize("url", ["", "mirror", "ftp://host/x", "http://", "http://host:port/", "https://u:p@host/"])
def test_an_address_that_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ConfigError):
        Bench(url)


def test_a_file_without_certificates_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(ConfigError):
        Bench("https://host/", ca=str(tmp_path / "ca.pem"))


def secure(folder: Path, authority: Authority, address: str = "127.0.0.1") -> Web:
    authority.issue(folder / "server", "mirror", address)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server" / "mirror.pem", folder / "server" / "mirror.key")
    web = Web(context)
    web.blobs[DIGEST] = BLOB
    return web


def test_a_mirror_is_known_by_the_authority_of_the_settings(tmp_path: Path) -> None:
    web = secure(tmp_path, Authority())
    bench = Bench(web.url, ca=str(tmp_path / "server" / "ca.pem"))
    wanted = pieces()
    bench.mirror.ask(wanted)
    assert set(bench.until(len(wanted))) == whole(wanted)
    bench.mirror.stop()
    web.stop()


@pytest.mark.parametrize("fault", ["another authority", "another host's certificate", "the system's authorities"])
def test_a_mirror_whose_certificate_does_not_fit_is_not_asked(tmp_path: Path, fault: str) -> None:
    web = secure(tmp_path, Authority(), "127.0.0.9" if fault == "another host's certificate" else "127.0.0.1")
    if fault == "another authority":
        Authority().issue(tmp_path / "server", "other")
    bench = Bench(web.url, ca="" if fault == "the system's authorities" else str(tmp_path / "server" / "ca.pem"))
    bench.mirror.ask(pieces()[:1])
    (missed,) = bench.until(1)
    assert isinstance(missed, Missed)
    assert web.ranges == []
    bench.mirror.stop()
    web.stop()
