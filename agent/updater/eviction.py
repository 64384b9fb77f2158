"""Makes room on a full disk for a release that is wanted, in a fixed order, and never of a baseline.

First go partial files, then staged releases, then blobs that nothing names any more; these are mostly gone already.
Last goes what the inactive slot of a committed model still keeps for going back: its record lets go of it before its
files do. What is wanted, and what it is rebuilt of, stays.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from agent import fsio
from agent.slots import SlotRecord
from agent.updater import staging
from littoral.bundle.manifest import Manifest

_UNTIL_STAGED = ("plan", "fetch", "stage")


def make_room(
    state: Path,
    model: str,
    wanted: Manifest,
    records: Mapping[str, SlotRecord],
    fits: Callable[[], bool],
    let_go: Callable[[str], bool],
) -> None:
    """Removes one thing after the other until `fits()`, for the update of `model` to `wanted`.

    `records` are those of all models as they are on disk. let_go(model): makes the record of a model forget its
    inactive slot, durably; whether it did. Raises OSError.
    """
    left = dict(records)
    _remove_unnamed(state, model, wanted, left, fits)
    for name in sorted(records, key=lambda each: (each != model, each)):
        record = records[name]
        if not fits() and _is_spare(record, name == model) and let_go(name):
            left[name] = record.with_slot(record.spare, None)
            _remove_unnamed(state, model, wanted, left, fits)


def _is_spare(record: SlotRecord, updating: bool) -> bool:
    """Whether the inactive slot holds what is neither baseline nor wanted, nor what a watched release goes back to."""
    serves, other = record.serves, record.other
    if serves is None or other is None or record.stage != "committed" or serves.evidence != "full":
        return False
    if record.update is None:
        return True
    return updating and record.update.bundle not in (serves.bundle, other.bundle)


def _remove_unnamed(
    state: Path, model: str, wanted: Manifest, records: Mapping[str, SlotRecord], fits: Callable[[], bool]
) -> None:
    for remove in _unnamed(state, model, wanted, records.values()):
        if fits():
            return
        remove()


def _unnamed(
    state: Path, model: str, wanted: Manifest, records: Iterable[SlotRecord]
) -> Iterator[Callable[[], object]]:
    """What removes, one by one, what no record names and the update of `model` has no use for."""
    others = [each.update for each in records if each.model != model and each.update is not None]
    alone = not any(update.state in _UNTIL_STAGED for update in others)  # else nobody here knows whose a file is
    useful = {blob.sha256 for blob in wanted.blobs.values()}
    useful |= {name for delta in wanted.deltas for name in (delta.sha256, delta.base)}
    named = staging.named(records)
    for name in fsio.names(state / "partial") if alone else ():
        if name not in useful:
            yield partial(fsio.remove, state / "partial" / name)
    for name in fsio.names(state / "releases"):
        if name not in named:
            yield partial(staging.remove_release, state, name)
    for name in fsio.names(state / "blobs") if alone else ():
        if name not in useful and fsio.links(state / "blobs" / name) == 1:
            yield partial(fsio.remove, state / "blobs" / name)
