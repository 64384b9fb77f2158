"""Tells the fleet server what this device is and does: reported state, metrics windows, events. It decides nothing.

Reported state is retained, so only the newest matters; metrics and events go through the outbox and all arrive.
"""

from dataclasses import dataclass, field, replace
from itertools import pairwise

from agent.alarms import Symptom, alarm
from agent.control import Counters
from agent.link.events import Connected, Event
from agent.link.outbox import Outbox, Publisher
from littoral.wire import messages
from littoral.wire.messages import MAX_MESSAGE_BYTES, Metrics, ModelState, ReleaseMetrics, Reported
from littoral.wire.topics import Topics

STATE_INTERVAL_S = 0.2  # a state that changes more often is sent with what it is by then
MOST_ALARMS = 20  # of a state that is too long; the worst come first
_CUT = alarm(Symptom("state-cut", "so many models do not fit a message"))

BUCKETS = 32


class Reporter:
    """`boot` names one start of the agent: (boot, seq) makes a metrics window count once."""

    def __init__(
        self, link: Publisher, outbox: Outbox, topics: Topics, device: str, boot: str, metrics_s: float
    ) -> None:
        self._link = link
        self._outbox = outbox
        self._state_topic = topics.up(device, "state")
        self._boot = boot
        self._metrics_s = metrics_s
        self._state: Reported | None = None
        self._published: Reported | None = None  # over this connection
        self._published_at = float("-inf")
        self._window = _Window()
        self._window_began: float | None = None
        self._seq = 0

    def report(self, state: Reported) -> None:
        """What the device is now. tick() sends it if it is news."""
        self._state = state

    def event(self, event: messages.Event) -> None:
        """A milestone or alarm, to arrive surely."""
        self._outbox.add("event", event.id, event.encode())

    def counters(self, counters: Counters) -> None:
        """What a worker has done so far, for the metrics."""
        self._window.add(counters)

    def heard(self, event: Event) -> None:
        """Takes note of what the link said; the outbox is told by the caller."""
        if isinstance(event, Connected):
            self._published = None  # the broker may have lost it

    def tick(self, now_s: float, at: int) -> None:
        """Sends what is due. now_s: seconds on a clock that nobody sets; at: seconds since 1970, for people."""
        if self._window_began is None:
            self._window_began = now_s
        elif now_s - self._window_began >= self._metrics_s:
            self._close_window(now_s, at)
            self._window_began = now_s
        self._publish_state(now_s)
        self._outbox.pump(self._link, now_s)

    def _publish_state(self, now_s: float) -> None:
        state = self._state
        if state is None or state == self._published or now_s - self._published_at < STATE_INTERVAL_S:
            return
        if self._link.publish(self._state_topic, fitting(state), retain=True) is not None:
            self._published = state
            self._published_at = now_s

    def _close_window(self, now_s: float, at: int) -> None:
        models, window_s = self._window.close(), now_s - (self._window_began or 0.0)
        if models:
            metrics = Metrics(self._boot, self._seq, at, round(window_s), models)
            self._outbox.hold("metrics", f"{self._boot}-{self._seq}", metrics.encode(), now_s)
            self._seq += 1


@dataclass(slots=True)
class _Tally:
    """One release within the window."""

    answers: int = 0
    errors: int = 0
    memory_bytes: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * BUCKETS)


class _Window:
    """Turns counters that only grow into what happened within a window."""

    def __init__(self) -> None:
        self._last: dict[str, Counters] = {}
        self._tallies: dict[tuple[str, int, str], _Tally] = {}

    def add(self, new: Counters) -> None:
        """The first of a model is where counting begins: an agent before this one has reported what led to it."""
        old = self._last.get(new.model)
        self._last[new.model] = new
        tally = self._tallies.setdefault((new.model, new.release, new.stage), _Tally())
        tally.memory_bytes = new.memory_bytes
        if old is None:
            return
        if old.worker != new.worker or old.answers > new.answers:
            old = replace(new, answers=0, errors=0, histogram=(0,) * BUCKETS)  # a new worker began at nothing
        tally.answers += new.answers - old.answers
        tally.errors += new.errors - old.errors
        grown = zip(tally.histogram, new.histogram, old.histogram, strict=True)
        tally.histogram = [so_far + after - before for so_far, after, before in grown]

    def close(self) -> tuple[ReleaseMetrics, ...]:
        """The window's releases; the next window begins."""
        tallies, self._tallies = self._tallies, {}
        return tuple(
            ReleaseMetrics(
                model=model,
                release=release,
                stage=stage,
                answers=tally.answers,
                errors=tally.errors,
                invoke_p50_us=quantile_us(tally.histogram, 0.50),
                invoke_p95_us=quantile_us(tally.histogram, 0.95),
                memory_bytes=tally.memory_bytes,
            )
            for (model, release, stage), tally in tallies.items()
        )


def quantile_us(histogram: list[int], share: float) -> int:
    """The time below which `share` of the answers lie, 0 where there are none.

    Bucket i holds 2^i <= us < 2^(i+1); within a bucket answers are taken as evenly spread, so that the result is off
    by less than a factor of two.
    """
    wanted = share * sum(histogram)
    if not wanted:
        return 0
    below = 0
    for (low, high), count in zip(pairwise(1 << i for i in range(BUCKETS + 1)), histogram, strict=True):
        if count and below + count >= wanted:
            return round(low + (high - low) * (wanted - below) / count)
        below += count
    return 1 << BUCKETS


def fitting(state: Reported) -> bytes:
    """The state as it travels. Where a device has so many models that it is too long, what ended goes first."""
    for cut in (_whole, _without_facts, _without_last, _without_update):
        models = {name: cut(model) for name, model in state.models.items()}
        warnings = state.warnings if cut is _whole else (*state.warnings[:MOST_ALARMS], _CUT)
        data = replace(state, models=models, warnings=warnings).encode()
        if len(data) <= MAX_MESSAGE_BYTES:
            break
    return data


def _whole(model: ModelState) -> ModelState:
    return model


def _without_facts(model: ModelState) -> ModelState:
    return replace(model, last=model.last and replace(model.last, facts={}))


def _without_last(model: ModelState) -> ModelState:
    return replace(model, last=None)


def _without_update(model: ModelState) -> ModelState:
    return replace(model, last=None, update=None)
