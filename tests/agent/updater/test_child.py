"""The updater child as the process it is: asked over a socket, answering over it, and gone when the agent is."""

import errno
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.updater import clock
from agent.updater.child import GoneError, SocketAsker, serve
from agent.updater.child_protocol import ABSENT, NOANSWER, ChildReader, Fail, Get, Plan, Request, have
from littoral.bundle import chunks
from littoral.bundle.manifest import Delta
from littoral.canonical import digest
from littoral.errors import (
    DesiredStateError,
    DigestError,
    ExpiredMetadataError,
    LittoralError,
    MetadataError,
    NoAnswerError,
    NoRoomError,
    NotListedError,
    ReplayedMetadataError,
    WrongDeviceError,
)
from littoral.wire.messages import Desired, Want
from tests.agent.updater.scene import MODEL, Device
from tests.repository import CHUNK_BYTES, DAY, Fleet, model_bytes, rotate, seconds, write_files

PATIENCE_S = 60.0
Answer = Callable[[Get], bytes]


@contextmanager
def child() -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_S)
    command = [sys.executable, "-m", "agent.updater.child", str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE) as process:
        theirs.close()
        try:
            yield process, ours
        finally:
            ours.close()
            process.wait(PATIENCE_S)


def run(request: Request, answer: Answer) -> Plan | Fail:
    """Drives a child to its end as the agent does, and sees that it ended well."""
    with child() as (process, ours):
        ours.sendall(request.encode())
        reader = ChildReader()
        while True:
            for message in reader.feed(ours.recv(65_536)):
                if not isinstance(message, Get):
                    assert process.wait(PATIENCE_S) == 0
                    return message
                ours.sendall(answer(message))


def from_folder(device: Device) -> Answer:
    def answer(asked: Get) -> bytes:
        try:
            data = device.asker.get(asked.name, asked.max_bytes)
        except NoAnswerError:
            return NOANSWER
        return ABSENT if data is None else have(data)

    return answer


def desired(fleet: Fleet, device: str = "cam-1") -> str:
    value = Desired("main", device, 3, "now", {MODEL: Want(1, "ab" * 32)})
    return fleet.repository.sign_desired(value).decode()


def live_now() -> datetime:
    """What the child takes for now, which reads this machine's clock."""
    return datetime.fromtimestamp(clock.judged_by(time.time(), 0), UTC)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "data", live_now())


@pytest.fixture
def request_of(device: Device, tmp_path: Path) -> Request:
    root = tmp_path / "root.json"
    root.write_bytes(device.first_root)
    return Request("plan", str(root), str(device.known), "main", "cam-1", model=MODEL, release=1)


def error_of(ending: Plan | Fail) -> LittoralError:
    assert isinstance(ending, Fail)
    return ending.error()


# --- as a process ------------------------------------------------------------------------------------------------


def test_a_release_is_planned(fleet: Fleet, device: Device, wire: Path, request_of: Request) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    plan = run(replace(request_of, bundle=bundle), from_folder(device))
    assert isinstance(plan, Plan)
    assert digest(plan.manifest.encode()) == bundle
    pieces = chunks.split(model_bytes(MODEL, 1), CHUNK_BYTES)
    assert plan.chunks == {"model": tuple(digest(piece) for piece in pieces)}
    assert plan.root_version == 1
    assert plan.time >= seconds(fleet.now)


def test_of_deltas_only_the_smallest_that_fits_what_is_held_is_planned(
    fleet: Fleet, device: Device, wire: Path, request_of: Request
) -> None:
    held, other = "a" * 64, "b" * 64
    pieces = {name: bytes([size]) * size for name, size in (("large", 90), ("small", 50), ("other", 10))}
    lists = {name: chunks.list_of(chunks.split(data, CHUNK_BYTES)) for name, data in pieces.items()}
    deltas = tuple(
        Delta("model", base, digest(pieces[name]), len(pieces[name]), digest(lists[name]))
        for name, base in (("large", held), ("small", held), ("other", other))
    )
    bundle = fleet.publish(MODEL, 1, deltas=deltas)
    fleet.write(wire)
    write_files(wire / "chunk", {digest(lists["small"]): lists["small"]})
    request = replace(request_of, bundle=bundle, held=(held,))
    plan = run(request, from_folder(device))
    assert isinstance(plan, Plan)
    assert set(plan.chunks) == {"model", "delta:1"}
    assert plan.chunks["delta:1"] == chunks.parse_list(lists["small"])
    (wire / "chunk" / digest(lists["small"])).unlink()
    device.asker.silent.add(f"chunk/{digest(lists['small'])}")
    without = run(request, from_folder(device))
    assert isinstance(without, Plan)
    assert set(without.chunks) == {"model"}


def test_a_desired_state_is_verified(fleet: Fleet, device: Device, wire: Path, request_of: Request) -> None:
    fleet.write(wire)
    request = replace(request_of, job="desired", desired=desired(fleet))
    plan = run(request, from_folder(device))
    assert plan == Plan(keyid=fleet.repository.director_keyid, time=getattr(plan, "time", 0), root_version=1)


def test_a_desired_state_that_is_not_this_devices_or_not_signed_is_refused(
    fleet: Fleet, device: Device, wire: Path, request_of: Request
) -> None:
    fleet.write(wire)
    for text, kind in (
        (desired(fleet, device="cam-2"), WrongDeviceError),
        (desired(fleet).replace("cam-1", "cam-9"), DesiredStateError),
        ("{}", DesiredStateError),
    ):
        request = replace(request_of, job="desired", desired=text)
        assert type(error_of(run(request, from_folder(device)))) is kind


def test_every_refusal_comes_under_its_own_name(fleet: Fleet, device: Device, wire: Path, request_of: Request) -> None:
    bundle = fleet.publish(MODEL, 1)
    fleet.write(wire)
    old = {path.name: path.read_bytes() for path in (wire / "meta").iterdir()}
    request, folder = replace(request_of, bundle=bundle), from_folder(device)
    tomorrow = seconds(fleet.now + 2 * DAY)
    assert isinstance(error_of(run(replace(request, known_time=tomorrow), folder)), ExpiredMetadataError)
    assert isinstance(error_of(run(replace(request, release=2), folder)), NotListedError)
    (wire / "chunk" / bundle).write_bytes(b"altered")
    wrong = error_of(run(request, folder))
    assert isinstance(wrong, DigestError)
    assert (wrong.wanted, wrong.got) == (bundle, digest(b"altered"))
    device.asker.silent = {"meta/2.root.json"}
    assert isinstance(error_of(run(request, folder)), NoAnswerError)
    device.asker.silent = set()
    fleet.publish(MODEL, 2)
    fleet.write(wire)
    run(replace(request, release=2, bundle="0" * 64), folder)
    write_files(wire / "meta", old)
    assert isinstance(error_of(run(request, folder)), ReplayedMetadataError)
    (wire / "meta" / "timestamp.json").write_bytes(b"{}")
    assert type(error_of(run(request, folder))) is MetadataError


def test_it_ends_when_the_agent_is_gone(request_of: Request) -> None:
    for told in (b"", b"half a request", request_of.encode()):
        with child() as (process, ours):
            ours.sendall(told)
            if told.endswith(b"\n"):
                assert ours.recv(100).startswith(b"GET meta/")
            ours.close()
            assert process.wait(PATIENCE_S) == 1
            assert process.stderr is not None
            assert process.stderr.read() == b""


def test_a_folder_that_takes_no_metadata_is_told_and_is_no_verdict(
    fleet: Fleet, device: Device, wire: Path, request_of: Request, tmp_path: Path
) -> None:
    fleet.write(wire)
    (tmp_path / "file").touch()
    error = error_of(run(replace(request_of, metadata_dir=str(tmp_path / "file" / "tuf")), from_folder(device)))
    assert type(error) is LittoralError
    assert "metadata folder" in str(error)


def test_it_loads_no_http_client_and_no_part_of_the_runtime() -> None:
    code = (
        "import sys, agent.updater.child as c\n"
        "bad = {'urllib3', 'http.client', 'ssl', 'numpy', 'sqlite3', 'asyncio', 'paho', 'agent.main'}\n"
        "sys.exit(' '.join(bad & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, b"")


# --- in this process ---------------------------------------------------------------------------------------------


def asker(answers: bytes) -> tuple[SocketAsker, list[bytes]]:
    sent: list[bytes] = []
    return SocketAsker(io.BytesIO(answers), sent.append), sent


def test_the_three_answers_are_told_apart() -> None:
    asking, sent = asker(have(b"") + have(b"ab\n") + ABSENT + NOANSWER)
    assert asking.get("meta/a", 10) == b""
    assert asking.get("meta/b", 3) == b"ab\n"
    assert asking.get("meta/c", 10) is None
    with pytest.raises(NoAnswerError, match="meta/d"):
        asking.get("meta/d", 10)
    assert sent == [b"GET meta/a 10\n", b"GET meta/b 3\n", b"GET meta/c 10\n", b"GET meta/d 10\n"]


@pytest.mark.parametrize("answers", [b"", b"HAVE 5\nabc", b"HAVE 11\n" + b"x" * 11, b"MAYBE\n", b"HAVE\n", b"HAVE x\n"])
def test_an_answer_that_is_cut_or_is_none_ends_the_child(answers: bytes) -> None:
    with pytest.raises(GoneError):
        asker(answers)[0].get("meta/a", 10)


def test_a_failure_still_tells_the_newest_root_that_verified(
    fleet: Fleet, device: Device, wire: Path, request_of: Request
) -> None:
    """By it a known time that is wrong is taken back: under that time all else seems expired."""
    bundle = fleet.publish(MODEL, 1)
    rotate(fleet)
    fleet.write(wire)
    poisoned = replace(request_of, bundle=bundle, known_time=seconds(fleet.now + 300 * DAY))
    ending = run(poisoned, from_folder(device))
    assert isinstance(error_of(ending), ExpiredMetadataError)
    assert ending.root_version == 2


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, NoRoomError), (errno.EIO, LittoralError)])
def test_a_full_disk_is_told_from_a_broken_one(
    device: Device, request_of: Request, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[LittoralError]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("agent.updater.child.Trust", refuse)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(request_of.encode())
        serve(theirs, 0.0)
        (ending,) = ChildReader().feed(ours.recv(65_536))
    assert isinstance(ending, Fail)
    assert type(ending.error()) is kind
