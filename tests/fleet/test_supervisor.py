import os
import queue
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.supervisor import Supervisor
from tests.fleet.parts import WAIT_S, eventually

SLEEPER = [sys.executable, "-c", "import sys, time; print('awake', flush=True); time.sleep(600)"]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    started: queue.Queue[int] = queue.Queue()
    supervisor = Supervisor(SLEEPER, tmp_path / "log", started.put)
    supervisor.start()
    first = started.get(timeout=WAIT_S)
    os.kill(first, signal.SIGKILL)
    second = started.get(timeout=WAIT_S)
    assert second != first
    eventually(lambda: supervisor.last_words() == "awake")
    supervisor.stop()
    assert not is_alive(second)
    assert started.empty()


def test_a_child_that_cannot_start_is_tried_again_and_its_last_words_are_kept(tmp_path: Path) -> None:
    started: queue.Queue[int] = queue.Queue()
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    supervisor = Supervisor(command, tmp_path / "log", started.put)
    supervisor.start()
    assert len({started.get(timeout=WAIT_S) for _ in range(3)}) == 3
    supervisor.stop()
    assert supervisor.last_words() in ("no such thing", "")


def test_stopping_what_never_started_is_nothing(tmp_path: Path) -> None:
    Supervisor(SLEEPER, tmp_path / "log", lambda pid: None).stop()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_is_gone_when_this_process_is(tmp_path: Path, end: signal.Signals) -> None:
    program = f"""
import threading
from pathlib import Path
from fleet.supervisor import Supervisor
Supervisor({SLEEPER!r}, Path({str(tmp_path / "log")!r}), lambda pid: print(pid, flush=True)).start()
threading.Event().wait()
"""
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        eventually(lambda: (tmp_path / "log").read_text() == "awake\n")
        parent.send_signal(end)
        parent.wait()
    eventually(lambda: not is_alive(child), "the child outlived its parent")
