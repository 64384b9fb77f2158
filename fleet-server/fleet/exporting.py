"""What a folder for devices holds, a stick or a mirror: which releases, and until when it is good.

Rules without I/O; fleet/service.py has the metadata signed, fleet/mirror.py writes the folder.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from fleet import metadata
from littoral.bundle.keys import DIRECTOR_TARGET
from littoral.bundle.manifest import Manifest
from littoral.canonical import digest
from littoral.errors import BadRequestError, NotFoundError

DAYS, LONGEST_DAYS = 30, 180
NEWEST = 3  # releases of a model on a mirror


def choose(listed: Iterable[Manifest], models: Sequence[str], release: int | None) -> list[Manifest]:
    """The newest release of each of `models`, of every model where none is named; or `release` of the one named.

    `listed`: oldest first. Raises NotFoundError, BadRequestError.
    """
    if release is not None and len(models) != 1:
        raise BadRequestError("a release is one model's", remedy="Name that model, and no other.")
    newest = {one.model: one for one in listed if release in (None, one.release)}
    if missing := sorted(set(models) - set(newest)):
        raise NotFoundError(
            f"no release of {', '.join(missing)} is listed"
            if release is None
            else f"no release {release} of {models[0]} is listed"
        )
    if not newest:
        raise NotFoundError("no release is listed")
    return [one for model, one in sorted(newest.items()) if not models or model in models]


def newest(listed: Iterable[Manifest], count: int, offered: Collection[str]) -> list[Manifest]:
    """Of each model the newest `count` releases, and those whose bundle is `offered`: what a mirror holds.

    `listed`: oldest first. Raises BadRequestError.
    """
    if count < 1:
        raise BadRequestError(f"the newest {count} releases", remedy="Ask for 1 or more.")
    of_model: dict[str, list[Manifest]] = {}
    for one in listed:
        of_model.setdefault(one.model, []).append(one)
    return [
        one
        for releases in of_model.values()
        for index, one in enumerate(releases)
        if index >= len(releases) - count or digest(one.encode()) in offered
    ]


def director_of(files: Mapping[str, bytes]) -> str:
    """Digest of director.json. Raises MetadataError."""
    return str(metadata.verify(files).targets.targets[DIRECTOR_TARGET].hashes["sha256"])


def expires(files: Mapping[str, bytes], chosen: Iterable[Manifest]) -> int:
    """When the first of the files expires that installing these depends on, in seconds since 1970."""
    known = metadata.verify(files)
    roles = [known.roles[one.model] for one in chosen]
    first = min(each.expires for each in (known.root, known.timestamp, known.snapshot, known.targets, *roles))
    return int(first.timestamp())
