"""The whole house at once: the demo's story, a fleet on the other broker, and models of all kinds side by side.

Everything runs as real processes by the real commands; what is judged is what those commands say.
"""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from examples.demo import damage
from examples.demo.assets import Assets, ensure
from examples.demo.fleet import MODEL, ROOT, Fleet
from examples.demo.stage import Stage
from examples.demo.steps import STEPS
from examples.demo.terminal import Terminal
from examples.demo.watching import settled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STORY_TIMEOUT_S = 400.0
CASES = 5
QUICK = """
[updates]
jitter_s = 0

[probation]
healthy_s = 1
answers = 5
canary_s = 0.2
"""


@pytest.fixture(scope="module")
def assets() -> Assets:
    return ensure()


@contextmanager
def running(folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(folder, Terminal(io.StringIO()))
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.mark.mosquitto
def test_the_story_of_the_demo_holds_in_every_step(assets: Assets) -> None:
    command = [sys.executable, "-m", "examples.demo.story", "--once"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=STORY_TIMEOUT_S)
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""
    table = told.stdout[told.stdout.rindex("The story in") :]
    held = re.findall(r"^(\d)  (.*?)  +(yes|no|-)  ", table, re.MULTILINE)
    assert held == [(str(number), title, "yes") for number, (title, _) in enumerate(STEPS, 1)]


@pytest.mark.mosquitto
def test_a_story_that_is_interrupted_leaves_nothing_behind(assets: Assets) -> None:
    # A short path: the devices' sockets lie in it, and pytest's own folders are too long for those.
    with tempfile.TemporaryDirectory(prefix="lt-") as folder:
        command = [sys.executable, "-m", "examples.demo.story", "--once"]
        story = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": folder}
        )
        assert story.stdout is not None
        with story, story.stdout as told:
            next(line for line in told if "edge-1, edge-2, edge-3: offered" in line)
            assert len(running_in(folder)) >= 7
            story.send_signal(signal.SIGINT)
            assert told.readlines()[-1].endswith("Ended.\n")
            assert story.wait(STORY_TIMEOUT_S) == 130
        assert running_in(folder) == []
        assert list(Path(folder).iterdir()) == []


def running_in(folder: str) -> list[int]:
    """The processes whose working folder lies in `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            inside = process.name.isdecimal() and str((process / "cwd").readlink()).startswith(folder)
        except OSError:
            continue
        if inside:
            found.append(int(process.name))
    return found


def test_a_fleet_on_iotcore_takes_a_release_and_the_one_after_it(tmp_path: Path, assets: Assets) -> None:
    with running(tmp_path) as fleet:
        stage = Stage(fleet.terminal, fleet, assets)
        fleet.found()
        fleet.serve("--broker-engine", "iotcore")
        stage.prepare()
        fleet.enrol(["edge-1"], QUICK)
        stage.publish(1, stage.good, "1.0")
        stage.roll_out(1, "committed")
        fleet.start_camera()
        before = settled(fleet, 1)
        stage.publish(2, damage.restamp(stage.good, "release 2"), "1.1")
        stage.roll_out(2, "committed")
        stage.undisturbed(before, 1, 2)
        (device,) = stage.status(wanted=0)
        assert (device["id"], device["state"], device["release"]) == ("edge-1", "committed", 2)
        assert stage.explained(2, "committed")["edge-1"]["b"]["evidence"] == "full"
        (served,) = fleet.ask("littoral", "models", "--socket", "edge-1/query.sock")
        assert (served["model"], served["release"], served["stage"]) == (MODEL, 2, "committed")


@pytest.mark.mosquitto
def test_every_key_of_a_running_fleet_is_replaced_and_its_devices_follow(tmp_path: Path, assets: Assets) -> None:
    with running(tmp_path) as fleet:
        stage = Stage(fleet.terminal, fleet, assets)
        fleet.found()
        fleet.serve()
        stage.prepare()
        fleet.enrol(["edge-1"], QUICK)
        stage.publish(1, stage.good, "1.0")
        stage.roll_out(1, "committed")
        fleet.start_camera()
        before = fleet.ask("littoral-fleet", "keys", "show")["keys"]
        roles = [word for role in before for word in ("--role", role)]
        after = fleet.ask("littoral-fleet", "keys", "rotate", *roles, "--keys", "keys")["keys"]
        assert {role for role in before if before[role] != after[role]} == set(before)
        stage.publish(2, damage.restamp(stage.good, "release 2"), "1.1")
        stage.roll_out(2, "committed")
        assert [event["text"] for event in fleet.get("events") if event["kind"] == "desired-refused"] == []


@pytest.mark.mosquitto
def test_six_models_side_by_side_answer_exactly_as_the_interpreter_does(tmp_path: Path, assets: Assets) -> None:
    models = {MODEL: assets.classifier, **assets.models}
    assert len(models) >= 6
    with running(tmp_path) as fleet:
        fleet.found()
        fleet.serve("--broker-engine", "mosquitto")
        fleet.enrol(["edge-1"], QUICK)
        for name, file in models.items():
            roll_out(fleet, name, file)
        fleet.command("littoral-fleet", "rollout", "status", "--wait", "--timeout-s", "120")
        (device,) = fleet.ask("littoral-fleet", "devices")
        served = {name: (each["release"], each["stage"]) for name, each in device["models"].items()}
        assert served == dict.fromkeys(models, (1, "committed"))
        # one answer commits a first release; the watch goes on until its evidence is full
        assert {each["evidence"] for each in device["models"].values()} <= {"first", "full"}
        for name, file in models.items():
            for number in range(CASES):
                assert_equal_answers(fleet, name, file, number)


def roll_out(fleet: Fleet, name: str, file: Path) -> None:
    """Release 1 of a model, with the commands alone."""
    build = ["littoral-fleet", "bundle", "build", "--model", str(file), "--name", name, "--release", "1"]
    fleet.command(*build, "--version", "1.0", "--out", f"bundle-{name}")
    fleet.command("littoral-fleet", "publish", f"bundle-{name}", "--keys", "keys")
    fleet.command("littoral-fleet", "rollout", "start", name, "--release", "1")


def assert_equal_answers(fleet: Fleet, name: str, file: Path, number: int) -> None:
    """Asks by `littoral infer` and in this process the same random question."""
    interpreter = Interpreter(model_content=file.read_bytes())
    interpreter.allocate_tensors()
    random = np.random.default_rng(number)
    inputs = {detail["name"]: noise(random, detail) for detail in interpreter.get_input_details()}
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], inputs[detail["name"]])
    interpreter.invoke()
    question, answer = fleet.folder / "question.npz", fleet.folder / "answer.npz"
    np.savez(question, **inputs)
    fleet.command(
        *("littoral", "infer", name, "--input", str(question), "--output", str(answer)),
        *("--socket", "edge-1/query.sock"),
    )
    with np.load(answer) as outputs:
        for detail in interpreter.get_output_details():
            expected = interpreter.get_tensor(detail["index"])
            assert outputs[detail["name"]].dtype == expected.dtype
            assert outputs[detail["name"]].tobytes() == expected.tobytes(), (name, number, detail["name"])


def noise(random: np.random.Generator, detail: dict[str, Any]) -> Any:
    shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
