"""Asks that a model is not switched for now: a connection that says nothing more, and is a lease while it is open."""

import os
import time

from littoral import errors
from littoral.client.link import GoneError, Link, refusal, socket_path
from littoral.wire import query


class Lease:
    """Held from now until `close`, and for hold_s at most.

    It is never taken anew by itself: an update may have been made in between. `ended` says whether it is still held.

    Raises UnreachableError, UnknownModelError, AccessDeniedError, BusyError; UnsupportedError where this device gives
    no leases; DeadlineError after timeout_s.
    """

    def __init__(
        self, model: str, socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0, name: str = ""
    ) -> None:
        self.model = model
        self._path = socket_path(socket)
        self._ended: errors.LittoralError | None = None
        deadline = time.monotonic() + timeout_s
        self._link = Link(self._path, deadline)
        try:
            self._link.send([query.hello(query.Hello(model, name, query.Mode.LEASE))], deadline)
            self.hold_s = float(self._link.expect(0, deadline).json()["hold_s"])
        except GoneError as error:
            self.close()
            raise self._gone() from error
        except (KeyError, TypeError, ValueError) as error:
            self.close()
            raise errors.ProtocolError(f"{self._path}: no answer to a lease") from error
        except BaseException:
            self.close()
            raise

    @property
    def ended(self) -> errors.LittoralError | None:
        """Why it ended before its time: LeaseExpiredError, or UnreachableError where the runtime went away. None while
        it is held, and after `close`. Never waits.
        """
        if self._ended is None and self._link.fileno() >= 0:
            try:
                frame = self._link.receive(time.monotonic())
                self._ended = None if frame is None or frame.kind is not query.Kind.ERROR else refusal(frame)
            except GoneError:
                self._ended = self._gone()
            except errors.ProtocolError as error:
                self._ended = error
        return self._ended

    def fileno(self) -> int:
        """The socket's descriptor: whichever process has it open holds the lease."""
        return self._link.fileno()

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gone(self) -> errors.UnreachableError:
        return errors.UnreachableError(f"{self._path}: the runtime closed the connection")


def lease(
    model: str, socket: str | os.PathLike[str] | None = None, *, timeout_s: float = 10.0, name: str = ""
) -> Lease:
    """While it is held no update of the model begins to answer, but an urgent one. Raises as Lease does."""
    return Lease(model, socket, timeout_s=timeout_s, name=name)
