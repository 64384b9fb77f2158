"""Takes in desired states: form, addressee and generation here; the director's signature in the updater child.

Only a verified one is stored. A refused one is reported and forgotten; one that could not be checked for want of an
answer is checked again with back-off.
"""

from collections.abc import Callable
from typing import Any

from agent.config import Config
from agent.updater.child_protocol import Request
from agent.updater.device import DeviceMemory
from agent.updater.planning import Job, Planner
from littoral import errors
from littoral.wire.messages import Desired, SignedDesired, parse_desired


class Intake:
    """The newest desired state that is still unchecked, if any."""

    def __init__(
        self,
        config: Config,
        memory: DeviceMemory,
        planner: Planner,
        tell: Callable[[str, str, int, str, dict[str, Any]], None],
    ) -> None:
        self._config = config
        self._memory = memory
        self._planner = planner
        self._tell = tell
        self.problem = ""  # why the newest desired state is not checked yet; "" when there is nothing to tell
        self._signed: SignedDesired | None = None
        self._job: Job | None = None
        self._misses = 0
        self._not_before = 0.0

    @property
    def busy(self) -> bool:
        return self._signed is not None

    def offer(self, data: bytes) -> None:
        """A message on this device's topic for desired states. An empty one is a cleared topic."""
        if not data:
            return
        try:
            signed = parse_desired(data)
            if not self._memory.check(signed):
                return
        except errors.DesiredStateError as error:
            self._refuse(error)
            return
        self._drop_job()
        self._signed, self._misses, self._not_before = signed, 0, 0.0

    def tick(self, now: float, online: bool) -> Desired | None:
        """The desired state that was verified and stored just now. Raises OSError where it cannot be stored."""
        if self._signed is None:
            return None
        if self._job is None:
            if online and now >= self._not_before:
                self._job = self._planner.submit(self._request(self._signed))
            return None
        if not self._job.done:
            return None
        job, self._job = self._job, None
        if isinstance(job.error, errors.DesiredStateError):
            self._signed = None
            self._refuse(job.error)
        elif job.error is not None:
            self._put_off(job.error, now)
        else:
            signed, self._signed, self.problem = self._signed, None, ""
            self._memory.accept(signed)
            return signed.desired
        return None

    def _request(self, signed: SignedDesired) -> Request:
        return Request(
            job="desired",
            root=str(self._config.identity / "root.json"),
            metadata_dir=str(self._config.state / "tuf"),
            tenant=self._config.tenant,
            device=self._config.device,
            known_time=self._memory.record.known_time,
            desired=signed.encode().decode(),
        )

    def _put_off(self, error: errors.LittoralError, now: float) -> None:
        settings = self._config.updates
        self.problem = f"the desired state waits: {error.cause}"
        if self._misses == 0 and isinstance(error, errors.MetadataError):
            self._tell("wrong-bytes", "", 0, error.cause, {"code": error.code})
        self._not_before = now + min(settings.retry_first_s * 2**self._misses, settings.retry_last_s)
        self._misses = min(self._misses + 1, 30)

    def _refuse(self, error: errors.LittoralError) -> None:
        self._tell("desired-refused", "", 0, error.cause, {"code": error.code})

    def _drop_job(self) -> None:
        if self._job is not None:
            self._planner.cancel(self._job)
            self._job = None
