"""Connections whose model is unloaded because nobody asked: held here until one of them says something."""

import socket
from collections.abc import Callable

from agent.runtime.handover import Carried, State
from agent.runtime.host.loop import READ, Loop


class Parking:
    """`take` gets each one that asks, `forget` the id of one that was closed by its client."""

    def __init__(self, loop: Loop, take: Callable[[Carried], None], forget: Callable[[int], None]) -> None:
        self._loop = loop
        self._take = take
        self._forget = forget
        self._parked: dict[int, Carried] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def park(self, carried: Carried) -> None:
        """From now on the connection is this place's, until `leave`."""
        state = State.from_memfd(carried.state)
        if state.unread or state.unsent or state.farewell is not None:
            self._take(carried)  # it asked while it was on its way here
            return
        self._parked[carried.connection] = carried
        self._loop.watch(carried.connection, READ, lambda _events: self._on_client(carried))

    def leave(self) -> list[Carried]:
        """All of them, the caller's again, in the order in which they came."""
        parked, self._parked = self._parked, {}
        for descriptor in parked:
            self._loop.unwatch(descriptor)
        return list(parked.values())

    def _on_client(self, carried: Carried) -> None:
        if self._parked.pop(carried.connection, None) is None:
            return
        self._loop.unwatch(carried.connection)
        if _has_gone(carried.connection):
            carried.close()
            self._forget(carried.id)
        else:
            self._take(carried)


def _has_gone(connection: int) -> bool:
    """Whether the client closed it. A connection with something to be read has not."""
    sock = socket.socket(fileno=connection)
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.detach()
