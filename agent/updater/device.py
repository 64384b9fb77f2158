"""What a device remembers beside its models: generations left behind, the last known time, the wanted state.

device.dat is a two-copy record; desired.json holds the last accepted desired state as it was signed.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from agent import fsio, record
from agent.updater import clock
from littoral.errors import DesiredStateError, OldGenerationError, RecordError, WrongDeviceError
from littoral.wire.messages import Desired, SignedDesired, parse_desired

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """generations: highest accepted per director key id. known_time: seconds since 1970 that surely passed.

    root_version: of the newest root that verified here. starts: of the agent, since it last ran for long.
    """

    generations: dict[str, int] = field(default_factory=dict)
    known_time: int = 0
    root_version: int = 0
    starts: int = 0


class DeviceMemory:
    """The two files, and the rules for accepting a desired state."""

    def __init__(self, state: Path, tenant: str, device: str) -> None:
        self._record_path = state / "device.dat"
        self._desired_path = state / "desired.json"
        self._tenant = tenant
        self._device = device
        self.record = self._read()

    @property
    def generation(self) -> int:
        """Highest generation accepted, whichever key signed it."""
        return max(self.record.generations.values(), default=0)

    def wanted(self) -> Desired | None:
        """The last accepted desired state, None before the first. It was verified before it was stored.

        None too where the disk spoiled it: the broker keeps it, and it is taken in anew.
        """
        try:
            return parse_desired(fsio.read(self._desired_path)).desired
        except (OSError, DesiredStateError):
            return None

    def check(self, signed: SignedDesired) -> bool:
        """Whether `signed` says something new.

        Raises WrongDeviceError for another device or tenant, and OldGenerationError for a generation below the last,
        or for the last one with other content.
        """
        desired = signed.desired
        if (desired.tenant, desired.device) != (self._tenant, self._device):
            raise WrongDeviceError(
                f"a desired state for {desired.tenant}/{desired.device} came to {self._tenant}/{self._device}",
                remedy="Somebody sends messages to the wrong device: see the broker's access rules.",
            )
        last = self.record.generations.get(signed.keyid, 0)
        if desired.generation > last:
            return True
        held = self.wanted()
        if desired.generation == last and (held is None or held.signed_bytes() == desired.signed_bytes()):
            return held is None
        raise OldGenerationError(f"a desired state of generation {desired.generation}; {last} came before")

    def accept(self, signed: SignedDesired) -> None:
        """Makes a verified desired state the wanted one, durably. Raises OSError."""
        fsio.write_file(self._desired_path, signed.encode())
        generations = {**self.record.generations, signed.keyid: signed.desired.generation}
        self._write(replace(self.record, generations=generations))

    def learn_time(self, at: int, root_version: int) -> None:
        """Takes note of a synchronised clock, at most once a day, so that it costs no flash. Raises OSError.

        The known time only rises, and never beyond what can be believed; a newer root that verified under an earlier
        clock takes it back.
        """
        held = self.record
        at = min(at, clock.LATEST_BELIEVED)
        taken_back = root_version > held.root_version and at < held.known_time
        if taken_back or at > held.known_time + DAY_S or root_version > held.root_version:
            known = at if taken_back else max(at, held.known_time)
            self._write(replace(held, known_time=known, root_version=max(root_version, held.root_version)))

    def set_starts(self, starts: int) -> None:
        """How often the agent was started since it last ran for long. Raises OSError."""
        if starts != self.record.starts:
            self._write(replace(self.record, starts=starts))

    def learn_root(self, at: int, root_version: int) -> None:
        """Takes note of a root that verified where the rest did not: all of it may have expired only because the known
        time is wrong. That is taken back by a newer root, and does not rise. Raises OSError.
        """
        self.learn_time(min(at, self.record.known_time), root_version)

    def _read(self) -> DeviceRecord:
        """As on disk; anew where both copies are lost: what protects a device then is its floors.

        Fields that this version does not know are left out, so that a change of versions loses no generation.
        """
        try:
            found = record.read(self._record_path)
        except RecordError:
            found = None
        known = {} if found is None else {k: v for k, v in found[1].items() if k in DeviceRecord.__dataclass_fields__}
        return DeviceRecord(**known)

    def _write(self, value: DeviceRecord) -> None:
        record.write(self._record_path, asdict(value))
        self.record = value
