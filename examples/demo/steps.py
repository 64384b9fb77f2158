"""The seven steps of the story. Each does something to the fleet, and says what proves how the fleet took it.

A step gives what was measured, for the table at the end; it raises DemoError where something did not hold.
"""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import Any

from examples.demo import damage, intruder
from examples.demo.fleet import DEVICES, MODEL
from examples.demo.processes import DemoError
from examples.demo.stage import GOLDEN_SUBJECTS, Stage, must, short
from examples.demo.watching import Standings
from littoral.bundle import chunks

KILL_FROM = 0.5
"""The share of a transfer from which on it is in its middle."""

ENOUGH_KEPT = 24
"""Inputs among which there are the 16 different scenes that a comparison needs."""

ATTACHED_BYTES = 240_000
"""Behind the model of a release that shall take a while to come: the model hardly differs from the one before."""


def first_release(stage: Stage) -> str:
    """Keys, a fleet, devices that join, release 1."""
    terminal, fleet = stage.terminal, stage.fleet
    fleet.found()
    page = fleet.serve("--broker-engine", "mosquitto")
    terminal.say(f"The fleet server's page: {page}")
    stage.prepare()
    fleet.enrol(DEVICES)
    stage.publish(1, stage.good, "1.0", quote=True)
    stage.roll_out(1, "committed")
    devices = stage.status(wanted=0)
    must(all(device["release"] == 1 for device in devices), f"all serve release 1: {devices}")
    terminal.proof("rollout status: " + ", ".join(f"{d['id']} committed (evidence {d['evidence']})" for d in devices))
    fleet.start_camera()

    def seen() -> dict[str, Any] | None:
        watches = fleet.camera()
        return watches if all(set(GOLDEN_SUBJECTS) <= set(watch["seen"]) for watch in watches.values()) else None

    watches = fleet.wait("an answer to each picture", seen)
    answers: dict[str, list[str]] = {}
    for name, watch in watches.items():
        answers.setdefault(_answers(watch), []).append(name)
    for answer, names in answers.items():
        terminal.proof(f"{', '.join(names)} answer: {answer}")
    terminal.say("(It knows ten things. Of these pictures the cat and the horse are among them.)")
    return f"{len(devices)} devices enrolled, verified, serve; evidence {devices[0]['evidence']}"


def good_release(stage: Stage) -> str:
    """Release 2: the same answers from other bytes."""
    terminal, fleet = stage.terminal, stage.fleet
    before = fleet.camera()
    stage.publish(2, damage.restamp(stage.good, "release 2"), "1.1")
    stage.roll_out(2, "committed")
    service = stage.undisturbed(before, 1, 2)
    for name, explained in stage.explained(2, "committed").items():
        facts = explained["last"]["facts"]
        slot = explained[explained["active"]]
        terminal.proof(
            f"{name}: committed with evidence {slot['evidence']}, "
            f"{facts['healthy_s']} s healthy, {facts['answers']} answers"
        )
    return str(service)


def constant_release(stage: Stage) -> str:
    """Release 3: bad in a way that only its answers show."""
    terminal, fleet = stage.terminal, stage.fleet
    *comparing, watching = DEVICES
    fleet.wait("enough inputs", lambda: all(fleet.devices[name].kept() >= ENOUGH_KEPT for name in comparing))
    for name in comparing:
        terminal.say(f"{name} keeps {fleet.devices[name].kept()} of the pictures that it was asked, in memory.")
    terminal.say(f"{watching} was told to keep none (rehearsal.ring = false).")
    before = fleet.camera()
    stage.publish(3, damage.constant(stage.good), "2.0", quote=True)
    said: set[str] = set()

    def listen(standings: Standings) -> None:
        for watch in fleet.camera().values():
            said.update(f"{label} {score} %" for label, score, release in watch["seen"].values() if release == 3)

    stage.roll_out(3, "failed", listen, {watching: "rolled-back"})
    must(len(said) == 1, f"release 3 gave one answer to every picture: {said}")
    service = stage.undisturbed(before, 2, other_orders={watching: (2, 3, 2)})
    for name, explained in stage.explained(3, "failed", *comparing).items():
        last = explained["last"]
        must(last["code"] == "constant", f"{name} found that it says the same to everything: {last}")
        terminal.proof(f"{name}, before it answered anyone: {last['reason']}")
    (explained,) = stage.explained(3, "rolled-back", watching).values()
    last = explained["last"]
    must(last["code"] == "constant", f"the reason is constant output: {last}")
    must(any(b["bundle"] == last["bundle"] for b in explained["blocked"]), "it is blocklisted")
    terminal.proof(f"{watching}, on trial, where it called every picture {said.pop()}: {last['reason']}")
    fleet.command("littoral-agent", "explain", MODEL, "--config", f"{DEVICES[0]}/agent.toml", quote=True)
    devices = stage.status(wanted=1)
    must(all(device["reason"] for device in devices), f"the server knows why: {devices}")
    fleet.command("littoral-fleet", "rollout", "status", MODEL, quote=True)
    terminal.proof(f"blocklisted on {len(devices)} devices; the server halted the rollout and says why")
    return f"found by rehearsal on {len(comparing)} devices, by probation on one; {service.dropped} dropped"


def crashing_release(stage: Stage) -> str:
    """Release 4: kills the process that loads it."""
    terminal, fleet = stage.terminal, stage.fleet
    before = fleet.camera()
    workers = {name: device.stats()["worker"] for name, device in fleet.devices.items()}
    stage.publish(4, damage.crash(stage.good), "2.1", golden=False, quote=True)
    stage.roll_out(4, "failed")
    service = stage.undisturbed(before, 2)
    explained = stage.explained(4, "failed")
    for name, explanation in explained.items():
        last = explanation["last"]
        must(last["code"] == "crashed", f"{name} saw it crash: {last}")
        terminal.proof(f"{name}: {last['reason']}")
    must(not fleet.events("activated", 4), "no device was told to serve release 4")
    after = {name: device.stats()["worker"] for name, device in fleet.devices.items()}
    must(after == workers, f"the workers that answer are the same processes: {workers}, {after}")
    terminal.proof("release 4 was never activated; the processes that answer are the same as before")
    return f"{explained[DEVICES[0]]['last']['reason']}; never served; {service.dropped} of {service.asked} dropped"


def altered_chunk(stage: Stage) -> str:
    """Release 5: one byte of it is changed on the broker."""
    terminal, fleet = stage.terminal, stage.fleet
    before = fleet.camera()
    stage.publish(5, damage.restamp(stage.good, "release 5"), "1.2")
    known = {chunks.digest_of(piece) for piece in stage.model_chunks(2)}
    wanted = next(digest for piece in stage.model_chunks(5) if (digest := chunks.digest_of(piece)) not in known)
    # A rollout to nobody brings the chunks to the broker, and nobody fetches them yet.
    fleet.command("littoral-fleet", "rollout", "start", MODEL, "--release", "5", "--to", "site=nowhere")
    altered = chunks.digest_of(intruder.alter_chunk(fleet.data, fleet.folder, wanted))
    terminal.say(f"One byte of chunk {short(wanted)} is changed on the broker: it is {short(altered)} now.")
    refusals: dict[tuple[str, int], float] = {}
    began = time.monotonic()

    def listen(standings: Standings) -> None:
        for event in fleet.events("wrong-bytes", 5):
            facts = event["facts"]
            must((facts["wanted"], facts["got"]) == (wanted, altered), f"the device names the digest: {event}")
            refusals.setdefault((event["device"], facts["repeats"]), time.monotonic() - began)

    stage.roll_out(5, "committed", listen)
    service = stage.undisturbed(before, 2, 5)
    for name in fleet.devices:
        times = [at for (device, _), at in sorted(refusals.items()) if device == name]
        must(bool(times), f"{name} said that a chunk has another digest")
        terminal.proof(
            f"{name} refused {short(altered)} for {short(wanted)} {len(times)} times, "
            f"seen {' and '.join(f'{later - sooner:.1f}' for sooner, later in pairwise(times)) or '0'} s apart"
        )
    most = max(repeats for _, repeats in refusals)
    needs = [event for event in fleet.get("events?limit=500") if event["kind"] == "needed"]
    must(most >= 3 and bool(needs), f"after three wrong answers the server published it again: {refusals}")
    terminal.proof(f"then the true bytes came, and release 5 was committed; server: {needs[-1]['text']}")
    return f"{short(wanted)} refused {len(refusals)} times on {len(fleet.devices)} devices; {service.dropped} dropped"


def broker_killed(stage: Stage) -> str:
    """Release 6: the broker dies in the middle of the transfer."""
    terminal, fleet = stage.terminal, stage.fleet
    before = fleet.camera()
    attached = random.Random(6).randbytes(ATTACHED_BYTES)  # TFLite packs files like this behind a model
    stage.publish(6, damage.restamp(stage.good, "release 6") + attached, "1.3")
    old_pid, killed = fleet.broker_pid(), dict[str, float]()

    def kill(standings: Standings) -> None:
        there = {name: _share(standing) for name, standing in standings.items()}
        if not killed and max(there.values()) >= KILL_FROM:
            fleet.kill_broker()
            killed.update(there)
            shares = ", ".join(f"{name} has {100 * share:.0f} %" for name, share in there.items())
            terminal.say(f"The broker (process {old_pid}) is killed: {shares}")

    stage.roll_out(6, "committed", kill)
    must(bool(killed), "the broker was killed in the middle of the transfer")
    new_pid = fleet.broker_pid()
    must(new_pid != old_pid, "another broker runs now")
    pieces = len({chunks.digest_of(piece) for piece in stage.model_chunks(6)})
    fetched = {event["device"]: event["facts"] for event in fleet.events("fetched", 6)}
    for name in fleet.devices:
        facts = fetched[name]
        once = (facts["chunks"] + facts["reused"], facts["repeated"]) == (pieces, 0)
        must(once, f"{name} took each chunk once: {facts}")
        terminal.proof(
            f"{name}: {facts['chunks']} chunks fetched, {facts['repeated']} of them twice; {facts['reused']} of "
            f"{pieces} were there, in the release before"
        )
    terminal.proof(f"the server started the broker again (process {new_pid}) and published everything anew")
    service = stage.undisturbed(before, 5, 6)
    return f"{pieces} chunks on each device, 0 twice; {service.dropped} of {service.asked} dropped"


def agent_killed(stage: Stage) -> str:
    """Release 7: an agent dies in the middle of probation."""
    terminal, fleet = stage.terminal, stage.fleet
    before = fleet.camera()
    device = fleet.devices[DEVICES[-1]]
    stage.publish(7, damage.restamp(stage.good, "release 7"), "1.4")
    workers: list[int] = []

    def kill(standings: Standings) -> None:
        standing = standings[device.name]
        if workers or standing["state"] != "trial" or standing["reason"].startswith(("0 of", "1 of")):
            return
        if not standing["reason"]:
            return
        workers.append(device.stats()["worker"])
        pid = device.agent.pid
        device.agent.kill()
        terminal.say(f"The agent of {device.name} (process {pid}) is killed: {standing['reason']}")
        fleet.start_agent(device)
        terminal.say(f"It is started again, as process {device.agent.pid}")

    stage.roll_out(7, "committed", kill)
    if not workers:
        raise DemoError(f"{device.name} was never seen in the middle of its probation")
    service = stage.undisturbed(before, 6, 7)
    worker = device.stats()["worker"]
    must(worker == workers[0], f"the trial was not loaded again: worker {workers[0]}, then {worker}")
    last = stage.explained(7, "committed")[device.name]["last"]
    terminal.proof(
        f"{device.name}: the same process ({worker}) answered throughout; committed after "
        f"{last['facts']['healthy_s']} s healthy in all"
    )
    return f"served throughout by process {worker}; {service.dropped} of {service.asked} dropped"


STEPS = (
    ("release 1 travels, signed, to three devices", first_release),
    ("release 2 replaces it under live traffic", good_release),
    ("release 3 answers the same to everything", constant_release),
    ("release 4 kills the process that loads it", crashing_release),
    ("release 5 has a byte changed on its way", altered_chunk),
    ("the broker is killed in a transfer", broker_killed),
    ("an agent is killed in mid-probation", agent_killed),
)
"""What the table calls each step, and what carries it out."""


def _answers(watch: dict[str, Any]) -> str:
    seen = ((subject, *watch["seen"][subject]) for subject in GOLDEN_SUBJECTS)
    return ", ".join(f"{subject} is {label} ({score} %)" for subject, label, score, _ in seen)


def _share(standing: dict[str, Any]) -> float:
    if standing["state"] != "fetching" or not standing["total_bytes"]:
        return 0.0
    return float(standing["fetched_bytes"]) / float(standing["total_bytes"])
