"""`littoral infer` against a real host: with models that do what their bytes say, and once with a real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from examples.demo import assets
from tests.agent.runtime import scripted
from tests.agent.runtime.device import REAL_HOST, Device, engine_under_test
from tests.littoral.cli.commands import run


def serve(device: Device, labels: bytes = b"", **model: Any) -> None:
    device.record("m", device.add("m", 4, scripted.model(**model), labels=labels))
    device.start()
    device.client("m")


# --- arrays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_arrays_are_asked_and_answers_written(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    serve(device, answer=1)
    given, written = tmp_path / f"given{suffix}", tmp_path / "answers.npz"
    array = np.array([0, 1, 2, 3], "uint8")
    if suffix == ".npy":
        np.save(given, array)
    else:
        np.savez(given, allow_pickle=False, **{"in": array})
    status, out, _ = run(capsys, "infer", "m", "--input", given, "--output", written)
    assert status == 0
    assert "release 4 (committed)" in out
    assert "out uint8[4]: 1, 2, 3, 4" in out
    with np.load(written) as answers:
        assert answers["out"].tolist() == [1, 2, 3, 4]


def test_json_holds_the_whole_answer(device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve(device, answer=1)
    np.save(tmp_path / "given.npy", np.zeros(4, "uint8"))
    status, out, _ = run(capsys, "infer", "m", "--input", tmp_path / "given.npy", "--json")
    answer = json.loads(out)
    assert status == 0
    assert (answer["release"], answer["stage"], answer["outputs"]) == (4, "committed", {"out": [1, 1, 1, 1]})


def test_every_misuse_is_a_named_error(device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve(device)
    np.save(tmp_path / "float.npy", np.zeros(4, "float32"))
    np.save(tmp_path / "long.npy", np.zeros(5, "uint8"))
    np.savez(tmp_path / "other.npz", other=np.zeros(4, "uint8"))
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    Image.new("RGB", (5, 5)).save(tmp_path / "good.png")
    np.save(tmp_path / "good.npy", np.zeros(4, "uint8"))
    for arguments, code in (
        (["m", "--input", "float.npy"], "wrong-dtype"),
        (["m", "--input", "long.npy"], "wrong-shape"),
        (["m", "--input", "other.npz"], "wrong-inputs"),
        (["m", "--input", "bad.npz"], "bad-config"),
        (["m", "--input", "bad.npy"], "bad-config"),
        (["m", "--input", "none.npy"], "bad-config"),
        (["m", "--input", "good.png"], "wrong-inputs"),
        (["nobody", "--input", "good.npy"], "unknown-model"),
        (["m", "--input", "good.npy", "--output", "answers.txt"], "bad-config"),
        (["m", "--input", "good.npy", "--output", "no/such/folder.npz"], "bad-config"),
    ):
        paths = [str(tmp_path / a) if "." in a else a for a in arguments]
        status, _, err = run(capsys, "infer", *paths)
        assert status == 1, arguments
        assert f"littoral: {code}:" in err, (arguments, err)


def test_one_array_for_a_model_of_two_inputs_is_a_named_error(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(device, inputs=[["a", "uint8", [4], 0.0, 0], ["b", "uint8", [4], 0.0, 0]])
    np.save(tmp_path / "one.npy", np.zeros(4, "uint8"))
    status, _, err = run(capsys, "infer", "m", "--input", tmp_path / "one.npy")
    assert (status, ".npz" in err) == (1, True)


def test_a_missing_numpy_is_a_named_error(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(device)
    np.save(tmp_path / "given.npy", np.zeros(4, "uint8"))
    monkeypatch.setitem(sys.modules, "numpy", None)
    status, _, err = run(capsys, "infer", "m", "--input", tmp_path / "given.npy")
    assert (status, "[cli]" in err) == (1, True)


# --- images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensor", "stored", "done"),
    [
        (["in", "int8", [1, 2, 2, 3], 1 / 128, 0], [-128, 127], "pixels 0..255 as -1..0.992188"),
        (["in", "int8", [1, 2, 2, 3], 1.0, -128], [-128, 127], "pixels 0..255 as 0..255"),
        (["in", "uint8", [1, 2, 2, 3], 1 / 255, 0], [0, 255], "pixels 0..255 as 0..1"),
        (["in", "int16", [1, 2, 2, 3], 1 / 100, 0], [0, 100], "pixels / 255"),
        (["in", "float32", [1, 2, 2, 3], 0.0, 0], [0.0, 1.0], "pixels / 255 as float32"),
        (["in", "uint8", [1, 2, 2, 1], 0.0, 0], [0, 255], "pixels as uint8"),
    ],
    ids=["int8 about zero", "int8 of bytes", "uint8 to one", "int16", "float32", "grey, not quantized"],
)
def test_an_image_is_resized_and_quantized_and_what_was_done_is_printed(
    device: Device,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tensor: list[Any],
    stored: list[float],
    done: str,
) -> None:
    serve(device, inputs=[tensor], outputs=[tensor])
    for value, expected in zip((0, 255), stored, strict=True):
        Image.new("RGB", (20, 10), (value, value, value)).save(tmp_path / "picture.png")
        status, out, _ = run(capsys, "infer", "m", "--input", tmp_path / "picture.png", "--output", tmp_path / "a.npz")
        assert status == 0
        assert f"picture.png: resized to 2x2, {done}" in out
        with np.load(tmp_path / "a.npz") as answers:
            assert set(answers["in"].reshape(-1).tolist()) == {expected}


def test_the_best_labels_are_printed_with_their_scores(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(device, labels=b"ant\nbee\ncat\ndog\n", outputs=[["out", "uint8", [1, 4], 0.5, 0]])
    np.save(tmp_path / "given.npy", np.array([1, 9, 3, 0], "uint8"))
    _, out, _ = run(capsys, "infer", "m", "--input", tmp_path / "given.npy")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["4.500", "bee"],
        ["1.500", "cat"],
        ["0.500", "ant"],
        ["0.000", "dog"],
    ]


def test_without_labels_the_largest_values_of_a_row_are_told(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(device, inputs=[["in", "uint8", [9], 0.0, 0]], outputs=[["out", "uint8", [1, 9], 0.0, 0]])
    np.save(tmp_path / "given.npy", np.array([1, 9, 3, 0, 0, 0, 0, 7, 2], "uint8"))
    _, out, _ = run(capsys, "infer", "m", "--input", tmp_path / "given.npy")
    assert out.splitlines()[-2:] == [
        "  out uint8[1, 9]: 1, 9, 3, 0, 0, 0, 0, 7, ...",
        "    largest: 9 at 1, 7 at 7, 3 at 2",
    ]


def test_a_real_classifier_knows_the_cat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = assets.ensure()
    device = Device(tmp_path, REAL_HOST, {"engine": engine_under_test()})
    labels = "\n".join(found.labels).encode()
    device.record("m", device.add("m", 1, found.classifier.read_bytes(), labels=labels))
    device.start()
    try:
        status, out, _ = run(capsys, "infer", "m", "--input", found.photos["cat"], "--json", "--socket", device.socket)
    finally:
        device.stop()
    assert status == 0
    assert json.loads(out)["top"][0]["label"] == "cat"
