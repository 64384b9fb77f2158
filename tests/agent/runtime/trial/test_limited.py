"""A child under limits, in a real process."""

from __future__ import annotations

import json
import os
import resource
import socket

from agent.runtime.host.loop import Loop
from agent.runtime.trial.limited import Limited, Limits, Outcome


def test_its_threads_may_use_every_processor_until_its_time_is_over() -> None:
    def body(end: socket.socket) -> None:
        end.sendall(json.dumps(resource.getrlimit(resource.RLIMIT_CPU)).encode())

    loop, outcomes = Loop(), list[Outcome]()

    def done(outcome: Outcome) -> None:
        outcomes.append(outcome)
        loop.stop()

    Limited(loop, body, Limits(1 << 30, timeout_s=89.5), done)
    loop.run()
    loop.close()
    soft_s, _ = json.loads(outcomes[0].messages[0])
    assert soft_s == 90 * (os.cpu_count() or 1)
