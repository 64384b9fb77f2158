"""The steps that bring a release to the device: plan, fetch, stage. What is served does not change in any of them."""

import hashlib

from agent import fsio
from agent.slots import MAX_VERSION, SlotRecord, clip
from agent.updater import compatibility, folder, machine, rebuild, staging
from agent.updater.child_protocol import Request
from agent.updater.compatibility import Here
from agent.updater.fetch import WRONG_BEFORE_NEED, Fetch, File
from agent.updater.machine import Outcome, Result
from agent.updater.planning import Job
from agent.updater.rebuild import Rebuild
from agent.updater.steps import DAY_S, Rooms, Step, Work
from littoral import errors
from littoral.bundle import manifest as manifests
from littoral.bundle.manifest import Manifest


class PlanStep(Step):
    """Everything that can say no without a blob."""

    needs = "network"

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
            folder=str(config.state / folder.NAME) if self.update.local else "",
            held=() if self.update.local else tuple(fsio.names(config.state / "blobs")),
        )

    def _failed(self, error: errors.LittoralError, now: float) -> Result | None:
        if isinstance(error, errors.ManifestError):
            return Result(Outcome.BAD, error.code, error.cause)
        if self.update.local:  # what is wrong with a folder does not mend itself
            return Result(Outcome.REFUSED, error.code, error.cause)
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
            compatibility.check(found, self._here())
            self._check_room(found, lists)
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

    def _here(self) -> Here:
        greeting = self.rooms.voucher.greeting
        return Here(
            architecture=self.rooms.architecture,
            engine=greeting.engine if greeting else "",
            budget_bytes=greeting.budget_bytes if greeting else 0,
            delegates=frozenset(each.kind for each in self.rooms.config.delegates.values()),
        )

    def _check_room(self, found: Manifest, lists: dict[str, tuple[str, ...]]) -> None:
        state, reserve = self.rooms.config.state, self.rooms.config.updates.disk_reserve_bytes

        def needed() -> int:
            taken = rebuild.disk_bytes(state, rebuild.lacking(state, found, lists))
            return max(taken, found.needs.disk_bytes) + reserve

        def fits() -> bool:
            return needed() <= fsio.free_bytes(state)

        if not fits():
            self.rooms.make_room(self.record.model, found, fits)
        if not fits():
            raise errors.NoRoomError(
                f"it needs {needed()} bytes of disk with the reserve of {reserve}; {fsio.free_bytes(state)} are free"
            )


class FetchStep(Step):
    """Each chunk, checked against its name; then blobs rebuilt of deltas, checked against theirs."""

    deadline_s = 7 * DAY_S
    needs = "network"

    def __init__(self, rooms: Rooms, record: SlotRecord, work: Work, now: float) -> None:
        super().__init__(rooms, record, work, now)
        self._begins_at = now + self._jitter_s()
        self._fetch: Fetch | None = None
        self._rebuilds: list[Rebuild] = []
        self._spoiled: frozenset[str] = frozenset()  # deltas and bases that made nothing of use
        self._full: OSError | None = None
        self._absent = ""

    def poll(self, now: float) -> Result | None:
        if self._absent:
            error = errors.BundleError(f"the folder holds no sound {self._absent}: copy or export it again")
            return Result(Outcome.REFUSED, error.code, error.cause)
        try:
            if now < self._begins_at and self._fetch is None:
                self.detail = "waiting for its turn, so that not all devices fetch at once"
                return None
            if self._fetch is None:
                self.detail = ""
                self._fetch = self._open()
            self._fetch.tick(now, self.rooms.online())
            self._look_at(self._fetch)
            if self._full is None and self._fetch.complete:
                return self._rebuild()
        except OSError as error:
            self._full = error
        if self._full is not None:
            return Result(Outcome.REFUSED, errors.NoRoomError.code, f"the disk does not take it: {self._full}")
        return None

    def arrived(self, name: str, data: bytes | None, now: float) -> None:
        if self._fetch is None:
            return
        if data is None:  # of a chunk only a folder can be sure of that
            self._absent = name if self._fetch.lacks(name) else self._absent
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
            self._tell_fetched(self._fetch)

    def _jitter_s(self) -> float:
        """This device's share of the fleet's spread: the same for one generation, so that restarts do not add up."""
        config, manifest = self.rooms.config, self.work.manifest
        assert manifest is not None
        alone = self.update.urgent or self.update.local or machine.is_repair(self.record)
        if alone or not staging.missing_blobs(config.state, manifest):
            return 0.0
        seed = f"{config.device} {self.update.generation}".encode()
        return config.updates.jitter_s * int.from_bytes(hashlib.sha256(seed).digest()[:4]) / 2**32

    def _open(self) -> Fetch:
        wanted, lists = self.work.manifest, self.work.chunk_lists
        assert wanted is not None
        assert lists is not None
        config = self.rooms.config
        fsio.make_folder(config.state / "partial")
        parts = rebuild.lacking(config.state, wanted, lists, self._spoiled)
        self._rebuilds = [Rebuild(config.state, part) for part in parts if part.delta is not None]
        alike = staging.blobs_of(config.state, self.record) if parts else {}
        files = [
            File(
                part.fetched.sha256,
                part.fetched.length,
                part.digests,
                () if part.delta is not None else alike.get(part.role, ()),
            )
            for part in parts
        ]
        return Fetch(
            config.state / "partial",
            files,
            wanted.chunk_bytes,
            self.rooms.source,
            config.updates,
            self._wrong_bytes,
        )

    def _rebuild(self) -> Result | None:
        """One step of making blobs of deltas. What a bad delta should have made is fetched as itself."""
        if not self._rebuilds:
            return Result(Outcome.DONE)
        first = self._rebuilds[0]
        try:
            if first.step():
                self._rebuilds.pop(0)
        except errors.DeltaError as error:
            assert first.part.delta is not None
            self._spoiled |= {first.part.delta.sha256}
            facts = {"code": error.code, "wanted": first.part.blob.sha256, "base": first.part.delta.base}
            self.rooms.tell("wrong-bytes", self.record.model, self.update.release, error.cause, facts)
            self.detail, self.code = f"{error.cause}; the blob itself is fetched", error.code
            self._fetch = self._open()
        return None

    def _look_at(self, fetch: Fetch) -> None:
        """Says why it waits; and fetches the blob itself where a delta does not come."""
        if fetch.late and self.code in ("", errors.NoAnswerError.code):
            self.detail = f"{fetch.late} chunks do not come; the server is asked to publish them again"
            self.code = errors.NoAnswerError.code
        elif not fetch.late:
            self.detail, self.code = "", ""
        for each in self._rebuilds:
            assert each.part.delta is not None
            if each.part.delta.sha256 in fetch.hopeless:
                self._spoiled |= {each.part.delta.sha256}
                fetch.close()
                self._fetch = self._open()
                return

    def _tell_fetched(self, fetch: Fetch) -> None:
        facts = fetch.tally.facts()
        count = facts["chunks"]
        text = f"{count} chunk{'' if count == 1 else 's'} fetched, {facts['repeated']} of them twice"
        self.rooms.tell("fetched", self.record.model, self.update.release, text, facts)

    def _wrong_bytes(self, wanted: str, got: str, repeats: int) -> None:
        error = errors.DigestError(wanted, got)
        self.detail, self.code = error.cause, error.code
        facts = {"wanted": wanted, "got": got, "repeats": repeats}
        self.rooms.tell("wrong-bytes", self.record.model, self.update.release, error.cause, facts)


class StageStep(Step):
    """Synced, named by rename."""

    def poll(self, now: float) -> Result | None:
        wanted, lists = self.work.manifest, self.work.chunk_lists
        assert wanted is not None
        assert lists is not None
        try:
            staging.stage(self.rooms.config.state, self.work.encoded, wanted, self.update.bundle, lists)
        except errors.ManifestError as error:
            return Result(Outcome.BAD, error.code, error.cause)
        except errors.DigestError as error:
            return Result(Outcome.AGAIN, error.code, error.cause)
        except OSError as error:
            return Result(Outcome.REFUSED, errors.NoRoomError.code, f"the disk does not take it: {error}")
        return Result(Outcome.DONE)
