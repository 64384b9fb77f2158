"""`littoral top`: what it makes of two STATS, and what it prints."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from littoral.cli import top
from littoral.client import Client
from littoral.fake import FakeModel, FakeServer
from tests.littoral.cli.commands import run

LISTED = [{"model": "m", "release": 3, "stage": "trial", "reason": "", "why": "trial"}]


def stats(**counts: Any) -> dict[str, Any]:
    """STATS of one model; histogram by exponent."""
    histogram = [0] * 32
    for exponent, count in counts.pop("times", {}).items():
        histogram[exponent] = count
    return {"m": {"worker": 1, "answers": 0, "errors": 0, "histogram": histogram, **counts}}


def row(before: dict[str, Any], after: dict[str, Any], seconds: float = 2.0) -> dict[str, Any]:
    [made] = top.measure(LISTED, before, after, seconds)
    return made


def test_a_row_is_what_happened_between_two_looks() -> None:
    before = stats(answers=100, errors=5, busy=1, votes=2, queued_us=1_000, times={10: 100})
    more = {"votes": 5, "votes_bad": 2, "waiting": 7, "memory_bytes": 9}
    after = stats(answers=120, errors=6, busy=4, queued_us=3_000, times={10: 100, 12: 20}, **more)
    made = row(before, after)
    assert (made["votes"], made["votes_bad"]) == (3, 2)
    assert (made["per_s"], made["errors"], made["busy"], made["queued_us"]) == (10.0, 1, 3, 100)
    assert (made["waiting"], made["memory_bytes"], made["why"]) == (7, 9, "trial")
    assert 4_096 <= made["p50_us"] < made["p95_us"] <= 8_192


def test_a_new_worker_counts_from_nothing() -> None:
    made = row(stats(answers=100, times={10: 100}), stats(answers=4, worker=2, times={3: 4}))
    assert made["per_s"] == 2.0
    assert 8 <= made["p50_us"] <= 16


def test_without_answers_there_are_no_times() -> None:
    made = row(stats(), stats())
    assert (made["per_s"], made["p50_us"], made["p95_us"], made["queued_us"]) == (0, None, None, None)


def test_a_model_that_is_not_loaded_has_its_row_too() -> None:
    listed = [{"model": "m", "release": 0, "stage": "none", "reason": "failed"}]
    [made] = top.measure(listed, {}, {}, 1.0)
    assert (made["why"], made["per_s"], made["memory_bytes"]) == ("failed", 0, 0)


@pytest.mark.parametrize(
    ("counts", "share", "between"),
    [
        ({4: 10}, 0.5, (16, 32)),
        ({4: 10, 8: 10}, 0.5, (32, 32)),
        ({4: 10, 8: 10}, 0.95, (256, 512)),
        ({4: 99, 20: 1}, 0.95, (16, 32)),
        ({0: 1}, 1.0, (2, 2)),
    ],
)
def test_percentiles_lie_in_their_bucket(counts: dict[int, int], share: float, between: tuple[int, int]) -> None:
    histogram = [counts.get(exponent, 0) for exponent in range(32)]
    found = top.percentile(histogram, share)
    assert found is not None
    assert between[0] <= found <= between[1]


def test_on_a_narrow_terminal_columns_are_left_out_and_no_line_is_broken() -> None:
    rows = [row(stats(), stats(answers=3, memory_bytes=8_000_000, times={9: 3}))]
    wide = top.table(rows, 0)
    assert wide[0].split("  ")[0] == "MODEL"
    assert all(head in wide[0] for head in top.HEADS.values())
    for columns in (len(wide[0]), 80, 60, 40, 20, 5):
        lines = top.table(rows, columns)
        assert all(len(line) <= columns for line in lines)
        assert lines[0].startswith("MODEL")
    assert "PER S" in top.table(rows, 20)[0]
    assert "SUBS" not in top.table(rows, 80)[0]
    assert "8.0 MB" in wide[1]


def test_once_prints_one_table_and_json_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeServer({"m": FakeModel()}) as server, Client("m", server.socket) as asking:
        monkeypatch.setenv("LITTORAL_SOCKET", str(server.socket))
        asking.infer(bytes(asking.interface.input_bytes))
        status, out, _ = run(capsys, "top", "--once", "--interval", "0.01")
        assert status == 0
        assert [line.split()[0] for line in out.splitlines()] == ["MODEL", "m"]
        assert "\x1b" not in out
        status, out, _ = run(capsys, "top", "--once", "--json", "--interval", "0.01")
        [made] = json.loads(out)
        assert (status, made["model"], made["release"], made["per_s"]) == (0, "m", 1, 0)


def test_it_goes_on_until_it_is_interrupted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    with FakeServer({"m": FakeModel()}) as server:
        status, out, _ = run(capsys, "top", "--socket", server.socket)
    assert (status, slept, out.count("MODEL")) == (130, [1.0, 1.0, 1.0], 2)
