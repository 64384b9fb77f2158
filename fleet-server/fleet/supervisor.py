"""Keeps one child process running: started again with a growing pause when it dies, gone when this process goes."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
GRACE_S = 5.0  # between asking a child to end and ending it

# The kernel ends the child when the thread that started it ends. It is asked for in the child's own process, before it
# becomes the program: code between fork and exec is not safe beside other threads.
_WRAPPER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("its parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

log = logging.getLogger(__name__)


class Supervisor:
    """Runs `command` (the first word an absolute path); its output goes to the file `output`.

    `started` is called with the process id after every start, in the supervisor's thread.
    """

    def __init__(self, command: Sequence[str], output: Path, started: Callable[[int], None]) -> None:
        self._command = list(command)
        self._output = output
        self._started = started
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the child and does not start it again."""
        with self._starting:
            self._stopping.set()
            process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        if self._thread.is_alive():
            self._thread.join()

    def last_words(self) -> str:
        """The last line that the child wrote."""
        try:
            lines = self._output.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while process := self._start_child():
            self._started(process.pid)
            lasted = _outlives(process, LONGEST_PAUSE_S)
            process.wait()
            if self._stopping.is_set():
                return
            log.warning("%s ended with %s: %s", self._command[0], process.returncode, self.last_words())
            pause_s = FIRST_PAUSE_S if lasted else min(2 * pause_s, LONGEST_PAUSE_S)
            self._stopping.wait(pause_s)

    def _start_child(self) -> "subprocess.Popen[bytes] | None":
        with self._starting:
            if self._stopping.is_set():
                return None
            wrapped = [sys.executable, "-I", "-S", "-c", _WRAPPER, str(os.getpid()), *self._command]
            # Output of the last start only: a child that cannot start must not fill the disk.
            with self._output.open("wb") as output:
                self._process = subprocess.Popen(
                    wrapped, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )
            return self._process


def _outlives(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False
