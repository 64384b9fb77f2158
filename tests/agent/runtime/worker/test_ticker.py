from __future__ import annotations

import os
import select

from agent.runtime.worker.ticker import Ticker
from tests.agent.runtime.device import PATIENCE_S


def test_it_ticks_once_for_each_time_it_was_wound() -> None:
    ticker = Ticker(1)
    for _ in range(2):
        ticker.wind()
        assert select.select([ticker.descriptor], [], [], PATIENCE_S)[0]
        ticker.ticked()
        assert not select.select([ticker.descriptor], [], [], 0)[0]
    os.close(ticker.descriptor)
