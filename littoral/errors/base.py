"""What all named errors have in common, and those that any room may raise."""

from typing import Any, ClassVar


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

    def __reduce__(self) -> Any:
        """Pickled and copied as it is: its text is made of cause and remedy once."""
        return _again, (type(self), self.args, self.__dict__)


def _again(cls: type[LittoralError], args: tuple[Any, ...], state: dict[str, Any]) -> LittoralError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class BadNameError(LittoralError):
    """A name that is not `[a-z0-9][a-z0-9-]{0,62}`."""

    code = "bad-name"
    default_remedy = "Use lower-case letters, digits and '-', at most 63, beginning with a letter or digit."


class ConfigError(LittoralError):
    """A configuration file or option that cannot be used."""

    code = "bad-config"


class WindowError(LittoralError):
    """A text that is no maintenance window."""

    code = "bad-window"
    default_remedy = "Write it as in `mon-fri 02:00-05:00; sat,sun 22:00-06:00`."
