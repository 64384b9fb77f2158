"""The way of a release to the device."""

from littoral.errors.base import LittoralError


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


class DeltaError(LittoralError):
    """A delta that cannot be read, or does not make the blob it is for. The blob itself is fetched in its place."""

    code = "bad-delta"


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
