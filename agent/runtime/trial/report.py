"""What host and trial child both know: the child's report, and how much it has at once."""

import json
from dataclasses import asdict, dataclass, field

REPORT_BYTES = 65_536
MOST_INTERPRETERS = 2  # each has its own weights
MOST_THREADS = 4


@dataclass(frozen=True, slots=True)
class Report:
    """How the self-test ended. code "": it passed, and reason is mostly empty. control.Tried says what the codes and
    facts are.
    """

    code: str = ""
    reason: str = ""
    proven: bool = False
    facts: dict[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()[:REPORT_BYTES]

    @classmethod
    def decode(cls, data: bytes) -> "Report":
        """Raises ValueError or TypeError."""
        return cls(**json.loads(data))
