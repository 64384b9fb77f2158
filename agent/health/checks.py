"""Runs the health checks of a device's owner: executables in required.d and wanted.d. It starts processes.

They are asked in the order of their names, one at a time, while a release is watched or about to be switched to. A
check says good, bad or that it cannot tell, and no more; what follows is for others to decide. Nothing here waits for
a check: tick() starts it, reads what it prints, and ends it when its time is over. docs/health.md tells those who write
checks what is asked of them.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.health.process import CHECK_TIMEOUT_S, MARK, CheckProcess, writable_by_others

FOLDERS = {"required.d": True, "wanted.d": False}
MAX_CHECKS = 32  # in one folder
GOOD, BAD, UNKNOWN = "good", "bad", "unknown"
KILLED_S = 2.0  # from SIGKILL to the end of any process that can be ended at all
LEAST_S = 0.1  # between two rounds, whatever is set
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # as run-parts has it: what editors and packages leave behind has a point
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check said. state: good, bad, unknown; text: the first line it printed, or why it says nothing."""

    name: str
    required: bool
    state: str
    text: str


@dataclass(slots=True, eq=False)
class Watched:
    """A release that the checks are asked about until end(). last: what they said in the last whole round."""

    model: str
    release: int
    stage: str
    end: Callable[[], None] = lambda: None
    last: tuple[CheckResult, ...] = ()
    due_s: float = 0.0
    untaken: list[tuple[CheckResult, ...]] = field(default_factory=list)

    def take(self) -> Sequence[tuple[CheckResult, ...]]:
        """What all checks have said, by rounds, since this was last asked."""
        rounds, self.untaken = self.untaken, []
        return rounds


@dataclass(slots=True, eq=False)
class _Round:
    """All checks, asked once about one release."""

    watched: Watched
    left: list[tuple[Path, bool]]
    results: list[CheckResult] = field(default_factory=list)


class Checks:
    """Asks all checks about each watched model, at once and then every `every_s` seconds.

    folder: holds required.d and wanted.d; None: there are no checks. socket: where they can ask the runtime. Times are
    of the clock of tick().
    """

    def __init__(self, folder: Path | None, every_s: float, socket: str, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._folder = folder
        self._every_s = max(every_s, LEAST_S)
        self._timeout_s = timeout_s
        self._environment = {"PATH": _PATH, "LANG": "C.UTF-8", "LITTORAL_SOCKET": socket, MARK: os.urandom(16).hex()}
        self._watched: list[Watched] = []
        self._round: _Round | None = None
        self._process: CheckProcess | None = None
        self._killed: CheckProcess | None = None  # and not gone yet
        self._waits_since: float | None = None  # for it to be gone
        self._refused: list[str] = []

    def watch(self, model: str, release: int, stage: str) -> Watched:
        """Asks about `release` from now on; stage: ready (it is about to be switched to), trial or committed."""
        watched = Watched(model, release, stage)
        watched.end = lambda: self._unwatch(watched)
        self._watched.append(watched)
        return watched

    @property
    def busy(self) -> bool:
        """Whether a check is being asked, or one is due at once."""
        return self._round is not None or any(not watched.due_s for watched in self._watched)

    @property
    def last(self) -> dict[str, tuple[CheckResult, ...]]:
        """What was said in the last whole round, by model."""
        return {watched.model: watched.last for watched in self._watched}

    @property
    def bad(self) -> tuple[str, ...]:
        """What the checks found bad, in words."""
        found = {
            f"the {'required' if result.required else 'wanted'} check {result.name} is bad: {result.text}"
            for watched in self._watched
            for result in watched.last
            if result.state == BAD
        }
        return tuple(sorted(found))

    @property
    def refused(self) -> tuple[str, ...]:
        """What is not run because anybody could have written it, in words."""
        return tuple(self._refused)

    def fileno(self) -> int | None:
        """Readable when the check that is being asked has ended."""
        return None if self._process is None else self._process.pidfd

    def tick(self, now: float) -> None:
        """Goes on as far as that can be done without waiting."""
        if self._process is not None and not self._hear(self._process, now):
            return
        if self._killed is None or self._killed.gone():
            self._killed = self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        while self._process is None:
            if self._round is None and not self._begin(now):
                return
            if self._waits_since is not None and now - self._waits_since < KILLED_S:
                return
            self._ask_next(now)

    def stop(self) -> None:
        """Asks about nothing any more."""
        for watched in list(self._watched):
            self._unwatch(watched)

    def _unwatch(self, watched: Watched) -> None:
        """A check that is being asked about it is ended."""
        if watched in self._watched:
            self._watched.remove(watched)
        if self._round is not None and self._round.watched is watched:
            self._round = None
            self._end_process()

    def _begin(self, now: float) -> bool:
        """Begins the round that is due; whether one is."""
        watched = min(self._watched, key=lambda each: each.due_s, default=None)
        if watched is None or watched.due_s > now:
            return False
        found, self._refused = find(self._folder)
        watched.due_s = now + self._every_s
        self._round = _Round(watched, found)
        return True

    def _ask_next(self, now: float) -> None:
        """Starts the next check of the round, or ends the round."""
        assert self._round is not None
        watched = self._round.watched
        if not self._round.left:
            watched.last = tuple(self._round.results)
            watched.untaken.append(watched.last)
            self._round = None
            return
        path, _ = self._round.left[0]
        about = {
            "LITTORAL_MODEL": watched.model,
            "LITTORAL_RELEASE": str(watched.release),
            "LITTORAL_STAGE": watched.stage,
        }
        if self._killed is not None:
            self._note(UNKNOWN, "it was not asked, as another check cannot be ended")
            return
        if not os.access(path, os.X_OK):
            self._note(UNKNOWN, "it is not executable" if path.exists() else "it is gone")
            return
        try:
            self._process = CheckProcess(path, self._environment | about, now, self._timeout_s)
        except OSError as error:
            self._note(UNKNOWN, f"it cannot be started: {error.strerror}")

    def _hear(self, process: CheckProcess, now: float) -> bool:
        """Reads what it prints; whether it has ended."""
        ended = process.poll(now)
        if ended is None:
            return False
        self._process = None
        if not process.gone():
            self._killed = process
        self._note({0: GOOD, 1: BAD}.get(ended, UNKNOWN), process.text)
        return True

    def _note(self, state: str, text: str) -> None:
        assert self._round is not None
        path, required = self._round.left.pop(0)
        self._round.results.append(CheckResult(path.name, required, state, text))

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()
            if not process.gone():
                self._killed = process


def find(folder: Path | None) -> tuple[list[tuple[Path, bool]], list[str]]:
    """The checks in order, each with whether it is required; and why others are not run."""
    found: list[tuple[Path, bool]] = []
    refused: list[str] = []
    for name, required in FOLDERS.items() if folder is not None else ():
        assert folder is not None
        try:
            paths = sorted(path for path in (folder / name).iterdir() if not path.name.startswith("."))
            loose = next((each for each in (folder, folder / name) if writable_by_others(each)), None)
        except FileNotFoundError:
            continue
        except OSError as error:
            refused.append(f"no check in {folder / name} is run: {error.strerror}")
            continue
        if loose is not None:
            refused.append(f"no check in {folder / name} is run: others than root and the agent may write {loose}")
            continue
        why_not = {path: _why_not(path) for path in paths}
        refused += [f"{path} is not run: {why}" for path, why in why_not.items() if why]
        good = [path for path, why in why_not.items() if not why]
        if len(good) > MAX_CHECKS:
            refused.append(f"only the first {MAX_CHECKS} checks in {folder / name} are run")
        found += [(path, required) for path in good[:MAX_CHECKS]]
    return found, refused


def _why_not(path: Path) -> str:
    """Why a file is no check that may be run; empty where it is one."""
    if not _NAME.fullmatch(path.name):
        return "its name is not of letters, digits, - and _ alone, 64 at most"
    try:
        real = path.resolve(strict=True)
        if not real.is_file():
            return "it is no file"
        if writable_by_others(real) or writable_by_others(real.parent):
            return "others than root and the agent may write it"
    except (OSError, RuntimeError):  # gone meanwhile, or a link that leads nowhere
        return "it leads nowhere"
    return ""
