"""A worker that is to do less: after each run it rests for a share of the run's time. It takes no time itself.

A rest counts from the run's beginning on, so that what the worker was idle anyway is no rest on top; short rests are
gathered until they are worth a wait.
"""

LONGEST_NS = 1_000_000_000  # of one rest
GATHERED_NS = 5_000_000  # of rests that are taken together: a wait is off by a millisecond
READ_AHEAD = 1  # requests of one connection: the next stay with the client, which thereby slows down


class Pace:
    """rest_percent: of a run's time."""

    __slots__ = ("_due_ns", "_rest_percent")

    def __init__(self, rest_percent: int) -> None:
        self._rest_percent = rest_percent
        self._due_ns = 0  # when all rests are over, had none been put off

    def ran(self, began_ns: int, ended_ns: int) -> None:
        """A run took that time (monotonic clock)."""
        run_ns = ended_ns - began_ns
        self._due_ns = max(self._due_ns, began_ns) + run_ns + rest_ns(run_ns, self._rest_percent)

    def left_s(self, now_ns: int) -> float:
        """How long the next run has to wait; 0.0: not at all."""
        return max(self._due_ns - GATHERED_NS - now_ns, 0) / 1e9


def rest_ns(run_ns: int, rest_percent: int) -> int:
    """How long to rest after a run."""
    return min(run_ns * rest_percent // 100, LONGEST_NS)
