"""A forked child under limits of memory and time, as the host sees it: what it said, and how it ended."""

import math
import os
import resource
import signal
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass

from agent.runtime.host import memory
from agent.runtime.host.children import Ended, fork
from agent.runtime.host.loop import READ, Loop
from agent.runtime.trial.report import REPORT_BYTES

GENTLE_NICE = 19
OOM_SCORE = 1000  # nothing on the device is worth less than a model nobody has seen run


@dataclass(frozen=True, slots=True)
class Limits:
    """address_space_bytes: beyond what the host itself has. gentle: it leaves the CPU to others."""

    address_space_bytes: int
    timeout_s: float
    gentle: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """messages: all that it sent. hung: it was killed as its time was over; `busy`, and it had used its time itself.
    took_bytes: its peak of memory, beyond the host's own.
    """

    messages: tuple[bytes, ...]
    ended: Ended
    hung: bool
    busy: bool
    took_bytes: int


class Limited:
    """One child. `done` is called once it has ended; not after cancel()."""

    def __init__(
        self,
        loop: Loop,
        body: Callable[[socket.socket], None],
        limits: Limits,
        done: Callable[[Outcome], None],
        keep: Collection[int] = (),
    ) -> None:
        """Forks it. body: runs in the child with its end of a SOCK_SEQPACKET pair. keep: descriptors it may use beside
        that. Raises OSError.
        """
        self._loop = loop
        self._limits = limits
        self._done = done
        self._timed_out = False
        self._end, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._end.setblocking(False)
        cpu_s = math.ceil(limits.timeout_s) * (os.cpu_count() or 1)  # each thread spends it; if the host cannot stop it
        address_space_bytes = memory.status("VmSize") + limits.address_space_bytes

        def limited() -> None:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
            resource.setrlimit(resource.RLIMIT_AS, (address_space_bytes, address_space_bytes))
            body(there)

        try:
            self._child = fork(limited, {there.fileno(), *keep}, OOM_SCORE)
        except OSError:
            self._end.close()
            raise
        finally:
            there.close()
        if limits.gentle:
            self._child.set_nice(GENTLE_NICE)
        self._rss_bytes = memory.status("VmRSS")
        self._timer = loop.call_in(limits.timeout_s, self._too_late)
        self._watch(self._on_end)

    def cancel(self) -> None:
        """Ends it, without a word to anyone."""
        self._child.kill()
        self._loop.unwatch(self._child.pidfd)
        self._close()
        self._watch(self._forgotten)

    def _watch(self, then: Callable[[int], None]) -> None:
        self._loop.watch(self._child.pidfd, READ, then)

    def _too_late(self) -> None:
        self._timed_out = True
        self._child.kill()

    def _on_end(self, _events: int) -> None:
        ended = self._reaped(self._on_end)
        if ended is None:
            return
        hung = self._timed_out or ended.signal == signal.SIGXCPU
        took_bytes = ended.peak_rss_bytes - self._rss_bytes
        busy = ended.cpu_s >= self._limits.timeout_s / 2  # a machine that was busy with other things proves nothing
        messages = self._messages()
        self._close()
        self._done(Outcome(messages, ended, hung, busy, took_bytes))

    def _forgotten(self, _events: int) -> None:
        self._reaped(self._forgotten)

    def _reaped(self, again: Callable[[int], None]) -> Ended | None:
        pidfd = self._child.pidfd
        self._loop.unwatch(pidfd)
        ended = self._child.reap()
        if ended is None:
            self._loop.watch(pidfd, READ, again)
        return ended

    def _messages(self) -> tuple[bytes, ...]:
        found = []
        try:
            while data := self._end.recv(REPORT_BYTES):
                found.append(data)
        except OSError:  # that is all
            pass
        return tuple(found)

    def _close(self) -> None:
        self._timer.cancel()
        self._end.close()
