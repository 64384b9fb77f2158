"""Clients that are slow, silent, greedy or gone: they cost nobody else anything."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial

from littoral.client import stats
from littoral.wire import query
from littoral.wire.query import Kind
from littoral.wire.report import Report, report
from tests.agent.runtime.device import ROOT, Agent, Raw, until
from tests.attacks.conftest import MakeVictim
from tests.attacks.victim import Victim, named

# Connects, says HELLO, sends the bytes of its standard input, says so, and waits to be killed.
DYING = """
import socket, sys, time
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.connect(sys.argv[1])
client.sendall(sys.stdin.buffer.read())
print("sent", flush=True)
time.sleep(600)
"""


SAID = {Kind.INFO, Kind.ERROR}


def killed_after(victim: Victim, data: bytes) -> None:
    """A process that sends the bytes to the runtime and is killed."""
    command = [sys.executable, "-c", DYING, str(victim.device.socket)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        process.stdin.close()
        assert process.stdout.readline() == b"sent\n"
        process.kill()


def test_clients_that_are_killed_in_the_middle_of_a_frame_leave_nothing(victim: Victim) -> None:
    stream = query.hello(query.Hello(victim.model)) + victim.infer()
    cuts = random.Random(1)
    with victim.unharmed():
        for cut in [
            5,
            16,
            40,
            len(stream) - victim.welcome.interface.input_bytes,
            *(cuts.randrange(len(stream)) for _ in range(6)),
        ]:
            killed_after(victim, stream[:cut])


def test_a_client_that_goes_while_it_is_being_answered_leaves_nothing(victim: Victim) -> None:
    with victim.unharmed():
        for _ in range(100):
            raw = victim.device.raw()
            raw.hello(victim.model)
            raw.send(*[victim.infer(id) for id in range(20)])
            raw.close()


def test_five_hundred_idle_connections_hold_up_nobody(make_victim: MakeVictim) -> None:
    victim = make_victim(max_connections=600, max_connections_per_user=600, hello_timeout_s=2)
    with victim.unharmed():
        silent = [victim.connect() for _ in range(250)]
        greeted = [victim.connect() for _ in range(250)]
        for raw in greeted:
            raw.hello(victim.model)
        victim.answers()
        for raw in silent:
            assert raw.code() == "handshake-timeout"
            assert raw.next() is None
        victim.answers()
        for raw in (*silent, *greeted):
            raw.close()


def test_connections_beyond_the_limit_are_refused_by_name_and_harm_nobody(victim: Victim) -> None:
    with victim.unharmed():
        idle = [victim.connect() for _ in range(500)]
        codes = [code for raw in idle if (code := asked_for_a_model(raw, victim.model))]
        assert set(codes) == {"busy"}
        assert len(codes) < len(idle)
        for raw in idle:
            raw.close()


def asked_for_a_model(raw: Raw, model: str) -> str:
    """The code of the error that it got in place of WELCOME, or nothing."""
    with suppress(BrokenPipeError, ConnectionResetError):
        raw.send(query.hello(query.Hello(model)))
    frame = raw.next()
    assert frame is not None, "closed without a word"
    return "".join(named([frame]))


def test_a_client_that_never_reads_is_not_answered_without_end(victim: Victim) -> None:
    with victim.unharmed():
        raw = victim.device.raw()
        raw.hello(victim.model)
        raw.socket.settimeout(0.2)
        sent = 0
        try:
            while sent < 2_000_000:
                raw.send(victim.infer(sent))
                sent += 1
        except TimeoutError:
            pass
        victim.answers()
        assert 0 < sent < 2_000_000, "it was read from for ever"
        raw.close()


def test_a_greedy_client_has_no_more_turns_than_others(victim: Victim) -> None:
    with victim.unharmed():
        greedy = victim.device.raw()
        greedy.hello(victim.model)
        greedy.send(*[victim.infer(id) for id in range(64)])
        modest = victim.device.raw()
        modest.hello(victim.model)
        for id in range(20):
            modest.send(victim.infer(id))
            assert modest.frame(Kind.ANSWER).id == id
        assert [greedy.frame(Kind.ANSWER).id for _ in range(64)] == list(range(64))
        greedy.close()
        modest.close()


def test_an_app_that_calls_everything_bad_as_fast_as_it_can_has_one_vote_a_second(victim: Victim) -> None:
    answers, rounds = 20, 50
    began = time.monotonic()
    with victim.unharmed():
        before = stats(victim.device.socket)[victim.model]["votes"]
        greedy = [victim.device.raw() for _ in range(4)]
        for raw in greedy:
            raw.hello(victim.model)
            raw.send(victim.infer(1))
            raw.frame(Kind.ANSWER)
        for _ in range(rounds):
            for raw in greedy:
                raw.send(*[report(Report(1, 1, good=False, note=note), 2) for note in ("\x1b[2J", "x" * 200) * answers])
                assert {frame.kind for frame in (raw.next() for _ in range(2 * answers)) if frame} <= SAID
            victim.answers()
        until(lambda: stats(victim.device.socket)[victim.model]["votes"] > before, "a vote")
        told = stats(victim.device.socket)[victim.model]
        assert told["votes"] - before <= time.monotonic() - began + 1
        assert told["votes_bad"] <= told["votes"]
        assert len(told["notes"]) <= 3
        for raw in greedy:
            raw.close()


def another_worker(agent: Agent, model: str, worker: int) -> bool:
    return agent.expect_counts(model, errors=0).worker != worker


def test_a_worker_that_is_killed_under_load_is_replaced_and_other_models_do_not_notice(victim: Victim) -> None:
    device = victim.device
    bystander = device.raw()
    keywords = bystander.hello("keywords")
    question = bytes(keywords.interface.input_bytes)
    steady = device.client(victim.model)
    agent = device.agent()
    for _ in range(3):
        worker = agent.expect_counts(victim.model, errors=0).worker
        loaded = device.raw()
        loaded.hello(victim.model)
        loaded.send(*[victim.infer(id) for id in range(64)])
        os.kill(worker, signal.SIGKILL)
        steady.infer(bytes(victim.welcome.interface.input_bytes))
        bystander.send(*query.infer(query.Infer(keywords.interface.digest, question), 1))
        bystander.frame(Kind.ANSWER)
        until(partial(another_worker, agent, victim.model, worker), "another worker")
        while (frame := loaded.next()) is not None:
            assert frame.kind is Kind.ANSWER
    victim.answers()
