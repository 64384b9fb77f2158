"""agent/updater/delivery.py: what is fetched for an update, when, and for which room on the disk."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import fsio
from agent.config import Updates as Settings
from agent.updater import staging
from agent.updater.machine import State
from littoral.bundle import chunks, delta
from littoral.bundle.manifest import Blob, Delta
from littoral.errors import NoRoomError
from tests.agent.updater.fakes import Release, make_release
from tests.agent.updater.running import Device

WEIGHTS = bytes(n * n % 253 for n in range(6_400))  # a hundred chunks of 64 bytes
CHUNKS = len(WEIGHTS) // 64


def blob_of(data: bytes) -> Blob:
    return Blob(chunks.digest_of(data), len(data), chunks.digest_of(chunks.list_of(chunks.split(data, 64))))


def make(number: int, model: bytes, deltas: dict[bytes, bytes] | None = None, name: str = "cats") -> Release:
    """A release with this model, and deltas by the model each is applied to."""
    made = deltas or {}
    listed = tuple(
        Delta("model", chunks.digest_of(base), chunks.digest_of(data), len(data), blob_of(data).chunks)
        for base, data in made.items()
    )
    plain = make_release(number, model=name)
    manifest = replace(plain.manifest, blobs={"model": blob_of(model)}, deltas=listed)
    return Release(manifest, {"model": model}, tuple(made.values()))


def retrained(model: bytes, at: int = 3_000) -> bytes:
    """The same model with another value in every chunk, and more of them at one place."""
    changed = bytearray(model)
    changed[::64] = bytes((byte + 1) % 256 for byte in changed[::64])
    changed[at : at + 64] = bytes((byte * 7 + at) % 256 for byte in changed[at : at + 64])
    return bytes(changed)


class PowerCutError(BaseException):
    """The device stops here. No except clause of the code under test may catch it."""


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def install(device: Device, release: Release) -> dict[str, Any]:
    """Brings the release to probation's end, and gives the facts of its fetch."""
    device.world.facts.clear()
    device.want(device.world.add(release).want(), release.manifest.model)
    device.until(State.IDLE, release.manifest.model)
    device.run(70)
    served = device.record_of(release.manifest.model).serves
    assert served is not None
    assert served.bundle == release.bundle
    assert fsio.read(device.config.state / "releases" / release.bundle / "model") == release.blobs["model"]
    return device.world.facts["fetched"]


# --- deltas ------------------------------------------------------------------------------------------------------


def test_of_a_retrained_model_only_the_delta_is_fetched(device: Device) -> None:
    install(device, make(1, WEIGHTS))
    new = retrained(WEIGHTS)
    made = delta.make(WEIGHTS, new)
    facts = install(device, make(2, new, {WEIGHTS: made}))
    assert facts["chunks"] == -(-len(made) // 64) < CHUNKS / 4
    assert list((device.config.state / "partial").iterdir()) == []


def test_of_several_deltas_the_smallest_that_fits_is_taken(device: Device) -> None:
    second = retrained(WEIGHTS)
    third = retrained(second, 1_000)
    install(device, make(1, WEIGHTS))
    install(device, make(2, second, {WEIGHTS: delta.make(WEIGHTS, second)}))
    small, large = delta.make(second, third), delta.make(WEIGHTS, third)
    assert len(small) < len(large)
    facts = install(device, make(3, third, {b"not here": delta.make(third, third), WEIGHTS: large, second: small}))
    assert facts["chunks"] == -(-len(small) // 64)


def test_a_blob_that_was_begun_as_itself_goes_on_so(device: Device) -> None:
    install(device, make(1, WEIGHTS))
    new = retrained(WEIGHTS)
    (device.config.state / "partial").mkdir(exist_ok=True)
    (device.config.state / "partial" / chunks.digest_of(new)).write_bytes(new[:6_336] + bytes(64))
    facts = install(device, make(2, new, {WEIGHTS: delta.make(WEIGHTS, new)}))
    assert (facts["resumed"], facts["chunks"]) == (CHUNKS - 1, 1)


def test_without_its_base_the_blob_itself_is_fetched(device: Device) -> None:
    new = retrained(WEIGHTS)
    facts = install(device, make(1, new, {WEIGHTS: delta.make(WEIGHTS, new)}))
    assert facts["chunks"] == CHUNKS


@pytest.mark.parametrize("bad", [b"no delta at all", delta.make(WEIGHTS, bytes(6_400)), delta.make(WEIGHTS, b"short")])
def test_a_delta_that_does_not_make_the_blob_is_dropped_and_the_blob_fetched(device: Device, bad: bytes) -> None:
    install(device, make(1, WEIGHTS))
    facts = install(device, make(2, retrained(WEIGHTS), {WEIGHTS: bad}))
    assert facts["chunks"] == CHUNKS
    assert device.world.facts["wrong-bytes"]["code"] == "bad-delta"
    assert device.record.blocked == ()


def test_a_delta_that_never_comes_is_given_up_for_the_blob_and_said_so(device: Device) -> None:
    install(device, make(1, WEIGHTS))
    new = retrained(WEIGHTS)
    made = delta.make(WEIGHTS, new)
    lost = {f"chunk/{chunks.digest_of(piece)}" for piece in chunks.split(made, 64)}
    told = set()

    def silence() -> None:
        device.world.source.asked = [name for name in device.world.source.asked if name not in lost]
        told.add(device.cats.situation()["detail"])

    device.before_turn = silence
    device.want(device.world.add(make(2, new, {WEIGHTS: made})).want())
    for _ in range(60):
        device.turn(20.0)
    assert device.served == 2
    assert any("do not come" in text for text in told)


def test_a_base_that_the_disk_spoiled_costs_a_fetch_and_no_more(device: Device) -> None:
    first = make(1, WEIGHTS)
    install(device, first)
    spoiled = device.config.state / "blobs" / chunks.digest_of(WEIGHTS)
    spoiled.write_bytes(b"?" + WEIGHTS[1:])
    new = retrained(WEIGHTS)
    install(device, make(2, new, {WEIGHTS: delta.make(WEIGHTS, new)}))
    assert device.record.serves is not None
    assert device.record.serves.release == 2
    assert staging.is_whole(device.config.state, first.bundle)  # it came again first, and the delta was good then


def test_power_cut_before_a_rebuilt_blob_has_its_name_fetches_nothing_again(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(device, make(1, WEIGHTS))
    new = retrained(WEIGHTS)
    release = make(2, new, {WEIGHTS: delta.make(WEIGHTS, new)})
    real = fsio.rename

    def rename(source: Path, target: Path) -> None:
        if source.suffix == ".made":
            raise PowerCutError
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(fsio, "rename", rename)
        device.want(device.world.add(release).want())
        with pytest.raises(PowerCutError):
            device.run()
    device.world.source.asked.clear()
    device.start()
    assert install(device, release)["chunks"] == 0


# --- what lies on the device already ------------------------------------------------------------------------------


def test_chunks_that_the_old_blob_has_at_the_same_place_are_not_fetched(device: Device) -> None:
    install(device, make(1, WEIGHTS))
    facts = install(device, make(2, WEIGHTS[:640] + bytes(64) + WEIGHTS[704:] + b"and more"))
    assert (facts["chunks"], facts["reused"]) == (2, CHUNKS - 1)


def test_a_blob_of_another_model_is_not_fetched_again(device: Device) -> None:
    install(device, make(1, WEIGHTS))
    facts = install(device, make(1, WEIGHTS, name="dogs"))
    assert facts["chunks"] == 0


def test_an_old_blob_that_the_disk_cannot_read_is_fetched(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(1, WEIGHTS)
    install(device, first)
    old = device.config.state / "releases" / first.bundle / "model"
    real = fsio.read

    def read(path: Path, offset: int = 0, length: int = -1) -> bytes:
        if path == old and length >= 0:
            raise OSError(5, "Input/output error")
        return real(path, offset, length)

    monkeypatch.setattr(fsio, "read", read)
    facts = install(device, make(2, WEIGHTS[:-64] + bytes(64)))
    assert facts["chunks"] == CHUNKS


# --- when it begins ----------------------------------------------------------------------------------------------


def begins_after(folder: Path, name: str, jitter_s: float, urgent: bool = False) -> int:
    """Seconds until this device asks for its first chunk."""
    folder.mkdir()
    settings = Settings(retry_first_s=1, retry_last_s=4, disk_reserve_bytes=0, jitter_s=jitter_s)
    device = Device(folder, settings, name)
    device.want(device.world.add(make(1, WEIGHTS)).want(urgent=urgent))
    for turn in range(200):
        device.turn()
        if device.world.source.asked:
            return turn
    raise AssertionError("it never began")


def test_devices_begin_at_different_moments_and_each_at_its_own_again(tmp_path: Path) -> None:
    first = [begins_after(tmp_path / name, name, 100.0) for name in ("a", "b", "c", "d")]
    again = [begins_after(tmp_path / f"{name}-again", name, 100.0) for name in ("a", "b", "c", "d")]
    assert first == again
    assert len(set(first)) == 4
    assert max(first) <= 104


def test_what_is_urgent_begins_at_once(tmp_path: Path) -> None:
    assert begins_after(tmp_path / "a", "a", 100.0, urgent=True) <= begins_after(tmp_path / "b", "a", 0.0)


def test_what_is_all_there_waits_for_no_turn(tmp_path: Path) -> None:
    device = Device(tmp_path, Settings(disk_reserve_bytes=0, jitter_s=0))
    install(device, make(1, WEIGHTS))
    device = Device(tmp_path, Settings(disk_reserve_bytes=0, jitter_s=1e9))
    install(device, make(1, WEIGHTS, name="dogs"))


# --- room --------------------------------------------------------------------------------------------------------


def free(monkeypatch: pytest.MonkeyPatch, state: Path, disk_bytes: int) -> None:
    """A disk of so many bytes, on which only blobs and partial files count."""

    def free_bytes(folder: Path) -> int:
        files = {each.stat().st_ino: each for part in ("blobs", "partial") for each in (state / part).glob("*")}
        return disk_bytes - sum(each.stat().st_size for each in files.values())

    monkeypatch.setattr(fsio, "free_bytes", free_bytes)


def test_a_release_that_never_fits_is_refused_before_a_chunk_is_asked_for(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, device.config.state, 6_399)
    device.want(device.world.add(make(1, WEIGHTS)).want())
    device.until(State.IDLE)
    assert device.ending == ("refused", NoRoomError.code)
    assert device.world.facts.get("fetched") is None


def test_the_release_before_the_baseline_goes_when_a_new_one_needs_its_room(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [bytes((byte + number) % 256 for byte in WEIGHTS) for number in range(3)]
    free(monkeypatch, device.config.state, 2 * 6_400 + 100)
    installed = [make(number + 1, model) for number, model in enumerate(models)]
    for release in installed:
        install(device, release)
    assert device.served == 3
    assert sorted(fsio.names(device.config.state / "releases")) == sorted(each.bundle for each in installed[1:])


def test_a_delta_and_what_it_makes_must_both_fit(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    install(device, make(1, WEIGHTS))
    new = retrained(WEIGHTS)
    made = delta.make(WEIGHTS, new)
    free(monkeypatch, device.config.state, 2 * 6_400 + len(made) - 1)
    device.want(device.world.add(make(2, new, {WEIGHTS: made})).want())
    device.until(State.IDLE)
    assert device.ending == ("refused", NoRoomError.code)
