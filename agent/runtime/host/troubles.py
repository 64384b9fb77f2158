"""What has gone wrong with a model's releases lately, and what follows: who is barred, and when to try again."""

from dataclasses import dataclass, field

from agent.control import Failed

DEATHS = 3  # of a committed release within DEATHS_WITHIN_S, and the other slot's release is served
DEATHS_WITHIN_S = 60.0
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 30.0


@dataclass(slots=True)
class Troubles:
    """Forgotten when the agent applies. Times are of the monotonic clock.

    barred: bundles that cannot be served, and why: died, failed or safe. failures: bundles whose last load failed, and
    what was told of it. not_before: when the next load may begin.
    """

    barred: dict[str, str] = field(default_factory=dict)
    failures: dict[str, Failed] = field(default_factory=dict)
    not_before: float = 0.0
    _deaths: list[float] = field(default_factory=list)

    def why_not(self, bundle: str) -> str:
        """Why a bundle is not served, as in control.Serving."""
        return self.barred.get(bundle, "failed" if bundle in self.failures else "unvouched")

    def count_death(self, now: float) -> bool:
        """Counts the death of a committed release. True: it died too often.

        It is started again at once after the first, and later each time after the next ones within DEATHS_WITHIN_S.
        """
        self._deaths = [at for at in self._deaths if at > now - DEATHS_WITHIN_S] + [now]
        again = len(self._deaths) - 1
        self.not_before = now + (min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 4 ** (again - 1)) if again else 0.0)
        return len(self._deaths) >= DEATHS
