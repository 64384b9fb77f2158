"""`littoral-agent install`: copies a repository folder, as a USB stick carries it, and leaves a wish for the agent.

The copy becomes STATE/stick in one rename, wish and all. The agent takes it in from there (agent/updater/local.py) and
verifies everything; nothing is believed here.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from agent import fsio, slots
from agent.config import Config
from agent.stick import AGAIN, Found, Stick
from agent.updater import folder, local
from agent.updater.local import Wish
from littoral.bundle.manifest import Blob
from littoral.errors import BundleError, ConfigError, ConflictError, LittoralError, NoRoomError
from littoral.names import check_name
from littoral.owner import as_owner
from littoral.wire.messages import Want

PART = "stick.part"  # the copy while it is made
POLL_S = 0.5


def install(config: Config, path: Path, models: list[str], release: int | None) -> list[Found]:
    """Copies what the agent needs and hands it over; gives what is wished for.

    Raises ConfigError where this device is not enrolled, ConflictError while an earlier install is not at its end,
    BundleError, NoRoomError; LittoralError where this user may not, or the disk does not take it.
    """
    target = config.state / folder.NAME
    try:
        if not config.device or not fsio.exists(config.identity / "root.json"):
            raise ConfigError(
                "this device has no trusted root, so nothing in the folder can be verified",
                remedy="Enrol it once, with a network: `littoral-agent enroll`.",
            )
        stick = Stick(path)
        chosen = choose(stick.releases(), models, release)
        with as_owner(config.state), _alone(config.state):
            if fsio.exists(target):
                raise ConflictError("an earlier install is not at its end", remedy="See `littoral-agent status`.")
            with _part(config.state / PART) as part:
                _copy(stick, chosen, part, config.updates.disk_reserve_bytes)
                wants = {each.manifest.model: Want(each.manifest.release, each.bundle) for each in chosen}
                fsio.write_new(part / local.WISH, Wish(os.getuid(), wants).encode())
                fsio.sync_folder(part)
                fsio.rename(part, target)
    except OSError as error:
        remedy = "Run it as root or as the agent's user, and see the disk of the state folder."
        raise LittoralError(f"the copy cannot be made: {error}", remedy=remedy) from error
    return chosen


def choose(found: list[Found], models: list[str], release: int | None) -> list[Found]:
    """The newest release of each of `models`, of every model where none is named; or `release` of the only one.

    `found`: by number. Raises BundleError for what is not there, ConfigError for a release of several models.
    """
    names = models or sorted({each.manifest.model for each in found})
    if release is not None and len(names) != 1:
        raise ConfigError("--release is of one model", remedy="Name it by --model.")
    newest = {each.manifest.model: each for each in found if release in (None, each.manifest.release)}
    missing = [name for name in names if check_name(name, "model") not in newest]
    if missing or not names:
        what = f"release {release} of " if release is not None else ""
        raise BundleError(f"the folder holds no {what}{', '.join(missing) or 'release at all'}")
    return [newest[name] for name in names]


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Only one install at a time. Raises ConflictError."""
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _lock(descriptor, fcntl.LOCK_EX):
            raise ConflictError("another install runs", remedy="Wait for its end.")
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _part(path: Path) -> Iterator[Path]:
    """An empty folder for the copy; gone again where that does not come to its end."""
    fsio.remove(path)
    fsio.make_folder(path)
    try:
        yield path
    finally:
        fsio.remove(path)


def _copy(stick: Stick, chosen: list[Found], part: Path, reserve: int) -> None:
    """All metadata, and of the chosen releases everything that installing them may need."""
    blobs = {blob.sha256: blob for each in chosen for blob in each.manifest.blobs.values()}
    size = sum(blob.length for blob in blobs.values())
    if size + reserve > (free := fsio.free_bytes(part)):
        raise NoRoomError(f"the copy needs {size} bytes of disk beside a reserve of {reserve}; {free} are free")
    for kind in ("meta", "chunk", "blob"):
        fsio.make_folder(part / kind)
    for name in stick.metadata():
        fsio.write_new(part / "meta" / name, stick.read("meta", name))
    for name in {each.bundle for each in chosen} | {blob.chunks for blob in blobs.values() if blob.length}:
        data = stick.read("chunk", name)
        fsio.write_new(part / "chunk" / name, data)
        _check(name, hashlib.sha256(data).hexdigest())
    for blob in blobs.values():
        _copy_blob(stick, blob, part / "blob" / blob.sha256)
    for kind in ("meta", "chunk", "blob"):
        fsio.sync_folder(part / kind)


def _copy_blob(stick: Stick, blob: Blob, path: Path) -> None:
    fsio.allocate(path, blob.length)
    found, offset = hashlib.sha256(), 0
    for piece in stick.pieces("blob", blob.sha256, blob.length):
        fsio.put(path, piece, offset)
        found.update(piece)
        offset += len(piece)
    _check(blob.sha256, found.hexdigest())
    fsio.sync_file(path)


def _check(wanted: str, got: str) -> None:
    if wanted != got:
        raise BundleError(f"a file named {wanted} has the digest {got}", remedy=AGAIN)


# --- afterwards -------------------------------------------------------------------------------------------------


def is_running(state: Path) -> bool:
    """Whether an agent runs on this state folder."""
    try:
        descriptor = os.open(state / "agent.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def follow(config: Config, chosen: list[Found]) -> bool:
    """Prints how the updates go on until all have ended; whether all were committed."""
    told: dict[str, str] = {}
    while fsio.exists(config.state / folder.NAME):
        for each in chosen:
            now = _progress(config, each)
            if now and told.get(each.bundle) != now:
                told[each.bundle] = now
                print(f"{each.manifest.model}: {now}", flush=True)
        time.sleep(POLL_S)
    return all([_has_committed(config, each) for each in chosen])  # noqa: C419, each is to be told


def _progress(config: Config, wished: Found) -> str:
    record = slots.read(slots.path_of(config.state, wished.manifest.model))
    update = record.update if record is not None else None
    if update is None:
        return ""
    return update.state if update.bundle == wished.bundle else f"waits for the end of release {update.release}"


def _has_committed(config: Config, wished: Found) -> bool:
    """Prints how it ended."""
    model, release = wished.manifest.model, wished.manifest.release
    record = slots.read(slots.path_of(config.state, model)) or slots.SlotRecord(model)
    serves, last = record.serves, record.last
    if serves is not None and serves.bundle == wished.bundle and record.stage == "committed":
        print(f"{model}: release {release} is committed, with evidence {serves.evidence}")
        return True
    ended = last is not None and last.bundle == wished.bundle
    why = f"{last.outcome}, {last.reason} ({last.code})" if last is not None and ended else "something else was wanted"
    print(f"{model}: release {release} is not installed: {why}")
    return False
