"""A trial's worker and its understudy, the baseline's: two real workers, which the test joins as the host does."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.engine import Tuning
from agent.runtime.handover import Carried, State
from agent.runtime.worker.understudy import NEVER, Pace
from littoral.wire import query, vision
from tests.agent.runtime import scripted
from tests.agent.runtime.conftest import MakeLone
from tests.agent.runtime.device import until
from tests.agent.runtime.lone import Lone, Peer

QUESTION = b"\x00\x01\x02\x03"
BAD = b"\x09\x01\x02\x03"  # what a trial is scripted to stumble over
FLOATS = {"outputs": [["out", "float32", [1], 0.0, 0]]}
SOON_US = 400_000
FOREVER_US = 60_000_000


def pair(
    lone: MakeLone, trial: dict[str, Any], baseline: dict[str, Any] | None = None, **more: Any
) -> tuple[Lone, Lone]:
    """A trial, release 2, which adds 2 to what it is asked, and its understudy, release 1, which adds 1."""
    below = lone(scripted.model(**{"answer": 1, **(baseline or {})}), release=1)
    above = lone(scripted.model(**{"answer": 2, **trial}), release=2, stage="trial", **more)
    join(above, below)
    return above, below


def join(trial: Lone, baseline: Lone, *, threads: bool = True) -> None:
    ours, theirs = socket.socketpair()
    baseline.give(Carried(9_999, theirs.detach(), State(greet=True, alias="baseline").to_memfd()))
    trial.channel.send("understudy", {"stateful": bool(baseline.ready["stateful"])}, (ours.fileno(),))
    ours.close()
    if threads:
        until(lambda: thread_count(trial) > 1, "the trial's interpreter to run in a thread")


def thread_count(worker: Lone) -> int:
    return len(os.listdir(f"/proc/{worker.process.pid}/task"))  # noqa: PTH208


def release(peer: Peer, id: int, data: bytes = QUESTION) -> int:
    """Which release answered, and that it answered so."""
    answer = peer.answer(id)
    assert answer.data == bytes((n + answer.release) % 256 for n in data)
    assert answer.stage is (query.Stage.TRIAL if answer.release == 2 else query.Stage.COMMITTED)
    return answer.release


def ask(peer: Peer, data: bytes = QUESTION, id: int = 1, deadline_us: int = 0) -> int:
    peer.send(peer.infer(data, id, deadline_us))
    return release(peer, id, data)


# --- errors -----------------------------------------------------------------------------------------------------


def test_what_the_release_fails_on_the_baseline_answers_and_says_so(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "fail", "every": 5})
    peer = trial.greeted()
    found = [ask(peer, id=number) for number in range(1, 21)]
    assert found == [1 if number % 5 == 0 else 2 for number in range(1, 21)]
    counts = trial.counts(answers=16, outdone=4)
    assert (counts["errors"], counts["excused"]) == (0, 0)


def test_where_the_baseline_fails_too_the_client_gets_the_error_and_the_release_is_excused(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "fail", "on": 9}, {"run": "fail", "on": 9})
    peer = trial.greeted()
    peer.send(peer.infer(BAD, 1), peer.infer(QUESTION, 2))
    assert peer.code(1) == "inference-failed"
    assert release(peer, 2) == 2
    counts = trial.counts(excused=1, answers=1)
    assert (counts["errors"], counts["outdone"]) == (0, 0)


def test_without_an_understudy_the_error_stands(lone: MakeLone) -> None:
    trial = lone(scripted.model(run="fail"), stage="trial")
    peer = trial.greeted()
    peer.send(peer.infer(QUESTION, 1))
    assert peer.code(1) == "inference-failed"
    assert trial.counts(errors=1)["outdone"] == 0


def test_an_understudy_of_another_interface_is_not_asked(lone: MakeLone) -> None:
    below = lone(scripted.model(answer=1, inputs=[["other", "uint8", [4], 0.0, 0]]), release=1)
    trial = lone(scripted.model(run="fail"), release=2, stage="trial")
    join(trial, below, threads=False)
    peer = trial.greeted()
    for number in range(1, 4):
        peer.send(peer.infer(QUESTION, number))
        assert peer.code(number) == "inference-failed"
    trial.counts(errors=3)
    assert thread_count(trial) == 1


@pytest.mark.parametrize("which", ["trial", "baseline"])
def test_a_model_that_keeps_a_state_is_not_asked_in_place_of_another(lone: MakeLone, which: str) -> None:
    stateful = {which: True}
    below = lone(scripted.model(answer=1, stateful=stateful.get("baseline", False)), release=1)
    trial = lone(scripted.model(run="fail", stateful=stateful.get("trial", False)), release=2, stage="trial")
    join(trial, below, threads=False)
    peer = trial.greeted()
    peer.send(peer.infer(QUESTION, 1))
    assert peer.code(1) == "inference-failed"
    trial.counts(errors=1)


def test_what_is_not_finite_is_counted_and_not_delivered(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "nan", "on": 9, **FLOATS}, FLOATS)
    peer = trial.greeted()
    assert [ask(peer, data, id=5) for data in (QUESTION, BAD, QUESTION)] == [2, 1, 2]
    assert trial.counts(outdone=1)["invalid"] == 1


def test_what_is_not_finite_of_the_baseline_either_is_delivered_and_excused(lone: MakeLone) -> None:
    broken = {"run": "nan", "on": 9, **FLOATS}
    trial, _ = pair(lone, broken, broken)
    peer = trial.greeted()
    peer.send(peer.infer(BAD, 1))
    answer = peer.answer(1)
    assert (answer.release, bytes(answer.data)) == (2, scripted.NAN)
    assert trial.counts(excused=1)["invalid"] == 0


def test_the_mistakes_of_clients_are_not_asked_again(lone: MakeLone) -> None:
    trial, below = pair(lone, {})
    peer = trial.greeted()
    peer.send(query.frame(query.Kind.INFER, bytes(40), 1))
    assert peer.code(1) == "stale-interface"
    assert ask(peer) == 2
    assert trial.counts(answers=1)["outdone"] == 0
    below.counts(answers=3)  # it has only warmed up


def test_pipelined_requests_of_many_clients_are_answered_in_their_order(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "fail", "every": 3})
    peers = [trial.greeted() for _ in range(6)]
    senders = [threading.Thread(target=pipeline, args=(peer,)) for peer in peers]
    for sender in senders:
        sender.start()
    found = [[release(peer, number, bytes([number] * 4)) for number in range(60)] for peer in peers]
    for sender in senders:
        sender.join()
    assert sum(each.count(1) for each in found) == 120
    counts = trial.counts(outdone=120, answers=240)
    assert counts["waiting"] == 0


def pipeline(peer: Peer) -> None:
    for number in range(60):
        peer.send(peer.infer(bytes([number] * 4), number))


def test_requests_larger_than_a_sockets_buffer_are_asked_again_whole(lone: MakeLone) -> None:
    size = 3_000_000
    shapes = {"inputs": [["in", "uint8", [size], 0.0, 0]], "outputs": [["out", "uint8", [size], 0.0, 0]]}
    trial, _ = pair(lone, {"run": "fail", "on": 9, **shapes}, shapes)
    peer = trial.greeted()
    data = BAD * (size // 4)
    sender = threading.Thread(target=lambda: peer.send(peer.infer(data, 1), peer.infer(data, 2)))
    sender.start()
    for number in (1, 2):
        assert peer.answer(number).data == bytes([10, 2, 3, 4]) * (size // 4)
    sender.join()


def test_inputs_in_shared_memory_and_frames_are_asked_again(lone: MakeLone) -> None:
    shapes = {"inputs": [["in", "uint8", [1, 2, 2, 3], 0.0, 0]], "outputs": [["out", "uint8", [1, 4], 0.0, 0]]}
    card = b'[[input]]\nkind = "image"\n[[output]]\ndecoder = "classification"\n'
    dressed = {"card": card, "labels": b"a\nb\nc\nd\n"}
    below = lone(scripted.model(answer=1, **shapes), release=1, **dressed)
    trial = lone(scripted.model(run="fail", **shapes), release=2, stage="trial", **dressed)
    join(trial, below)
    peer = trial.greeted()
    picture = bytes([10, 90, 20, 30, *[0] * 8])
    memfd = os.memfd_create("frames", os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, 4_096)
    os.pwrite(memfd, picture, 100)
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    peer.share({"size": 4_096}, memfd, id=1)
    place = query.Place(peer.info(1)["share"], 100)
    peer.send(peer.infer(b"", 2, place=place))
    assert bytes(peer.answer(2).data) == bytes([11, 91, 21, 31])
    layout = vision.Layout(vision.Format.RGB24, 2, 2)
    options = vision.Options(top=1).encode()
    peer.send(*vision.detect(vision.Detect(layout, picture, options), 3))
    peer.send(*vision.detect(vision.Detect(layout, options=options, place=place, size_bytes=12), 4))
    for number in (3, 4):
        result = peer.result(number)
        assert (result.release, list(struct.iter_unpack("<If", result.items))) == (1, [(1, 91.0)])
    os.close(memfd)
    trial.counts(outdone=3)


def test_a_model_on_an_accelerator_stays_in_the_thread_that_opened_it(lone: MakeLone, tmp_path: Path) -> None:
    below = lone(scripted.model(answer=1), release=1)
    accelerated = {"stage": "trial", "delegate": str(tmp_path / "delegate.so")}
    trial = lone(scripted.model(answer=2, run="fail", every=5), release=2, **accelerated)
    join(trial, below, threads=False)
    below.counts(answers=3)  # it has been asked with zeros, so it was heard
    peer = trial.greeted()
    peer.send(*(peer.infer(QUESTION, number) for number in range(1, 21)))
    assert [release(peer, number) for number in range(1, 21)].count(1) == 4
    assert trial.counts(outdone=4)["errors"] == 0
    assert thread_count(trial) == 1


def test_subscribers_hear_what_the_baseline_answered(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "fail", "on": 9})
    subscriber, peer = trial.greeted(subscribes=True), trial.greeted()
    for number, data in enumerate((QUESTION, BAD, QUESTION)):
        ask(peer, data, id=70 + number)
    assert [release(subscriber, n + 1, data) for n, data in enumerate((QUESTION, BAD, QUESTION))] == [2, 1, 2]


# --- slow and hung ----------------------------------------------------------------------------------------------


def test_an_answer_that_comes_in_time_is_the_releases_own(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "slow", "slow_ms": 20})
    peer = trial.greeted()
    assert [ask(peer, id=number, deadline_us=FOREVER_US) for number in range(1, 11)] == [2] * 10
    assert trial.counts(answers=10)["overtaken"] == 0


def test_an_answer_that_would_come_too_late_is_the_baselines(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    trial, _ = pair(lone, {"gate": str(gate)})
    peer, other = trial.greeted(), trial.greeted()
    assert ask(peer, deadline_us=SOON_US) == 1
    peer.send(peer.infer(QUESTION, 2))  # this one has no deadline
    other.send(other.infer(QUESTION, 3))
    gate.touch()
    assert [release(peer, 2), release(other, 3)] == [2, 2]  # and the answer that came too late was dropped
    assert ask(peer, deadline_us=FOREVER_US) == 2
    assert trial.counts(overtaken=1, answers=4)["outdone"] == 0


def test_an_answer_of_the_understudy_that_comes_second_is_dropped(lone: MakeLone, tmp_path: Path) -> None:
    gate, other_gate = tmp_path / "gate", tmp_path / "other"
    other_gate.touch()
    trial, below = pair(lone, {"gate": str(gate)}, {"gate": str(other_gate)})
    below.counts(answers=3)
    other_gate.unlink()
    peer = trial.greeted()
    peer.send(peer.infer(QUESTION, 1, SOON_US))
    until(lambda: other_gate.with_name("other.runs").stat().st_size > 3, "the understudy to be asked")
    gate.touch()
    assert release(peer, 1) == 2
    other_gate.touch()
    below.counts(answers=4)
    assert [ask(peer, id=number) for number in (2, 3)] == [2, 2]
    assert trial.counts(answers=3)["overtaken"] == 0


@pytest.mark.parametrize(
    ("deadline_ms", "begun_ms", "due_ms"),
    [
        (100, 1, 58),  # twice 20 ms before the deadline, and 2 ms
        (100, 60, 87),  # begun late, as others were before it: it may take as long as the understudy would
        (30, 1, 28),  # the understudy cannot make it either, and is not asked before that is fair
        (0, 1, None),  # no deadline
        (100, 0, None),  # it waits, and not for a run that is stalled
    ],
)
def test_the_understudy_is_asked_at_the_last_moment_that_helps_and_not_before_it_is_fair(
    deadline_ms: int, begun_ms: int, due_ms: int | None
) -> None:
    ms = 1_000_000
    due_ns = Pace(20 * ms, 0).due_ns(1_000 * ms, deadline_ms * 1_000, begun_ms and (1_000 + begun_ms) * ms, False)
    assert due_ns == (NEVER if due_ms is None else (1_000 + due_ms) * ms)


def test_what_waits_for_a_stalled_run_is_due_by_its_own_deadline_and_sooner_where_many_are() -> None:
    ms = 1_000_000
    assert Pace(20 * ms, 0).due_ns(0, 200_000, 0, True) == 158 * ms
    assert Pace(20 * ms, 3).due_ns(0, 200_000, 0, True) == 38 * ms
    assert Pace(20 * ms, 0).stalls_ns(7 * ms, False) == (7 + 4 * 27) * ms


def test_what_waits_behind_a_run_that_hangs_is_answered_by_the_baseline_before_its_deadline(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "hang", "on": 9})
    stuck, *others = (trial.greeted() for _ in range(5))
    stuck.send(stuck.infer(BAD, 0, SOON_US), *(stuck.infer(QUESTION, n, SOON_US) for n in range(1, 6)))
    for peer in others:
        peer.send(*(peer.infer(QUESTION, n, SOON_US) for n in range(1, 4)))
    assert [release(stuck, 0, BAD)] + [release(stuck, n) for n in range(1, 6)] == [1] * 6
    for peer in others:
        assert [release(peer, n) for n in range(1, 4)] == [1] * 3
    assert trial.counts(overtaken=18)["expired"] == 0
    trial.process.kill()


def test_a_request_that_waited_for_other_clients_does_not_count_against_the_release(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"delay_ms": 30}, {"delay_ms": 30})
    peer = trial.greeted()
    peer.send(b"".join(peer.infer(QUESTION, n, 100_000) for n in range(12)))  # more than can be answered in time
    kinds = [frame.kind for frame in (peer.next() for _ in range(12)) if frame is not None]
    assert kinds[0] is query.Kind.ANSWER
    assert query.Kind.ERROR in kinds
    assert trial.counts(expired=kinds.count(query.Kind.ERROR))["overtaken"] == 0


def test_a_hung_run_is_answered_by_the_baseline_and_the_host_is_told(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "hang", "on": 9}, hung_s=0.5)
    stuck, other = trial.greeted(), trial.greeted()
    stuck.send(stuck.infer(BAD, 1))
    other.send(other.infer(QUESTION, 2))
    assert trial.expect("hung").body == {}
    assert [release(stuck, 1, BAD), release(other, 2)] == [1, 1]
    trial.process.kill()


def test_several_interpreters_that_all_hang_are_told_without_an_understudy(lone: MakeLone) -> None:
    worker = lone(scripted.model(run="hang"), tuning=Tuning(interpreters=2), hung_s=0.5)
    peers = [worker.greeted() for _ in range(2)]
    for peer in peers:
        peer.send(peer.infer(QUESTION, 1))
    worker.expect("hung")
    worker.process.kill()


def test_one_of_two_interpreters_that_hangs_is_covered_while_the_other_goes_on(lone: MakeLone) -> None:
    trial, _ = pair(lone, {"run": "hang", "on": 9}, tuning=Tuning(interpreters=2))
    stuck, other = trial.greeted(), trial.greeted()
    stuck.send(stuck.infer(BAD, 1, SOON_US))
    assert {ask(other, id=number, deadline_us=FOREVER_US) for number in range(20)} == {2}
    assert release(stuck, 1, BAD) == 1
    trial.process.kill()


# --- what may go wrong meanwhile --------------------------------------------------------------------------------


def test_an_understudy_that_dies_leaves_the_error_and_holds_up_nobody(lone: MakeLone, tmp_path: Path) -> None:
    trial, below = pair(lone, {"run": "fail", "on": 9}, {"run": "hang", "on": 9})
    peer, other = trial.greeted(), trial.greeted()
    peer.send(peer.infer(BAD, 1))
    assert ask(other) == 2
    below.process.kill()
    assert peer.code(1) == "inference-failed"
    assert trial.counts(errors=1)["excused"] == 0
    until(lambda: thread_count(trial) == 1, "the thread to end")
    assert [ask(peer), ask(other)] == [2, 2]


def test_an_understudy_that_hangs_itself_is_not_waited_for(lone: MakeLone) -> None:
    trial, below = pair(lone, {"run": "fail", "on": 9})
    os.kill(below.process.pid, signal.SIGSTOP)
    peer, other = trial.greeted(), trial.greeted()
    peer.send(peer.infer(BAD, 1), peer.infer(QUESTION, 2))
    assert ask(other) == 2
    assert peer.code(1) == "inference-failed"
    assert release(peer, 2) == 2
    trial.counts(errors=1)
    os.kill(below.process.pid, signal.SIGCONT)


def test_a_client_that_goes_meanwhile_leaves_nothing_behind(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    trial, below = pair(lone, {"run": "fail", "on": 9}, {"gate": str(gate)})
    below.counts(answers=3)
    gate.unlink()
    before = trial.descriptors()
    going, staying = trial.greeted(), trial.greeted()
    for peer in (going, staying):
        peer.send(peer.infer(BAD, 1))
    until(lambda: gate.with_name("gate.runs").stat().st_size > 3, "the understudy to be asked")
    going.close()
    trial.expect("closed")
    gate.touch()
    assert release(staying, 1, BAD) == 1
    assert ask(staying) == 2
    staying.close()
    trial.expect("closed")
    assert trial.descriptors() == before


def test_a_drain_waits_for_what_the_understudy_has(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    trial, below = pair(lone, {"run": "fail", "on": 9}, {"gate": str(gate)})
    below.counts(answers=3)
    gate.unlink()
    peer = trial.greeted()
    peer.send(*(peer.infer(BAD, n) for n in range(3)))
    until(lambda: gate.with_name("gate.runs").stat().st_size > 3, "the understudy to be asked")
    (carried,) = trial.drain(gate)
    lone(scripted.model(answer=3), release=3).give(carried)
    assert release(peer, 0, BAD) == 1
    peer.frame(query.Kind.EVENT)
    assert [peer.answer(n).release for n in (1, 2)] == [3, 3]


def test_a_drain_does_not_wait_for_a_run_that_hangs(lone: MakeLone) -> None:
    trial, below = pair(lone, {"run": "hang", "on": 9})
    stuck, others = trial.greeted(), [trial.greeted() for _ in range(3)]
    stuck.send(stuck.infer(BAD, 1), stuck.infer(QUESTION, 2))
    for peer in others:
        peer.send(peer.infer(QUESTION, 1), peer.infer(QUESTION, 2))
    trial.counts(waiting=4)  # the others' first ones are where the understudy can get them
    for carried in trial.drain():
        below.give(carried)
    assert release(stuck, 1, BAD) == 1
    for peer in others:
        assert release(peer, 1) == 1
    for peer in (stuck, *others):
        assert peer.frame(query.Kind.EVENT).json()["welcome"]["release"] == 1
        assert release(peer, 2) == 1


def test_a_commit_ends_thread_and_understudy_and_loads_nothing(lone: MakeLone) -> None:
    trial, below = pair(lone, {"run": "fail", "on": 9})
    peer = trial.greeted()
    assert [ask(peer), ask(peer, BAD)] == [2, 1]
    trial.channel.send("stage", {"stage": "committed"})
    below.expect("closed")
    until(lambda: thread_count(trial) == 1, "the thread to end")
    for number in range(10):
        peer.send(peer.infer(QUESTION, number))
        assert (answer := peer.answer(number)).release == 2
        assert answer.stage is query.Stage.COMMITTED
    peer.send(peer.infer(BAD, 1))
    assert peer.code(1) == "inference-failed"
    trial.counts(errors=1, outdone=1)


def test_a_commit_while_a_request_runs_waits_for_it_in_its_thread(lone: MakeLone, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    trial, below = pair(lone, {"gate": str(gate)})
    peer = trial.greeted()
    peer.send(peer.infer(QUESTION, 1), peer.infer(QUESTION, 2))
    until(lambda: gate.with_name("gate.runs").exists(), "the request to run")
    trial.channel.send("stage", {"stage": "committed"})
    below.expect("closed")
    gate.touch()
    assert [peer.answer(n).release for n in (1, 2)] == [2, 2]
    until(lambda: thread_count(trial) == 1, "the thread to end")
    peer.send(peer.infer(QUESTION, 3))
    assert peer.answer(3).release == 2


def test_another_understudy_takes_the_place_of_one_that_died(lone: MakeLone) -> None:
    trial, below = pair(lone, {"run": "fail", "on": 9})
    below.process.kill()
    until(lambda: thread_count(trial) == 1, "the thread to end")
    join(trial, lone(scripted.model(answer=1), release=1))
    assert ask(trial.greeted(), BAD) == 1


def test_garbage_from_the_understudys_end_is_its_end(lone: MakeLone) -> None:
    trial = lone(scripted.model(answer=2, run="fail", on=9), release=2, stage="trial")
    ours, theirs = socket.socketpair()
    trial.channel.send("understudy", {"stateful": False}, (ours.fileno(),))
    ours.close()
    theirs.sendall(b"\xff" * 100)
    assert theirs.recv(1) == b""
    peer = trial.greeted()
    peer.send(peer.infer(BAD, 1))
    assert peer.code(1) == "inference-failed"
    assert ask(peer) == 2
    theirs.close()


def test_a_worker_says_that_it_lives(lone: MakeLone) -> None:
    worker = lone(scripted.model())
    worker.channel.send("ping")
    worker.expect("pong")
