"""The fake server: a listening thread, its connections, and what a test may do to them."""

import os
import socket as sockets
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from littoral import errors
from littoral.fake.connection import Connection
from littoral.fake.model import FakeModel
from littoral.wire import query
from littoral.wire.report import Report

BUCKETS = 32
MOST_NOTES = 3


class FakeServer:
    """Serves `models` (by name, or by name and alias) while a `with` block lasts, or between start and stop.

    socket: where it listens; None: in a temporary folder of its own. All methods may be called from any thread.
    """

    def __init__(self, models: Mapping[str, FakeModel], socket: str | os.PathLike[str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="littoral-fake-") if socket is None else None
        self.socket = Path(socket if socket is not None else f"{self._folder.name if self._folder else ''}/query.sock")
        self._models = dict(models)
        self._changed = threading.Condition()  # of everything below
        self._connections: list[Connection] = []
        self._counts: dict[str, dict[str, Any]] = {}
        self._busy: list[float] = []
        self._reports: dict[str, list[Report]] = {}
        self._paused = False
        self._listener: sockets.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "FakeServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._folder is not None:
            self._folder.cleanup()

    # --- what a test does -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to listen; after stop, once more. Raises SocketPathError, OSError."""
        path = query.check_socket_path(str(self.socket))
        self._listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._listen, args=(self._listener,), name="fake server", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Goes away as a runtime that dies: no client is told, and what was not answered is not."""
        if self._listener is None or self._thread is None:
            return
        self._listener.shutdown(sockets.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._listener = None
        self.socket.unlink()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Ends every connection, as a worker that dies; what was not answered is not."""
        with self._changed:
            ending = list(self._connections)
            for connection in ending:
                connection.close()
            self._changed.notify_all()
        for connection in ending:
            connection.thread.join()

    def switch(self, name: str, model: FakeModel) -> None:
        """Serves another release from now on; every connection to the model is told."""
        with self._changed:
            self._models[name] = model
            told = self._of(name)
        for connection in told:
            connection.announce()

    def pause(self) -> None:
        """Answers no request until resume; what is asked meanwhile waits."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def be_busy(self, count: int = 1, retry_after_s: float = 0.01) -> None:
        """Refuses the next `count` requests of whichever client with BUSY."""
        with self._changed:
            self._busy += [retry_after_s] * count

    def skip_results(self, name: str, count: int) -> None:
        """Leaves out the next `count` results for those who subscribe to the model; they are told how many."""
        for connection in self._of(name):
            connection.skip = count

    def leases(self, name: str) -> int:
        """How many clients hold a lease on the model."""
        return len(self._leases(name))

    def expire_leases(self, name: str) -> None:
        """Ends the leases on the model, as if they had been held for too long."""
        for connection in self._leases(name):
            connection.expire()

    def asked(self, name: str) -> int:
        """How many requests to this model were answered."""
        with self._changed:
            return int(self._counters(name)["answers"])

    def reports(self, name: str) -> list[Report]:
        """What apps reported of this model's answers: `answer` (its id), `release`, `good`, `note`."""
        with self._changed:
            return list(self._reports.get(name, ()))

    # --- what its connections need ----------------------------------------------------------------------------

    def model(self, name: str) -> FakeModel:
        """Raises UnknownModelError."""
        with self._changed:
            if name not in self._models:
                raise errors.UnknownModelError(f"no model {name} is known here")
            return self._models[name]

    def wait_while_paused(self, connection: Connection) -> None:
        """Raises ConnectionAbortedError when the connection was dropped meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._paused or connection.dropped)
            if connection.dropped:
                raise ConnectionAbortedError

    def check_busy(self, name: str) -> None:
        """Raises BusyError as often as the test has asked."""
        with self._changed:
            if not self._busy:
                return
            error = errors.BusyError("told to be busy")
            error.retry_after_s = self._busy.pop()
            self._counters(name)["busy"] += 1
            raise error

    def count(self, name: str, what: str) -> None:
        with self._changed:
            self._counters(name)[what] += 1

    def gave(self, name: str, kind: query.Kind, body: bytes) -> None:
        """Counts a result, and copies it to those who subscribe."""
        with self._changed:
            counters = self._counters(name)
            invoked_us = self._models[name].invoked_us
            counters["answers"] += 1
            counters["invoked_us"] += invoked_us
            counters["histogram"][min(BUCKETS - 1, max(0, invoked_us.bit_length() - 1))] += 1
            number = counters["answers"]
            readers = [c for c in self._of(name) if c.hello and c.hello.mode is query.Mode.SUBSCRIBE]
        for reader in readers:
            reader.copy(kind, body, number)

    def heard(self, name: str, report: Report) -> bool:
        """Whether it counts: it is about the release now served. Here each report is a vote, whenever it comes."""
        with self._changed:
            self._reports.setdefault(name, []).append(report)
            counts, counted = self._counters(name), report.release == self._models[name].release
            counts["votes"] += counted
            counts["votes_bad"] += counted and not report.good
            return counted

    def info(self, kind: query.Kind) -> dict[str, Any]:
        """What LIST and STATS are answered with. Raises UnsupportedError."""
        with self._changed:
            names = sorted(self._models)
            if kind is query.Kind.STATS:
                return {"models": {name: self._counters(name) for name in names}}
            if kind is not query.Kind.LIST:
                raise errors.UnsupportedError(f"{kind.name} on an info connection")
            entries = []
            for name in names:
                welcome = self._models[name].welcome(name, "")
                stage = welcome.stage.name.lower()
                entries.append({**query.welcome_json(welcome), "stage": stage, "reason": ""})
            return {"models": entries}

    def forget(self, connection: Connection) -> None:
        with self._changed:
            if connection in self._connections:
                self._connections.remove(connection)

    def _of(self, name: str) -> list[Connection]:
        with self._changed:
            return [c for c in self._connections if c.hello is not None and c.hello.model == name]

    def _leases(self, name: str) -> list[Connection]:
        with self._changed:
            said = [(connection, connection.hello) for connection in self._connections]
        return [each for each, hello in said if hello and (hello.mode, hello.name) == (query.Mode.LEASE, name)]

    def _counters(self, name: str) -> dict[str, Any]:
        model = self._models.get(name, FakeModel())
        counted = ("answers", "errors", "busy", "replaced", "expired", "queued_us", "invoked_us", "votes", "votes_bad")
        fresh = dict.fromkeys(counted, 0)
        counters = self._counts.setdefault(name, {**fresh, "histogram": [0] * BUCKETS})
        subscribers = sum(c.hello is not None and c.hello.mode is query.Mode.SUBSCRIBE for c in self._of(name))
        counters |= {"release": model.release, "stage": model.stage.name.lower(), "worker": os.getpid()}
        bad = [each for each in self._reports.get(name, ()) if not each.good and each.release == model.release]
        counters |= {"bundle": "", "waiting": 0, "subscribers": subscribers, "memory_bytes": 0}
        counters["notes"] = [each.note for each in bad if each.note][-MOST_NOTES:]
        return counters

    def _listen(self, listener: sockets.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return  # stop() ended it
            connection = Connection(self, sock)
            with self._changed:
                self._connections.append(connection)
            connection.thread.start()
