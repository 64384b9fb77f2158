"""Stand-ins for the rooms around an update, with the real interfaces, for unit tests only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from agent import control
from agent.alarms import Symptom
from agent.config import Config
from agent.health.gate import LINEAGE, weigh
from agent.slots import Slot
from agent.source import Source, Wanted
from agent.updater.child_protocol import Plan, Request
from agent.updater.planning import Job, Planner
from agent.updater.steps import Judge, Rooms, Verdict
from agent.updater.voucher import Voucher
from littoral.bundle import chunks
from littoral.bundle.manifest import Blob, Lineage, Manifest
from littoral.errors import LittoralError, NotListedError
from littoral.wire.messages import Want


@dataclass(frozen=True, slots=True)
class Release:
    """A release as a fleet server would hold it."""

    manifest: Manifest
    blobs: dict[str, bytes]
    deltas: tuple[bytes, ...] = ()  # as the manifest lists them

    @property
    def encoded(self) -> bytes:
        return self.manifest.encode()

    @property
    def bundle(self) -> str:
        return chunks.digest_of(self.encoded)

    def want(self, attempt: int = 1, urgent: bool = False, window: str = "") -> Want:
        return Want(self.manifest.release, self.bundle, attempt, urgent, window)


def make_release(number: int, floor: int = 0, model: str = "cats", **changes: Any) -> Release:
    """Release `number` of `model`, made of bytes that no other number has."""
    blobs = {"model": f"model {number} ".encode() * 40}
    listed = {
        role: Blob(chunks.digest_of(data), len(data), chunks.digest_of(chunks.list_of(chunks.split(data, 64))))
        for role, data in blobs.items()
    }
    manifest = Manifest(model, number, f"{number}.0", floor, Lineage.RETRAINED, listed, chunk_bytes=64, **changes)
    return Release(manifest, blobs)


class FakePlanner:
    """Answers a plan at once from the releases it knows, or with the error it is told."""

    def __init__(self) -> None:
        self.releases: dict[str, Release] = {}
        self.error: LittoralError | None = None
        self.requests: list[Request] = []

    def submit(self, request: Request) -> Job:
        self.requests.append(request)
        job = Job(request)
        job.error = self.error
        if request.bundle not in self.releases:
            job.error = job.error or NotListedError(f"no release {request.bundle} is listed")
        if job.error is None:
            release = self.releases[request.bundle]
            size = release.manifest.chunk_bytes
            named = {f"delta:{index}": data for index, data in enumerate(release.deltas)} if request.held else {}
            lists = {
                name: chunks.parse_list(chunks.list_of(chunks.split(data, size)))
                for name, data in (release.blobs | named).items()
            }
            job.plan = Plan(release.encoded.decode(), lists)
        return job

    def cancel(self, job: Job) -> None:
        return


class NotingSource:
    """A source that only notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.wanted: list[Wanted] = []  # all that was ever asked for
        self.needed: list[str] = []

    def ask(self, wanted: Sequence[Wanted]) -> None:
        self.asked += [each.name for each in wanted]
        self.wanted += wanted

    def forget(self, names: list[str]) -> None:
        self.asked = [name for name in self.asked if name not in names]

    def need(self, digests: list[str]) -> None:
        self.needed += digests


class FakeSource(NotingSource):
    """Holds every chunk of every release; delivers when asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, bytes] = {}


class FakeRuntime:
    """The runtime as the voucher shows it: reads the slot record as the real one does, and loads nothing."""

    def __init__(self) -> None:
        self.connected = True
        self.connections = 1
        self.greeting = control.Greeting("litert 2.3.0", 10**9)
        self.serving: dict[str, control.Serving] = {}
        self.leases: dict[str, int] = {}
        self.said: list[control.Message] = []
        self.fails: dict[str, tuple[str, bool]] = {}  # bundle: how its trial child ends (code, proven)
        self.rehearsals: dict[str, tuple[str, dict[str, Any]]] = {}  # bundle: how it ends (code, facts)
        self.silent: set[str] = set()  # bundles of whose rehearsal nothing is heard
        self.rehearsed: list[control.Rehearse] = []
        self.cannot_load: set[str] = set()
        self.loads: list[str] = []
        self.tried: list[str] = []
        self.state = Path()

    def send(self, message: control.Message) -> bool:
        if isinstance(message, control.Try):
            code, proven = self.fails.get(message.bundle, ("", False))
            self.tried.append(message.bundle)
            facts = {"memory_bytes": 1000, "invoke_p50_us": 5, "threads": 2, "interpreters": 1, "cpus": 12}
            self.said.append(control.Tried(message.id, message.model, message.bundle, code, "why", proven, facts))
        elif isinstance(message, control.Rehearse):
            self.rehearsed.append(message)
            if message.bundle in self.silent:
                return True
            code, facts = self.rehearsals.get(message.bundle, ("", {"why": "nothing was kept"}))
            asked = (message.id, message.model, message.bundle)
            self.said.append(control.Rehearsed(*asked, code, "as it was rehearsed" if code else "", bool(code), facts))
        elif isinstance(message, control.Apply):
            self.said.append(self._apply(message.model))
        elif isinstance(message, control.Unload):
            self.said.append(control.Serving(message.model, 0, "", "none"))
        for said in self.said:
            if isinstance(said, control.Serving):
                self.serving[said.model] = said
        return True

    def restart(self) -> None:
        """As after a crash or a boot: it serves baselines, and greets the agent anew."""
        from agent import slots

        self.connections += 1
        self.serving = {}
        for model in slots.names(self.state):
            record = slots.read(slots.path_of(self.state, model))
            baseline = record.baseline if record else None
            self.serving[model] = (
                control.Serving(model, baseline.release, baseline.bundle, "committed")
                if baseline
                else control.Serving(model, 0, "", "none")
            )

    def _apply(self, model: str) -> control.Message:
        from agent import slots

        record = slots.read(slots.path_of(self.state, model))
        assert record is not None
        slot = record.serves
        assert slot is not None
        if slot.bundle in self.cannot_load:
            return control.Failed(model, slot.bundle, "model-load", "it does not load")
        held = self.serving.get(model)
        if held is None or held.bundle != slot.bundle:
            self.loads.append(slot.bundle)
        return control.Serving(model, slot.release, slot.bundle, record.stage)


class FakeJudge:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.answers = 0
        self.notes: tuple[str, ...] = ()
        self.word: Verdict | None = None
        self.troubled = False
        self.external_words: list[tuple[str, bool, bool, str]] = []

    def counters(self, counters: control.Counters, now_s: float) -> None:
        self.answers = counters.answers

    def noted(self, notes: tuple[str, ...]) -> None:
        self.notes = notes

    def died(self, died: control.Died, now_s: float) -> None:
        self.word = FakeVerdict("crashed", f"signal {died.signal}")

    def canary(self, ok: bool, code: str, text: str, now_s: float) -> None:
        return

    def device(self, troubled: bool, now_s: float) -> None:
        self.troubled = troubled

    def external(self, name: str, required: bool, bad: bool, text: str, now_s: float) -> None:
        self.external_words.append((name, required, bad, text))

    def evidence(self) -> dict[str, dict[str, int]]:
        return {}

    def remember(self) -> dict[str, int]:
        return {}

    def verdict(self, now_s: float) -> Verdict | None:
        return self.word

    def healthy(self, now_s: float) -> bool:
        return self.word is None


@dataclass(frozen=True, slots=True)
class FakeVerdict:
    code: str
    reason: str
    facts: dict[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FakeCanaryResult:
    model: str
    release: int
    ok: bool = True
    code: str = ""
    text: str = ""


class FakeCanary:
    def __init__(self) -> None:
        self.watched: dict[str, int] = {}
        self.ok = True

    def watch(self, model: str, release: int, golden: Path | None) -> None:
        self.watched[model] = release

    def unwatch(self, model: str) -> None:
        self.watched.pop(model, None)


@dataclass(frozen=True, slots=True)
class FakeCheckResult:
    name: str
    state: str = "bad"
    required: bool = True
    text: str = "the lamp is off"


class FakeChecks:
    """Each one says at once what it is told to. watched: (model, release, stage). hangs: nothing is heard of them."""

    def __init__(self) -> None:
        self.results: tuple[FakeCheckResult, ...] = ()
        self.watched: list[tuple[str, int, str]] = []
        self.hangs = False

    def watch(self, model: str, release: int, stage: str) -> "FakeRounds":
        self.watched.append((model, release, stage))
        return FakeRounds(self, (model, release, stage))


@dataclass(frozen=True, slots=True)
class FakeRounds:
    checks: FakeChecks
    watched: tuple[str, int, str]

    def take(self) -> list[tuple[FakeCheckResult, ...]]:
        return [] if self.checks.hangs else [self.checks.results]

    def end(self) -> None:
        self.checks.watched.remove(self.watched)


class World:
    """Everything around a device's updates; outlives any number of agents on it."""

    def __init__(self, state: Path, config: Config) -> None:
        self.config = config
        self.planner = FakePlanner()
        self.source = FakeSource()
        self.folder: Source = NotingSource()
        self.runtime = FakeRuntime()
        self.runtime.state = state
        self.canary = FakeCanary()
        self.checks = FakeChecks()
        self.judge = FakeJudge()
        self.judge_of: Callable[[Manifest, Slot], Judge] = lambda manifest, slot: self.judge
        self.online = True
        self.traffic = True  # whether apps ask
        self.safe = False
        self.shadows = True
        self.unfit: tuple[Symptom, ...] = ()
        self.wall = 1_800_000_000.0  # 2027-01-15, a Friday, 08:00 UTC
        self.told: list[tuple[str, str]] = []
        self.facts: dict[str, dict[str, Any]] = {}  # of the last milestone of each kind

    def add(self, release: Release) -> Release:
        self.planner.releases[release.bundle] = release
        for data in (*release.blobs.values(), *release.deltas):
            for piece in chunks.split(data, release.manifest.chunk_bytes):
                self.source.held[f"chunk/{chunks.digest_of(piece)}"] = piece
        return release

    def rooms(self) -> Rooms:
        return Rooms(
            config=self.config,
            architecture="x86_64",
            planner=cast(Planner, self.planner),
            folder=self.folder,
            source=self.source,
            voucher=cast(Voucher, self.runtime),
            canary=self.canary,
            judge=lambda manifest, slot: self.judge_of(manifest, slot),
            checks=self.checks,
            online=lambda: self.online,
            known_time=lambda: 0,
            wall=lambda: self.wall,
            safe=lambda: self.safe,
            may_activate=lambda model: True,
            tell=self._tell,
            shadows=lambda: self.shadows and not self.unfit,
            weigh=lambda measured, manifest, policy: weigh(measured, manifest.lineage, policy or LINEAGE),
            unfit=lambda: self.unfit,
        )

    def _tell(self, kind: str, model: str, release: int, text: str, facts: dict[str, Any]) -> None:
        self.told.append((kind, text))
        self.facts[kind] = facts

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]
