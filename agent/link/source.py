"""The broker as a source of bytes: metadata files and chunks, each a retained message that is asked for by name.

Names are `meta/<file>` and `chunk/<sha256>`. Nothing is checked against its digest here, and nothing times out: both
are the updater's. A name is absent only where the index of this very connection says so.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from agent.link.events import Connected, Disconnected, Event, Message
from agent.source import Got, Wanted
from littoral.wire import messages
from littoral.wire.topics import Topics

NUDGE_S = 0.2  # without an answer; a nudge is some 70 bytes
MAX_NEED = 500  # digests in one `need`: 67 bytes each, well below the largest message


class Subscriber(Protocol):
    """What the source needs of the link, which keeps subscriptions over reconnects."""

    def subscribe(self, topics: Iterable[str], qos: int = 1) -> None: ...

    def unsubscribe(self, topics: Iterable[str]) -> None: ...

    def nudge(self, topic: str) -> None: ...

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> int | None: ...


class MqttSource:
    """Asks by subscribing, at QoS 0: a lost answer is asked for again anyway, and a kept session repeats none.

    The link is nudged while answers are awaited, so that the broker holds none back.
    """

    def __init__(
        self, link: Subscriber, topics: Topics, device: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link = link
        self._clock = clock
        self._nudge_at = 0.0
        self._topics = topics
        self._need = topics.up(device, "need")
        self._asked: dict[str, str] = {}  # topic: name
        self._index: frozenset[str] | None = None  # metadata files that exist, as this connection was told
        self._got: list[Got] = []
        self._ours = (f"{topics.prefix}/meta/", f"{topics.prefix}/chunk/")
        link.subscribe([topics.index])

    def ask(self, wanted: Sequence[Wanted]) -> None:
        """Wants each of these once; what is kept by the broker comes again even if it came before.

        Raises ValueError for a name that is neither `meta/<file>` nor `chunk/<sha256>`.
        """
        chosen = {self._topic(each.name): each.name for each in wanted}
        self._asked.update(chosen)
        self._link.subscribe(chosen, qos=0)
        self._nudge_at = self._clock() + NUDGE_S

    def forget(self, names: list[str]) -> None:
        """Wants `names` no more; nothing is delivered for them any longer."""
        self._drop([topic for topic in map(self._topic, names) if topic in self._asked])

    def need(self, digests: list[str]) -> None:
        """Tells the fleet server that these chunks do not come, or come wrong. A hint: nothing waits for it."""
        for at in range(0, len(digests), MAX_NEED):
            self._link.publish(self._need, messages.encode_names(digests[at : at + MAX_NEED]))

    def heard(self, event: Event) -> None:
        """Takes note of what the link said; poll() gives what it brought."""
        if isinstance(event, Connected | Disconnected):
            self._index = None
        elif isinstance(event, Message):
            if event.topic == self._topics.index:
                self._index = _read_index(event.payload)
            else:
                self._take(event)

    def poll(self) -> list[Got]:
        """What came, or is now known to be absent, of what was asked for; each once."""
        self._find_absent()
        if self._asked and (self._got or self._clock() >= self._nudge_at):
            self._link.nudge(self._topics.index)
            self._nudge_at = self._clock() + NUDGE_S
        got, self._got = self._got, []
        return got

    def _topic(self, name: str) -> str:
        kind, _, rest = name.partition("/")
        if kind == "meta" and rest != "index":
            return self._topics.meta(rest)
        if kind == "chunk":
            return self._topics.chunk(rest)
        raise ValueError(f"no name of something to ask for: {name!r}")

    def _take(self, message: Message) -> None:
        name = self._asked.get(message.topic)
        if name is None:
            if message.topic.startswith(self._ours):
                self._link.unsubscribe([message.topic])  # wanted by an earlier life of this session
        elif message.payload:  # an empty one clears the topic: that is no answer
            self._drop([message.topic])
            self._got.append(Got(name, message.payload))

    def _find_absent(self) -> None:
        if self._index is None:
            return
        missing = {
            topic: name
            for topic, name in self._asked.items()
            if name.startswith("meta/") and name.removeprefix("meta/") not in self._index
        }
        self._drop(list(missing))
        self._got += [Got(name, None) for name in missing.values()]

    def _drop(self, topics: list[str]) -> None:
        for topic in topics:
            del self._asked[topic]
        if topics:
            self._link.unsubscribe(topics)


def _read_index(payload: bytes) -> frozenset[str] | None:
    """The names of metadata files; None for an index that was cleared or cannot be read, which says nothing."""
    try:
        return frozenset(messages.parse_names(payload))
    except ValueError:
        return None
