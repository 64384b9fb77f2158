"""What one client has asked and what came of it, over reconnects, switches and refusals.

Requests are sent in their order. When the connection is lost it is made anew, and what was not answered is asked again
in that order; what was refused with BUSY is asked again when the runtime said to come. It does not know what the app
has been told of all this; client.py does.
"""

import math
import time

from littoral import errors
from littoral.client.link import RETRY_FIRST_S, RETRY_LAST_S, GoneError, Link, refusal
from littoral.client.reports import Receipt
from littoral.client.requests import InferRequest, Request, Served
from littoral.client.results import Result
from littoral.client.shares import Share
from littoral.wire import query

Outcome = Result | errors.LittoralError
_AWAY = errors.UnreachableError("the runtime went away and did not come back in time")


class Exchange:
    """`ended` holds how requests ended, by id, for the client to take; `served` what the runtime last said it serves.

    The constructor connects, and raises what the runtime refuses with; BUSY is waited out where there is time.
    """

    def __init__(self, path: str, hello: query.Hello, deadline: float) -> None:
        self.connections = 0
        self.ended: dict[int, Outcome | Receipt] = {}
        self._path = path
        self._hello = query.hello(hello)
        self._latest = hello.queue is query.Queue.LATEST
        self._link: Link | None = None
        self._ids = 0
        self._shares: list[Share] = []
        self._sent: dict[int, Request] = {}  # on this connection
        self._unsent: list[Request] = []
        self._backoff_s = 0.0  # of the next connection that is lost; grows until something is answered
        self._retry_at = 0.0
        self._trouble = _AWAY
        self.served = self._first_contact(deadline)

    @property
    def waits(self) -> bool:
        """Whether anything that was asked has not ended."""
        return bool(self._sent or self._unsent)

    def waits_for(self, id: int) -> bool:
        return id in self._sent or any(request.id == id for request in self._unsent)

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def submit(self, request: Request) -> None:
        """To be sent by the next `advance`."""
        self._unsent.append(request)

    def forget(self, id: int) -> None:
        """What it ends in is wanted no more."""
        self.ended.pop(id, None)
        self._sent.pop(id, None)
        self._unsent = [request for request in self._unsent if request.id != id]

    def close(self) -> None:
        """Ends the connection; what waits is asked again on the next."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._unsent = [*self._sent.values(), *self._unsent]
        self._sent = {}

    def advance(self, until: float) -> None:
        """Does what is due, then waits up to `until` for one frame, or for something else to become due.

        It takes longer only while the runtime has not yet said WELCOME on a new connection.
        """
        try:
            self._step(time.monotonic(), until)
        except (GoneError, errors.UnreachableError) as error:
            self.close()
            self._trouble = error if isinstance(error, errors.UnreachableError) else _AWAY
            self._retry_at = time.monotonic() + self._backoff_s
            self._backoff_s = min(RETRY_LAST_S, max(RETRY_FIRST_S, self._backoff_s * 2))
        except errors.LittoralError as error:
            self._refused(error)
        except BaseException:
            self.close()  # half a frame may have been sent
            raise

    # --- shared memory ----------------------------------------------------------------------------------------

    def share(self, share: Share, deadline: float) -> None:
        """Passes it to the runtime, now and on every later connection, once all that was asked has ended.

        Raises ShareError, UnreachableError, DeadlineError.
        """
        link = self._settled()
        self._shares.append(share)
        try:
            if link is None:
                self.served = self._connect(deadline)
            else:
                self._pass(share, link, deadline)
        except (GoneError, errors.LittoralError) as error:
            self._shares.remove(share)
            if not isinstance(error, GoneError):
                raise
            self.close()
            raise self._gone() from error

    def unshare(self, share: Share, deadline: float) -> None:
        """Gives it up, once all that was asked has ended. A connection that ends meanwhile has given it up as well."""
        link = self._settled()
        self._shares.remove(share)
        if link is None:
            return
        try:
            id = self.next_id()
            link.send([query.json_frame(query.Kind.SHARE, {"drop": share.number}, id)], deadline)
            link.expect(id, deadline)
        except GoneError:
            self.close()

    def _settled(self) -> Link | None:
        while self.waits:
            self.advance(math.inf)
        return self._link

    def _pass(self, share: Share, link: Link, deadline: float) -> None:
        id = self.next_id()
        frame = query.json_frame(query.Kind.SHARE, {"size": share.size_bytes}, id)
        link.send([frame], deadline, share.fileno())
        share.number = int(link.expect(id, deadline).json().get("share", -1))

    # --- connecting -------------------------------------------------------------------------------------------

    def _first_contact(self, deadline: float) -> Served:
        while True:
            try:
                return self._connect(deadline)
            except GoneError as error:
                raise self._gone() from error
            except errors.BusyError as error:
                if error.retry_after_s is None or time.monotonic() + error.retry_after_s >= deadline:
                    raise
                time.sleep(error.retry_after_s)

    def _connect(self, deadline: float) -> Served:
        """Raises UnreachableError, GoneError, DeadlineError, or what the runtime refuses with."""
        link = Link(self._path, deadline)
        try:
            link.send([self._hello], deadline)
            frame = link.expect(0, deadline)
            if frame.kind is not query.Kind.WELCOME:
                raise errors.ProtocolError(f"{frame.kind.name} in place of WELCOME")
            served = Served(query.parse_welcome(frame.json()))
            for share in self._shares:
                self._pass(share, link, deadline)
        except BaseException:
            link.close()
            raise
        self._link = link
        self.connections += 1
        return served

    def _gone(self) -> errors.UnreachableError:
        return errors.UnreachableError(f"{self._path}: the runtime closed the connection")

    def _refused(self, error: errors.LittoralError) -> None:
        """After an ERROR about the connection, and where the runtime speaks in tongues. All that waits ends in it, but
        for what has the time to come again when a busy runtime says so.
        """
        self.close()
        self._retry_at = math.inf
        if isinstance(error, errors.BusyError) and error.retry_after_s is not None:
            self._retry_at = time.monotonic() + error.retry_after_s
        for request in [request for request in self._unsent if request.deadline <= self._retry_at]:
            self._end(request, error)
        if not self._unsent:
            self._retry_at = 0.0

    # --- requests ---------------------------------------------------------------------------------------------

    def _step(self, now: float, until: float) -> None:
        before = len(self.ended)
        waiting = [*self._sent.values(), *self._unsent]
        for request in waiting:
            if request.deadline <= now:
                self._expire(request)
        if len(self.ended) > before or not waiting:
            return
        until = min(until, min(request.deadline for request in waiting))
        if self._link is None:
            if now < self._retry_at:
                time.sleep(max(0.0, min(until, self._retry_at) - now))
                return
            self.served = self._connect(max(request.deadline for request in waiting))
        link = self._link
        assert link is not None
        if self._unsent:
            self._send_due(link, now)
            if len(self.ended) > before:
                return
            until = min([until, *(request.not_before for request in self._unsent)])
        frame = link.receive(until)
        if frame is not None:
            self._take(frame)

    def _expire(self, request: Request) -> None:
        away = self._link is None
        self._end(request, self._trouble if away else errors.DeadlineError(f"{self._path}: no answer in time"))
        if not self.waits:
            self.close()  # its answer would only hold up the next one's

    def _send_due(self, link: Link, now: float) -> None:
        for request in [request for request in self._unsent if request.not_before <= now]:
            if isinstance(request, InferRequest) and request.made_for.digest != self.served.digest:
                try:
                    request.make_anew(self.served)
                except errors.StaleInterfaceError as error:
                    self._end(request, error)
                    continue
            parts = request.parts(max(1, int((request.deadline - now) * 1e6)))
            size, limit = sum(len(part) for part in parts) - query.HEADER.size, self.served.welcome.max_frame_bytes
            if size > limit:
                self._end(request, errors.FrameTooLargeError(f"a body of {size} bytes, the limit is {limit}"))
                continue
            self._unsent.remove(request)
            self._sent[request.id] = request
            try:
                link.send(parts, request.deadline)
            except errors.DeadlineError as error:
                self._end(request, error)
                raise GoneError from error  # half of it was sent

    def _take(self, frame: query.Frame) -> None:
        if frame.kind is query.Kind.EVENT:
            event = frame.json()
            if event.get("event") == "changed":
                self.served = Served.told_in(event)
            return
        request = self._sent.get(frame.id)
        if frame.kind is query.Kind.ERROR:
            error = refusal(frame)
            if frame.id == 0:
                raise error
            if request is not None:
                self._take_error(request, error, frame)
        elif request is not None:
            self._end(request, request.read(frame, self.served))
            self._backoff_s = 0.0

    def _take_error(self, request: Request, error: errors.LittoralError, frame: query.Frame) -> None:
        """Asks anew what can be; ends it otherwise."""
        if isinstance(error, errors.StaleInterfaceError):
            self.served = Served.told_in(frame.json())
        elif isinstance(error, errors.BusyError) and error.retry_after_s is not None:
            request.not_before = time.monotonic() + error.retry_after_s
            if self._latest and any(id > request.id for id in (*self._sent, *(r.id for r in self._unsent))):
                error = errors.ReplacedError("a newer frame was submitted while the runtime was busy")
            elif request.not_before < request.deadline:
                self._sent.pop(request.id)
                self._unsent.append(request)
                return
        if isinstance(error, errors.StaleInterfaceError) and isinstance(request, InferRequest):
            self._sent.pop(request.id)
            self._unsent.append(request)
            return
        self._end(request, error)

    def _end(self, request: Request, outcome: Outcome | Receipt) -> None:
        self.ended[request.id] = outcome
        if self._sent.pop(request.id, None) is None:
            self._unsent.remove(request)
