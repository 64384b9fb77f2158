"""Keeps both daemons small: they are resident on a device with little memory.

A good part of what Python's own library, paho and the engine's bring along is used for a moment or never. Each step
here says what it saves, as measured on x86-64 with Python 3.11; docs/decisions/0021-a-lean-runtime.md has the table.
"""

import codecs
import ctypes
import gc
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import attrgetter
from reprlib import recursive_repr
from types import ModuleType
from typing import Any

_WHEN_USED: dict[str, dict[str, Any]] = {
    # dataclasses, pathlib, socket import them; 1.7 MB
    "inspect": {},
    "ipaddress": {},
    "copy": {},
    "selectors": {},
    "ntpath": {},
    # pathlib; 0.3 MB
    "urllib.parse": {"quote_from_bytes": lambda *args: _real("urllib.parse").quote_from_bytes(*args)},
    # paho, for proxies and for what has no client id; with http.client, email, tempfile; 1.4 MB
    "urllib.request": {},
    "uuid": {},
    "platform": {"system": lambda: os.uname().sysname},
    "logging": {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40},  # paho, for those who want it to log; 0.5 MB
    # the agent, for an update now and then; 0.3 MB
    "subprocess": {},
    "lzma": {},
}
"""What stands in until something of it is asked for, and what it has of its own because it is taken at an import."""
_NEVER = "_hashlib"  # OpenSSL; without it hashlib takes the digests that are built into Python; 3.6 MB
_AT_START = ("argparse", "gettext", "locale", "shutil", "bz2", "lzma", "_compression", "tomllib", "datetime")
FORGET_S = 60.0  # what ran in the last minute will mostly not run in the next
_LABEL = 64  # bytes; a label of a host name is shorter
_MADV_DONTNEED = 4
_M_ARENA_MAX = -8  # of mallopt(3)
_LARGER_THAN_GAPS = 64 * 1024  # bytes, and smaller than what malloc maps by itself
_GAPS = (8_192, 4_096, 2_048, *range(1_032, 8, -8))  # bytes; downwards, so that what a large one leaves is filled too
_MOST_GAPS = 10_000  # of one size: no other malloc than glibc's promises that this ends

_LIBC = ctypes.CDLL(None)
_LIBC.malloc.argtypes, _LIBC.malloc.restype = (ctypes.c_size_t,), ctypes.c_size_t
_LIBC.free.argtypes, _LIBC.free.restype = (ctypes.c_size_t,), None
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class _Later(ModuleType):
    """Stands in for a module until something of it is asked for that it has not."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # what `from MODULE import NAME` looks for: none of them is a package
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    if isinstance(sys.modules.get(name), _Later):
        del sys.modules[name]
    __import__(name)
    return sys.modules[name]


def keep_lean(*, openssl: bool = False) -> None:
    """To be called before anything else is imported; it has no effect on what is there already.

    openssl: it is loaded anyway, and may be what digests are made by.
    """
    if not openssl:
        sys.modules.setdefault(_NEVER, None)  # type: ignore[arg-type]  # what `import` takes for "there is none"
    for name, own in _WHEN_USED.items():
        if name in sys.modules:
            continue
        sys.modules[name] = later = _Later(name)
        vars(later).update(own)
        package, _, last = name.rpartition(".")
        if package:
            setattr(_real(package), last, later)
    import dataclasses

    dataclasses.dataclass = partial(_dataclass, dataclasses.dataclass)


def _dataclass(usual: Callable[..., Any], cls: type | None = None, /, **options: Any) -> Any:
    """`dataclasses.dataclass`, whose classes share what it would write and compile for each: 4 KB a class, 0.6 MB and
    50 ms in either daemon."""
    if cls is None:
        return partial(_dataclass, usual, **options)
    if not options.get("order") and not options.get("unsafe_hash"):
        if options.get("repr", True) and "__repr__" not in vars(cls):
            cls.__repr__ = _repr  # type: ignore[method-assign,assignment]
        if options.get("eq", True):
            own_hash = vars(cls).get("__hash__")
            if "__eq__" not in vars(cls):
                cls.__eq__ = _eq  # type: ignore[method-assign,assignment]
            if own_hash is None:
                cls.__hash__ = _hash if options.get("frozen") else None  # type: ignore[method-assign,assignment]
        options |= {"repr": False, "eq": False}
    return usual(cls, **options)


_compared: dict[type, Callable[[object], Any]] = {}
"""By dataclass, what gives the values that are compared, as a tuple."""


def _values(cls: type) -> Callable[[object], Any]:
    from dataclasses import fields

    names = [field.name for field in fields(cls) if field.compare]
    found: Callable[[object], Any] = attrgetter(*names, names[0]) if names else lambda each: ()
    _compared[cls] = found
    return found


def _eq(self: object, other: object) -> Any:
    cls = self.__class__
    if other.__class__ is not cls:
        return NotImplemented
    values = _compared.get(cls) or _values(cls)
    return values(self) == values(other)


def _hash(self: object) -> int:
    cls = self.__class__
    return hash((_compared.get(cls) or _values(cls))(self))


@recursive_repr()
def _repr(self: Any) -> str:
    from dataclasses import fields

    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def keep_names_plain() -> None:
    """Host names in ASCII need no tables of Unicode: every lookup asks the codec `idna` for its bytes; 0.25 MB."""
    from encodings import search_function

    def encode(text: str, errors: str = "strict") -> tuple[bytes, int]:
        if text.isascii() and all(0 < len(label) < _LABEL for label in text.removesuffix(".").split(".")):
            return text.encode(), len(text)
        return _other("idna").encode(text, errors)

    def decode(data: Any, errors: str = "strict") -> tuple[str, int]:
        return _other("idna").decode(data, errors)

    def _other(name: str) -> codecs.CodecInfo:
        found = search_function(name)
        assert found is not None
        return found

    codecs.unregister(search_function)
    for search in (
        lambda name: codecs.CodecInfo(encode, decode, name="idna") if name == "idna" else None,
        search_function,
    ):
        codecs.register(search)


def forget_start() -> None:
    """Gives back the memory of what only reads options and settings, to what is imported next; 1 MB."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _AT_START and not isinstance(module, _Later):
            del sys.modules[name]
    gc.collect()


def share_heap() -> None:
    """One heap for all threads, where each has its own else; 0.3 MB of an agent after an update."""
    with suppress(AttributeError):  # another malloc than glibc's
        _LIBC.mallopt(_M_ARENA_MAX, 1)


def fill_gaps() -> None:
    """Takes for good what malloc has free between other things, 0.2 MB: what comes later lies together at the end.

    The first small things of an engine lay in hundreds of gaps, and each made a page a worker's own that it shared with
    the host; 0.4 MB in every worker, and 0.5 in the host.
    """
    end = _LIBC.malloc(_LARGER_THAN_GAPS)
    _LIBC.free(end)
    for size in _GAPS:
        for _ in range(_MOST_GAPS):
            if (at := _LIBC.malloc(size)) >= end:
                _LIBC.free(at)
                break


def forget_code() -> None:
    """Unmaps what was read of libraries and their machine code so far: what is needed again comes back from the page
    cache, in a moment; 4 MB of a host, 8 of a worker.

    Only what was never written to may go so: a mapping that cannot be written and holds no page of this process's own.
    """
    start = end = 0
    with open("/proc/self/smaps") as file:  # noqa: PTH123, no need for a Path
        for line in file:
            name, *values = line.split()
            if not name.endswith(":"):  # a mapping: 7f00-7f80 r-xp 00000000 08:01 1234 /usr/lib/libc.so.6
                addresses = name.split("-") if values[0][1] == "-" and values[-1].startswith("/") else ("0", "0")
                start, end = (int(address, 16) for address in addresses)
            elif name == "Anonymous:" and values[0] == "0" and end:
                _LIBC.madvise(start, end - start, _MADV_DONTNEED)
