"""What the agent says of itself: to the journal, milestones with an id that its catalogue explains; else to stderr.

By the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of fields. `journalctl -x` shows the
catalogue, systemd/littoral-agent.catalog; `journalctl LITTORAL_MODEL=door` what happened to one model. It decides
nothing, and what the journal does not take is lost. Not by `logging`, which takes 0.7 MB of a process that stays.
"""

import hashlib
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress

JOURNAL = "/run/systemd/journal/socket"
IDENTIFIER = "littoral-agent"
GRAVE = frozenset(
    (
        "desired-refused",
        "wrong-bytes",
        "lease-overrun",
        "rolled-back",
        "failed",
        "stuck",
        "worker-died",
        "renewed",
        "safe-mode",
        "alarm",
    )
)
"""Kinds of milestones that somebody should look at."""

WARNING, INFO = 4, 6  # syslog's priorities

_address = ""
"""Where the journal listens; empty: what is said goes to stderr."""


def begin() -> None:
    """From now on what is said goes to the journal, where stderr does; else to stderr."""
    global _address
    _address = JOURNAL if _is_journal() else ""


def say(text: str, priority: int = INFO, fields: Mapping[str, str] | None = None) -> None:
    """priority: WARNING or INFO. fields: of its entry in the journal, beside the usual ones."""
    if not _address:
        sys.stderr.write(f"littoral.agent: {text}\n")
        sys.stderr.flush()
        return
    entry = {"MESSAGE": text, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": IDENTIFIER, **(fields or {})}
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.setblocking(False)
        out.sendto(b"".join(_field(name, value) for name, value in entry.items()), _address)


def milestone(kind: str, model: str, release: int, text: str) -> None:
    """Says that something happened."""
    fields = {"MESSAGE_ID": message_id(kind), "LITTORAL_EVENT": kind, "LITTORAL_TEXT": text}
    if model:
        fields |= {"LITTORAL_MODEL": model, "LITTORAL_RELEASE": str(release)}
    about = f" {model} {release}" if model else ""
    say(f"{kind}{about}: {text}", WARNING if kind in GRAVE else INFO, fields)


def message_id(kind: str) -> str:
    """MESSAGE_ID of a kind of milestone: 128 bits that nobody else has."""
    return hashlib.sha256(f"littoral milestone {kind}".encode()).hexdigest()[:32]


def _field(name: str, text: str) -> bytes:
    data = text.encode(errors="replace")
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def _is_journal() -> bool:
    """Whether what is written to stderr goes to the journal: systemd says which stream that is."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
