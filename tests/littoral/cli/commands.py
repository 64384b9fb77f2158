"""Runs the command as a shell would."""

from __future__ import annotations

from pathlib import Path

import pytest

from littoral import cli


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err
