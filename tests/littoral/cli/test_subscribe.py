"""`littoral subscribe`: one JSON line for each result."""

from __future__ import annotations

import json
import subprocess
import sys

from littoral.client import Class, Client, Picture, stats
from littoral.fake import FakeModel, FakeServer
from littoral.wire.vision import Format
from tests.agent.runtime.device import ROOT, until


def test_each_result_is_a_line_and_what_was_left_out_is_said() -> None:
    model = FakeModel(labels=("cat",), answer=b"\1\2\3\4", sees=(Class("cat", 0.5),))
    with FakeServer({"m": model}) as server, Client("m", server.socket) as asking:
        command = [sys.executable, "-m", "littoral.cli", "subscribe", "m", "--count", "2"]
        command += ["--socket", str(server.socket)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            until(lambda: stats(server.socket)["m"]["subscribers"], "the command to subscribe")
            asking.infer(bytes(asking.interface.input_bytes))
            server.skip_results("m", 3)
            for _ in range(4):
                asking.detect(Picture(Format.GREY, 1, 1, b"\0"))
            assert process.stdout is not None
            first, gap, second = map(json.loads, process.stdout.read().splitlines())
        assert process.returncode == 0
    assert first["outputs"] == {"scores": "01020304"}
    assert gap == {"dropped": 3}
    assert (second["kind"], second["results"]) == ("classes", [{"label": "cat", "index": 0, "score": 0.5}])
