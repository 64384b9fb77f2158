"""The same client: targets, delegations, and what carries the bytes."""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import pytest

from agent import tuf_client
from tests.agent.tuf_client.client import FIRST, Client
from tests.agent.tuf_client.repository import TufRepository, serving

# --- targets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file.txt", "a/b/c/file.txt", "with%20space/f", "ünïcode/f", "a b/c d", "..", "../x"])
@pytest.mark.parametrize("consistent", [True, False])
def test_a_target_is_kept_under_its_name_inside_the_folder(
    repository: TufRepository, tmp_path: Path, name: str, consistent: bool
) -> None:
    repository.root.consistent_snapshot = consistent
    repository.publish("root")
    path = repository.add_target(name, b"content")
    repository.files[quote(path, safe="/%")] = b"content"
    repository.update("targets")
    with serving(repository) as url:
        client = Client(tmp_path, url, repository)
        client.init()
        before = {each for each in tmp_path.rglob("*") if not each.is_relative_to(client.known)}
        assert client.download(name) == (1 if name == ".." else 0)
        if name != "..":
            assert client.targets() == [b"content"]
        new = {each for each in tmp_path.rglob("*") if not each.is_relative_to(client.known)} - before
        assert all(each.is_relative_to(client.kept) for each in new)


def test_a_target_that_is_there_and_right_is_not_fetched_again(client: Client, repository: TufRepository) -> None:
    path = repository.add_target("file", b"content")
    repository.update("targets")
    assert client.download("file") == 0
    assert path in repository.asked
    assert client.download("file") == 0
    assert path not in repository.asked
    (found,) = client.kept.iterdir()
    found.write_bytes(b"spoiled")
    assert client.download("file") == 0
    assert client.targets() == [b"content"]
    new = repository.add_target("file", b"newer content")
    repository.update("targets")
    assert client.download("file") == 0
    assert repository.asked[-1] == new
    assert client.targets() == [b"newer content"]


@pytest.mark.parametrize("wrong", [b"altered", b"content and more", b"", None])
def test_a_target_that_is_not_what_was_signed_is_not_kept(
    client: Client, repository: TufRepository, wrong: bytes | None
) -> None:
    path = repository.add_target("file", b"content")
    repository.update("targets")
    if wrong is None:
        del repository.files[path]
    else:
        repository.files[path] = wrong
    assert client.download("file") == 1
    assert client.targets() == []


def test_a_target_that_nobody_lists_is_no_success_though_the_metadata_are(
    client: Client, repository: TufRepository
) -> None:
    assert client.download("nothing") == 1
    assert repository.asked == FIRST
    assert client.version("targets") == 1


def test_several_targets_are_fetched_in_their_order_until_one_fails(client: Client, repository: TufRepository) -> None:
    paths = {name: repository.add_target(name, name.encode()) for name in ("one", "two", "three")}
    repository.update("targets")
    assert client.download("two", "nothing", "one") == 1
    assert client.targets() == [b"two"]
    assert client.download("three", "two", "one") == 0
    assert [path for path in repository.asked if path in paths.values()] == [paths["three"], paths["one"]]
    assert sorted(client.targets()) == [b"one", b"three", b"two"]


# --- delegations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "visited"),
    [
        (["targets A", "targets B", "A C", "A D"], "ACDB"),
        (["targets A", "targets B", "A C!", "A D"], "AC"),
        (["targets A", "targets B", "B C", "C D", "D B"], "ABCD"),
        (["targets A", "targets B", "B C", "A C"], "ACB"),
        (["targets A *.py", "targets B", "A C"], "B"),
    ],
)
def test_delegations_are_searched_depth_first_in_their_order(
    client: Client, repository: TufRepository, edges: list[str], visited: str
) -> None:
    roles = ["targets"]
    for edge in edges:
        parent, child, *paths = edge.split()
        name = child.rstrip("!")
        repository.delegate(parent, name, child != name, **({"paths": paths} if paths else {}))
        roles.append(name)
    repository.publish(*set(roles) - {"targets"})
    repository.update("targets")
    assert client.download("missing") == 1
    assert repository.asked[4:] == [f"/metadata/1.{role}.json" for role in visited]


def test_a_delegated_target_is_found_by_path_and_by_hash_prefix_and_nowhere_else(
    client: Client, repository: TufRepository
) -> None:
    prefix = sha256(b"hashed/file").hexdigest()[:2]
    repository.delegate("targets", "by-path", paths=["docs/*"])
    repository.delegate("targets", "by-hash", path_hash_prefixes=[prefix])
    repository.add_target("docs/file", b"one", "by-path")
    repository.add_target("docs/deeper/file", b"not delegated", "by-path")
    repository.add_target("hashed/file", b"two", "by-hash")
    repository.publish("by-path", "by-hash")
    repository.update("targets")
    assert [client.download(name) for name in ("docs/file", "hashed/file", "docs/deeper/file")] == [0, 0, 1]
    assert sorted(client.targets()) == [b"one", b"two"]


def test_a_role_verified_for_one_delegator_is_verified_anew_for_another(
    client: Client, repository: TufRepository
) -> None:
    for delegator, path in (("left", "l/*"), ("right", "r/*")):
        repository.delegate("targets", delegator, paths=[path])
        repository.delegate(delegator, "shared", paths=[path])
    for name in ("l/file", "r/file"):
        repository.add_target(name, name.encode(), "shared")
    of_right = repository.signers["shared"].pop()
    repository.publish("shared", "left", "right")
    repository.update("targets")
    assert client.download("l/file", "r/file") == 1
    assert client.targets() == [b"l/file"]
    repository.signers["shared"].append(of_right)
    repository.update("shared")
    assert client.download("l/file", "r/file") == 0
    assert sorted(client.targets()) == [b"l/file", b"r/file"]


@pytest.mark.parametrize("role", ["?", "#", "/x", "../x", "ü", "a b", "."])
def test_a_role_of_an_unusual_name_is_asked_for_quoted_and_kept_inside_the_folder(
    client: Client, repository: TufRepository, role: str
) -> None:
    repository.delegate("targets", role)
    repository.publish(role)
    repository.update("targets")
    assert client.download("missing") == 1
    assert repository.asked[-1] == f"/metadata/1.{quote(role, '')}.json"
    assert len([each for each in client.known.iterdir() if each.is_file()]) == 5
    assert sorted(each.name for each in client.known.parent.iterdir()) == ["initial_root.json", "metadata"]


# --- what carries the bytes --------------------------------------------------------------------------------


def test_a_repository_in_a_folder_is_as_good(repository: TufRepository, tmp_path: Path) -> None:
    repository.add_target("a/file", b"content")
    repository.update("targets")
    for path, data in repository.files.items():
        (tmp_path / "disk" / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / path[1:]).write_bytes(data)
    for home, url in (("one", str(tmp_path / "disk")), ("two", (tmp_path / "disk").as_uri())):
        (tmp_path / home).mkdir()
        client = Client(tmp_path / home, url, repository)
        assert client.init() == 0
        assert client.download("a/file") == 0
        assert client.targets() == [b"content"]
    os.mkfifo(tmp_path / "disk/metadata/2.root.json")  # nothing to wait for
    assert client.refresh() == 1


@pytest.mark.parametrize(("status", "absent"), [(404, True), (403, True), (500, False), (503, False), (302, False)])
def test_a_server_that_fails_is_not_one_that_has_no_newer_root(
    client: Client, repository: TufRepository, status: int, absent: bool
) -> None:
    repository.status["/metadata/2.root.json"] = status
    assert client.refresh() == (0 if absent else 1)
    assert repository.asked == (FIRST if absent else FIRST[:1])


def test_silence_a_closed_line_endless_bytes_and_a_drip_end_and_are_no_success(
    repository: TufRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuf_client, "FILE_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}", repository)
        assert client.init() == 0
        for answer in (b"", b"\xff" * 99, _silent, _endless, _drip):
            thread = threading.Thread(target=_answer, args=(listener, answer))
            thread.start()
            assert client.refresh() == 1
            thread.join()
    assert client.refresh() == 1
    assert [path.name for path in client.known.glob("*.json")] == ["root.json"]


def _answer(listener: socket.socket, answer: bytes | Callable[[socket.socket], None]) -> None:
    line, _ = listener.accept()
    with line:
        line.recv(65_536)
        with suppress(OSError):
            line.sendall(answer) if isinstance(answer, bytes) else answer(line)


def _silent(line: socket.socket) -> None:
    assert line.recv(1) == b""  # until the client has enough of it


def _endless(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        line.sendall(b" " * 65_536)


def _drip(line: socket.socket) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        line.sendall(b".")
        time.sleep(0.05)  # the attack itself
