"""What somebody at this device wants of its models, from a folder (`littoral-agent install`): a local desired state.

Nobody signed it: whoever may write into the state folder owns the device. It chooses among listed releases as the
director does, and no more: signatures, floor, blocklist, compatibility, self-test and probation hold. It goes before
the desired state that was stored when it was made, and ends when a newer one is accepted.
"""

import contextlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agent import fsio
from agent.slots import SlotRecord
from agent.updater import folder
from agent.updater.device import DeviceMemory
from littoral.errors import BadNameError
from littoral.names import check_name
from littoral.wire.messages import Want

WISH = "wish.json"  # in the folder, until the agent has taken it in
HELD = "local.json"  # in the state folder
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Wish:
    """uid: who made it, as this system numbers its users.

    What the agent adds: before, what was wished for earlier of the same models, and counts again where this one fails;
    generations, those of the desired states accepted until then, by director key.
    """

    uid: int
    models: dict[str, Want]
    before: dict[str, Want] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def parse(data: bytes) -> Wish:
    """Raises ValueError."""
    try:
        value = json.loads(data)
        return Wish(int(value["uid"]), _wants(value["models"]), _wants(value["before"]), dict(value["generations"]))
    except (KeyError, TypeError, AttributeError, BadNameError) as error:
        raise ValueError(f"a wish that cannot be read: {error!r}") from error


def _wants(value: dict[str, dict[str, Any]]) -> dict[str, Want]:
    found = {check_name(name, "model"): Want(**want) for name, want in value.items()}
    if not all(_DIGEST.fullmatch(want.bundle) and type(want.release) is int for want in found.values()):
        raise ValueError("a wish for what is no release")
    return found


class LocalWish:
    """The wish that holds, if any, and the folder its bytes come from, which goes when nothing needs it any more."""

    def __init__(
        self, state: Path, memory: DeviceMemory, tell: Callable[[str, str, int, str, dict[str, Any]], None]
    ) -> None:
        self._folder = state / folder.NAME
        self._path = state / HELD
        self._memory = memory
        self._tell = tell
        self._begun: set[str] = set()
        self._held = self._read()

    @property
    def wants(self) -> dict[str, Want]:
        """By model, what goes before the stored desired state."""
        if self._held is None or self._held.generations != self._memory.record.generations:
            return {}
        return self._held.models

    def take_in(self) -> bool:
        """Whether there is a new wish, which holds now. Raises OSError; then it is tried again."""
        path = self._folder / WISH
        if not fsio.exists(path):
            return False
        try:
            wish = parse(fsio.read(path))
        except ValueError as error:
            self._tell("desired-refused", "", 0, f"{path}: {error}", {})
            fsio.remove(self._folder)
            return False
        new = {name: replace(want, attempt=self._attempt(name, want)) for name, want in wish.models.items()}
        held = self.wants
        before = self._held.before if self._held is not None and held else {}
        before = before | {name: held[name] for name in new if held.get(name, new[name]) != new[name]}
        self._hold(replace(wish, models=held | new, before=before, generations=self._memory.record.generations))
        self._begun.clear()
        fsio.remove(path)
        for name, want in new.items():
            text = f"user {wish.uid} of this device wants release {want.release} from a folder"
            self._tell("installed-locally", name, want.release, text, {"uid": wish.uid, "bundle": want.bundle})
        return True

    def settle(self, records: Mapping[str, SlotRecord]) -> bool:
        """Drops what ended without a commit, and removes the folder when nothing needs it.

        `records` are those of all models. True where `wants` is another one now. Raises OSError; it is tried again.
        """
        ended = {name for name, want in self.wants.items() if self._has_failed(name, want, records.get(name))}
        if ended:
            self._drop(ended)
        untaken = fsio.exists(self._folder / WISH)
        if not untaken and not self._needs_folder(records) and fsio.exists(self._folder):
            with contextlib.suppress(OSError):  # it is tried again
                fsio.remove(self._folder)
        return bool(ended)

    def _attempt(self, model: str, want: Want) -> int:
        """As the fleet server counts it, where it wants the same: it alone can clear a blocklist."""
        stored = self._memory.wanted()
        signed = stored.models.get(model) if stored is not None else None
        return signed.attempt if signed is not None and signed.bundle == want.bundle else 1

    def _has_failed(self, model: str, want: Want, record: SlotRecord | None) -> bool:
        """Whether the update ended, and not with a commit. Until it has begun, something else is on trial there."""
        if record is None:
            return False
        if record.update is not None:
            if record.update.local and record.update.bundle == want.bundle:
                self._begun.add(model)
            return False
        return not _is_committed(record, want) and (
            model in self._begun or record.blocks(want.bundle, want.attempt) is not None
        )

    def _needs_folder(self, records: Mapping[str, SlotRecord]) -> bool:
        if any(record.update is not None and record.update.local for record in records.values()):
            return True
        return any(name not in records or not _is_committed(records[name], want) for name, want in self.wants.items())

    def _drop(self, models: set[str]) -> None:
        held = self._held
        assert held is not None
        self._begun -= models
        left = {name: want for name, want in held.models.items() if name not in models}
        back = {name: want for name, want in held.before.items() if name in models}
        before = {name: want for name, want in held.before.items() if name not in models}
        self._hold(replace(held, models=left | back, before=before))

    def _hold(self, wish: Wish) -> None:
        """Raises OSError; what held before still does then."""
        fsio.write_file(self._path, wish.encode())
        self._held = wish

    def _read(self) -> Wish | None:
        """None where there is none, or the disk spoilt it: then the stored desired state counts."""
        try:
            return parse(fsio.read(self._path))
        except (OSError, ValueError):
            return None


def _is_committed(record: SlotRecord, want: Want) -> bool:
    serves = record.serves
    return record.stage == "committed" and serves is not None and serves.bundle == want.bundle
