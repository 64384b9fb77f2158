"""Asking a model over the local socket."""

from typing import TYPE_CHECKING

from littoral.errors.base import LittoralError

if TYPE_CHECKING:
    from littoral.tensors import Interface


class QueryError(LittoralError):
    """Base of what a query over the local socket can end in."""


class SocketPathError(QueryError):
    """The socket's path does not fit into a Unix socket address (107 bytes)."""

    code = "socket-path"
    default_remedy = "Choose a shorter path for the query socket."


class UnreachableError(QueryError):
    """Nothing listens on the query socket, or it went away and did not come back in time."""

    code = "unreachable"
    default_remedy = "See that littoral-runtime is running, and that the socket's path and its group are right."


class ProtocolError(QueryError):
    """Bytes that are not the protocol. The connection is closed after it."""

    code = "protocol"
    default_remedy = "Speak docs/protocol.md, version 1."


class FrameTooLargeError(QueryError):
    """A frame longer than its receiver allows. The connection is closed after it."""

    code = "frame-too-large"
    default_remedy = "WELCOME names the largest frame under limits."


class HandshakeTimeoutError(QueryError):
    """A connection that did not say HELLO in time."""

    code = "handshake-timeout"
    default_remedy = "Send HELLO at once after connecting."


class UnknownModelError(QueryError):
    """No model of this name is known on this device."""

    code = "unknown-model"
    default_remedy = "`littoral models` lists what this device serves."


class NoReleaseError(QueryError):
    """The model is known, but no release of it can be served now."""

    code = "no-release"
    default_remedy = "`littoral-agent explain MODEL` says why."


class WrongSizeError(QueryError):
    """INFER carries another number of bytes than the model's inputs hold."""

    code = "wrong-size"
    default_remedy = "Send every input of WELCOME, in its order and dtype, with nothing between."


class WrongShapeError(QueryError):
    """An array of another shape than the model's input."""

    code = "wrong-shape"


class WrongDtypeError(QueryError):
    """An array of another dtype than the model's input."""

    code = "wrong-dtype"


class WrongInputsError(QueryError):
    """An input is missing, or one is named that the model does not have."""

    code = "wrong-inputs"


class StaleInterfaceError(QueryError):
    """The request was made for another interface than the one now served; nothing was run.

    Attributes:
        interface: the one now served, where the client raises it.
    """

    interface: "Interface | None" = None
    code = "stale-interface"
    default_remedy = "Quantize anew for the interface in the WELCOME that came with this error."


class UnsupportedError(QueryError):
    """The protocol knows this, this version does not serve it."""

    code = "unsupported"


class LeaseExpiredError(QueryError):
    """A lease was held for as long as this device allows."""

    code = "lease-expired"
    default_remedy = "Let go of a lease sooner; the operator sets the longest as lease_hold_s in agent.toml."


class AccessDeniedError(QueryError):
    """The caller's user and groups may not use this model."""

    code = "access-denied"


class ReplacedError(QueryError):
    """A newer request of the same connection took this one's place before it ran, as the connection had asked."""

    code = "replaced"


class ShareError(QueryError):
    """Shared memory that cannot be used: not sealed, too large, too many, or a place outside of it."""

    code = "bad-share"
    default_remedy = "Share a memfd with F_SEAL_SHRINK, within the limits of WELCOME."


class PictureError(QueryError):
    """A DETECT whose frame, or what is said of it, cannot be read."""

    code = "bad-picture"
    default_remedy = "docs/protocol.md, DETECT, has the formats and their sizes."


class ReportError(QueryError):
    """A REPORT that cannot be read: its length, its verdict, or a note that is no UTF-8 or too long."""

    code = "bad-report"
    default_remedy = "Report good or bad, with a note of at most 200 bytes of UTF-8."


class UnknownAnswerError(QueryError):
    """A REPORT about an answer that this connection did not get."""

    code = "unknown-answer"
    default_remedy = "Report by the id and the release of an answer, on the connection that got it."


class BusyError(QueryError):
    """The queue is full; nothing was run.

    Attributes:
        retry_after_s: when to come again, where the runtime said so.
    """

    retry_after_s: float | None = None
    code = "busy"
    default_remedy = "Ask again later, or ask less often."


class DeadlineError(QueryError):
    """The request's deadline passed before it was run."""

    code = "deadline"


class InferenceError(QueryError):
    """The engine failed while it ran the model."""

    code = "inference-failed"


class InternalError(QueryError):
    """The runtime itself failed; its log says where."""

    code = "internal"
