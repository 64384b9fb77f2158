"""The host's event loop: one epoll, callbacks by descriptor, timers. It knows nothing of models."""

import heapq
import itertools
import select
import time
from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
CROWD = 64  # timers, from which on the cancelled ones are dropped


class Timer:
    """A callback at a time to come, until cancelled."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    @property
    def cancelled(self) -> bool:
        return self._callback is None

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()


class Loop:
    """Calls back what is ready. A callback must bear being called without cause: descriptors are used again."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False

    def watch(self, descriptor: int, events: int, callback: Callable[[int], None]) -> None:
        self._callbacks[descriptor] = callback
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        self._epoll.modify(descriptor, events)

    def unwatch(self, descriptor: int) -> None:
        """To be called before the descriptor is closed; one that is not watched is no error."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def call_in(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        if len(self._timers) >= CROWD:  # most were cancelled long before their time
            self._timers = [each for each in self._timers if not each[2].cancelled]
            heapq.heapify(self._timers)
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def every(self, interval_s: float, callback: Callable[[], None]) -> None:
        def again() -> None:
            self.call_in(interval_s, again)
            callback()

        self.call_in(interval_s, again)

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            self._turn()

    def close(self) -> None:
        self._epoll.close()

    def _turn(self) -> None:
        wait_s = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1
        for descriptor, events in self._epoll.poll(wait_s):
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback(events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].fire()
