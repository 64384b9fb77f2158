"""Every named error of Littoral.

An error says what happened and what to do about it. `code` is its stable name in protocols, events and `--json`
output; docs/errors.md lists them all. A class exists where a caller would decide differently.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from littoral.tensors import Interface


class LittoralError(Exception):
    """Base of all named errors.

    Attributes:
        cause: what happened, in one sentence without a full stop.
        remedy: what the reader can do about it; may be empty.
    """

    code: ClassVar[str] = "error"
    default_remedy: ClassVar[str] = ""

    def __init__(self, cause: str, *, remedy: str | None = None) -> None:
        self.cause = cause
        self.remedy = self.default_remedy if remedy is None else remedy
        super().__init__(f"{cause}. {self.remedy}" if self.remedy else cause)


class BadNameError(LittoralError):
    """A name that is not `[a-z0-9][a-z0-9-]{0,62}`."""

    code = "bad-name"
    default_remedy = "Use lower-case letters, digits and '-', at most 63, beginning with a letter or digit."


class ConfigError(LittoralError):
    """A configuration file or option that cannot be used."""

    code = "bad-config"


# --- asking a model over the local socket -----------------------------------------------------------------------


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


class BusyError(QueryError):
    """The queue is full; nothing was run."""

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


# --- models, bundles, keys --------------------------------------------------------------------------------------


class EngineError(LittoralError):
    """An engine is not there, or cannot be used on this device."""

    code = "engine"


class ModelLoadError(LittoralError):
    """A model that the engine refuses to load."""

    code = "model-load"


class NotAModelError(LittoralError):
    """A file that is no TFLite model."""

    code = "not-a-model"
    default_remedy = "Give a .tflite file."


class CardError(LittoralError):
    """A card that does not say what it should."""

    code = "bad-card"


class ManifestError(LittoralError):
    """A bundle.json that is not one, or contradicts itself."""

    code = "bad-manifest"


class BundleError(LittoralError):
    """A bundle folder that is not complete, or does not match its bundle.json."""

    code = "bad-bundle"


class GoldenError(LittoralError):
    """Golden vectors that do not fit the model."""

    code = "bad-golden"


class LimitsError(LittoralError):
    """A model over the limits its own card sets."""

    code = "over-limits"
    default_remedy = "Raise the limit in the card, or make the model smaller or faster."


class ReleaseNumberError(LittoralError):
    """A release number that is not above the last one."""

    code = "release-number"
    default_remedy = "Release numbers only grow: take a higher one."


class InterfaceChangeError(LittoralError):
    """Shapes or labels differ from the release before, and the build was not told that they may."""

    code = "interface-change"
    default_remedy = "Build with --interface-change if the apps that ask this model are ready for it."


class PassphraseError(LittoralError):
    """No passphrase, or one that does not open the keys."""

    code = "passphrase"
    default_remedy = "Give it by --passphrase-file, LITTORAL_PASSPHRASE_FILE, or on a terminal."


class KeysError(LittoralError):
    """Operator keys that are missing, damaged, or not this fleet's."""

    code = "keys"


# --- the way to the device --------------------------------------------------------------------------------------


class NoAnswerError(LittoralError):
    """Nobody answered in time. It says nothing about whether the thing asked for exists."""

    code = "no-answer"
    default_remedy = "It is tried again by itself; see the connection to the broker."


class DigestError(LittoralError):
    """Bytes that are not what their name says. Thrown away and fetched again; they prove nothing of a release."""

    code = "digest-mismatch"
    default_remedy = "It is fetched again by itself."

    def __init__(self, wanted: str, got: str) -> None:
        self.wanted = wanted
        self.got = got
        super().__init__(f"bytes named {wanted} have the digest {got}")


class MetadataError(LittoralError):
    """Update metadata that does not verify (signature, threshold, form, digest)."""

    code = "metadata"
    default_remedy = "Nothing was installed; what is served stays. See docs/security.md."


class ExpiredMetadataError(MetadataError):
    """Update metadata past its expiry."""

    code = "metadata-expired"


class ReplayedMetadataError(MetadataError):
    """Update metadata older than what this device has seen."""

    code = "metadata-replayed"


class NotListedError(MetadataError):
    """The signed metadata list no such release."""

    code = "not-listed"


class DesiredStateError(LittoralError):
    """A desired state that is unsigned, or signed by a key that is not the director's, or is malformed."""

    code = "desired-state"


class WrongDeviceError(DesiredStateError):
    """A desired state for another device or tenant."""

    code = "wrong-device"


class OldGenerationError(DesiredStateError):
    """A desired state of a generation already left behind."""

    code = "old-generation"


class FloorError(LittoralError):
    """A release older than the floor of what was committed here."""

    code = "below-floor"


class BlocklistedError(LittoralError):
    """This bundle and attempt have already failed on this device."""

    code = "blocklisted"
    default_remedy = "A new attempt clears it: start the rollout again."


class IncompatibleError(LittoralError):
    """A release that needs what this device does not have (architecture, engine, delegate)."""

    code = "incompatible"


class NoRoomError(LittoralError):
    """Not enough disk or memory for a release on this device."""

    code = "no-room"


class RecordError(LittoralError):
    """A slot record of which neither copy can be read."""

    code = "bad-record"


# --- the fleet server's door ------------------------------------------------------------------------------------


class FleetError(LittoralError):
    """Base of what a fleet server answers with."""


class ServerUnreachableError(FleetError):
    """No fleet server answers there."""

    code = "server-unreachable"


class BrokerError(FleetError):
    """The fleet server's own broker cannot be started."""

    code = "broker"
    default_remedy = "See DATA/broker/broker.log; --broker-listen chooses another address, --broker another broker."


class UnauthorizedError(FleetError):
    """The API token is missing or not valid."""

    code = "unauthorized"
    default_remedy = "Give --token or LITTORAL_TOKEN; `littoral-fleet init` left one in DATA/admin-token."


class NotFoundError(FleetError):
    """No such device, model, release or rollout."""

    code = "not-found"


class ConflictError(FleetError):
    """It contradicts what is there."""

    code = "conflict"


class BadRequestError(FleetError):
    """A request that cannot be read or makes no sense."""

    code = "bad-request"


class TokenUnknownError(FleetError):
    """An enrolment token that this fleet server never made."""

    code = "token-unknown"
    default_remedy = "`littoral-fleet token create` makes one."


class TokenUsedError(FleetError):
    """An enrolment token that was used before."""

    code = "token-used"
    default_remedy = "A token serves once: `littoral-fleet token create` makes another."


class TokenExpiredError(FleetError):
    """An enrolment token past its time."""

    code = "token-expired"
    default_remedy = "`littoral-fleet token create` makes another."


class NameTakenError(FleetError):
    """A device of this name is enrolled already."""

    code = "name-taken"
    default_remedy = "Choose another --name, or leave it out."


class RootMismatchError(FleetError):
    """The server's root.json is not the one the token names."""

    code = "root-mismatch"
    default_remedy = "This is another server, or somebody is in between: do not enrol; get a new token."


def by_code(code: str, cause: str, remedy: str | None = None) -> LittoralError:
    """The named error for `code` as it came over a wire; an unknown code gives a plain LittoralError."""
    found = _BY_CODE.get(code)
    if found is None or found is DigestError:
        return LittoralError(f"{code}: {cause}", remedy=remedy)
    return found(cause, remedy=remedy)


def all_errors() -> dict[str, type[LittoralError]]:
    """Every named error with a code of its own, by code."""
    return dict(_BY_CODE)


def _leaves(cls: type[LittoralError]) -> dict[str, type[LittoralError]]:
    found = {cls.code: cls} if "code" in vars(cls) and cls is not LittoralError else {}
    for sub in cls.__subclasses__():
        found.update(_leaves(sub))
    return found


_BY_CODE = _leaves(LittoralError)
