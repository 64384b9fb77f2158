"""Keeps the runtime small: host and workers are resident on a device with little memory.

A good part of what Python's own library and the engine's bring along is used for a moment or never. Each step here says
what it saves, as measured on x86-64 with Python 3.11; docs/decisions/0021-a-lean-runtime.md has the table.
"""

import ctypes
import gc
import sys
from types import ModuleType
from typing import Any

_WHEN_USED = ("inspect", "ipaddress", "copy", "selectors", "ntpath")  # dataclasses, pathlib, socket import them; 1.7 MB
_NEVER = "_hashlib"  # OpenSSL; without it hashlib takes the digests that are built into Python; 3.6 MB
_AT_START = ("argparse", "gettext", "locale", "shutil", "bz2", "lzma", "_compression", "tomllib", "datetime")
_MADV_DONTNEED = 4
_LARGER_THAN_GAPS = 64 * 1024  # bytes, and smaller than what malloc maps by itself
_GAPS = (8_192, 4_096, 2_048, *range(1_032, 8, -8))  # bytes; downwards, so that what a large one leaves is filled too
_MOST_GAPS = 10_000  # of one size: no other malloc than glibc's promises that this ends

_LIBC = ctypes.CDLL(None)
_LIBC.malloc.argtypes, _LIBC.malloc.restype = (ctypes.c_size_t,), ctypes.c_size_t
_LIBC.free.argtypes, _LIBC.free.restype = (ctypes.c_size_t,), None
_LIBC.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class _Later(ModuleType):
    """Stands in for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(__import__(self.__name__), name)


def keep_lean() -> None:
    """To be called before anything else is imported; it has no effect on what is there already."""
    sys.modules.setdefault(_NEVER, None)  # type: ignore[arg-type]  # what `import` takes for "there is none"
    for name in _WHEN_USED:
        sys.modules.setdefault(name, _Later(name))


def forget_start() -> None:
    """Gives back the memory of what only reads options and settings, to what is imported next; 1 MB."""
    for name in list(sys.modules):
        if name.partition(".")[0] in _AT_START:
            del sys.modules[name]
    gc.collect()


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
