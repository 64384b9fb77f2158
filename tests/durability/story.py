"""What happens to a simulated device over its life: acts, one after the other, and where each of them must end."""

from dataclasses import dataclass, field

from agent.updater.machine import State
from littoral.bundle import chunks
from littoral.bundle.manifest import Blob, Lineage, Manifest
from littoral.wire.messages import Want
from tests.agent.updater.fakes import Release

CHUNK_BYTES = 512
LABELS = b"cat\ndog\n"  # the same in every release: one blob, held once


def make(model: str, number: int, floor: int = 0) -> Release:
    """A release of a model with three chunks, and labels that it shares with all others."""
    blobs = {"model": f"{model} {number} ".encode().ljust(16, b".") * 80, "labels": LABELS}
    listed = {
        role: Blob(chunks.digest_of(data), len(data), chunks.digest_of(chunks.list_of(chunks.split(data, CHUNK_BYTES))))
        for role, data in blobs.items()
    }
    return Release(Manifest(model, number, f"{number}.0", floor, Lineage.RETRAINED, listed, CHUNK_BYTES), blobs)


RELEASES = {(model, number): make(model, number) for model in ("cats", "dogs") for number in range(1, 6)}
BY_BUNDLE = {release.bundle: release for release in RELEASES.values()}
CHUNKS = {
    f"chunk/{chunks.digest_of(piece)}": piece
    for release in RELEASES.values()
    for data in release.blobs.values()
    for piece in chunks.split(data, CHUNK_BYTES)
}


def want(number: int, model: str = "cats", attempt: int = 1, urgent: bool = False) -> Want:
    return RELEASES[model, number].want(attempt, urgent)


@dataclass(frozen=True, slots=True)
class Act:
    """What is wanted of the device, and which release of each model it must serve at the end; 0: none.

    until: the next act begins as soon as `cats` is in this state. bad: releases that the judge finds bad in this act.
    untestable: those whose self-test fails. evidence: what `cats` rests on when it ends, "" where that does not count.
    spoils: the disk spoils this file of what serves `cats` when it begins.
    """

    wants: dict[str, Want | None]
    ends: dict[str, int]
    until: State | None = None
    bad: frozenset[int] = frozenset()
    untestable: frozenset[int] = frozenset()
    evidence: str = ""
    spoils: str = ""


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    acts: tuple[Act, ...] = field(repr=False)


def cats(number: int, ends: int | None = None, **more: object) -> Act:
    """An act with one model."""
    attempt, urgent = int(str(more.pop("attempt", 1))), bool(more.pop("urgent", False))
    served = number if ends is None else ends
    return Act({"cats": want(number, attempt=attempt, urgent=urgent)}, {"cats": served}, **more)  # type: ignore[arg-type]


BAD = frozenset({3})
STORIES = (
    Story("a bad release", (cats(1), cats(2), cats(3, ends=2, bad=BAD), cats(3, ends=2), cats(3, attempt=2))),
    Story("a failed self-test", (cats(1), cats(3, ends=1, untestable=BAD), cats(2), cats(3, ends=2, untestable=BAD))),
    Story("spoiled files", (cats(1), cats(2), cats(2, spoils="model"), cats(2, spoils="labels"), cats(4))),
    Story(
        "overtaken",
        (
            cats(1),
            cats(2, until=State.FETCH),
            cats(3, until=State.SELF_TEST),
            cats(4, until=State.PROBATION),
            cats(5, urgent=True),
            cats(2, until=State.PROBATION),
            cats(5),
        ),
    ),
    Story("there and back", (cats(1), cats(2), cats(1), cats(2), cats(4), cats(2))),
    Story(
        "removed and back",
        (
            cats(1),
            Act({"cats": None}, {"cats": 0}),
            cats(2),
            cats(3, until=State.FETCH),
            Act({"cats": None}, {"cats": 0}),
            cats(3),
        ),
    ),
    Story(
        "two models",
        (
            Act({"cats": want(1), "dogs": want(1, "dogs")}, {"cats": 1, "dogs": 1}),
            Act({"cats": want(2), "dogs": want(2, "dogs")}, {"cats": 2, "dogs": 2}),
            Act({"cats": want(3), "dogs": None}, {"cats": 2, "dogs": 0}, bad=BAD),
            Act({"cats": want(4), "dogs": want(4, "dogs")}, {"cats": 4, "dogs": 4}),
        ),
    ),
)
