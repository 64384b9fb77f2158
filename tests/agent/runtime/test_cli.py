from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime import cli
from agent.runtime.engine import Engine
from tests.agent.runtime.device import PATIENCE_S, ROOT
from tests.agent.runtime.scripted import open_scripted


def config(folder: Path, text: str) -> str:
    (folder / "agent.toml").write_text(text)
    return str(folder / "agent.toml")


def test_settings_that_cannot_be_read_end_it_with_a_named_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "--config", str(tmp_path / "none.toml")]) == 1
    assert "bad-config" in capsys.readouterr().err


def test_an_engine_that_does_not_exist_ends_it_with_a_named_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "--config", config(tmp_path, '[runtime]\nengine = "cuda"\n')]) == 1
    assert "'cuda'" in capsys.readouterr().err


def test_a_socket_path_too_long_ends_it_with_a_named_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path, f'query_socket = "{"x" * 120}"\n')
    assert cli.main(["run", "--config", path], open_engine=open_scripted) == 1
    assert "107" in capsys.readouterr().err


def test_ctrl_c_before_it_serves_ends_it_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def open_engine(name: str) -> Engine:
        raise KeyboardInterrupt

    assert cli.main(["run", "--config", config(tmp_path, "")], open_engine=open_engine) == 130
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_while_it_is_imported_ends_it_quietly(tmp_path: Path) -> None:
    script = """
import sys

class Interrupted:
    def find_spec(self, name, path, target=None):
        if name == "agent.config":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from agent.runtime.cli import main
sys.exit(main())
"""
    command = [sys.executable, "-c", script, "run", "--config", config(tmp_path, "")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


@pytest.mark.parametrize("arguments", [[], ["run"], ["dance"]])
def test_a_command_that_is_none_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: littoral-runtime" in capsys.readouterr().err
