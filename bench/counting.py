"""What judging adds to each request: the counters that tell its answer from others, and the look whether the ring is to
have it. Measured in this process, on real questions and answers of a model, beside a loop that does nothing.
"""

from __future__ import annotations

import os
import statistics
import time
from itertools import cycle, islice

from agent.runtime import ring
from agent.runtime.engines import open_engine
from agent.runtime.worker import scenes
from agent.runtime.worker.counters import Tally, mark
from agent.runtime.worker.sampler import Sampler, Taken
from bench.measures import Measure, Reading
from bench.models import Model
from bench.scene import Scene
from littoral.bundle.card import Card

MEASURES = (
    Measure("judged-tiny", "counters and ring, each request, tiny model, p50", 3.0, "us"),
    Measure("judged-mobilenet", "the same, MobileNet", 3.0, "us"),
)
QUESTIONS = 16
ROUND = 2_000  # requests that are timed together
RING_BYTES = 1024 * 1024


def measure(scene: Scene) -> dict[str, Reading]:
    models = scene.models
    return {"judged-tiny": counted(models.tiny), "judged-mobilenet": counted(models.mobilenet)}


def counted(model: Model) -> Reading:
    """Between two seconds: one input of each second is taken besides, and looked at when nothing else is to be done."""
    loaded = open_engine("litert").load(model.content, (), 1)
    interface, run = loaded.signatures[""], loaded.interpreter().run
    every, size = model.questions(QUESTIONS), interface.input_bytes
    asked = [(every[at : at + size], run(every[at : at + size]).data) for at in range(0, len(every), size)]
    tally, sampler = Tally(0, scenes.of(interface, Card())), Sampler(held := ring.make(), RING_BYTES)
    sampler.take(Taken(0, interface, *asked[0]))

    def counts(question: bytes, answer: bytes) -> None:
        tally.received += 1
        tally.answered(mark(question), answer, 5, True)
        if sampler.due:
            raise AssertionError("nothing asks for the next input here")

    def nothing(question: bytes, answer: bytes) -> None:
        pass

    took_us = []
    for _ in range(200):
        took_ns = []
        for each in (counts, nothing):
            requests = list(islice(cycle(asked), ROUND))
            started_ns = time.perf_counter_ns()
            for question, answer in requests:
                each(question, answer)
            took_ns.append(time.perf_counter_ns() - started_ns)
        took_us.append((took_ns[0] - took_ns[1]) / ROUND / 1_000)
    os.close(held)
    return Reading(statistics.median(took_us), f"{min(took_us):.2f} to {max(took_us):.2f} us, {len(took_us)} rounds")
