"""What is around a simulated device: server, runtime and apps, as fakes that may be out of order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent import control, fsio, slots
from agent.updater import staging
from agent.updater.child_protocol import Request
from agent.updater.planning import Job
from agent.updater.steps import Verdict
from littoral.errors import ManifestError
from tests.agent.updater.fakes import FakeJudge, FakePlanner, FakeRuntime, FakeVerdict
from tests.durability.story import BY_BUNDLE, CHUNKS

WRONG = b"these are not the bytes that were asked for"


class BrokenError(AssertionError):
    """A promise was not kept."""


def whole(state: Path, bundle: str) -> bool:
    """Whether releases/<bundle> holds what its name promises."""
    folder = slots.release_folder(state, bundle)
    try:
        blobs = staging.manifest_of(state, bundle).blobs
        return set(fsio.names(folder)) == {"bundle.json", *blobs} and all(
            fsio.digest_of(folder / role) == blob.sha256 for role, blob in blobs.items()
        )
    except (OSError, ManifestError):
        return False


class Planner(FakePlanner):
    """Knows every release of the stories. hangs: its child never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.releases = BY_BUNDLE
        self.hangs = False

    def submit(self, request: Request) -> Job:
        return Job(request) if self.hangs else super().submit(request)


class Runtime(FakeRuntime):
    """Loads nothing that is not whole, and never a trial without a baseline to go back to.

    untestable: bundles whose self-test fails. deaf: it answers nothing. short: it has no memory for another model.
    spoiled: bundles that the disk has spoiled since, so that a trial cannot help it if its baseline is one of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.untestable: frozenset[str] = frozenset()
        self.deaf = False
        self.short = False
        self.spoiled: frozenset[str] = frozenset()

    def send(self, message: control.Message) -> bool:
        if self.deaf:
            return True
        if isinstance(message, control.Try):
            self.fails = dict.fromkeys(self.untestable, ("golden-mismatch", True))
            if not whole(self.state, message.bundle):
                self.fails[message.bundle] = ("digest-mismatch", False)
            if self.short:
                self.fails[message.bundle] = ("no-room", False)
        return super().send(message)

    def restart(self) -> None:
        super().restart()
        for model, serving in list(self.serving.items()):
            if serving.release and not whole(self.state, serving.bundle):
                self.serving[model] = control.Serving(model, 0, "", "none", "failed")
        self.greet()

    def greet(self) -> None:
        """Tells an agent that connects of what could not be loaded."""
        self.said = []
        for model, serving in self.serving.items():
            found = slots.read(slots.path_of(self.state, model))
            if serving.reason == "failed" and found is not None and found.baseline is not None:
                self.said.append(control.Failed(model, found.baseline.bundle, "digest-mismatch", "spoiled"))

    def _apply(self, model: str) -> control.Message:
        found = slots.read(slots.path_of(self.state, model))
        if found is None or found.serves is None:
            raise BrokenError(f"{model} is to be served, and its record names nothing")
        baseline = found.other.bundle if found.stage == "trial" and found.other is not None else ""
        if baseline and baseline not in self.spoiled and not whole(self.state, baseline):
            raise BrokenError(f"{model}: a trial with a baseline that is not whole")
        if not whole(self.state, found.serves.bundle):
            return control.Failed(model, found.serves.bundle, "digest-mismatch", "spoiled")
        held = self.serving.get(model)
        if self.short and (held is None or held.bundle != found.serves.bundle):
            return control.Failed(model, found.serves.bundle, "no-room", "memory is short")
        return super()._apply(model)


class Judge(FakeJudge):
    """Finds a release bad from the moment that it is."""

    def __init__(self, bad: Callable[[], bool]) -> None:
        super().__init__()
        self._bad = bad

    def verdict(self, now_s: float) -> Verdict | None:
        return FakeVerdict("constant", "the same to everything") if self._bad() else super().verdict(now_s)


@dataclass(slots=True)
class Around:
    """All of it. It outlives the agent, and where only that is killed the runtime too.

    bad: releases that the judge finds bad. silent: nothing comes that is asked for; wrong: it comes with other bytes.
    quiet: nobody asks the model. wall: seconds since 1970, as the device's clock has it. told: kinds of milestones, in
    order.
    """

    runtime: Runtime = field(default_factory=Runtime)
    planner: Planner = field(default_factory=Planner)
    bad: frozenset[int] = frozenset()
    silent: bool = False
    wrong: bool = False
    quiet: bool = False
    wall: float = 1_800_000_000.0
    told: list[str] = field(default_factory=list)

    def deliver(self, asked: list[str]) -> Iterator[tuple[str, bytes]]:
        """What comes of what was asked for."""
        for name in () if self.silent else asked:
            yield name, WRONG if self.wrong else CHUNKS[name]
