"""Keeps the runtime small: host and workers are resident on a device with little memory.

A good part of what Python's own library and the engine's bring along is used for a moment or never. Each step here says
what it saves, as measured on x86-64 with Python 3.11; docs/decisions/0021-a-lean-runtime.md has the table.
"""

import ctypes
import gc
import sys
from types import ModuleType
from typing import Any

_WHEN_USED = ("inspect", "ipaddress")  # dataclasses and pathlib import them; 1.4 MB
_NEVER = "_hashlib"  # OpenSSL; without it hashlib takes the digests that are built into Python; 3.6 MB
_AT_START = ("argparse", "gettext", "locale", "shutil", "bz2", "lzma", "_compression", "tomllib")
_MADV_DONTNEED = 4


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


def forget_code() -> None:
    """Unmaps what was read of libraries and their machine code so far: what is needed again comes back from the page
    cache, in a moment; 4 MB of a host, 8 of a worker.

    Only what was never written to may go so: a mapping that cannot be written and holds no page of this process's own.
    """
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    start = end = 0
    with open("/proc/self/smaps") as file:  # noqa: PTH123, no need for a Path
        for line in file:
            name, *values = line.split()
            if not name.endswith(":"):  # a mapping: 7f00-7f80 r-xp 00000000 08:01 1234 /usr/lib/libc.so.6
                addresses = name.split("-") if values[0][1] == "-" and values[-1].startswith("/") else ("0", "0")
                start, end = (int(address, 16) for address in addresses)
            elif name == "Anonymous:" and values[0] == "0" and end:
                madvise(start, end - start, _MADV_DONTNEED)
