"""The Update Framework's client by its command line, over HTTP: which metadata it follows, and which not."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.metadata import Metadata, Timestamp

from tests.agent.runtime.device import PATIENCE_S
from tests.agent.tuf_client.client import FIRST, Client
from tests.agent.tuf_client.repository import DAY, TOP, TufRepository, serving

PROGRAM = [sys.executable, "-c", "import agent.cli; raise SystemExit(agent.cli.main())"]


def test_a_first_refresh_asks_for_each_role_once_and_keeps_it_byte_for_byte(
    client: Client, repository: TufRepository
) -> None:
    assert client.refresh() == 0
    assert repository.asked == FIRST
    for role in TOP:
        path = client.known / f"{role}.json"
        assert path.read_bytes() == repository.files[f"/metadata/1.{role}.json"]
        assert not path.is_symlink()


def test_a_refresh_with_nothing_new_asks_for_a_newer_root_and_the_timestamp_alone(
    client: Client, repository: TufRepository
) -> None:
    assert client.refresh() == 0
    written = {path: path.stat().st_mtime_ns for path in client.known.rglob("*.json")}
    assert client.refresh() == 0
    assert repository.asked == FIRST[:2]
    assert {path: path.stat().st_mtime_ns for path in client.known.rglob("*.json")} == written


def test_a_process_takes_its_options_before_and_after_the_command_and_says_so_by_its_status(
    client: Client, repository: TufRepository
) -> None:
    path = repository.add_target("a/file.txt", b"content")
    repository.update("targets")
    where = ["--metadata-dir", str(client.known), "--metadata-url", f"{client.url}/metadata"]
    what = ["--target-base-url", f"{client.url}/targets", "--target-dir", str(client.kept)]
    for words, status in (
        (["init", str(client.root), "--metadata-dir", str(client.known)], 0),
        (["refresh", *where], 0),
        ([*where, *what, "--target-name", "a/file.txt", "download"], 0),
        ([*where, *what, "--target-name", "no such", "download"], 1),
        ([*where, "download"], 1),
    ):
        done = subprocess.run([*PROGRAM, "tuf", *words], capture_output=True, check=False, timeout=PATIENCE_S)
        assert (done.returncode, b"Traceback" in done.stderr) == (status, False), done.stderr
    assert client.targets() == [b"content"]
    assert path in repository.files


# --- roots -------------------------------------------------------------------------------------------------


def _cut(data: bytes) -> bytes:
    return data[:-20]


def _no_version(data: bytes) -> bytes:
    value = json.loads(data)
    del value["signed"]["version"]
    return json.dumps(value).encode()


def _wrong_signature(data: bytes) -> bytes:
    value = json.loads(data)
    value["signatures"][0]["sig"] = "00" * 64
    return json.dumps(value).encode()


@pytest.mark.parametrize("spoil", [_cut, _no_version, _wrong_signature, lambda data: b""])
def test_a_first_root_that_is_none_is_refused_and_nothing_is_asked(
    repository: TufRepository, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    with serving(repository) as url:
        client = Client(tmp_path, url, repository)
        client.root.write_bytes(spoil(client.root.read_bytes()))
        assert client.init() == 1
        assert client.refresh() == 1
        client.known.mkdir(exist_ok=True)
        (client.known / "root.json").write_bytes(client.root.read_bytes())  # even where something else put it there
        assert client.refresh() == 1
        assert repository.asked == []


KEYS = [CryptoSigner.generate_ed25519() for _ in range(6)]


@pytest.mark.parametrize(
    ("chain", "follows"),
    [
        ([([0], 1, [0]), ([1], 1, [0, 1]), ([1], 1, [1])], True),
        ([([0], 1, [0]), ([1], 1, [5, 1, 0, 4])], True),
        ([([0, 1, 2], 2, [0, 1]), ([3, 4, 5], 2, [0, 1, 3, 4]), ([3, 4, 5], 2, [4, 5])], True),
        ([([0, 1, 2], 2, [0, 1]), ([0, 1, 2], 1, [0, 2]), ([0, 1, 2], 1, [2])], True),
        ([([0], 1, [0]), ([1], 1, [1, 2])], False),
        ([([0], 1, [0]), ([1], 1, [0, 2])], False),
        ([([0, 1, 2], 1, [0]), ([0, 1, 2], 2, [2])], False),
        ([([0, 1, 2], 2, [0, 1]), ([0, 1, 2], 1, [1])], False),
        ([([0, 1, 2], 2, [0, 1]), ([3, 1, 2], 2, [0, 1])], False),
    ],
)
def test_a_root_follows_where_the_one_before_and_it_itself_have_signed_enough(
    repository: TufRepository, tmp_path: Path, chain: list[tuple[list[int], int, list[int]]], follows: bool
) -> None:
    role = repository.root.roles["root"]
    for number, (listed, threshold, signing) in enumerate(chain, 1):
        for keyid in list(role.keyids):
            repository.root.revoke_key(keyid, "root")
        for key in listed:
            repository.root.add_key(KEYS[key].public_key, "root")
        role.threshold = threshold
        repository.signers["root"] = [KEYS[key] for key in signing]
        repository.root.version = number
        repository.publish("root")
    with serving(repository) as url:
        client = Client(tmp_path, url, repository)
        assert client.init() == 0
        assert client.refresh() == (0 if follows else 1)
        reached = len(chain) if follows else len(chain) - 1
        assert (client.known / "root.json").read_bytes() == repository.files[f"/metadata/{reached}.root.json"]


def test_fields_that_nobody_knows_are_signed_as_all_others(client: Client, repository: TufRepository) -> None:
    repository.root.unrecognized_fields["x-new"] = {"a": [1, None]}
    repository.root.version = 2
    repository.publish("root")
    assert client.refresh() == 0
    assert client.version("root") == 2


# --- keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signer",
    [
        CryptoSigner.generate_ed25519(),
        CryptoSigner.generate_ecdsa(),
        CryptoSigner.generate_rsa(),
        CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"),
    ],
    ids=lambda signer: str(signer.public_key.scheme),
)
def test_keys_of_these_kinds_verify(client: Client, repository: TufRepository, signer: Signer) -> None:
    repository.rotate("timestamp", signer)
    repository.root.keys[signer.public_key.keyid].unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    repository.root.version = 2
    repository.publish("root", "timestamp")
    assert client.refresh() == 0
    made: Metadata[Timestamp] = Metadata.from_bytes(repository.files["/metadata/timestamp.json"])
    for signature in made.signatures.values():
        signature.signature = signature.signature[:-2] + ("00" if signature.signature[-2:] != "00" else "01")
    repository.files["/metadata/timestamp.json"] = made.to_bytes()
    assert client.refresh() == 1


def test_a_threshold_counts_different_keys_and_no_empty_or_foreign_signature(
    client: Client, repository: TufRepository
) -> None:
    repository.add_key("snapshot")
    repository.add_key("snapshot")
    role = repository.root.roles["snapshot"]
    for number, (threshold, works) in enumerate(((3, True), (4, False)), 2):
        role.threshold = threshold
        repository.root.version = number
        repository.publish("root")
        repository.update()
        assert client.refresh() == (0 if works else 1)
    role.threshold = 3
    repository.root.version += 1
    repository.publish("root")
    first = repository.signers["snapshot"].pop()
    repository.signers["snapshot"].append(CryptoSigner.generate_ed25519())  # of nobody
    repository.update()
    assert client.refresh() == 1
    assert (client.version("root"), client.version("snapshot")) == (4, 2)
    repository.signers["snapshot"].append(first)
    repository.update()
    assert client.refresh() == 0


# --- rollback, freeze, mix ---------------------------------------------------------------------------------


def test_an_older_timestamp_is_refused_and_the_same_version_altered_is_ignored(
    client: Client, repository: TufRepository
) -> None:
    repository.update()
    assert client.refresh() == 0
    kept = (client.known / "timestamp.json").read_bytes()
    repository.timestamp.snapshot_meta.version = 100
    repository.publish("timestamp")
    assert client.refresh() == 0
    repository.timestamp.version = 1
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert (client.known / "timestamp.json").read_bytes() == kept


@pytest.mark.parametrize("hashes", [False, True])
@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_an_older_snapshot_or_targets_is_refused(
    client: Client, repository: TufRepository, role: str, hashes: bool
) -> None:
    repository.hashes = hashes
    repository.update("targets")
    assert client.refresh() == 0
    repository.signed[role].version = 1
    if role == "targets":
        repository.publish("targets")
        repository.snapshot.version += 1
    repository.publish("snapshot")
    repository.timestamp.version += 1
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert client.version(role) == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_version_fast_forwarded_by_a_thief_is_recovered_by_rotating_his_keys(
    client: Client, repository: TufRepository, role: str
) -> None:
    repository.signed[role].version = 2**31
    repository.publish("targets", "snapshot")
    repository.timestamp.version += 1
    repository.publish("timestamp")
    assert client.refresh() == 0
    assert client.version(role) == 2**31 + (role == "timestamp")
    for rotated in ("snapshot", "timestamp"):
        repository.rotate(rotated)
    repository.root.version = 2
    repository.publish("root")
    for restored in ("targets", "snapshot", "timestamp"):
        repository.signed[restored].version = 1
    repository.publish("targets", "snapshot", "timestamp")
    assert client.refresh() == 0
    assert client.version(role) == 1


@pytest.mark.parametrize("role", TOP)
def test_what_has_expired_is_not_taken_but_a_root_is_followed(
    client: Client, repository: TufRepository, role: str
) -> None:
    assert client.refresh() == 0
    repository.signed[role].expires = datetime.now(UTC).replace(microsecond=0) - DAY
    if role == "root":
        repository.root.version = 2
        repository.publish("root")
    else:
        repository.update("targets")
    assert client.refresh() == 1
    assert client.version(role) == (2 if role == "root" else 1)
    if role == "root":
        assert client.version("timestamp") == 1


def test_the_systems_clock_judges_and_expired_files_that_are_kept_do_not_stop_newer_ones(
    client: Client, repository: TufRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.timestamp.expires = datetime.now(UTC).replace(microsecond=0) + 7 * DAY
    repository.publish("timestamp")
    assert client.refresh() == 0
    late = time.time() + 18 * DAY.total_seconds()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: late)
        assert client.refresh() == 1
        repository.timestamp.expires += 14 * DAY
        repository.update("targets")
        assert client.refresh() == 0
    assert client.version("targets") == 2
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 1_000_000_000)  # long before this program was built
        assert client.refresh() == 0


def test_files_that_the_timestamp_and_the_snapshot_do_not_name_are_refused(
    client: Client, repository: TufRepository
) -> None:
    repository.hashes = True
    repository.update("targets")
    assert client.refresh() == 0
    repository.targets.unrecognized_fields["x"] = 1
    repository.targets.version += 1
    repository.publish("targets")
    repository.hashes = False
    named = repository.snapshot.meta["targets.json"]
    named.length, named.hashes = 10, {"sha256": "0" * 64}
    repository.snapshot.version += 1
    repository.publish("snapshot")
    repository.timestamp.version += 1
    repository.publish("timestamp")
    assert client.refresh() == 1
    assert client.version("targets") == 2
    repository.files[f"/metadata/{repository.targets.version}.targets.json"] = repository.files[
        "/metadata/1.targets.json"
    ]
    assert client.refresh() == 1
