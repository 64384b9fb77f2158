"""Forked children: born detached from all that is the host's, watched by pidfd, reaped with what they used.

Only a process with one thread may fork this way.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_NICE_OF_ALL = 20  # RLIMIT_NICE that permits nice 0
_EXIT_SOFTWARE = 70  # as sysexits.h has it: an exception nobody caught
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended. signal 0: it exited with `status`. memory: the kernel killed it for want of memory."""

    signal: int
    status: int
    memory: bool
    peak_rss_bytes: int
    cpu_s: float


class Child:
    """A forked child. `pidfd` becomes readable when it ends."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.killed = False  # by us
        self._oom_kills = oom_kills()

    def kill(self) -> None:
        self.killed = True
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def set_oom_score(self, score: int) -> None:
        _write_oom_score(self.pid, score)

    def set_nice(self, nice: int) -> None:
        """Lower CPU priority (0 to 19), where it may be undone later: the right to that is not given everywhere."""
        if os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_NICE)[0] >= _NICE_OF_ALL:
            with suppress(OSError):  # it ended just now
                os.setpriority(os.PRIO_PROCESS, self.pid, nice)

    def reap(self) -> Ended | None:
        """How it ended, once; None while it runs."""
        pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        os.close(self.pidfd)
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        memory = number == signal.SIGKILL and not self.killed and oom_kills() > self._oom_kills
        return Ended(
            signal=number,
            status=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
            memory=memory,
            peak_rss_bytes=usage.ru_maxrss * 1024,
            cpu_s=usage.ru_utime + usage.ru_stime,
        )


def fork(body: Callable[[], None], keep: Collection[int], oom_score: int) -> Child:
    """Runs `body` in a child that holds only the descriptors in `keep` and the standard ones."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _child(body, keep, oom_score, parent)
    return Child(pid)


def _child(body: Callable[[], None], keep: Collection[int], oom_score: int, parent: int) -> NoReturn:
    status = _EXIT_SOFTWARE
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the host ends its children
        _die_with(parent)
        _close_all_but(keep)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _write_oom_score(os.getpid(), oom_score)
        body()
        status = 0
    except BaseException:
        import traceback  # only now: it is half a megabyte

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _die_with(parent: int) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(_EXIT_SOFTWARE)


def _close_all_but(keep: Collection[int]) -> None:
    at = 3
    for descriptor in sorted(keep):
        os.closerange(at, descriptor)
        at = descriptor + 1
    os.closerange(at, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _write_oom_score(pid: int, score: int) -> None:
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:  # noqa: PTH123, one system call less
            file.write(str(score))
    except OSError:
        pass  # it ended just now, or a sandbox forbids it: an order among victims, not a need


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot."""
    try:
        with open("/proc/vmstat") as file:  # noqa: PTH123
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
