"""Models, bundles and keys."""

from littoral.errors.base import LittoralError


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
