"""A tick that a loop waits for as for any other event, so that waiting for clients needs no time-out of its own."""

import ctypes
import os
import time

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC  # TFD_NONBLOCK | TFD_CLOEXEC
_LIBC = ctypes.CDLL(None, use_errno=True)


class Ticker:
    """`descriptor` becomes readable once, `after_s` whole seconds after it was wound. Python has timerfd since 3.13."""

    def __init__(self, after_s: int) -> None:
        self.wound = False
        self._setting = (ctypes.c_long * 4)(0, 0, after_s, 0)  # struct itimerspec: no interval, then so long
        self.descriptor = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "no timer can be made")

    def wind(self) -> None:
        self.wound = True
        _LIBC.timerfd_settime(self.descriptor, 0, self._setting, None)

    def ticked(self) -> None:
        """It has been heard; to be wound again."""
        self.wound = False
        os.read(self.descriptor, 8)
