"""What an engine's library writes to stderr while it loads or fails: the only place where it gives its reasons."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_TEXT = 400  # characters of a reason
_CHATTER = ("INFO:", "VERBOSE:")


@contextmanager
def engine_messages() -> Iterator[Callable[[], str]]:
    """Catches what the engine's library writes to stderr; what it gives reads that so far."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with os.fdopen(os.memfd_create("engine-messages"), "w+b") as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield lambda: os.pread(caught.fileno(), 4_096, 0).decode(errors="replace")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def refusal(engine: str, error: str, messages: str) -> str:
    """One sentence of what the engine raised and what it wrote."""
    lines = [line.removeprefix("ERROR: ") for line in messages.splitlines() if not line.startswith(_CHATTER)]
    text = " ".join(dict.fromkeys([*error.split("\n"), *lines])).strip()
    return f"{engine} refuses the model: {text[:MAX_TEXT] or 'it does not say why'}"
