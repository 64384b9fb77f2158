"""`bundle build`: what it makes of a real model, and what it refuses to make."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from examples.demo import assets, damage
from examples.demo.assets import Assets
from fleet import build, bundle
from fleet.build import Before, Request
from fleet.golden import Measured
from littoral.bundle import card, chunks, delta, manifest
from littoral.bundle.manifest import Golden, Limits, Lineage, Needs
from littoral.canonical import digest
from littoral.errors import (
    BadNameError,
    BundleError,
    CardError,
    GoldenError,
    InterfaceChangeError,
    LimitsError,
    ManifestError,
    ModelLoadError,
    NotAModelError,
    ReleaseNumberError,
)
from littoral.tensors import Interface, Tensor


@pytest.fixture(scope="module")
def demo() -> Assets:
    return assets.ensure()


@pytest.fixture
def request_(demo: Assets, tmp_path: Path) -> Request:
    (tmp_path / "labels.txt").write_text("\n".join(demo.labels))
    return Request(demo.classifier, "cifar", 3, "2026.11", tmp_path / "out", labels=tmp_path / "labels.txt")


@pytest.fixture
def inputs(demo: Assets, tmp_path: Path) -> Path:
    frames = [np.frombuffer(raw, np.int8).reshape(1, 32, 32, 3) for _, raw in assets.frames(demo)[:4]]
    np.savez(tmp_path / "inputs.npz", np.stack(frames))
    return tmp_path / "inputs.npz"


def text_file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# --- what is made ------------------------------------------------------------------------------------------------


def test_a_bundle_holds_everything_under_its_digest_and_reads_back(request_: Request) -> None:
    built = build.build(request_)
    found = bundle.read(request_.out)
    assert found.manifest == built.manifest
    assert found.digest == built.bundle == digest((request_.out / "bundle.json").read_bytes())
    assert found.blob(built.manifest.blobs["model"].sha256) == request_.model.read_bytes()
    files = {path.name for path in (request_.out / "blobs").iterdir()}
    assert files == set(found.digests())
    assert len(files) == 4  # model and labels, and a chunk list of each
    for path in (request_.out / "blobs").iterdir():
        assert digest(path.read_bytes()) == path.name


def test_every_option_is_in_bundle_json(request_: Request, inputs: Path, tmp_path: Path) -> None:
    card_file = text_file(
        tmp_path / "card.toml",
        "[limits]\np95_us = 60000000\nmemory_bytes = 900000000\n"
        '[needs]\nengines = ["litert"]\n[golden]\ncompare = "top1"',
    )
    built = build.build(
        replace(
            request_,
            card=card_file,
            golden_inputs=inputs,
            floor=1,
            lineage=Lineage.REBUILD,
            chunk_bytes=5000,
            interface_change=True,
        )
    )
    made = built.manifest
    assert (made.model, made.release, made.version, made.floor) == ("cifar", 3, "2026.11", 1)
    assert (made.lineage, made.chunk_bytes, made.interface_change) == (Lineage.REBUILD, 5000, True)
    assert made.limits == Limits(60_000_000, 900_000_000)
    assert made.needs == Needs(engines=("litert",))
    assert made.golden == Golden(4, "top1", 20_000, "copied")
    assert set(made.blobs) == {"model", "labels", "card", "golden"}
    assert made.blobs["golden"].length == 4 * (32 * 32 * 3 + 10)
    found = bundle.read(request_.out)
    listed = chunks.parse_list(found.blob(made.blobs["model"].chunks))
    assert len(listed) == 20  # 99,280 bytes
    assert built.measured is not None


def test_without_an_engine_in_the_card_the_model_says_how_old_the_runtime_may_be(request_: Request) -> None:
    assert build.build(request_).manifest.needs.engines == ("litert", "tflite>=1.5.0")


def test_copied_answers_are_said_to_be_copied(request_: Request, inputs: Path) -> None:
    built = build.build(replace(request_, golden_inputs=inputs))
    assert built.manifest.golden is not None
    assert built.manifest.golden.expected == "copied"
    assert any("copied from this very model" in note for note in built.notes)


def test_given_answers_are_said_to_be_given_and_the_model_is_not_run(
    request_: Request, demo: Assets, tmp_path: Path
) -> None:
    """With a model that would kill whoever runs it."""
    killer = tmp_path / "killer.tflite"
    killer.write_bytes(damage.crash(demo.classifier.read_bytes()))
    interface = bundle.interface_of(killer.read_bytes(), None)
    arrays = {interface.inputs[0].name: np.zeros((2, 32, 32, 3), np.int8)}
    np.savez(tmp_path / "g.npz", **arrays, **{interface.outputs[0].name: np.zeros((2, 10), np.int8)})  # type: ignore[arg-type]
    built = build.build(replace(request_, model=killer, golden=tmp_path / "g.npz"))
    assert built.manifest.golden is not None
    assert built.manifest.golden.expected == "given"
    assert built.measured is None


@pytest.fixture
def labelled(demo: Assets, tmp_path: Path) -> Path:
    """Six photographs, and what people say they are."""
    frames = [np.frombuffer(raw, np.int8).reshape(1, 32, 32, 3) for _, raw in assets.frames(demo)[:6]]
    interface = bundle.interface_of(demo.classifier.read_bytes(), None)
    names = np.array(["cat", "dog", "cat", "ship", "frog", "cat"])
    np.savez(tmp_path / "labelled.npz", **{interface.inputs[0].name: np.stack(frames), "labels": names})  # type: ignore[arg-type]
    return tmp_path / "labelled.npz"


def test_cases_labelled_by_people_are_said_to_be_and_how_many_must_be_right(
    request_: Request, labelled: Path, tmp_path: Path
) -> None:
    built = build.build(replace(request_, golden=labelled))
    assert built.manifest.golden == Golden(6, "top1", 20_000, "labelled", 800_000)
    assert built.manifest.blobs["golden"].length == 6 * (32 * 32 * 3 + 4)
    assert any("fewer than 100" in note for note in built.notes)
    assert built.measured is None
    card_file = text_file(tmp_path / "card.toml", '[golden]\nright = "0.95"')
    again = build.build(replace(request_, golden=labelled, card=card_file, out=tmp_path / "again"))
    assert again.manifest.golden is not None
    assert (again.manifest.golden.right_ppm, again.manifest.golden.right_cases) == (950_000, 6)


def test_a_hundred_labelled_cases_are_enough_and_what_they_weigh_is_told(
    request_: Request, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.load(labelled) as few:
        many = {name: np.concatenate([few[name]] * 17) for name in few.files}
    np.savez(tmp_path / "many.npz", **many)  # type: ignore[arg-type]
    monkeypatch.setattr(build, "LARGE_GOLDEN_BYTES", 0)
    (note,) = build.build(replace(request_, golden=tmp_path / "many.npz")).notes
    assert note == "the golden vectors have 313752 bytes, the model 99280: every device fetches both"


def test_labels_that_lie_are_refused_and_nothing_is_made(request_: Request, labelled: Path, tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match="without --labels"):
        build.build(replace(request_, golden=labelled, labels=None))
    card_file = text_file(tmp_path / "card.toml", '[golden]\nright = "1.1"')
    with pytest.raises(CardError, match="right"):
        build.build(replace(request_, golden=labelled, card=card_file))
    assert not request_.out.exists()


def test_a_release_that_repairs_a_fault_says_so_in_what_is_signed(request_: Request, tmp_path: Path) -> None:
    assert not build.build(request_).manifest.accept_explained
    out = tmp_path / "repair"
    build.build(replace(request_, accept_explained=True, out=out))
    assert bundle.read(out).manifest.accept_explained


def test_the_same_files_give_the_same_bundle(request_: Request, tmp_path: Path) -> None:
    first = build.build(request_)
    second = build.build(replace(request_, out=tmp_path / "again"))
    assert first.bundle == second.bundle


def test_labels_lose_their_line_ends_and_byte_order_mark(request_: Request, tmp_path: Path) -> None:
    dos = "\ufeff" + "\r\n".join(["a", "b c", "é"]) + "\r\n"
    (tmp_path / "dos.txt").write_bytes(dos.encode())
    built = build.build(replace(request_, labels=tmp_path / "dos.txt"))
    assert built.interface.labels == ("a", "b c", "é")
    assert bundle.read(request_.out).blob(built.manifest.blobs["labels"].sha256) == "a\nb c\né\n".encode()
    assert any("3 labels" in note for note in built.notes)


# --- floor -------------------------------------------------------------------------------------------------------


def before(release: int, floor: int, replaces: int, interface: Interface | None = None) -> Before:
    interface = interface or Interface((Tensor("x", "int8", (1,)),), (Tensor("y", "int8", (1,)),))
    last = manifest.Manifest("cifar", release, "v", floor, Lineage.RETRAINED, {}, 1000, interface=interface.declared())
    return Before(last, interface, replaces)


@pytest.mark.parametrize(
    ("given", "known", "floor"),
    [
        (None, None, 4),  # nothing is known: the number below
        (0, None, 0),
        (5, before(4, 2, 3), 5),  # a security fix sets it to itself
        (None, before(4, 2, 3), 3),  # release 4 halted, 3 is what devices have
        (None, before(4, 2, 0), 2),  # none was rolled out: the floor stays
    ],
)
def test_the_floor_is_the_release_it_replaces_unless_it_is_given(
    request_: Request, given: int | None, known: Before | None, floor: int
) -> None:
    assert build.default_floor(replace(request_, release=5, floor=given), known) == floor


def test_the_first_release_has_no_floor(request_: Request) -> None:
    assert build.default_floor(replace(request_, release=1), None) == 0


# --- the release before ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interface(demo: Assets) -> Interface:
    return bundle.interface_of(demo.classifier.read_bytes(), "\n".join(demo.labels).encode())


def test_a_release_with_the_same_interface_differs_in_nothing(request_: Request, interface: Interface) -> None:
    assert build.build(request_, before(2, 1, 2, interface)).difference == ()


def changed(interface: Interface, **changes: Any) -> Interface:
    (tensor,) = interface.inputs
    return replace(interface, inputs=(replace(tensor, **changes),))


def test_another_quantization_is_told_and_needs_no_announcement(request_: Request, interface: Interface) -> None:
    built = build.build(request_, before(2, 1, 2, changed(interface, scale=0.5, zero_point=3)))
    (line,) = built.difference
    assert "scale 0.5 zero point 3 ->" in line
    assert "scale 0.0078125 zero point 0" in line


def test_other_shapes_or_labels_are_refused_unless_announced(request_: Request, interface: Interface) -> None:
    fewer = replace(interface, labels=interface.labels[:9])
    renamed = replace(interface, labels=("plane", *interface.labels[1:]))
    wider = changed(interface, shape=(1, 64, 64, 3))
    more = replace(interface, outputs=interface.outputs * 2)
    for other, said in (
        (fewer, "9 -> 10"),
        (renamed, "number 0 was 'plane' and is 'airplane'"),
        (wider, "1x64x64x3"),
        (more, "output 1: .* -> none"),
    ):
        with pytest.raises(InterfaceChangeError, match=said):
            build.build(request_, before(2, 1, 2, other))
        assert not request_.out.exists()
    built = build.build(replace(request_, interface_change=True), before(2, 1, 2, fewer))
    assert built.manifest.interface_change
    assert built.difference == ("labels: 9 -> 10",)


def test_a_release_number_that_is_not_above_the_last_is_refused(request_: Request, interface: Interface) -> None:
    for last in (3, 4):
        with pytest.raises(ReleaseNumberError):
            build.build(request_, before(last, 1, 2, interface))


# --- deltas ------------------------------------------------------------------------------------------------------


def retrain_head(model: bytes) -> bytes:
    """Other weights and biases in the last layer, as a retrained head has them; every other byte as it was."""
    retrained = bytearray(model)
    root = schema.Model.GetRootAs(retrained)
    operator = damage.last_operator(root, "FULLY_CONNECTED")
    for tensor in (1, 2):
        weights = root.Buffers(root.Subgraphs(0).Tensors(operator.Inputs(tensor)).Buffer()).DataAsNumpy()
        weights[:] = np.random.default_rng(1).integers(0, 256, weights.size, np.uint8)
    return bytes(retrained)


def test_of_a_retrained_head_a_fiftieth_of_the_file_moves_at_most(request_: Request, tmp_path: Path) -> None:
    build.build(request_)
    (tmp_path / "retrained.tflite").write_bytes(retrain_head(request_.model.read_bytes()))
    second = replace(request_, model=tmp_path / "retrained.tflite", release=4, out=tmp_path / "second")
    made = build.build(replace(second, delta_from=(request_.out,)))
    found = bundle.read(second.out)
    (one,) = found.manifest.deltas
    base, data = request_.model.read_bytes(), found.blob(one.sha256)
    assert (one.role, one.base, one.length) == ("model", digest(base), len(data))
    assert b"".join(delta.apply([base], [data], len(base))) == second.model.read_bytes()
    assert len(data) * 50 <= len(base)
    assert {path.name for path in (second.out / "blobs").iterdir()} == set(found.digests())
    assert {one.sha256, one.chunks} <= set(found.digests())
    assert made.manifest.deltas == (one,)


def test_a_delta_is_made_of_every_model_that_devices_may_hold_where_it_is_worth_it(request_: Request) -> None:
    model = request_.model.read_bytes()
    unlike = np.random.default_rng(1).bytes(len(model))
    near, nearer = (model[:size] for size in (len(model) // 2, len(model) - 64))
    known = replace(before(2, 1, 2), models=(unlike, near, nearer, nearer, model))
    made = build.build(replace(request_, interface_change=True), known).manifest
    assert [one.base for one in made.deltas] == [digest(near), digest(nearer)]
    assert all(one.length < build.DELTA_SHARE * len(model) for one in made.deltas)


def test_more_deltas_than_bundle_json_has_room_for_are_refused(request_: Request) -> None:
    many = tuple(bytes([number]) for number in range(build.MAX_DELTAS + 1))
    with pytest.raises(BundleError, match="deltas from 9 models"):
        build.build(replace(request_, interface_change=True), replace(before(2, 1, 2), models=many))


def test_a_delta_that_was_altered_is_seen_when_the_bundle_is_read(request_: Request, tmp_path: Path) -> None:
    known = replace(before(2, 1, 2), models=(damage.restamp(request_.model.read_bytes()),))
    (one,) = build.build(replace(request_, interface_change=True), known).manifest.deltas
    path = request_.out / "blobs" / one.sha256
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(BundleError, match="not what its name says"):
        bundle.read(request_.out)
    path.unlink()
    with pytest.raises(BundleError, match="missing"):
        bundle.read(request_.out)


# --- bad input ---------------------------------------------------------------------------------------------------


def test_what_is_no_model_is_refused(request_: Request, demo: Assets, tmp_path: Path) -> None:
    for content in (b"", b"hello", demo.classifier.read_bytes()[:5000], demo.photos["cat"].read_bytes()):
        (tmp_path / "m").write_bytes(content)
        with pytest.raises(NotAModelError):
            build.build(replace(request_, model=tmp_path / "m"))
    with pytest.raises(BundleError, match="cannot be read"):
        build.build(replace(request_, model=tmp_path / "absent"))
    assert not request_.out.exists()


def test_a_model_over_its_own_limits_is_refused(request_: Request, inputs: Path, tmp_path: Path) -> None:
    small = text_file(tmp_path / "a.toml", "[limits]\nmemory_bytes = 99279")
    with pytest.raises(LimitsError, match="99280 bytes"):
        build.build(replace(request_, card=small))
    tight = text_file(tmp_path / "b.toml", "[limits]\nmemory_bytes = 99281")
    with pytest.raises(LimitsError, match="took"):
        build.build(replace(request_, card=tight, golden_inputs=inputs))
    assert not request_.out.exists()


def test_measured_time_and_memory_are_held_against_the_card() -> None:
    limits = card.parse("[limits]\np95_us = 100\nmemory_bytes = 1000")
    build.check_limits(limits, 1000, Measured(100, 1000))
    for model_bytes, measured in ((1001, None), (1, Measured(101, 1)), (1, Measured(1, 1001))):
        with pytest.raises(LimitsError):
            build.check_limits(limits, model_bytes, measured)
    build.check_limits(card.Card(), 10**9, Measured(10**9, 10**9))


def test_a_model_that_dies_while_it_is_run_is_refused(request_: Request, inputs: Path, tmp_path: Path) -> None:
    killer = tmp_path / "killer.tflite"
    killer.write_bytes(damage.crash(request_.model.read_bytes()))
    with pytest.raises(ModelLoadError, match="SIG"):
        build.build(replace(request_, model=killer, golden_inputs=inputs))
    assert not request_.out.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": "Bad Name"}, BadNameError),
        ({"release": 0}, ManifestError),
        ({"floor": 4}, ManifestError),
        ({"floor": -1}, ManifestError),
        ({"version": ""}, ManifestError),
        ({"version": "v" * 201}, ManifestError),
        ({"chunk_bytes": 0}, BundleError),
        ({"chunk_bytes": 61_441}, BundleError),
        ({"chunk_bytes": 10}, BundleError),
        ({"golden": Path("a"), "golden_inputs": Path("b")}, BundleError),
        ({"golden": Path("/absent.npz")}, GoldenError),
        ({"card": Path("/absent")}, BundleError),
        ({"labels": Path("/absent")}, BundleError),
    ],
)
def test_options_that_cannot_be_are_refused(request_: Request, changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        build.build(replace(request_, **changes))
    assert not request_.out.exists()


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe", b"a\x0bb\nc", b"a\xe2\x80\xa8b", b"a\0b"])
def test_labels_that_are_none_or_could_be_read_in_two_ways_are_refused(
    request_: Request, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "l").write_bytes(content)
    with pytest.raises(BundleError):
        build.build(replace(request_, labels=tmp_path / "l"))


def test_a_card_that_is_none_is_refused(request_: Request, tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"\xff")
    with pytest.raises(CardError):
        build.build(replace(request_, card=tmp_path / "c"))


def test_a_folder_with_anything_in_it_is_left_alone(request_: Request) -> None:
    request_.out.mkdir()
    build.build(request_)
    before_ = (request_.out / "bundle.json").read_bytes()
    with pytest.raises(BundleError, match="there already"):
        build.build(replace(request_, version="other"))
    assert (request_.out / "bundle.json").read_bytes() == before_
    assert json.loads(before_)["version"] == "2026.11"
