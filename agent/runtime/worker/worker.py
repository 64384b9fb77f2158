"""The life of a worker process: loads one release's model, serves it, and hands every connection back."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.runtime.engine import Delegate, Engine, Model, Tuning
from agent.runtime.handover import MESSAGE_DESCRIPTORS, PART_BYTES, Channel
from agent.runtime.release import Release
from agent.runtime.worker import scenes
from agent.runtime.worker.connection import Allowance
from agent.runtime.worker.counters import Tally
from agent.runtime.worker.inbox import MOST_DESCRIPTORS, Backlog
from agent.runtime.worker.sampler import Sampler
from agent.runtime.worker.server import ModelServer
from agent.runtime.worker.signature import Signature
from littoral import errors
from littoral.bundle.card import Card
from littoral.tensors import Interface
from littoral.wire import query

if TYPE_CHECKING:
    from littoral.bundle.task import Task

LEAST_FRAME_BYTES = 1024 * 1024
LEAST_DETECT_BYTES = 8 * 1024 * 1024  # 1920x1080 in RGB24, and then some
MOST_SHARES = MESSAGE_DESCRIPTORS - 2 - MOST_DESCRIPTORS  # what one message of the channel can carry


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is told at birth. stage is committed, trial or local.

    read_ahead: requests of one connection; queue_bytes: of requests that wait, of all connections; max_shares and
    max_share_bytes: of one connection. hung_s: a run that takes longer does not end. ring: where inputs are kept, up to
    ring_bytes.
    """

    release: Release
    stage: str
    tuning: Tuning
    delegate: Delegate | None
    read_ahead: int
    queue_bytes: int
    max_shares: int
    max_share_bytes: int
    hung_s: float
    ring: int | None = None
    ring_bytes: int = 0


def run(channel: Channel, engine: Engine, settings: Settings) -> None:
    """The life of a worker process. Returns once it has handed back every connection."""
    try:
        started_ns = time.monotonic_ns()
        release, tuning = settings.release, settings.tuning
        place(tuning.cpus)
        labels, threads = release.labels(), max(1, tuning.threads)
        model = engine.load(release.blob("model"), labels, threads, settings.delegate)
        signatures = bind(model, settings)
        # A model that keeps a state has an interpreter for each connection, and these are run by the loop.
        side_by_side = 1 if model.stateful else max(1, tuning.interpreters)
        interpreter = model.interpreter()
    except (errors.LittoralError, MemoryError) as error:
        code = error.code if isinstance(error, errors.LittoralError) else errors.NoRoomError.code
        channel.send_patiently("failed", {"code": code, "reason": str(error)})
        return
    load_us = (time.monotonic_ns() - started_ns) // 1_000
    welcome = json.dumps(query.welcome_json(signatures[""].welcome))
    for at in range(0, len(welcome), PART_BYTES):
        channel.send_patiently("welcome", {"part": welcome[at : at + PART_BYTES]})
    channel.send_patiently("ready", {"load_us": load_us, "stateful": model.stateful})
    allowance = Allowance(settings.read_ahead, min(settings.max_shares, MOST_SHARES), settings.max_share_bytes)
    inputs = scenes.of(signatures[""].welcome.interface, release.card())
    backlog, tally = Backlog(settings.queue_bytes), Tally(release.manifest.limits.p95_us, inputs)
    sampler = None if settings.ring is None else Sampler(settings.ring, settings.ring_bytes)
    may_thread = settings.delegate is None  # a delegate may be bound to the thread that opened it
    ModelServer(
        channel,
        model,
        interpreter,
        signatures,
        allowance,
        backlog,
        tally,
        sampler,
        side_by_side=side_by_side,
        hung_s=settings.hung_s,
        may_thread=may_thread,
    ).serve()


def place(cpus: int) -> None:
    """Keeps this process on the CPUs that its trial found best; bit i stands for CPU i, 0 for all."""
    if cpus:
        with suppress(OSError):  # they are not all there any more: then it runs where it may
            os.sched_setaffinity(0, {cpu for cpu in range(cpus.bit_length()) if cpus >> cpu & 1})


def bind(model: Model, settings: Settings) -> dict[str, Signature]:
    """The signatures by name; the first also as "". Raises CardError, and what reading the release raises."""
    manifest, card = settings.release.manifest, settings.release.card()
    names = tuple(name for name in model.signatures if name)
    found: dict[str, Signature] = {}
    for name in names or ("",):
        interface = model.signatures[name]
        detects = _task(card, interface, first=not found)
        welcome = query.Welcome(
            model=manifest.model,
            release=manifest.release,
            version=manifest.version,
            stage=query.Stage[settings.stage.upper()],
            engine=model.engine,
            interface=interface,
            max_frame_bytes=frame_limit(interface, detects=detects is not None),
            card=card.to_json(),
            signature=name,
            signatures=names,
            detect=detects.output.kind.name.lower() if detects else "",
            max_shares=min(settings.max_shares, MOST_SHARES),
            max_share_bytes=settings.max_share_bytes,
        )
        found[name] = Signature(name if found else "", welcome, detects)
    found[""] = next(iter(found.values()))
    return found


def _task(card: Card, interface: Interface, first: bool) -> "Task | None":
    """What DETECT does with a signature. The card is written for the first; another may happen to fit it too."""
    if not card.inputs:
        return None
    from littoral.bundle import task  # and with it the arithmetic of shapes, for those who need it

    try:
        return task.read(card, interface)
    except errors.CardError:
        if first:
            raise
        return None


def frame_limit(interface: Interface, detects: bool = False) -> int:
    """The largest body taken: an INFER with room for a mistaken dtype, which then gets the better error; and a camera's
    frame, where the model takes them.
    """
    least = LEAST_DETECT_BYTES if detects else LEAST_FRAME_BYTES
    return min(max(least, query.INFER_HEAD.size + 8 * interface.input_bytes), query.MAX_FRAME_BYTES)
