"""The host's end of control.sock: one agent at a time, the newest wins. What it asks is done elsewhere."""

import socket
from collections.abc import Callable

from agent import control
from agent.runtime.host.loop import READ, WRITE, Loop
from littoral.errors import ProtocolError

UNSENT_BYTES = 4 * 1024 * 1024  # an agent that leaves so much lying is not listening
RECEIVE_BYTES = 65_536


class ControlDoor:
    """Tells `came` of an agent that connects, `left` when it goes, `said` for each message of it."""

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        came: Callable[[], None],
        left: Callable[[], None],
        said: Callable[[control.Message], None],
    ) -> None:
        self._loop = loop
        self._came, self._left, self._said = came, left, said
        self._listener = listener
        self._agent: socket.socket | None = None
        self._reader = control.Reader()
        self._unsent = bytearray()
        loop.watch(self._listener.fileno(), READ, self._accept)

    def tell(self, message: control.Message) -> None:
        """To the agent; nobody hears it where there is none."""
        if self._agent is None:
            return
        self._unsent += control.encode(message)
        self._flush()

    def close(self) -> None:
        self._listener.close()
        if self._agent is not None:
            self._agent.close()

    def _accept(self, _events: int) -> None:
        try:
            agent, _ = self._listener.accept()
        except OSError:
            return
        if self._agent is not None:
            self._drop()
        agent.setblocking(False)
        self._agent, self._reader, self._unsent = agent, control.Reader(), bytearray()
        self._loop.watch(agent.fileno(), READ, self._on_agent)
        self._came()

    def _on_agent(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if self._agent is None:
            return
        try:
            data = self._agent.recv(RECEIVE_BYTES)
            messages = self._reader.feed(data)
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            self._drop()
            return
        if not data:
            self._drop()
            return
        for message in messages:
            self._said(message)

    def _flush(self) -> None:
        assert self._agent is not None
        try:
            del self._unsent[: self._agent.send(self._unsent, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop()
            return
        if len(self._unsent) > UNSENT_BYTES:
            self._drop()
        else:
            self._loop.change(self._agent.fileno(), READ | (WRITE if self._unsent else 0))

    def _drop(self) -> None:
        assert self._agent is not None
        self._loop.unwatch(self._agent.fileno())
        self._agent.close()
        self._agent = None
        self._left()
