"""One client of the fake server: a thread that reads frames and answers them in their order."""

import fcntl
import mmap
import os
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from littoral import errors
from littoral.fake.model import LEASE_HOLD_S, MAX_SHARE_BYTES, MAX_SHARES, FakeModel
from littoral.wire import query, report, vision

if TYPE_CHECKING:
    from littoral.fake.server import FakeServer


class Connection:
    """`hello` is what the client said; dropped: the server ended it."""

    def __init__(self, server: "FakeServer", sock: socket.socket) -> None:
        self.hello: query.Hello | None = None
        self.dropped = False
        self.skip = 0  # results still to be left out, of a subscriber
        self._server = server
        self._socket = sock
        self._reader = query.Reader(query.MAX_FRAME_BYTES)
        self._waiting: deque[tuple[query.Frame, float]] = deque()
        self._descriptors: deque[int] = deque()
        self._shares: dict[int, mmap.mmap] = {}
        self._next_share = 0
        self._told: FakeModel | None = None
        self._lock = threading.Lock()  # of what is sent, and of what the client was told last
        self._skipped = 0
        self._newest = 0  # the id of the newest answer
        self.thread = threading.Thread(target=self._run, name="fake connection", daemon=True)

    def close(self) -> None:
        """Ends it; from any thread."""
        self.dropped = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def expire(self) -> None:
        """Ends a lease as one that was held for too long; from any thread."""
        with suppress(OSError):
            self._send(query.error(errors.LeaseExpiredError("the lease was held for too long, as the test has asked")))
        self.close()

    def announce(self) -> None:
        """EVENT `changed`, where the client has not been told of the release now served."""
        with self._lock:
            if self._told is not None:
                self._announce()

    def copy(self, kind: query.Kind, body: bytes, count: int) -> None:
        """A result that the model gave to another client."""
        with self._lock, suppress(OSError):
            if self._told is None:
                return
            if self.skip:
                self.skip -= 1
                self._skipped += 1
                return
            self._announce()
            if self._skipped:
                self._send(query.json_frame(query.Kind.EVENT, {"event": "dropped", "count": self._skipped}))
                self._skipped = 0
            self._send(query.frame(kind, body, count))
            self._newest = count

    # --- reading ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except errors.LittoralError as error:
            with suppress(OSError):
                self._send(query.error(error))
        except OSError:
            pass  # the client went away, or the server let it go
        finally:
            self._server.forget(self)
            self._socket.close()
            for descriptor in self._descriptors:
                os.close(descriptor)

    def _serve(self) -> None:
        if not self._receive():
            return
        self.hello = query.parse_hello(self._waiting.popleft()[0])
        if self.hello.mode is query.Mode.LEASE:
            self._lease(self.hello.name)
            return
        if self.hello.mode is query.Mode.INFO:
            self._send(query.json_frame(query.Kind.INFO, {"engine": "fake 1", "degraded": ""}))
        else:
            with self._lock:
                model = self._server.model(self.hello.model)
                if model.refuses is not None:
                    raise model.refuses
                self._send(query.welcome(model.welcome(self.hello.model, self.hello.signature)))
                self._told = model
        while self._waiting or self._receive():
            frame, received = self._waiting.popleft()
            self._server.wait_while_paused(self)
            self._receive(wait=False)
            self._answer(frame, received)
            if self.hello.queue is query.Queue.LATEST:
                self._replace()

    def _lease(self, name: str) -> None:
        """Until the client ends it, or says something. Raises ProtocolError, and what the model refuses with."""
        refuses = self._server.model(name).refuses
        if refuses is not None:
            raise refuses
        self._send(query.json_frame(query.Kind.INFO, {"model": name, "hold_s": LEASE_HOLD_S}))
        if self._waiting or self._reader.pending() or self._socket.recv(1):
            raise errors.ProtocolError("a client says nothing on a connection of mode lease")

    def _receive(self, wait: bool = True) -> bool:
        """Takes whole frames; with `wait` at least one. False at the end of the stream."""
        beside = socket.CMSG_SPACE(MAX_SHARES * 4)
        while True:
            try:  # not recv_fds, which ignores its flags
                data, ancillary, _, _ = self._socket.recvmsg(262_144, beside, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            for _, _, descriptors in ancillary:
                self._descriptors.extend(memoryview(descriptors).cast("i"))
            self._reader.feed(data)
            while (frame := self._reader.next()) is not None:
                self._waiting.append((frame, time.monotonic()))
            if not data or (wait and self._waiting):
                return bool(data)

    def _replace(self) -> None:
        """Of frames that wait only the newest is kept."""
        self._receive(wait=False)
        asked = [w for w in self._waiting if w[0].kind in (query.Kind.INFER, query.Kind.DETECT)]
        for old in asked[:-1]:
            self._waiting.remove(old)
            self._server.count(self._name, "replaced")
            self._send(query.error(errors.ReplacedError("a newer request took its place"), old[0].id))

    # --- answering --------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self.hello.model if self.hello is not None else ""

    def _answer(self, frame: query.Frame, received: float) -> None:
        assert self.hello is not None
        with self._lock:
            if self.hello.mode is query.Mode.INFO:
                self._send(query.json_frame(query.Kind.INFO, self._server.info(frame.kind), frame.id))
                return
            self._announce()
            assert self._told is not None
            try:
                kind, parts = self._result(frame, self._told, received)
            except errors.StaleInterfaceError as error:
                welcome = query.welcome_json(self._told.welcome(self._name, self.hello.signature))
                self._send(query.error(error, frame.id, welcome=welcome))
                return
            except errors.BusyError as error:
                again_ms = round((error.retry_after_s or 0) * 1000)
                self._send(query.error(error, frame.id, retry_after_ms=again_ms))
                return
            except errors.LittoralError as error:
                if isinstance(error, errors.InferenceError):
                    self._server.count(self._name, "errors")
                self._send(query.error(error, frame.id))
                return
            frame_bytes = b"".join(parts)
            if kind is not query.Kind.INFO:  # before the client knows, so that it finds itself counted
                self._server.gave(self._name, kind, frame_bytes[query.HEADER.size :])
                self._newest = frame.id
            self._send(frame_bytes)

    def _result(
        self, frame: query.Frame, model: FakeModel, received: float
    ) -> tuple[query.Kind, list[bytes | memoryview]]:
        """The kind and the parts of the answer. Raises what is to be answered instead."""
        if frame.kind is query.Kind.SHARE:
            return query.Kind.INFO, [query.json_frame(query.Kind.INFO, self._share(frame.json()), frame.id)]
        if frame.kind is query.Kind.REPORT:
            return query.Kind.INFO, [self._report(frame, model)]
        subscribes = self.hello is not None and self.hello.mode is query.Mode.SUBSCRIBE
        if subscribes or frame.kind not in (query.Kind.INFER, query.Kind.DETECT):
            raise errors.UnsupportedError(f"{frame.kind.name} is not served")
        self._server.check_busy(self._name)
        if frame.kind is query.Kind.INFER:
            return query.Kind.ANSWER, self._infer(query.parse_infer(frame), frame.id, model, received)
        return query.Kind.RESULT, self._detect(vision.parse_detect(frame), frame.id, model, received)

    def _infer(self, asked: query.Infer, id: int, model: FakeModel, received: float) -> list[bytes | memoryview]:
        interface = model.interface
        if asked.interface != interface.digest:
            raise errors.StaleInterfaceError("made for another interface")
        data = self._bytes(asked.place, interface.input_bytes) if asked.place else bytes(asked.data)
        if len(data) != interface.input_bytes:
            raise errors.WrongSizeError(f"{len(data)} bytes of inputs, the model takes {interface.input_bytes}")
        _check_deadline(asked.deadline_us, received)
        return query.answer(query.Answer(model.release, model.stage, 0, model.invoked_us, model.infer(data)), id)

    def _detect(self, asked: vision.Detect, id: int, model: FakeModel, received: float) -> list[bytes | memoryview]:
        data = self._bytes(asked.place, asked.size_bytes) if asked.place else bytes(asked.data)
        _check_deadline(asked.deadline_us, received)
        kind, item_bytes, count, items = model.detect(asked.layout, data, vision.parse_options(asked.options))
        times = 0, 0, model.invoked_us, 0
        width, height = asked.layout.width, asked.layout.height
        return vision.result(
            vision.Result(
                model.interface.digest,
                model.release,
                model.stage,
                *times,
                width,
                height,
                kind,
                item_bytes,
                count,
                items,
            ),
            id,
        )

    def _report(self, frame: query.Frame, model: FakeModel) -> bytes:
        told = report.parse_report(frame)
        self._server.check_busy(self._name)
        if told.release == model.release and not 0 < told.answer <= self._newest:
            raise errors.UnknownAnswerError(f"this connection got no answer {told.answer}")
        counted = self._server.heard(self._name, told)
        return query.json_frame(query.Kind.INFO, {"counted": counted}, frame.id)

    def _share(self, body: dict[str, Any]) -> dict[str, int]:
        if "drop" in body:
            if self._shares.pop(body["drop"], None) is None:
                raise errors.ShareError(f"no share {body['drop']}")
            return {"dropped": body["drop"]}
        if not self._descriptors:
            raise errors.ShareError("SHARE without a descriptor beside it")
        descriptor, size = self._descriptors.popleft(), int(body["size"])
        try:
            if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
                raise errors.ShareError("the memfd is not sealed against shrinking")
            if len(self._shares) >= MAX_SHARES or not 0 < size <= min(os.fstat(descriptor).st_size, MAX_SHARE_BYTES):
                raise errors.ShareError(f"{size} bytes cannot be shared")
            memory = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        except OSError as error:
            raise errors.ShareError(f"no memfd: {error.strerror}") from error
        finally:
            os.close(descriptor)
        number, self._next_share = self._next_share, self._next_share + 1
        self._shares[number] = memory
        return {"share": number, "size": size}

    def _bytes(self, place: query.Place, size: int) -> bytes:
        memory = self._shares.get(place.share)
        if memory is None or place.offset + size > len(memory):
            raise errors.ShareError(f"{size} bytes at {place.offset} of share {place.share} are not shared")
        return memory[place.offset : place.offset + size]

    def _announce(self) -> None:
        assert self.hello is not None
        assert self._told is not None
        model = self._server.model(self._name)
        if model is self._told:
            return
        self._told = model
        welcome = query.welcome_json(model.welcome(self._name, self.hello.signature))
        self._send(query.json_frame(query.Kind.EVENT, {"event": "changed", "welcome": welcome}))

    def _send(self, data: bytes | memoryview) -> None:
        self._socket.sendall(data)


def _check_deadline(deadline_us: int, received: float) -> None:
    if deadline_us and (time.monotonic() - received) * 1e6 > deadline_us:
        raise errors.DeadlineError("it waited longer than its deadline")
