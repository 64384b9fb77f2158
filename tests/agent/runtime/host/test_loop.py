from __future__ import annotations

import gc
import os

from agent.runtime.host.loop import READ, Loop, Timer


def test_timers_fire_in_the_order_of_their_times() -> None:
    loop, fired = Loop(), list[str]()
    loop.call_in(0.02, lambda: fired.append("late"))
    loop.call_in(0.0, lambda: fired.append("soon"))
    loop.call_in(0.03, loop.stop)
    loop.run()
    assert fired == ["soon", "late"]


def test_a_cancelled_timer_does_not_fire() -> None:
    loop, fired = Loop(), list[str]()
    loop.call_in(0.0, lambda: fired.append("cancelled")).cancel()
    loop.call_in(0.01, loop.stop)
    loop.run()
    assert fired == []


def test_what_is_repeated_fires_again() -> None:
    loop, fired = Loop(), list[str]()

    def tick() -> None:
        fired.append("tick")
        if len(fired) == 3:
            loop.stop()

    loop.every(0.001, tick)
    loop.run()
    assert len(fired) == 3


def test_a_descriptor_that_became_ready_calls_back_until_it_is_not_watched() -> None:
    loop, read = Loop(), list[bytes]()
    here, there = os.pipe()

    def take(_events: int) -> None:
        read.append(os.read(here, 1))
        loop.unwatch(here)
        loop.unwatch(here)
        loop.call_in(0.0, loop.stop)

    loop.watch(here, READ, take)
    os.write(there, b"ab")
    loop.run()
    assert read == [b"a"]
    os.close(here)
    os.close(there)


def test_timers_that_were_cancelled_long_before_their_time_do_not_pile_up() -> None:
    loop, fired = Loop(), list[str]()
    loop.call_in(0.001, lambda: fired.append("kept"))
    for _ in range(1_000):
        loop.call_in(3_600, lambda: None).cancel()
    assert sum(isinstance(each, Timer) for each in gc.get_objects()) < 200
    loop.call_in(0.002, loop.stop)
    loop.run()
    assert fired == ["kept"]
