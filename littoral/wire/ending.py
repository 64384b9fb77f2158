"""How an update ended: a part of the slot record and of the reported state (messages.py). Apart from those, because
it is all that the runtime reads of what travels over MQTT.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Ending:
    """How the last update of a model ended."""

    release: int
    bundle: str
    attempt: int
    outcome: str  # committed, rolled-back, failed, refused, blocked, cancelled, superseded, stuck
    code: str = ""
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # the numbers behind it: integers and strings
    at: int = 0  # seconds since 1970 by this device's clock
