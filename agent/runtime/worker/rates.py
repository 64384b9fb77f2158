"""How often the users of a model may ask: a bucket of requests each, which fills at the user's rate.

It holds one second's worth, and at least one request: a burst is served at once, and a steady stream at its rate.
"""


class Rates:
    """The buckets of one worker. All times are of the monotonic clock, in nanoseconds."""

    def __init__(self) -> None:
        self._buckets: dict[int, tuple[float, int]] = {}  # of each user: requests left, and when

    def wait_ms(self, user: int, requests_per_s: float, now_ns: int) -> int:
        """Takes one request of the user's bucket: 0. Or, where it is empty, milliseconds until there is one."""
        most = max(1.0, requests_per_s)
        left, then_ns = self._buckets.get(user, (most, now_ns))
        left = min(most, left + (now_ns - then_ns) * requests_per_s / 1e9)
        if left < 1:
            self._buckets[user] = (left, now_ns)
            return int((1 - left) * 1_000 / requests_per_s) + 1
        self._buckets[user] = (left - 1, now_ns)
        return 0
