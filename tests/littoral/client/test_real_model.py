"""The client and the command against a real host with a real model and a real photograph."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.demo import assets
from littoral.client import Client, Detection, Format, Picture, Stage, models, subscribe
from littoral.errors import UnreachableError
from tests.agent.runtime.device import PATIENCE_S, REAL_HOST, ROOT, Device, engine_under_test, until

CARD = '[[input]]\nkind = "image"\n\n[[output]]\ndecoder = "classification"\ntop = 3\n'


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    found = assets.ensure()
    made = Device(tmp_path, REAL_HOST, {"engine": engine_under_test()})
    labels, card = "\n".join(found.labels).encode(), CARD.encode()
    made.record("m", made.add("m", 1, found.classifier.read_bytes(), labels=labels, card=card))
    made.start()
    yield made
    made.stop()


def cat() -> Image.Image:
    with Image.open(assets.ensure().photos["cat"]) as image:
        return image.convert("RGB")


@pytest.mark.engine
def test_the_same_cat_is_seen_in_every_way_it_is_given(device: Device, tmp_path: Path) -> None:
    cat().save(tmp_path / "cat.jpg", quality=95)
    pixels = np.asarray(cat())
    height, width, _ = pixels.shape
    with subscribe("m", device.socket) as reading, Client("m", device.socket, timeout_s=PATIENCE_S) as asking:
        slot = asking.share(pixels.nbytes).slot(0)
        slot.view[:] = pixels.tobytes()
        seen = [
            asking.detect(pixels),
            asking.detect((tmp_path / "cat.jpg").read_bytes()),
            asking.detect(np.ascontiguousarray(pixels[:, :, ::-1]), format=Format.BGR24),
            asking.detect(Picture(Format.RGB24, width, height, slot)),
            asking.wait(asking.submit_picture(pixels)),
            reading.next(PATIENCE_S),
        ]
    for one in seen:
        assert isinstance(one, Detection)
        assert [one.classes[0].label, len(one.classes), one.width, one.height] == ["cat", 3, width, height]


@pytest.mark.engine
def test_a_file_is_served_by_one_command_and_every_answer_says_that_it_is_local(tmp_path: Path) -> None:
    found = assets.ensure()
    (tmp_path / "labels.txt").write_text("\n".join(found.labels))
    (tmp_path / "card.toml").write_text(CARD)
    socket = tmp_path / "s"
    words = ["--labels", tmp_path / "labels.txt", "--card", tmp_path / "card.toml", "--name", "m", "--socket", socket]
    command = [sys.executable, "-m", "littoral.cli", "run", found.classifier, *words]
    with subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=subprocess.DEVNULL) as process:

        def answers() -> bool:
            assert process.poll() is None, "it ended"
            try:
                return bool(models(socket))
            except UnreachableError:
                return False

        until(answers, "the file to be served")
        words = ["detect", "m", found.photos["cat"], "--json", "--socket", socket]
        ran = subprocess.run(
            [sys.executable, "-m", "littoral.cli", *map(str, words)], cwd=ROOT, capture_output=True, check=True
        )
        with Client("m", socket) as asking:
            assert asking.stage is Stage.LOCAL
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    value = json.loads(ran.stdout)
    assert (value["stage"], value["results"][0]["label"]) == ("local", "cat")
