"""How much may be on its way at once, and when what was asked for counts as silent. No clock: time is an argument.

Bytes in flight follow the link: what it brings in two round trips, and in RESERVE_S more, though no more than
RESERVE_BYTES. While the link is not full that at least doubles with each round trip; once it is, it stays. So a fast
link is used whole, and on a slow one no more waits in the broker than a few seconds' worth, behind which a new desired
state would have to wait too.
"""

import math
from collections import deque
from dataclasses import dataclass

START_BYTES = 128 * 1024
RESERVE_S = 2.0  # covers requests that a lossy link delays, too
RESERVE_BYTES = 512 * 1024  # ... and no more, as what is in flight may arrive all at once
MAX_ASKED = 64  # chunks; each is a subscription of its own
SAMPLES = 16  # arrivals that say how fast the link is now
TRIPS = 3  # nothing is silent that takes less than so many times the last round trip
PATIENCE_LAST_S = 300.0


@dataclass(slots=True)
class _Asked:
    """number: asked as the how-manieth; before_bytes: what had come by then."""

    size: int
    number: int
    at: float
    before_bytes: int


class Window:
    """The chunks that are on their way. `answer_timeout_s` is the least time until one can be silent."""

    def __init__(self, most_bytes: int, answer_timeout_s: float) -> None:
        self.size_bytes = min(START_BYTES, most_bytes)
        self._most_bytes = most_bytes
        self._answer_timeout_s = answer_timeout_s
        self._patience_s = answer_timeout_s
        self._asked: dict[str, _Asked] = {}
        self._in_flight_bytes = 0
        self._count = 0
        self._newest = 0  # of those that came, the one asked for last
        self._came_bytes = 0
        self._heard_at = -math.inf
        self._rates: deque[float] = deque(maxlen=SAMPLES)
        self._quickest_s = math.inf

    def __contains__(self, name: str) -> bool:
        return name in self._asked

    def takes(self, size: int) -> bool:
        """Whether a chunk of `size` bytes may be asked for too. One always may."""
        fits = self._in_flight_bytes + size <= self.size_bytes and len(self._asked) < MAX_ASKED
        return fits or not self._asked

    def ask(self, name: str, size: int, now: float) -> None:
        """This chunk is being asked for."""
        self._count += 1
        self._asked[name] = _Asked(size, self._count, now, self._came_bytes)
        self._in_flight_bytes += size

    def heard(self, now: float) -> None:
        """Something came, whatever it was: the link is not silent."""
        self._heard_at = now

    def came(self, name: str, now: float) -> None:
        """A chunk came; one that was not asked for says nothing about the link."""
        asked = self._asked.get(name)
        if asked is None:
            return
        self.forget(name)
        self._newest = max(self._newest, asked.number)
        self._came_bytes += asked.size
        trip_s = max(now - asked.at, 0.001)
        self._quickest_s = min(self._quickest_s, trip_s)
        self._rates.append((self._came_bytes - asked.before_bytes) / trip_s)
        self._patience_s = max(self._answer_timeout_s, TRIPS * trip_s)
        rate = max(self._rates)
        wanted = 2 * self._quickest_s * rate + min(RESERVE_S * rate, RESERVE_BYTES)
        self.size_bytes = min(int(wanted), self._most_bytes)

    def forget(self, name: str) -> None:
        """It is waited for no more."""
        asked = self._asked.pop(name, None)
        if asked is not None:
            self._in_flight_bytes -= asked.size

    def names(self) -> list[str]:
        """What is on its way, in the order it was asked for."""
        return list(self._asked)

    def silent(self, now: float) -> list[str]:
        """Gives up on what did not come. All of it, where nothing came at all: then the window is one chunk, and
        patience doubles. Else what others overtook that were asked for later."""
        late = [name for name, asked in self._asked.items() if now - asked.at >= self._patience_s]
        if not late:
            return []
        if now - self._heard_at >= self._patience_s:
            given_up = self.names()
            self.size_bytes = 0
            self._rates.clear()
            self._patience_s = min(2 * self._patience_s, PATIENCE_LAST_S)
        else:
            given_up = [name for name in late if self._asked[name].number < self._newest]
        for name in given_up:
            self.forget(name)
        return given_up

    def pause(self, now: float) -> None:
        """The source is away: what was asked for is waited for anew from now on."""
        self._heard_at = now
        for asked in self._asked.values():
            asked.at, asked.before_bytes = now, self._came_bytes
