"""Tells whoever follows that something changed; what it is now, they ask for themselves."""

import asyncio
import threading
from collections.abc import AsyncIterator

IDLE_S = 15.0  # after this long without a change a follower is told that the server is there


class Changes:
    """Announced from any thread, followed from asyncio."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # close() comes from a signal handler, in whose thread it may be held already
        self._followers: set[_Follower] = set()
        self._closed = False

    def announce(self, *nouns: str) -> None:
        """These changed: devices, releases, rollouts, judgements, events, metrics, status."""
        with self._lock:
            for follower in self._followers:
                follower.add(nouns)

    def close(self) -> None:
        """Ends every follower."""
        with self._lock:
            self._closed = True
            for follower in self._followers:
                follower.add(())

    async def follow(self) -> AsyncIterator[list[str]]:
        """Sorted nouns whenever some changed, and an empty list now and then when none did."""
        follower = _Follower(asyncio.get_running_loop())
        with self._lock:
            self._followers.add(follower)
        try:
            while not self._closed:
                try:
                    await asyncio.wait_for(follower.woken.wait(), IDLE_S)
                except TimeoutError:
                    yield []
                    continue
                with self._lock:
                    nouns = follower.take()
                if nouns:
                    yield nouns
        finally:
            with self._lock:
                self._followers.discard(follower)


class _Follower:
    """All but `woken` is used under the lock."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.woken = asyncio.Event()
        self._loop = loop
        self._nouns: set[str] = set()

    def add(self, nouns: tuple[str, ...]) -> None:
        self._nouns.update(nouns)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.woken.set)

    def take(self) -> list[str]:
        self.woken.clear()
        nouns, self._nouns = sorted(self._nouns), set()
        return nouns
