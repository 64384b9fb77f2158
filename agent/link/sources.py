"""Broker and mirror as one source: pieces of blobs come from the mirror while it does its part, all else by MQTT.

A mirror that is silent, lacks something or brings wrong bytes rests, longer each time, and the broker is asked in its
place. Wrong bytes are handed on as they are: whoever checks them says so.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agent.link.events import Event
from agent.link.source import MqttSource
from agent.source import Got, Wanted
from littoral.bundle import chunks

if TYPE_CHECKING:
    from agent.link.mirror import Mirror

REST_FIRST_S = 30.0
REST_LAST_S = 1_800.0


class Sources:
    """Without a mirror it is the broker alone."""

    def __init__(
        self, broker: MqttSource, mirror: "Mirror | None", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.problem = ""  # what is wrong with the mirror; "" when nothing is
        self._broker = broker
        self._mirror = mirror
        self._clock = clock
        self._rest_s = REST_FIRST_S
        self._rests_until = -1.0
        self._wrong: set[str] = set()  # names that the mirror has other bytes for

    def ask(self, wanted: Sequence[Wanted]) -> None:
        by_mirror = [each for each in wanted if self._is_for_mirror(each)]
        by_broker = [each for each in wanted if each not in by_mirror]
        if self._mirror is not None and by_mirror:
            self._mirror.ask(by_mirror)
        if by_broker:
            self._broker.ask(by_broker)

    def forget(self, names: list[str]) -> None:
        self._broker.forget(names)
        if self._mirror is not None:
            self._mirror.forget(names)

    def need(self, digests: list[str]) -> None:
        self._broker.need(digests)

    def heard(self, event: Event) -> None:
        """Takes note of what the link said."""
        self._broker.heard(event)

    def poll(self) -> list[Got]:
        """What came, or is now known to be absent, of what was asked for; each once."""
        got = self._broker.poll()
        missed: list[Wanted] = []
        for each in self._mirror.poll() if self._mirror is not None else ():
            if isinstance(each, Got):
                got.append(each)
                self._judge(each)
            else:
                missed.append(each.wanted)
                self._rest(each.reason)
        if missed:
            self._broker.ask(missed)
        return got

    def stop(self) -> None:
        if self._mirror is not None:
            self._mirror.stop()

    def _is_for_mirror(self, wanted: Wanted) -> bool:
        if self._mirror is None or not wanted.blob or wanted.name in self._wrong:
            return False
        return self._clock() >= self._rests_until

    def _judge(self, got: Got) -> None:
        """What it brought: good bytes end its rests, wrong ones begin one."""
        if got.data is not None and chunks.is_named(got.data, got.name.removeprefix("chunk/")):
            self._end_rests()
        else:
            self._wrong.add(got.name)
            self._rest("it brings wrong bytes")

    def _end_rests(self) -> None:
        if self._clock() >= self._rests_until:
            self.problem, self._rest_s = "", REST_FIRST_S

    def _rest(self, reason: str) -> None:
        now = self._clock()
        if now < self._rests_until:
            return
        self.problem = f"the mirror is left alone for {self._rest_s:.0f} s: {reason}"
        self._rests_until = now + self._rest_s
        self._rest_s = min(2 * self._rest_s, REST_LAST_S)
