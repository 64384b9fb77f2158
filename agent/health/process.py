"""One run of a health check: a process in a session of its own, under limits, that nobody ever waits for.

The end of the script itself counts, not the end of its pipe, which a child of it may hold open. With it ends whatever
it started and left in its process group, and what went away from there with the run's mark in its environment. What
has shed both is beyond reach here: systemd ends it with the agent's unit.
"""

import contextlib
import fcntl
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

from agent.slots import clip

CHECK_TIMEOUT_S = 30.0  # a look at a lamp, a service or a page takes less
MAX_TEXT_BYTES = 200
MARK = "LITTORAL_CHECK"  # the environment variable by which strays are known
NICE = 10
CPU_S, FILE_BYTES, MEMORY_BYTES = 20, 64 * 1024 * 1024, 256 * 1024 * 1024  # of each process
PIPE_BYTES = 1024 * 1024  # what a check can print between two looks
_HEAD_BYTES = 4_096  # of the output, in which its first line is looked for
_READ_BYTES = 65_536
_TAKEN_BYTES = 2 * PIPE_BYTES  # at one look: a check that never stops printing holds nobody up
# Limits are set by a shell that becomes the check: with threads, nothing of Python may run between fork and exec.
# Memory is what can be written (-d): programs reserve addresses by the gigabyte and never touch them.
_LIMITS = f"ulimit -c 0; ulimit -t {CPU_S}; ulimit -f {FILE_BYTES // 512}; ulimit -d {MEMORY_BYTES // 1024}"
_BECOME = f'{{ cd /; {_LIMITS}; echo 1000 >/proc/self/oom_score_adj; }} 2>/dev/null; exec "$0"'
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class CheckProcess:
    """Starts it; raises OSError. text: once it has ended, its first line, or how it ended."""

    def __init__(self, path: Path, environment: Mapping[str, str], now: float, timeout_s: float) -> None:
        self.text = ""
        self._began_at = now
        self._timeout_s = timeout_s
        self._mark = f"{MARK}={environment[MARK]}".encode()
        self._head = bytearray()
        self._gone = False
        self._output, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output, False)
        try:
            self._pid = _spawn(path, environment, theirs)
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(theirs)
        try:
            self.pidfd = os.pidfd_open(self._pid)
        except OSError:
            self._kill()
            raise
        with contextlib.suppress(OSError):  # the size of pipes may be limited; the priority is a courtesy
            fcntl.fcntl(self._output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            os.setpriority(os.PRIO_PROCESS, self._pid, NICE)

    def poll(self, now: float) -> int | None:
        """Its exit status once it has ended, by itself or by its time-out; negative: by that signal."""
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        self._read()
        if ended is None and now - self._began_at < self._timeout_s:
            return None
        self.end()
        if ended is None:
            self.text = f"it took over {self._timeout_s:g} s and was ended"
            return -signal.SIGKILL
        status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        self.text = first_line(bytes(self._head)) or (
            f"status {status}" if status >= 0 else f"it was ended by signal {-status}"
        )
        return status

    def end(self) -> None:
        """Kills it and all that it started. Its number is nobody else's, as long as gone() was not asked."""
        self._kill()
        os.close(self.pidfd)

    def gone(self) -> bool:
        """Whether the kernel is rid of it. One that waits for a broken disk cannot even be killed."""
        if not self._gone:
            self._gone = os.waitpid(self._pid, os.WNOHANG)[0] != 0
        return self._gone

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        kill_marked(self._mark)
        os.close(self._output)

    def _read(self) -> None:
        taken = 0
        with contextlib.suppress(BlockingIOError):
            while taken < _TAKEN_BYTES and (data := os.read(self._output, _READ_BYTES)):
                taken += len(data)
                self._head += data[: _HEAD_BYTES - len(self._head)]


def _spawn(path: Path, environment: Mapping[str, str], output: int) -> int:
    """The number of the new process. Raises OSError."""
    return os.posix_spawn(
        "/bin/sh",
        ["/bin/sh", "-c", _BECOME, str(path)],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=_IGNORED_BY_PYTHON,
    )


def first_line(output: bytes) -> str:
    """The first line that says something, without control characters."""
    for line in re.split(r"[\r\n]", output.decode(errors="replace")):
        text = "".join(letter for letter in line if letter.isprintable()).strip()
        if text:
            return clip(text, MAX_TEXT_BYTES)
    return ""


def kill_marked(mark: bytes) -> None:
    """Ends every process that has `mark` in the environment it was started with."""
    for entry in os.listdir("/proc"):  # noqa: PTH208, hundreds of times a path
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):  # gone, or somebody else's
            pidfd = os.pidfd_open(int(entry))
            try:
                if mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)


def writable_by_others(path: Path) -> bool:
    """Whether others than root and this process's user may write it. Raises OSError."""
    found = path.stat()
    return found.st_uid not in (0, os.geteuid()) or bool(found.st_mode & 0o022)
