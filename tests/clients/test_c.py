"""The C client against a real runtime: what it is answered, through switches, deaths and restarts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from agent.slots import Slot
from examples.demo.assets import Assets
from littoral.wire.query import Stage
from littoral.wire.vision import ResultKind
from tests.agent.runtime import reals, scripted
from tests.agent.runtime.conftest import MakeDevice
from tests.agent.runtime.device import PATIENCE_S, Device, engine_under_test
from tests.clients.conftest import MakeDriver
from tests.clients.driver import TESTS, C, Driver, build

PATIENCE_MS = int(PATIENCE_S * 1000)


@pytest.fixture
def device(scripted_device: MakeDevice) -> Device:
    """A device that serves release 1 of a model, which adds 1 to each byte."""
    made = scripted_device()
    made.record("m", made.add("m", 1, scripted.model(answer=1)))
    made.start()
    return made


def answers(driver: Driver, count: int) -> list[dict[str, object]]:
    return [driver.do("poll", PATIENCE_MS) for _ in range(count)]


def worker_of(device: Device, model: str = "m") -> int:
    return device.agent().expect_counts(model, errors=0).worker


def switch(device: Device, **fields: object) -> Slot:
    """Switches from release 1 to a release 2 that does what the fields say."""
    old = device.add("m", 1, scripted.model(answer=1))
    new = device.add("m", 2, scripted.model(**fields))
    device.record("m", old, new, active="b", trial=True)
    return new


def test_a_model_answers(device: Device, driver: Driver) -> None:
    driver.do("open", "m", "client=test")
    info = driver.do("info")
    assert (info["model"], info["release"], info["stage"], info["input_bytes"]) == ("m", 1, Stage.COMMITTED, 4)
    assert driver.infer(b"abcd") == b"bcde"
    assert driver.tried("infer", driver.file(b"abc"))["error"] == "wrong-size"
    assert driver.infer(b"abcd") == b"bcde"


def test_a_model_that_is_not_there_is_a_named_error(device: Device, driver: Driver) -> None:
    assert driver.tried("open", "other")["error"] == "unknown-model"
    assert driver.tried("open", "m@other")["error"] == "unsupported"
    assert driver.tried("open", "m", "signature=other")["error"] == "unsupported"


def test_a_switch_loses_repeats_and_reorders_nothing(device: Device, driver: Driver) -> None:
    agent = device.agent()
    driver.do("open", "m")
    ids = [driver.do("submit", driver.file(bytes([n] * 4)))["id"] for n in range(60)]
    switch(device, answer=2)
    agent.apply("m", 2)
    ids += [driver.do("submit", driver.file(bytes([60] * 4)))["id"]]
    said = answers(driver, len(ids))
    assert [answer["id"] for answer in said] == ids
    assert [answer["data"] for answer in said] == [
        bytes([n + int(str(answer["release"]))] * 4).hex() for n, answer in enumerate(said)
    ]
    assert driver.do("info")["release"] == said[-1]["release"] == 2
    assert said[-1]["stage"] == Stage.TRIAL


def test_a_switch_of_interface_is_told_and_the_same_connection_goes_on(device: Device, driver: Driver) -> None:
    agent = device.agent()
    driver.do("open", "m")
    switch(device, answer=2, inputs=[["in", "uint8", [5], 0.0, 0]])
    agent.apply("m", 2)
    assert driver.tried("infer", driver.file(b"abcd"))["error"] == "stale-interface"
    assert driver.do("info")["input_bytes"] == 5
    assert driver.infer(b"abcde") == b"cdef"


def test_a_worker_that_is_killed_costs_no_answer(device: Device, driver: Driver) -> None:
    driver.do("open", "m")
    driver.infer(b"abcd")
    ids = [driver.do("submit", driver.file(b"abcd"))["id"] for _ in range(30)]
    os.kill(worker_of(device), signal.SIGKILL)
    ids += [driver.do("submit", driver.file(b"abcd"))["id"] for _ in range(30)]
    assert [(answer["id"], answer["data"]) for answer in answers(driver, 60)] == [(id, b"bcde".hex()) for id in ids]


def test_a_runtime_that_is_started_again_is_found_again(device: Device, driver: Driver) -> None:
    driver.do("open", "m")
    driver.do("share", 4, 1)
    shared = f"!{driver.file(b'abcd')}"
    driver.do("infer", shared)
    device.stop()
    driver.tell("infer", shared)
    device.start()
    assert driver.said()["data"] == b"bcde".hex()


def test_frames_written_into_shared_memory_are_answered_through_a_switch(device: Device, driver: Driver) -> None:
    agent = device.agent()
    driver.do("open", "m")
    driver.do("share", 4, 3)
    files = [f"!{driver.file(bytes([n] * 4))}" for n in range(3)]
    ids = [driver.do("submit", file)["id"] for file in files]
    assert driver.do("slot")["slot"] == -1
    switch(device, answer=2)
    agent.apply("m", 2)
    for n, answer in enumerate(answers(driver, 3)):
        assert (answer["id"], answer["data"]) == (ids[n], bytes([n + int(str(answer["release"]))] * 4).hex())
    assert driver.do("infer", files[1])["data"] == bytes([3] * 4).hex()
    driver.do("unshare")
    assert driver.infer(b"abcd") == b"cdef"


def test_more_shared_memory_than_allowed_is_refused_and_the_connection_goes_on(device: Device, driver: Driver) -> None:
    driver.do("open", "m")
    most = driver.do("info")["limits"][2]
    assert driver.tried("share", most + 1, 1)["error"] == "bad-share"
    assert driver.infer(b"abcd") == b"bcde"


def test_of_requests_that_wait_only_the_newest_is_kept(scripted_device: MakeDevice, drivers: MakeDriver) -> None:
    device = scripted_device()
    device.record("m", device.add("m", 1, scripted.model(answer=1, delay_ms=200)))
    device.start()
    driver = drivers()
    driver.do("open", "m", "latest=1")
    data = driver.file(b"abcd")
    ids = [driver.do("submit", data)["id"] for _ in range(20)]
    said = [driver.tried("poll", PATIENCE_MS) for _ in ids]
    assert [answer["id"] for answer in said] == ids
    codes = [answer.get("error", "") for answer in said]
    assert set(codes) == {"", "replaced"}
    assert codes[-1] == ""


def test_a_subscriber_sees_what_others_are_answered(device: Device, drivers: MakeDriver) -> None:
    asking, watching = drivers(), drivers()
    asking.do("open", "m")
    watching.do("open", "m", "subscribe=1")
    for n in range(3):
        asking.infer(bytes([n] * 4))
    said = answers(watching, 3)
    assert [answer["data"] for answer in said] == [bytes([n + 1] * 4).hex() for n in range(3)]
    assert [int(str(answer["id"])) - int(str(said[0]["id"])) for answer in said] == [0, 1, 2]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_it_compiles_without_a_warning_when_optimized_too(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    build(tmp_path, compiler, TESTS / "driver.c", "-O2", "-Wconversion", "-Wshadow")


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_its_header_is_for_cpp_too() -> None:
    strict = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only")
    subprocess.run(["g++", *strict, "-x", "c++", C / "littoral.h"], check=True)


# --- real models and pictures


def cat(assets: Assets, folder: Path, ending: str) -> Path:
    """The photograph of a cat: .ppm or .jpg"""
    from PIL import Image

    path = folder / f"cat{ending}"
    with Image.open(assets.photos["cat"]) as photo:
        photo.convert("RGB").save(path)
    return path


def test_real_bytes_are_answered_as_in_this_process(pictures: Device, driver: Driver, assets: Assets) -> None:
    loaded = reals.load(assets.classifier.read_bytes())
    driver.do("open", "classifier")
    assert driver.do("info")["engine"].startswith(engine_under_test())
    question = os.urandom(loaded.interface.input_bytes)
    assert driver.infer(question) == bytes(loaded.run(question).data)


def test_a_cat_is_called_a_cat(pictures: Device, driver: Driver, assets: Assets, tmp_path: Path) -> None:
    driver.do("open", "classifier")
    assert driver.do("info")["detect"] == ResultKind.CLASSES
    photo = cat(assets, tmp_path, ".ppm").read_bytes()
    _, size, _, rgb = photo.split(b"\n", 3)
    said = driver.do("detect", 1, *size.decode().split(), driver.file(rgb), "top=2")
    assert [said["items"][0]["name"], len(said["items"])] == ["cat", 2]
    assert driver.tried("detect", 1, 7, 7, driver.file(rgb[:100]))["error"] == "bad-picture"


def test_the_example_tells_a_photograph_and_asks_with_random_bytes(
    pictures: Device, assets: Assets, tmp_path: Path
) -> None:
    program = build(tmp_path, "gcc", C / "example.c")
    environment = {**os.environ, "LITTORAL_SOCKET": str(pictures.socket)}
    for argument in ((), (cat(assets, tmp_path, ".ppm"),), (cat(assets, tmp_path, ".jpg"),)):
        run = subprocess.run([program, "classifier", *argument], env=environment, capture_output=True, text=True)
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("classifier release 3 on ")
        assert ("cat" in run.stdout) == bool(argument)
    missing = subprocess.run([program, "other"], env=environment, capture_output=True, text=True)
    assert (missing.returncode, missing.stderr.split(":")[0]) == (1, "unknown-model")
