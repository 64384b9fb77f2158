"""agent/updater/planning.py: the queue, and the child as a real process."""

import subprocess
from pathlib import Path

import pytest

from agent.updater.child_protocol import Fail, Plan, Request
from agent.updater.planning import LONGEST_S, Job, Planner
from littoral.errors import MetadataError, NoAnswerError
from littoral.wire.topics import CHUNK_BYTES
from tests.agent.updater.fakes import NotingSource
from tests.repository import Fleet


class Bench:
    def __init__(self) -> None:
        self.source = NotingSource()
        self.verified: list[Plan | Fail] = []
        self.planner = Planner(self.source, 10.0, self.verified.append)

    def until_asked_or_done(self, job: Job, now: float = 0.0) -> None:
        for _ in range(200_000):
            self.planner.tick(now)
            if job.done or self.source.asked:
                return
        raise AssertionError("the child neither asks nor ends")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def request(tmp_path: Path, root: bytes = b"{}") -> Request:
    (tmp_path / "root.json").write_bytes(root)
    return Request("plan", str(tmp_path / "root.json"), str(tmp_path / "tuf"), model="cats", release=1, bundle="0" * 64)


def test_a_root_that_is_none_is_metadata_that_does_not_verify(bench: Bench, tmp_path: Path) -> None:
    job = bench.planner.submit(request(tmp_path))
    bench.until_asked_or_done(job)
    assert isinstance(job.error, MetadataError)
    assert bench.planner.fileno() is None
    assert bench.verified == []


def test_a_child_that_cannot_even_begin_is_an_error_of_the_job(bench: Bench, tmp_path: Path) -> None:
    missing = Request("plan", str(tmp_path / "none.json"), str(tmp_path / "tuf"))
    job = bench.planner.submit(missing)
    bench.until_asked_or_done(job)
    assert job.error is not None


def test_jobs_are_worked_on_one_after_the_other(bench: Bench, tmp_path: Path) -> None:
    jobs = [bench.planner.submit(request(tmp_path)) for _ in range(2)]
    bench.until_asked_or_done(jobs[0])
    assert not jobs[1].done
    bench.until_asked_or_done(jobs[1])
    assert jobs[1].done


def test_a_job_that_takes_too_long_is_given_up(bench: Bench, tmp_path: Path) -> None:
    job = bench.planner.submit(request(tmp_path))
    bench.planner.tick(0.0)
    bench.planner.tick(LONGEST_S + 1)
    assert job.done
    assert isinstance(job.error, NoAnswerError | MetadataError)


def test_a_cancelled_job_leaves_no_process(bench: Bench, tmp_path: Path) -> None:
    job = bench.planner.submit(request(tmp_path))
    bench.planner.tick(0.0)
    assert bench.planner.fileno() is not None
    bench.planner.cancel(job)
    assert bench.planner.fileno() is None
    bench.planner.tick(0.0)
    assert bench.planner.fileno() is None


def test_patience_doubles_with_each_silence_until_an_answer_comes(bench: Bench, tmp_path: Path, fleet: Fleet) -> None:
    now = 0.0
    for patience, answered in ((10.0, False), (20.0, False), (40.0, True), (10.0, False)):
        job = bench.planner.submit(request(tmp_path, fleet.repository.first_root()))
        bench.until_asked_or_done(job, now)
        bench.planner.tick(now + patience - 0.1)
        assert bench.source.asked
        if answered:
            bench.planner.take(bench.source.asked[0], b"no metadata")
        now += patience
        bench.planner.tick(now)
        assert answered or not bench.source.asked
        bench.source.asked.clear()
        bench.planner.cancel(job)


@pytest.mark.parametrize("answer", ["endless", "silence", "drip"])
def test_endless_data_silence_and_a_slow_drip_are_no_answer_and_end(
    bench: Bench, tmp_path: Path, fleet: Fleet, answer: str
) -> None:
    """Never absence: that would hide a newer root."""
    job = bench.planner.submit(request(tmp_path, fleet.repository.first_root()))
    bench.until_asked_or_done(job)
    assert bench.source.asked == ["meta/2.root.json"]
    now = {"endless": 0.0, "silence": 10.0, "drip": LONGEST_S}[answer]
    if answer == "endless":
        bench.planner.take("meta/2.root.json", b" " * (CHUNK_BYTES + 1))
    bench.source.asked.clear()
    bench.until_asked_or_done(job, now)
    assert isinstance(job.error, NoAnswerError)
    assert bench.source.asked == []
    assert bench.planner.fileno() is None


def test_a_child_that_cannot_be_started_is_no_answer(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*command: object, **options: object) -> None:
        raise BlockingIOError("no process is left")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    job = bench.planner.submit(request(tmp_path))
    bench.planner.tick(0.0)
    assert isinstance(job.error, NoAnswerError)
