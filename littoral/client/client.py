"""The client as an app sees it: what may be asked, and what the app has been told. exchange.py does the asking."""

import math
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from littoral import errors
from littoral.client.exchange import Exchange, Outcome
from littoral.client.link import socket_path
from littoral.client.pictures import Picture, picture_of
from littoral.client.reports import Receipt, Verdict, frame_of
from littoral.client.requests import DetectRequest, InferRequest, ReportRequest, Request
from littoral.client.results import Answer, Detection, Result
from littoral.client.shares import Share, Slot
from littoral.client.tensors import Inputs, encode
from littoral.tensors import Interface
from littoral.wire import query
from littoral.wire.vision import Format, Options


class Client:
    """One connection to one model, or to an alias of it (`name@baseline`, `name@trial`).

    timeout_s bounds every call, reconnecting included. `name` is told to the runtime, for its operator. signature:
    which of the model's signatures infer runs; empty: its first. latest: of submitted requests that wait in the runtime
    only the newest is kept, and the others end in ReplacedError.

    The constructor connects: UnreachableError, UnknownModelError, NoReleaseError, AccessDeniedError, BusyError,
    UnsupportedError.
    """

    def __init__(
        self,
        model: str,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout_s: float = 10.0,
        name: str = "",
        signature: str = "",
        latest: bool = False,
    ) -> None:
        self.model = model
        self.timeout_s = timeout_s
        queue = query.Queue.LATEST if latest else query.Queue.ALL
        hello = query.Hello(model, name, signature=signature, queue=queue)
        self._exchange = Exchange(socket_path(socket), hello, time.monotonic() + timeout_s)
        self._told = self._exchange.served  # what the app knows, and what it gives is made for

    @property
    def connections(self) -> int:
        """Made so far: above 1, the runtime or the worker that answered went away."""
        return self._exchange.connections

    @property
    def welcome(self) -> query.Welcome:
        """As last told to the app: by connecting, or by an answer or StaleInterfaceError that it got."""
        return self._told.welcome

    @property
    def interface(self) -> Interface:
        """What the model takes and gives, as last told."""
        return self._told.interface

    @property
    def labels(self) -> tuple[str, ...]:
        return self._told.interface.labels

    @property
    def release(self) -> int:
        """The release that said WELCOME. Every Answer and Detection names its own."""
        return self._told.welcome.release

    @property
    def stage(self) -> query.Stage:
        return self._told.welcome.stage

    # --- asking -----------------------------------------------------------------------------------------------

    def infer(self, inputs: Inputs | Slot, *, quantize: bool = False, timeout_s: float | None = None) -> Answer:
        """Asks the model.

        inputs: all inputs as raw bytes, one after the other in the interface's order, or a slot of shared memory that
        holds them; or by tensor name bytes or numpy arrays, each of exactly the tensor's dtype and shape. With
        quantize=True arrays hold real values: they are quantized for the input, and quantized outputs come back as real
        float32 values.

        Raises WrongInputsError, WrongSizeError, WrongShapeError or WrongDtypeError before anything is sent;
        StaleInterfaceError where another interface is served now and the inputs cannot be made anew for it (shapes or
        labels changed, or they are not given as real values); DeadlineError, InferenceError, NoReleaseError, BusyError
        where there is no time left to ask again, UnreachableError.
        """
        answer = self._ask(self._infer_request(inputs, quantize, timeout_s))
        assert isinstance(answer, Answer)
        return answer

    def detect(
        self,
        picture: Any,
        *,
        format: Format | None = None,
        threshold: float | None = None,
        overlap: float | None = None,
        top: int | None = None,
        labels: str | Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> Detection:
        """What the model sees in a frame: the runtime prepares it, and decodes the outputs, as the model's card says.

        picture: a Picture; bytes of a JPEG file; a uint8 array of height x width x 3 (RGB, or format=Format.BGR24) or
        height x width (grey); with format=Format.SAMPLES an array of the next samples. threshold: least score, 0 to 1;
        overlap: the intersection over union above which the weaker of two boxes goes; top: at most so many; labels:
        only these, or this one. What is left out is as the card says.

        Raises PictureError, UnsupportedError where the card describes no picture, and what infer raises but for the
        errors of inputs and interfaces.
        """
        options = Options(threshold, overlap, top, _names(labels))
        detection = self._ask(self._detect_request(picture_of(picture, format), options, timeout_s))
        assert isinstance(detection, Detection)
        return detection

    def submit(self, inputs: Inputs | Slot, *, quantize: bool = False, timeout_s: float | None = None) -> int:
        """Asks as infer does, without waiting for the answer. Returns the id by which poll or wait gives it.

        It waits only while the runtime takes nothing. timeout_s is for the answer. Raises what infer raises before
        anything is sent; all else comes with the answer.
        """
        request = self._infer_request(inputs, quantize, timeout_s)
        if not isinstance(inputs, Slot):
            request.data = bytes(request.data)  # the app may write into its own now
        return self._submit(request)

    def submit_picture(
        self,
        picture: Any,
        *,
        format: Format | None = None,
        threshold: float | None = None,
        overlap: float | None = None,
        top: int | None = None,
        labels: str | Iterable[str] = (),
        timeout_s: float | None = None,
    ) -> int:
        """Asks as detect does, without waiting; see submit."""
        given = picture_of(picture, format)
        if not isinstance(given.data, Slot):
            given = replace(given, data=bytes(given.data))
        options = Options(threshold, overlap, top, _names(labels))
        return self._submit(self._detect_request(given, options, timeout_s))

    def poll(self, timeout_s: float = 0.0) -> list[tuple[int, Outcome]]:
        """What ended of what was submitted: (id, Answer, Detection or the error), in the order in which it ended.

        That is the order of submit, but for what was asked again after BUSY or STALE_INTERFACE. Waits up to timeout_s
        for the first; longer only while a new connection is greeted.
        """
        exchange = self._exchange
        until = time.monotonic() + timeout_s
        while exchange.waits:
            known = len(exchange.ended)
            exchange.advance(time.monotonic() if known else until)
            if len(exchange.ended) == known and (known or time.monotonic() >= until):
                break
        ended = [(id, outcome) for id, outcome in exchange.ended.items() if not isinstance(outcome, Receipt)]
        exchange.ended.clear()
        for _, outcome in ended:
            self._tell(outcome)
        return ended

    def wait(self, id: int) -> Result:
        """Waits for one of what was submitted. Raises what it failed with, KeyError where nothing has this id."""
        exchange = self._exchange
        while id not in exchange.ended:
            if not exchange.waits_for(id):
                raise KeyError(f"no request {id} waits")
            exchange.advance(math.inf)
        outcome = exchange.ended.pop(id)
        assert not isinstance(outcome, Receipt), "its id is given to nobody"
        self._tell(outcome)
        if isinstance(outcome, errors.LittoralError):
            raise outcome
        return outcome

    def report(self, answer: Result, verdict: Verdict, note: str = "", *, timeout_s: float | None = None) -> bool:
        """Says whether an answer that this client got was "good" (True) or "bad" (False). The device weighs that while
        it judges the release. note: why, in at most 200 bytes of UTF-8; those of bad answers are for the operator.

        It waits until what was submitted before has ended. Returns whether it counts: not where another release answers
        by now, or the answer came by a connection that is gone.

        Raises ReportError before anything is sent, UnknownAnswerError for an answer of another client, DeadlineError,
        UnreachableError; BusyError where there is no time left to say it again.
        """
        exchange, id = self._exchange, self._exchange.next_id()
        exchange.submit(ReportRequest(id, frame_of(answer, verdict, note, id), self._deadline(timeout_s)))
        try:
            while id not in exchange.ended:
                exchange.advance(math.inf)
            outcome = exchange.ended[id]
        finally:
            exchange.forget(id)
        if isinstance(outcome, errors.UnknownAnswerError) and exchange.connections > 1:
            return False
        if isinstance(outcome, errors.LittoralError):
            raise outcome
        return isinstance(outcome, Receipt) and outcome.counted

    def share(self, slot_bytes: int, slots: int = 1) -> Share:
        """Memory that the runtime sees too: write into its slots, and give a slot in place of bytes.

        It waits until all that was submitted has ended. Raises ShareError, UnreachableError, DeadlineError.
        """
        share = Share(slot_bytes, slots)
        self._exchange.share(share, self._deadline(None))
        return share

    def unshare(self, share: Share) -> None:
        """Gives a share up. Waits and raises as `share` does."""
        self._exchange.unshare(share, self._deadline(None))

    def close(self) -> None:
        """Ends the connection. What is asked later connects anew."""
        self._exchange.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- requests ---------------------------------------------------------------------------------------------

    def _infer_request(self, inputs: Inputs | Slot, quantize: bool, timeout_s: float | None) -> InferRequest:
        takes = self.interface.input_bytes
        data: bytes | memoryview = b""
        if not isinstance(inputs, Slot):
            data = encode(inputs, self.interface, quantize=quantize)
        elif inputs.size_bytes < takes:
            raise errors.WrongSizeError(f"a slot of {inputs.size_bytes} bytes, the model takes {takes}")
        deadline = self._deadline(timeout_s)
        return InferRequest(self._exchange.next_id(), inputs, quantize, self._told, data, deadline)

    def _detect_request(self, picture: Picture, options: Options, timeout_s: float | None) -> DetectRequest:
        return DetectRequest(self._exchange.next_id(), picture, options.encode(), self._deadline(timeout_s))

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)

    def _ask(self, request: Request) -> Result:
        self._exchange.submit(request)
        try:
            return self.wait(request.id)
        finally:
            self._exchange.forget(request.id)  # after Ctrl-C; else it has ended

    def _submit(self, request: Request) -> int:
        self._exchange.submit(request)
        self._exchange.advance(0.0)
        return request.id

    def _tell(self, outcome: Outcome) -> None:
        """The app now knows the interface of this outcome: what it gives from now on is made for that one.

        A Detection tells nothing: its app may hold tensors that were quantized for the interface before.
        """
        served = self._exchange.served
        same = served.digest == self._told.digest
        if same or (not isinstance(outcome, Detection) and getattr(outcome, "interface", None) is served.interface):
            self._told = served


def _names(labels: str | Iterable[str]) -> tuple[str, ...]:
    """One name is a string, and not its letters."""
    return (labels,) if isinstance(labels, str) else tuple(labels)
