"""What the agent says of itself: to the journal, milestones with an id that its catalogue explains; else to stderr.

By the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of fields. `journalctl -x` shows the
catalogue, systemd/littoral-agent.catalog; `journalctl LITTORAL_MODEL=door` what happened to one model. It decides
nothing, and what the journal does not take is lost.
"""

import hashlib
import logging
import os
import socket
import sys
from contextlib import suppress
from typing import Any

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

_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))  # syslog's


def message_id(kind: str) -> str:
    """MESSAGE_ID of a kind of milestone: 128 bits that nobody else has."""
    return hashlib.sha256(f"littoral milestone {kind}".encode()).hexdigest()[:32]


def milestone(log: logging.Logger, kind: str, model: str, release: int, text: str) -> None:
    """Says that something happened."""
    fields = {"MESSAGE_ID": message_id(kind), "LITTORAL_EVENT": kind, "LITTORAL_TEXT": text}
    if model:
        fields |= {"LITTORAL_MODEL": model, "LITTORAL_RELEASE": str(release)}
    level = logging.WARNING if kind in GRAVE else logging.INFO
    log.log(level, "%s%s: %s", kind, f" {model} {release}" if model else "", text, extra={"fields": fields})


def begin() -> None:
    """From now on what is logged goes to the journal, where stderr does; else to stderr."""
    handler: logging.Handler = JournalHandler(JOURNAL) if _is_journal() else logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class JournalHandler(logging.Handler):
    """One datagram for each record; `fields` of a record are fields of its entry."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def emit(self, record: logging.LogRecord) -> None:
        priority = next(syslog for level, syslog in _PRIORITIES if record.levelno >= level)
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            **getattr(record, "fields", {}),
        }
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.sendto(b"".join(_field(name, text) for name, text in fields.items()), self._address)


def _field(name: str, text: Any) -> bytes:
    data = str(text).encode(errors="replace")
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
