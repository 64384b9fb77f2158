"""What all named errors have in common, and the two that any room may raise."""

from typing import ClassVar


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
