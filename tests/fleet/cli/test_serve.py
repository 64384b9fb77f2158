"""The commands as an operator types them, against a real `littoral-fleet serve`."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fleet.cli.serve import parse_address
from fleet.repo import Repository
from littoral import canonical
from littoral.errors import ConfigError
from tests.agent.manager import Manager
from tests.fleet.parts import application, eventually

pytestmark = pytest.mark.mosquitto


@dataclass
class Served:
    data: Path
    process: "subprocess.Popen[str]"
    where: dict[str, Any]
    token: str

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return littoral_fleet(*words, LITTORAL_SERVER=self.where["url"], LITTORAL_TOKEN=self.token)

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "import sys; from fleet.cli import main; sys.exit(main())", *words]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}


def littoral_fleet(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*words), env=environment(**variables), capture_output=True, text=True, check=False)


def serve(data: Path, manager: Manager | None = None) -> "subprocess.Popen[str]":
    words = ["serve", "--data", str(data), "--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"]
    words += ["--mirror", "--json"]
    variables = {"NOTIFY_SOCKET": manager.address} if manager else {}
    return subprocess.Popen(command(*words), env=environment(**variables), stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def served(new_fleet: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("served") / "data"
    shutil.copytree(new_fleet / "data", data)
    with closing(Manager()) as manager, serve(data, manager) as process:
        assert process.stdout is not None
        where = json.loads(process.stdout.readline())
        yield Served(data, process, where, (data / "admin-token").read_text().strip())
        assert manager.until("READY=1") == f"READY=1\nSTATUS={where['url']}"
        process.send_signal(signal.SIGINT)
        manager.until("STOPPING=1")


def test_it_says_where_it_is(served: Served) -> None:
    assert json.loads((served.data / "server.json").read_text()) == served.where
    assert served.where["pid"] == served.process.pid
    assert "API token" in httpx.get(served.where["url"]).text


def test_a_mirror_is_open_where_it_was_asked_for(served: Served) -> None:
    assert httpx.get(f"{served.where['url']}/mirror/meta/1.root.json").json()["signed"]["_type"] == "root"


def test_a_token_is_printed_alone_and_serves_once(served: Served) -> None:
    done = served.run("token", "create")
    secret, root = done.stdout.strip().split(".")
    assert secret
    assert root == canonical.digest(Repository(served.data).first_root())[:32]
    wish = application(done.stdout.strip(), "door")
    body = {"token": wish.token, "csr": wish.csr, "name": "door", "tags": {"site": "north"}, "architecture": "x86_64"}
    assert httpx.post(f"{served.where['url']}/api/v1/enroll", json=body).status_code == 200
    assert served.json("devices") == [{"id": "door", "online": False, "tags": {"site": "north"}, "models": {}}]
    assert served.json("device", "show", "door")["architecture"] == "x86_64"
    assert "door" in served.run("devices").stdout
    assert "site=north" in served.run("device", "show", "door").stdout


def test_what_cannot_be_is_one_line_and_status_1(served: Served) -> None:
    for words, part in (
        (("device", "show", "nobody"), "no device 'nobody'"),
        (("device", "show", ""), "'' is no device"),
        (("rollout", "status", "My Model"), "'My Model' is no name"),
        (("rollout", "start", "eye", "--release", str(2**63)), "release"),
        (("rollout", "start", "eye", "--release", "1"), "no release 1 of 'eye'"),
        (("rollout", "status", "--wait"), "no rollout"),
        (("devices", "--token", "wrong"), "no valid API token"),
        (("devices", "--server", "http://127.0.0.1:1"), "does not answer"),
        (("serve", "--data", str(served.data)), "runs on"),
        (("serve", "--data", str(served.data / "nothing")), ""),
        (("serve", "--data", str(served.data), "--listen", "here"), "no HOST:PORT"),
    ):
        done = served.run(*words)
        assert (done.returncode, done.stdout) == (1, ""), words
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("littoral-fleet: ")
        assert part in done.stderr


def test_an_empty_fleet_has_nothing_to_show(served: Served) -> None:
    assert served.json("rollout", "status") == []
    assert served.run("rollout", "status").stdout == "no rollout yet\n"


def test_every_command_explains_itself() -> None:
    for words in ((), ("serve",), ("token", "create"), ("rollout", "start"), ("rollout", "status"), ("devices",)):
        done = littoral_fleet(*words, "--help")
        assert done.returncode == 0
        assert "usage: littoral-fleet" in done.stdout


@pytest.mark.parametrize("begin", [0, 4_096])
def test_a_damaged_database_is_one_line(new_fleet: Path, tmp_path: Path, begin: int) -> None:
    shutil.copytree(new_fleet / "data", tmp_path / "data")
    database = tmp_path / "data" / "fleet.db"
    whole = database.read_bytes()
    database.write_bytes(whole[:begin] + b"x" * len(whole[begin:]))
    done = littoral_fleet("serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0")
    [line] = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("littoral-fleet: DATA/fleet.db: ")


def test_it_ends_with_its_broker_when_it_is_told_to(new_fleet: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(new_fleet / "data", data)
    with serve(data) as process:
        assert process.stdout is not None
        where = json.loads(process.stdout.readline())
        address, token = where["url"], (data / "admin-token").read_text().strip()
        with httpx.stream("GET", f"{address}/api/v1/stream", headers={"Authorization": f"Bearer {token}"}) as stream:
            assert next(stream.iter_lines()) == ": here"  # a follower must not keep it
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
    assert not (data / "server.json").exists()
    eventually(lambda: not Path(f"/proc/{where['broker']['pid']}").exists())


@pytest.mark.parametrize(
    ("text", "address"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("hub:1883", ("hub", 1883))]
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "hub", ":80", "hub:", "hub:x", "hub:70000", "hub:-1"])
def test_what_is_no_address_is_a_named_error(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)
