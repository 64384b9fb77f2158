"""`littoral-runtime bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.runtime.host import speed
from examples.demo.assets import ensure
from littoral.errors import ConfigError
from tests.agent.runtime.device import engine_under_test


@pytest.mark.engine
def test_a_file_is_run_in_every_way_by_the_engine_that_is_there() -> None:
    rows = speed.measure(ensure().classifier, 0.05)
    ran = [row for row in rows if not row.problem]
    assert {row.engine for row in ran} == {engine_under_test()}
    assert (ran[0].threads, ran[0].interpreters) == (1, 1)
    assert all(0 < row.p50_us <= row.p95_us and row.per_s > 0 for row in ran)
    assert [line.split()[0] for line in speed.as_table(rows).splitlines()] == ["ENGINE", *(row.engine for row in rows)]
    assert json.loads(speed.as_json(rows))[0]["engine"] == rows[0].engine


def test_what_cannot_be_run_is_one_row_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"no model")
    rows = speed.measure(tmp_path / "m.tflite", 0.05)
    assert [row.engine for row in rows] == list(speed.ENGINES)
    assert all(row.problem in speed.as_table([row]) and row.problem for row in rows)


def test_a_file_that_cannot_be_read_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        speed.measure(tmp_path / "none", 0.05)
