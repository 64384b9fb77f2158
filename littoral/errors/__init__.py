"""Every named error of Littoral.

An error says what happened and what to do about it. `code` is its stable name in protocols, events and `--json`
output; docs/errors.md lists them all. A class exists where a caller would decide differently.
"""

from littoral.errors.base import *
from littoral.errors.bundle import *
from littoral.errors.delivery import *
from littoral.errors.fleet import *
from littoral.errors.query import *


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
