"""The client against the real host and against the fake server: one of them may not be kinder than the other."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from littoral import client, errors
from littoral.client import Client
from littoral.tensors import Tensor
from littoral.wire import query
from tests.agent.runtime import scripted
from tests.agent.runtime.device import ROOT, until
from tests.littoral.client.sides import Side

QUESTION = b"\x00\x01\x02\x03"
INT8: dict[str, Any] = {
    "inputs": [["in", "int8", [1, 4], 0.5, 10]],
    "outputs": [["out", "int8", [1, 4], 0.25, -8]],
}


# --- what may be given ------------------------------------------------------------------------------------------


def test_raw_bytes_are_answered_with_bytes(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    answer = side.client().infer(QUESTION)
    assert answer.data == b"\1\2\3\4"
    assert answer.outputs == {"out": b"\1\2\3\4"}
    assert (answer.release, answer.stage) == (1, query.Stage.COMMITTED)


@pytest.mark.parametrize(
    "given", [bytearray(QUESTION), memoryview(QUESTION), {"in": QUESTION}, {"in": bytearray(QUESTION)}]
)
def test_any_bytes_will_do(side: Side, given: Any) -> None:
    side.serve(scripted.model(answer=1))
    assert side.client().infer(given).data == b"\1\2\3\4"


def test_arrays_are_answered_with_arrays_of_the_tensors_shape(side: Side) -> None:
    side.serve(scripted.model(answer=1, outputs=[["out", "int16", [2, 1], 0.0, 0]]))
    answer = side.client().infer({"in": np.array([0, 1, 2, 3], "uint8")})
    assert answer.outputs["out"].dtype == np.int16
    assert answer.outputs["out"].tolist() == [[0x0201], [0x0403]]


def test_several_inputs_go_by_their_names_and_several_outputs_come_by_theirs(side: Side) -> None:
    two = [["a", "uint8", [2], 0.0, 0], ["b", "uint8", [2], 0.0, 0]]
    side.serve(scripted.model(inputs=two, outputs=[["x", "uint8", [3], 0.0, 0], ["y", "uint8", [1], 0.0, 0]]))
    answer = side.client().infer({"b": b"\3\4", "a": b"\1\2"})
    assert answer.outputs == {"x": b"\1\2\3", "y": b"\4"}


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (b"\0\0\0", errors.WrongSizeError, "3 bytes"),
        ({"in": b"\0"}, errors.WrongSizeError, "in: 1 bytes"),
        ({"other": bytes(4)}, errors.WrongInputsError, "other"),
        ({}, errors.WrongInputsError, "none"),
        ({"in": bytes(4), "more": b""}, errors.WrongInputsError, "more"),
        ({"in": np.zeros((4, 1), "int8")}, errors.WrongShapeError, r"\[4, 1\]"),
        ({"in": np.zeros((1, 4), "uint8")}, errors.WrongDtypeError, "takes int8"),
        ({"in": np.zeros((1, 4), "float32")}, errors.WrongDtypeError, "quantize=True"),
    ],
)
def test_wrong_inputs_are_named_and_the_next_question_is_answered(
    side: Side, given: Any, error: type[Exception], match: str
) -> None:
    side.serve(scripted.model(**INT8))
    asking = side.client()
    with pytest.raises(error, match=match):
        asking.infer(given)
    assert asking.infer(QUESTION).data == QUESTION


def test_numbers_in_the_other_byte_order_are_refused(side: Side) -> None:
    side.serve(scripted.model(inputs=[["in", "int16", [2], 0.0, 0]]))
    with pytest.raises(errors.WrongDtypeError, match=">i2"):
        side.client().infer({"in": np.zeros(2, ">i2")})


def test_real_values_are_quantized_and_come_back_real_when_asked(side: Side) -> None:
    side.serve(scripted.model(**INT8))
    answer = side.client().infer({"in": np.array([[0, 1, -1, 1000]], "float32")}, quantize=True)
    stored = [10, 12, 8, 127]
    assert np.frombuffer(answer.data, "int8").tolist() == stored
    assert answer.outputs["out"].tolist() == [[(value + 8) * 0.25 for value in stored]]


def test_halves_are_rounded_away_from_zero_and_what_does_not_fit_is_clipped() -> None:
    tensor = Tensor("t", "uint8", (4,), 2.0, 100)
    assert client.quantize(np.array([1.0, -1.0, 3.0, -3.0]), tensor).tolist() == [101, 99, 102, 98]
    assert client.quantize(np.array([1e9, -1e9]), tensor).tolist() == [255, 0]
    assert client.dequantize(np.array([101, 99], "uint8"), tensor).tolist() == [2.0, -2.0]


# --- switches ---------------------------------------------------------------------------------------------------


def test_a_switch_within_one_interface_is_seen_in_the_answers_release_only(side: Side) -> None:
    models = scripted.model(answer=1), scripted.model(answer=2)
    side.serve(*models)
    asking = side.client()
    assert asking.infer(QUESTION).release == 1
    side.switch(2)
    answer = asking.infer(QUESTION)
    assert (answer.release, answer.data) == (2, b"\2\3\4\5")


REQUANTIZED: dict[str, Any] = {**INT8, "inputs": [["in", "int8", [1, 4], 0.25, 0]]}


def test_real_values_are_quantized_anew_for_a_new_quantization(side: Side) -> None:
    models = scripted.model(**INT8), scripted.model(**REQUANTIZED)
    side.serve(*models)
    asking = side.client()
    real = {"in": np.array([[0, 1, 2, 3]], "float32")}
    assert np.frombuffer(asking.infer(real, quantize=True).data, "int8").tolist() == [10, 12, 14, 16]
    side.switch(2)
    answer = asking.infer(real, quantize=True)
    assert np.frombuffer(answer.data, "int8").tolist() == [0, 4, 8, 12]
    assert answer.release == asking.release == 2


@pytest.mark.parametrize("given", [QUESTION, {"in": np.zeros((1, 4), "int8")}], ids=["bytes", "stored values"])
def test_what_was_quantized_for_the_old_release_is_never_misread(side: Side, given: Any) -> None:
    models = scripted.model(**INT8), scripted.model(**REQUANTIZED)
    side.serve(*models)
    asking = side.client()
    asking.infer(given)
    side.switch(2)
    with pytest.raises(errors.StaleInterfaceError, match="quantization") as raised:
        asking.infer(given)
    assert raised.value.interface is not None
    assert raised.value.interface.inputs[0].scale == 0.25
    assert asking.infer(given).release == 2  # the app has been told: this is made for the new one


def test_a_change_of_shapes_is_always_told_to_the_app(side: Side) -> None:
    models = scripted.model(**INT8), scripted.model(**{**INT8, "inputs": [["in", "int8", [2, 2], 0.5, 10]]})
    side.serve(*models)
    asking = side.client()
    side.switch(2)
    with pytest.raises(errors.StaleInterfaceError, match="shapes or labels"):
        asking.infer({"in": np.zeros((1, 4), "float32")}, quantize=True)
    assert asking.infer({"in": np.zeros((2, 2), "float32")}, quantize=True).release == 2


def test_a_change_of_labels_is_always_told_to_the_app(side: Side) -> None:
    models, labels = (scripted.model(**INT8), scripted.model(answer=1, **INT8)), (b"cat\n", b"dog\n")
    side.serve(*models, labels=labels)
    asking = side.client()
    assert asking.labels == ("cat",)
    side.switch(2)
    with pytest.raises(errors.StaleInterfaceError):
        asking.infer({"in": np.zeros((1, 4), "float32")}, quantize=True)
    assert asking.labels == ("dog",)


# --- when the runtime goes away ---------------------------------------------------------------------------------


def test_a_client_reconnects_when_the_runtime_is_back_and_asks_again(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    asking = side.client()
    asking.infer(QUESTION)
    side.kill()
    answers: list[client.Answer] = []
    thread = threading.Thread(target=lambda: answers.append(asking.infer(QUESTION)))
    thread.start()
    side.revive()
    thread.join()
    assert answers[0].data == b"\1\2\3\4"


def test_a_new_interface_after_a_restart_is_told_as_well(side: Side) -> None:
    side.serve(scripted.model(**INT8), scripted.model(**REQUANTIZED))
    asking = side.client()
    side.kill()
    side.revive(2)
    with pytest.raises(errors.StaleInterfaceError):
        asking.infer(QUESTION)
    assert asking.infer(QUESTION).release == 2


def test_without_a_runtime_the_first_contact_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(errors.UnreachableError, match="No such file"):
        Client("m", tmp_path / "query.sock")
    for ask in (client.models, client.stats):
        with pytest.raises(errors.UnreachableError):
            ask(tmp_path / "query.sock")


def test_a_runtime_that_does_not_come_back_in_time_is_unreachable(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    side.kill()
    with pytest.raises(errors.UnreachableError):
        asking.infer(QUESTION, timeout_s=0.2)
    side.revive()
    assert asking.infer(QUESTION).data == QUESTION


def test_an_answer_that_does_not_come_in_time_is_a_named_error_and_is_not_taken_for_the_next(side: Side) -> None:
    side.serve(scripted.model(answer=1, delay_ms=300))
    asking = side.client()
    with pytest.raises(errors.DeadlineError):
        asking.infer(QUESTION, timeout_s=0.05)
    assert asking.infer(b"\5\5\5\5").data == b"\6\6\6\6"


def test_a_closed_client_connects_anew(side: Side) -> None:
    side.serve(scripted.model())
    asking = side.client()
    asking.close()
    assert asking.infer(QUESTION).data == QUESTION


# --- a runtime that is none -------------------------------------------------------------------------------------


def impostor(path: Path, behave: Callable[[socket.socket], object]) -> threading.Thread:
    """Listens at `path`, and does with the first client what it likes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)

    def serve_one() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(4_096)
            behave(connection)

    thread = threading.Thread(target=serve_one)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", errors.ProtocolError),
        (query.json_frame(query.Kind.WELCOME, {"model": "m"}), errors.ProtocolError),
        (query.json_frame(query.Kind.INFO, {}), errors.ProtocolError),
        (b"", errors.UnreachableError),
        (query.error(errors.BusyError("full"), retry_after_ms=60_000), errors.BusyError),
    ],
    ids=["another protocol", "half a welcome", "another kind", "nothing", "busy"],
)
def test_what_is_no_welcome_ends_in_a_named_error(tmp_path: Path, reply: bytes, error: type[Exception]) -> None:
    thread = impostor(tmp_path / "s", lambda connection: connection.sendall(reply))
    with pytest.raises(error):
        Client("m", tmp_path / "s")
    thread.join()


def test_silence_ends_in_a_named_error(tmp_path: Path) -> None:
    thread = impostor(tmp_path / "s", lambda connection: connection.recv(1))
    with pytest.raises(errors.DeadlineError):
        Client("m", tmp_path / "s", timeout_s=0.05)
    thread.join()


# --- finding the socket; what it needs --------------------------------------------------------------------------


def test_the_socket_comes_from_the_environment_else_from_its_usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LITTORAL_SOCKET", raising=False)
    assert client.default_socket() == "/run/littoral/query.sock"
    monkeypatch.setenv("LITTORAL_SOCKET", "/elsewhere")
    assert client.default_socket() == "/elsewhere"


def test_a_socket_path_too_long_is_a_named_error() -> None:
    with pytest.raises(errors.SocketPathError):
        Client("m", "/" + "x" * 120)


def test_the_client_imports_nothing_but_python(side: Side) -> None:
    side.serve(scripted.model(answer=1))
    code = (
        "import sys; from littoral.client import Client; "
        f"print(Client('m', {str(side.socket)!r}).infer(bytes(4)).data); "
        "print(any(name.split('.')[0] in ('numpy', 'PIL') for name in sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[:2] == [repr(b"\1\1\1\1"), "False"]


def test_the_public_names_are_these() -> None:
    assert sorted(client.__all__) == [
        "Answer", "Array", "Box", "Class", "Client", "Detection", "Format", "Lease", "Mask", "Picture", "Point",
        "Pose", "ResultKind", "Share", "Slot", "Stage", "Subscription", "default_socket", "dequantize", "lease",
        "models", "quantize", "stats", "subscribe",
    ]  # fmt: skip


def test_stats_grow_with_the_answers(side: Side) -> None:
    side.serve(scripted.model())
    side.client().infer(QUESTION)
    until(lambda: client.stats(side.socket)["m"]["answers"] == 1, "the answer to be counted")
