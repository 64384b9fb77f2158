"""The C load generator sees what a server does, and the C echo server does what it should."""

import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.models import Model, Models
from bench.native import Load, compile_programs, cpu_ns
from bench.runtime import ROOT
from bench.scene import QUESTIONS, QUICK, Scene, Server
from littoral.tensors import Interface, Tensor
from littoral.wire import query
from tests.agent.runtime.device import until

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")

BYTES = Tensor("bytes", "uint8", (7,))
MODEL = Model("m", b"", Interface((BYTES,), (BYTES,)), "")
WORK_S = 0.2
ANSWERS_AT_FIRST = 5


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    models = Models(MODEL, MODEL, MODEL, MODEL, MODEL)
    return Scene(models, QUICK, tmp_path, compile_programs(ROOT / ".cache/bench-programs"), Path(sys.executable))


@contextmanager
def echo(scene: Scene, walk_us: float = 0) -> Iterator[Server]:
    with scene.echo(MODEL, walk_us) as server:
        yield server


def expected(scene: Scene, *answers: bytes) -> str:
    """What release 1 answers to each question."""
    path = scene.folder / "expected"
    path.write_bytes(b"".join(answers))
    return str(path)


def asked(scene: Scene, server: Server, **options: object) -> Load:
    return scene.clients(server, MODEL, cpu=None, seconds=WORK_S, **options).wait()


def until_it_works(server: Server) -> None:
    start_ns = cpu_ns(server.pid)
    until(lambda: cpu_ns(server.pid) > start_ns + 1_000_000, "the server to work")


@pytest.mark.parametrize("options", [{}, {"clients": 3}, {"depth": 5}, {"depth": 5, "pieces": True}])
def test_all_that_was_asked_is_answered(scene: Scene, options: dict[str, object]) -> None:
    with echo(scene) as server:
        seen = asked(scene, server, expect=expected(scene, bytes(7 * QUESTIONS)), **options)
    assert (seen.wrong, seen.problem) == (0, "")
    assert seen.asked == seen.answered > 0
    assert seen.releases == 0b10
    assert 0 < seen.added_us.p50 <= seen.added_us.p99 <= seen.added_us.max


def test_one_wrong_byte_in_an_answer_is_seen(scene: Scene) -> None:
    answers = [bytes(7)] * QUESTIONS
    answers[3] = b"\0\0\0\0\0\0\1"
    with echo(scene) as server:
        seen = asked(scene, server, expect=expected(scene, *answers))
    assert seen.wrong == sum(1 for number in range(seen.answered) if number % QUESTIONS == 3) > 0
    assert seen.problem == "other bytes than this release answers"


def test_an_answer_of_another_size_is_seen(scene: Scene) -> None:
    with echo(scene) as server:
        seen = asked(scene, server, **{"answer-bytes": 6})
    assert seen.wrong == seen.answered > 0
    assert seen.problem == "an answer of 31 bytes"


def test_a_walk_takes_its_time_and_tells_it(scene: Scene) -> None:
    with echo(scene, walk_us=2_000) as server:
        seen = asked(scene, server)
    assert seen.invoked_us.p50 >= 2_000


def test_cpu_time_of_another_process_grows_as_it_works(scene: Scene) -> None:
    with echo(scene) as server:
        before_ns = cpu_ns(server.pid)
        asked(scene, server)
        assert before_ns < cpu_ns(server.pid) < time.monotonic_ns()


def test_clients_end_when_told_to_and_leave_nothing_unanswered(scene: Scene) -> None:
    with echo(scene) as server:
        clients = scene.clients(server, MODEL, clients=2, depth=3)
        until_it_works(server)
        seen = clients.stop()
    assert seen.asked == seen.answered > 0


def test_a_connection_that_ends_is_a_problem(scene: Scene) -> None:
    with echo(scene) as server:
        clients = scene.clients(server, MODEL)
        until_it_works(server)
    assert clients.wait().problem == "the connection ended"


def test_a_connection_that_ends_is_made_anew_where_that_is_asked(scene: Scene) -> None:
    path = scene.folder / "moody.sock"
    with socket.create_server(str(path), family=socket.AF_UNIX) as listener:
        serving = threading.Thread(target=moody, args=(listener,))
        serving.start()
        clients = scene.clients(Server(str(path), 0), MODEL, seconds=WORK_S, reconnect=True)
        seen = clients.wait()
        serving.join()
    assert (seen.wrong, seen.problem) == (0, "")
    assert seen.answered > ANSWERS_AT_FIRST
    assert len(seen.reconnects) == 1


def moody(listener: socket.socket) -> None:
    """A server that hangs up on its first client in the middle of a request, and serves the second to its end."""
    for number in range(2):
        connection, _ = listener.accept()
        with connection:
            reader = query.Reader(query.MAX_FRAME_BYTES)
            answered = 0
            while (number or answered < ANSWERS_AT_FIRST) and (data := connection.recv(65_536)):
                reader.feed(data)
                while frame := reader.next():
                    if frame.kind is query.Kind.HELLO:
                        connection.sendall(query.json_frame(query.Kind.WELCOME, {"interface": "00" * 16}))
                    else:
                        answer = query.Answer(1, query.Stage.COMMITTED, 0, 0, bytes(7))
                        connection.sendall(b"".join(query.answer(answer, frame.id)))
                        answered += 1
