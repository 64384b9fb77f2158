"""The steps that bring a release to the device: plan, fetch, stage. What is served does not change in any of them."""

from agent import fsio
from agent.slots import MAX_VERSION, SlotRecord, clip
from agent.updater import staging
from agent.updater.child_protocol import Request
from agent.updater.fetch import WRONG_BEFORE_NEED, Fetch
from agent.updater.machine import Outcome, Result
from agent.updater.planning import Job
from agent.updater.steps import DAY_S, Rooms, Step, Work
from littoral import errors
from littoral.bundle import manifest as manifests
from littoral.bundle.manifest import Manifest


class PlanStep(Step):
    """Everything that can say no without a blob."""

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        self._job: Job | None = None
        self._misses = 0
        self._not_before = now

    def poll(self, now: float) -> Result | None:
        if self._job is None:
            if now >= self._not_before and self.rooms.online():
                self._job = self.rooms.planner.submit(self._request())
            return None
        if not self._job.done:
            return None
        job, self._job = self._job, None
        if job.error is not None:
            return self._failed(job.error, now)
        assert job.plan is not None
        return self._judge(job.plan.manifest.encode(), job.plan.chunks)

    def close(self) -> None:
        if self._job is not None:
            self.rooms.planner.cancel(self._job)

    def _request(self) -> Request:
        config = self.rooms.config
        return Request(
            job="plan",
            root=str(config.identity / "root.json"),
            metadata_dir=str(config.state / "tuf"),
            tenant=config.tenant,
            device=config.device,
            known_time=self.rooms.known_time(),
            model=self.record.model,
            release=self.update.release,
            bundle=self.update.bundle,
        )

    def _failed(self, error: errors.LittoralError, now: float) -> Result | None:
        if isinstance(error, errors.ManifestError):
            return Result(Outcome.BAD, error.code, error.cause)
        settings = self.rooms.config.updates
        self.detail, code = error.cause, error.code
        if isinstance(error, errors.DigestError) and self._misses >= WRONG_BEFORE_NEED:
            self.rooms.source.need([error.wanted])
        if isinstance(error, errors.MetadataError | errors.DigestError) and code != self.code:
            self.rooms.tell("wrong-bytes", self.record.model, self.update.release, error.cause, {"code": code})
        self.code = code
        self._not_before = now + min(settings.retry_first_s * 2**self._misses, settings.retry_last_s)
        self._misses = min(self._misses + 1, 30)
        return None

    def _judge(self, encoded: bytes, lists: dict[str, tuple[str, ...]]) -> Result:
        try:
            found = manifests.parse(encoded)
            self._check_identity(found, lists)
        except errors.ManifestError as error:
            return Result(Outcome.BAD, error.code, error.cause)
        try:
            staging.drop_damaged(self.rooms.config.state, found, self.update.bundle)
            self._check_floor(found)
            self._check_device(found)
            self._check_room(found)
        except errors.LittoralError as error:
            return Result(Outcome.REFUSED, error.code, error.cause)
        self.work.encoded, self.work.manifest, self.work.chunk_lists = encoded, found, lists
        return Result(Outcome.DONE, learned={"version": clip(found.version, MAX_VERSION), "floor": found.floor})

    def _check_identity(self, found: Manifest, lists: dict[str, tuple[str, ...]]) -> None:
        if (found.model, found.release) != (self.record.model, self.update.release):
            raise errors.ManifestError(f"bundle.json is of {found.model} {found.release}")
        for role, blob in found.blobs.items():
            pieces = -(-blob.length // found.chunk_bytes)
            if len(lists.get(role, ())) != pieces:
                raise errors.ManifestError(f"blob {role} of {blob.length} bytes has {len(lists.get(role, ()))} chunks")

    def _check_floor(self, found: Manifest) -> None:
        if found.release < self.record.floor:
            raise errors.FloorError(
                f"release {found.release} is below {self.record.floor}, the oldest that may be installed here"
            )

    def _check_device(self, found: Manifest) -> None:
        needs, greeting = found.needs, self.rooms.voucher.greeting
        if needs.architectures and self.rooms.architecture not in needs.architectures:
            raise errors.IncompatibleError(
                f"it is for {', '.join(needs.architectures)}; this device is {self.rooms.architecture}"
            )
        engine = greeting.engine.split()[0] if greeting else ""
        if needs.engines and engine and engine not in needs.engines:
            raise errors.IncompatibleError(f"it needs the engine {' or '.join(needs.engines)}; here it is {engine}")
        kinds = {each.kind for each in self.rooms.config.delegates.values()}
        if needs.delegate and needs.cpu == "refuse" and needs.delegate not in kinds:
            raise errors.IncompatibleError(f"it needs a {needs.delegate} delegate; none is configured here")

    def _check_room(self, found: Manifest) -> None:
        greeting = self.rooms.voucher.greeting
        if greeting is not None and found.needs.memory_bytes > greeting.budget_bytes:
            raise errors.NoRoomError(
                f"it needs {found.needs.memory_bytes} bytes of memory; the budget is {greeting.budget_bytes}"
            )
        state, reserve = self.rooms.config.state, self.rooms.config.updates.disk_reserve_bytes
        lacking = sum(blob.length for blob in staging.missing_blobs(state, found).values())
        free = fsio.free_bytes(state)
        if max(lacking, found.needs.disk_bytes) + reserve > free:
            raise errors.NoRoomError(f"it needs {lacking} bytes of disk beside a reserve of {reserve}; {free} are free")


class FetchStep(Step):
    """Each chunk, checked against its name."""

    deadline_s = 7 * DAY_S

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        self._fetch: Fetch | None = None
        self._full: OSError | None = None

    def poll(self, now: float) -> Result | None:
        try:
            if self._fetch is None:
                self._fetch = self._open()
            self._fetch.tick(now, self.rooms.online())
        except OSError as error:
            self._full = error
        if self._full is not None:
            return Result(Outcome.REFUSED, errors.NoRoomError.code, f"the disk does not take it: {self._full}")
        if self._fetch is None or not self._fetch.complete:
            return None
        return Result(Outcome.DONE)

    def arrived(self, name: str, data: bytes | None, now: float) -> None:
        if self._fetch is None or data is None:
            return
        try:
            self._fetch.take(name, data, now)
        except OSError as error:
            self._full = error

    def progress(self) -> tuple[int, int]:
        if self._fetch is None:
            return 0, 0
        return self._fetch.tally.fetched_bytes, self._fetch.tally.total_bytes

    def close(self) -> None:
        if self._fetch is None:
            return
        self._fetch.close()
        if self._fetch.complete and self._full is None:
            facts = self._fetch.tally.facts()
            count = facts["chunks"]
            text = f"{count} chunk{'' if count == 1 else 's'} fetched, {facts['repeated']} of them twice"
            self.rooms.tell("fetched", self.record.model, self.update.release, text, facts)

    def _open(self) -> Fetch:
        wanted, lists = self.work.manifest, self.work.chunk_lists
        assert wanted is not None
        assert lists is not None
        state = self.rooms.config.state
        fsio.make_folder(state / "partial")
        blobs = [(blob, lists[role]) for role, blob in staging.missing_blobs(state, wanted).items()]
        return Fetch(
            state / "partial",
            blobs,
            wanted.chunk_bytes,
            self.rooms.source,
            self.rooms.config.updates,
            self._wrong_bytes,
        )

    def _wrong_bytes(self, wanted: str, got: str, repeats: int) -> None:
        error = errors.DigestError(wanted, got)
        self.detail, self.code = error.cause, error.code
        facts = {"wanted": wanted, "got": got, "repeats": repeats}
        self.rooms.tell("wrong-bytes", self.record.model, self.update.release, error.cause, facts)


class StageStep(Step):
    """Synced, named by rename."""

    def poll(self, now: float) -> Result | None:
        wanted = self.work.manifest
        assert wanted is not None
        try:
            staging.stage(self.rooms.config.state, self.work.encoded, wanted, self.update.bundle)
        except errors.ManifestError as error:
            return Result(Outcome.BAD, error.code, error.cause)
        except OSError as error:
            return Result(Outcome.REFUSED, errors.NoRoomError.code, f"the disk does not take it: {error}")
        return Result(Outcome.DONE)
