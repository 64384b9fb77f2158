"""`littoral-fleet bundle build` and `bundle show`: make a bundle of a model, and look at one."""

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleet import build, bundle, metadata
from fleet.build import Before, Built, Request
from fleet.bundle import Bundle
from fleet.cli import remote
from fleet.cli.remote import Remote
from littoral import canonical
from littoral.bundle import manifest
from littoral.bundle.manifest import Golden, Lineage, Manifest
from littoral.errors import DigestError
from littoral.tensors import Interface
from littoral.wire.topics import CHUNK_BYTES

ACCEPTED = "a fault that comparing it with the release before can name"
BASES = 3  # of the newest releases: what most devices hold


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("bundle", help="make and look at bundles", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_build(commands)
    show = commands.add_parser(
        "show", help="check a bundle and show what is in it", description="Checks every digest in DIR and shows it."
    )
    show.add_argument("bundle", metavar="DIR", type=Path)
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=run_show)


def _add_build(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "build",
        help="make a bundle of a model",
        description="Makes an unsigned bundle in DIR. Where a fleet server is named (--server or LITTORAL_SERVER), the "
        "release before is fetched from it: the difference in interface is printed, and a change of shapes or "
        f"labels refused; deltas are made from its newest {BASES} releases and the one that this replaces, where one "
        "is much smaller than the model. The model is run only for --golden-inputs, in a child process.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="F", help="the .tflite file")
    parser.add_argument("--name", required=True, metavar="N", help="what clients ask for: a-z, 0-9 and -")
    parser.add_argument("--release", type=int, required=True, metavar="I", help="number of this release; only grows")
    parser.add_argument("--version", required=True, metavar="V", help="the release's name among people")
    parser.add_argument("--card", type=Path, metavar="F", help="what the model expects and answers (TOML)")
    parser.add_argument("--labels", type=Path, metavar="F", help="names of the classes, UTF-8, one a line")
    golden = parser.add_mutually_exclusive_group()
    golden.add_argument(
        "--golden",
        type=Path,
        metavar="F.npz",
        help="inputs and the right answers, by tensor name; or `labels`: "
        "what people say each case is, a class number or a name out of --labels",
    )
    golden.add_argument(
        "--golden-inputs", type=Path, metavar="F.npz", help="inputs; the answers are copied from this very model"
    )
    parser.add_argument(
        "--floor",
        type=int,
        metavar="I",
        help="oldest release that may be installed once this one was committed. Default: the one it replaces, as the "
        "server knows it; without a server the release number less 1",
    )
    parser.add_argument(
        "--lineage",
        choices=[lineage.value for lineage in Lineage],
        default=Lineage.RETRAINED.value,
        help="what it is to the release before (default: retrained): it chooses how strictly answers are compared",
    )
    parser.add_argument(
        "--accept-explained",
        action="store_true",
        help="it repairs a fault of the release before: where comparing the two finds a fault that it can name, that "
        "is no reason to refuse this one",
    )
    parser.add_argument(
        "--chunk-bytes", type=int, default=CHUNK_BYTES, metavar="N", help=f"at most {CHUNK_BYTES}, the default"
    )
    parser.add_argument("--interface-change", action="store_true", help="shapes or labels may differ from before")
    deltas = parser.add_mutually_exclusive_group()
    deltas.add_argument(
        "--delta-from",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a published bundle that devices may hold: make a delta from its model too; may be given several times",
    )
    deltas.add_argument("--no-delta", action="store_true", help="make no delta at all")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an absent or empty folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    remote.add_options(parser)
    parser.set_defaults(run=run_build)


def run_build(args: argparse.Namespace) -> int:
    """Raises the named errors of build.build and the server."""
    request = Request(
        model=args.model,
        name=args.name,
        release=args.release,
        version=args.version,
        out=args.out,
        card=args.card,
        labels=args.labels,
        golden_inputs=args.golden_inputs,
        golden=args.golden,
        floor=args.floor,
        lineage=Lineage(args.lineage),
        chunk_bytes=args.chunk_bytes,
        interface_change=args.interface_change,
        delta_from=tuple(args.delta_from),
        accept_explained=args.accept_explained,
    )
    before = _before(args)
    if before is not None and args.no_delta:
        before = replace(before, models=())
    built = build.build(request, before)
    if args.json:
        print(json.dumps(_built_json(built)))
    else:
        _print_built(built, args.out)
    return 0


def run_show(args: argparse.Namespace) -> int:
    """Raises BundleError, ManifestError, NotAModelError."""
    found = bundle.read(args.bundle)
    interface, file = bundle.describe(found)
    if args.json:
        value = _manifest_json(found.manifest, found.digest, interface)
        print(json.dumps({**value, "operators": list(file.operators)}))
    else:
        _print_manifest(found, interface, file.operators)
    return 0


# --- the release before ------------------------------------------------------------------------------------------


def _before(args: argparse.Namespace) -> Before | None:
    """What the server knows of the model's releases; None where no server is named, or it lists none."""
    if not (args.server or os.environ.get("LITTORAL_SERVER")):
        return None
    with remote.connect(args) as connection:
        return last_release(connection, args.name)


def last_release(server: Remote, model: str) -> Before | None:
    """The last listed release with its interface, the one that devices would go on from, and the models they hold."""
    files = {name: text.encode() for name, text in server.get("/api/v1/metadata")["files"].items()}
    listed = metadata.verify(files).releases(model)
    if not listed:
        return None
    numbers = sorted(listed)
    replaces = replaced(numbers, server.get(f"/api/v1/rollouts?model={model}"))
    held = sorted({*numbers[-BASES:], *([replaces] if replaces else [])})
    known = [manifest.parse(_blob(server, listed[number].hashes["sha256"])) for number in held]
    models = [_blob(server, one.blobs["model"].sha256) for one in known]
    last = known[-1]
    labels = _blob(server, last.blobs["labels"].sha256) if "labels" in last.blobs else None
    return Before(last, bundle.interface_of(models[-1], labels), replaces, tuple(models))


def replaced(releases: list[int], rollouts: list[dict[str, Any]]) -> int:
    """The newest release that was rolled out and did not halt; 0 where there is none.

    A release that halted is on no device that will commit the next one: as a floor it would keep the fleet from
    going back to the good one before it.
    """
    states: dict[int, set[str]] = {}
    for rollout in rollouts:
        states.setdefault(int(rollout["release"]), set()).add(str(rollout["state"]))
    kept = (release for release in releases if states.get(release, set()) & {"done", "running"})
    return max(kept, default=0)


def _blob(server: Remote, sha256: str) -> bytes:
    data = server.read(f"/api/v1/blobs/{sha256}")
    if canonical.digest(data) != sha256:
        raise DigestError(sha256, canonical.digest(data))
    return data


# --- telling -----------------------------------------------------------------------------------------------------


def _manifest_json(made: Manifest, digest: str, interface: Interface) -> dict[str, Any]:
    return {**json.loads(made.encode()), "bundle": digest, "tensors": interface.to_json()}


def _built_json(built: Built) -> dict[str, Any]:
    measured = built.measured
    return {
        **_manifest_json(built.manifest, built.bundle, built.interface),
        "measured": measured and {"p95_us": measured.p95_us, "memory_bytes": measured.memory_bytes},
        "difference": list(built.difference),
        "notes": list(built.notes),
    }


def _print_built(built: Built, out: Path) -> None:
    made = built.manifest
    print(f"Built {made.model} release {made.release} ({made.version}) in {out}, floor {made.floor}.")
    print(f"bundle {built.bundle}")
    for delta in made.deltas:
        print(f"delta from {delta.base}: {delta.length} bytes of {made.blobs[delta.role].length}")
    for line in built.difference:
        print(f"changed: {line}")
    if made.golden is not None:
        print(f"golden: {_golden_text(made.golden)}")
    if made.accept_explained:
        print(f"accepted: {ACCEPTED}")
    if built.measured is not None:
        measured = built.measured
        print(f"measured here: p95 {measured.p95_us} us, memory {measured.memory_bytes / 1e6:.1f} MB")
    for note in built.notes:
        print(f"note: {note}.", file=sys.stderr)


def _print_manifest(found: Bundle, interface: Interface, operators: tuple[str, ...]) -> None:
    made = found.manifest
    print(f"{made.model} release {made.release} ({made.version})")
    print(f"bundle       {found.digest}")
    print(f"floor        {made.floor}")
    print(f"lineage      {made.lineage.value}")
    for side, tensors in (("input", interface.inputs), ("output", interface.outputs)):
        for tensor in tensors:
            print(f"{side:<12} {build.tensor_text(tensor)}")
    if interface.labels:
        print(f"labels       {len(interface.labels)}")
    if made.golden is not None:
        print(f"golden       {_golden_text(made.golden)}")
    if made.accept_explained:
        print(f"accepted     {ACCEPTED}")
    for role, blob in made.blobs.items():
        print(f"{role:<12} {blob.sha256} {blob.length} bytes")
    for delta in made.deltas:
        print(f"{'delta':<12} {delta.sha256} {delta.length} bytes, from {delta.base}")
    print(f"operators    {', '.join(operators)}")
    print("every digest holds")


def _golden_text(golden: Golden) -> str:
    if golden.expected == "labelled":
        return f"{golden.cases} cases labelled by people, of which {golden.right_cases} must be answered right"
    return f"{golden.cases} cases, {golden.compare}, expected answers {golden.expected}"
