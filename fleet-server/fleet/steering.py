"""Carries rollouts out on the store: who is offered what, how each stands, and the desired state of each device.

The rules are in rollout.py. Callers hold one transaction around a call.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from fleet.rollout import (
    ALL,
    ENDED,
    Outcome,
    Rollout,
    RolloutState,
    Standing,
    believed,
    check_selector,
    judge,
    matches,
    next_attempt,
    next_generation,
    resolve,
    standing_of,
)
from fleet.store import Device, Store, StoredDesired
from littoral import windows
from littoral.errors import BadRequestError, NotFoundError
from littoral.wire.messages import GATES, MAX_SHADOW_S, ModelState, Want


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator says of one rollout beside its release, as in Rollout."""

    window: str = ""
    urgent: bool = False
    gate: str = ""
    shadow_s: int = 0

    def check(self) -> None:
        """Raises BadRequestError, WindowError."""
        if self.window:
            windows.parse(self.window)
        if self.urgent and (self.window or self.shadow_s):
            waits = "window" if self.window else "shadow"
            raise BadRequestError(f"what is urgent waits for no {waits}", remedy="Name one of the two.")
        if self.gate not in GATES:
            raise BadRequestError(
                f"no gate is called {self.gate!r}", remedy=f"Say one of {', '.join(filter(None, GATES))}."
            )
        if not 0 <= self.shadow_s <= MAX_SHADOW_S:
            raise BadRequestError(
                f"{self.shadow_s} seconds in the shadow", remedy=f"It is 0 to {MAX_SHADOW_S // 3600} hours."
            )


NO_POLICY = Policy()


class Steering:
    def __init__(self, store: Store) -> None:
        self._store = store

    def start(self, model: str, release: int, selector: str, now: int, policy: Policy = NO_POLICY) -> Rollout:
        """A new rollout; an unfinished one of the model is aborted. `refresh` then offers it to its devices.

        Raises NotFoundError, BadRequestError, WindowError.
        """
        policy.check()
        listed = self._store.releases.get(model, release)
        if listed is None:
            raise NotFoundError(f"no release {release} of {model!r} is published")
        check_selector(selector)
        if selector != ALL and "=" not in selector and self._store.devices.get(selector) is None:
            raise NotFoundError(f"no device {selector!r} is enrolled")
        earlier = self._store.rollouts.all(model)
        for rollout in earlier:
            if rollout.state is RolloutState.RUNNING:
                reason = f"a rollout of release {release} took its place"
                self._store.rollouts.set_state(rollout.id, RolloutState.ABORTED, reason, now)
        attempt = next_attempt(listed.bundle, earlier)
        rollout = Rollout(0, model, release, listed.bundle, attempt, selector, RolloutState.RUNNING, created=now)
        return self._store.rollouts.add(replace(rollout, **asdict(policy)))

    def refresh(self, devices: Iterable[Device], now: int) -> tuple[list[str], list[Rollout]]:
        """Brings standings, rollout states and desired states up to what these devices are and report.

        Returns the devices whose desired state changed, and the rollouts whose own state did.
        """
        rollouts = self._store.rollouts.all()
        touched: set[int] = set()
        wanted = []
        for device in devices:
            followed = self._follow(device, rollouts, touched)
            if self._want(device, {model: r.want for model, r in followed.items()}, now):
                wanted.append(device.id)
        judged = [self._judge(rollout, now) for rollout in rollouts if rollout.id in touched]
        return wanted, [rollout for rollout in judged if rollout is not None]

    def _follow(self, device: Device, rollouts: list[Rollout], touched: set[int]) -> dict[str, Rollout]:
        before = self._store.rollouts.standings_of(device.id)
        offered = {number for number, standing in before.items() if standing.outcome is not Outcome.PENDING}
        followed = resolve(device.id, device.tags, rollouts, offered)
        models = device.reported.models if device.reported is not None else {}
        for rollout in rollouts:
            old = before.get(rollout.id)
            new = _standing(rollout, followed.get(rollout.model), device, models.get(rollout.model), old)
            if new is not None and new != old:
                self._store.rollouts.put_standing(rollout.id, device.id, new)
                touched.add(rollout.id)
        return followed

    def _want(self, device: Device, models: dict[str, Want | None], now: int) -> bool:
        """Stores a new desired state where it differs, or where the device was told one that this server forgot."""
        stored = self._store.rollouts.desired(device.id)
        if stored is None and not models:
            return False
        generation = 0 if stored is None else stored.generation
        if stored is not None and stored.models == models and believed(device.generation) <= generation:
            return False
        issued = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        new = StoredDesired(next_generation(generation, device.generation), issued, models)
        self._store.rollouts.put_desired(device.id, new)
        return True

    def _judge(self, rollout: Rollout, now: int) -> Rollout | None:
        state = judge(rollout.state, self._store.rollouts.outcomes(rollout.id))
        if state is rollout.state:
            return None
        reason = self._fault(rollout) if state is RolloutState.HALTED else ""
        ended = 0 if state is RolloutState.RUNNING else now
        self._store.rollouts.set_state(rollout.id, state, reason, ended)
        return replace(rollout, state=state, reason=reason, ended=ended)

    def _fault(self, rollout: Rollout) -> str:
        for device, standing in self._store.rollouts.standings(rollout.id).items():
            if judge(RolloutState.RUNNING, [standing.outcome]) is RolloutState.HALTED:
                return f"{device} {standing.outcome}: {standing.reason}"
        return ""


def _standing(
    rollout: Rollout, followed: Rollout | None, device: Device, state: ModelState | None, old: Standing | None
) -> Standing | None:
    """How the device stands in `rollout`, given the one it follows for the model. None: as before."""
    if followed is not None and followed.id == rollout.id:
        return standing_of(rollout, state)
    replaced = followed is not None and followed.id > rollout.id
    if old is not None:
        return replace(old, outcome=Outcome.SUPERSEDED) if replaced and old.outcome not in ENDED else None
    named = rollout.state is RolloutState.HALTED and matches(rollout.selector, device.id, device.tags)
    return Standing(Outcome.PENDING) if named and not replaced else None
