"""The agent's end of control.sock: asks the runtime, and vouches for trials by being connected.

It never blocks. What the runtime last said it serves, and how many leases are held on it, is kept in `serving` and
`leases` while the connection lasts.
"""

import errno
import socket

from agent import control
from littoral.errors import ProtocolError

_READ_BYTES = 65_536


class Voucher:
    """One connection to the runtime, made again whenever it is lost."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.greeting: control.Greeting | None = None
        self.serving: dict[str, control.Serving] = {}
        self.leases: dict[str, int] = {}
        self.connections = 0  # how often a connection was made: a step compares it to see a break
        self._socket: socket.socket | None = None
        self._reader = control.Reader()
        self._unsent = bytearray()

    @property
    def connected(self) -> bool:
        """Whether the runtime has greeted on the present connection."""
        return self.greeting is not None

    def fileno(self) -> int | None:
        return None if self._socket is None else self._socket.fileno()

    def send(self, message: control.Message) -> bool:
        """Queues `message`; False where the runtime is not there, and then nothing was asked."""
        if not self.connected:
            return False
        self._unsent += control.encode(message)
        self._flush()
        return self._socket is not None

    def poll(self) -> list[control.Message]:
        """Connects where needed, and gives what came since. An end of the connection shows as `connected`."""
        if self._socket is None:
            self._connect()
        messages: list[control.Message] = []
        while self._socket is not None:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.close()
                break
            try:
                messages += self._reader.feed(data)
            except ProtocolError:
                self.close()
        for message in messages:
            self._note(message)
        self._flush()
        return messages

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self.greeting = None
        self.serving = {}
        self.leases = {}
        self._reader = control.Reader()
        self._unsent.clear()

    def _connect(self) -> None:
        candidate = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            candidate.connect(self.path)
        except OSError:
            candidate.close()
            return
        self._socket = candidate
        self.connections += 1

    def _flush(self) -> None:
        while self._unsent and self._socket is not None:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EINTR:
                    self.close()
                return
            del self._unsent[:sent]

    def _note(self, message: control.Message) -> None:
        if isinstance(message, control.Greeting):
            self.greeting = message
        elif isinstance(message, control.Serving):
            self.serving[message.model] = message
        elif isinstance(message, control.Leases):
            self.leases[message.model] = message.held
