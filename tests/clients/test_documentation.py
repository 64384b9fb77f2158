"""The C part of docs/clients.md: its programs compile without a warning and run against a real runtime."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.agent.runtime.device import PATIENCE_S, ROOT, Device
from tests.clients.driver import build

PROGRAMS = re.findall(r"^```c\n(.*?)^```", (ROOT / "docs/clients.md").read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_page_does_what_it_says(pictures: Device, tmp_path: Path, number: int) -> None:
    source = tmp_path / "page.c"
    source.write_text(PROGRAMS[number])
    program = build(tmp_path, "gcc", source)
    environment = {**os.environ, "LITTORAL_SOCKET": str(pictures.socket)}
    run = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (run.returncode, run.stderr) == (0, "")
    assert len(run.stdout.splitlines()) == (3, 20)[number]


def test_the_page_has_both_programs() -> None:
    assert len(PROGRAMS) == 2
