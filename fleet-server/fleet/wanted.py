"""Which chunks shall lie on the broker: those that some device may be about to ask for. No clock, no disk, no network.

The broker holds in its memory what is published, so a release that nobody fetches is taken off it. Nothing is lost by
that: a device that cannot get a chunk says `need`, and the chunk is published again. Times are seconds since 1970.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet.rollout import Outcome, Rollout, RolloutState

LATELY_S = 7 * 86_400  # a device that was away for longer says `need` when it is back
NEED_S = 6 * 3_600  # how long a chunk stays after a device named it
NEEDS_PER_HOUR = 4_000  # chunks of one device: the largest blob has 1,920
MAY_FETCH = frozenset({Outcome.OFFERED, Outcome.FETCHING, Outcome.BLOCKED})  # a blocked device tries again


def bundles(rollouts: Iterable[Rollout], last_heard: Mapping[str, int], now: int) -> set[str]:
    """The bundles whose chunks are wanted: a running rollout offers it, or a device that was heard of lately has yet
    to fetch it.

    last_heard: by bundle, when a device that may fetch it (`MAY_FETCH`) was last heard of.
    """
    running = {rollout.bundle for rollout in rollouts if rollout.state is RolloutState.RUNNING}
    return running | {bundle for bundle, heard in last_heard.items() if now - heard <= LATELY_S}


@dataclass(slots=True)
class Needs:
    """The chunks that devices said they cannot get, each kept for NEED_S: a later `need` counts anew.

    One device may name NEEDS_PER_HOUR chunks an hour, so that none keeps the server publishing for ever.
    """

    _named: dict[str, int] = field(default_factory=dict)  # when, by digest
    _left: dict[str, tuple[float, int]] = field(default_factory=dict)  # by device: how many, and as of when

    def take(self, device: str, digests: Iterable[str], now: int) -> list[str]:
        """Those of `digests`, each once, that the device may name now."""
        left, since = self._left.get(device, (NEEDS_PER_HOUR, now))
        left = min(NEEDS_PER_HOUR, left + (now - since) * NEEDS_PER_HOUR / 3_600)
        taken = list(dict.fromkeys(digests))[: int(left)]
        self._left[device] = (left - len(taken), now)
        self._named.update(dict.fromkeys(taken, now))
        return taken

    def lately(self, now: int) -> set[str]:
        """What was named lately; the rest is forgotten."""
        self._named = {digest: at for digest, at in self._named.items() if now - at <= NEED_S}
        return set(self._named)
