"""What the daemons of a device must not carry, looked for in real ones; and what is done to keep them small."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from agent import lean
from tests.agent.runtime.device import PATIENCE_S, ROOT, engine_under_test

# What takes half a megabyte or more, or brings along what does; and what only one command or one kind of child needs.
FORBIDDEN = {
    "PIL",
    "_hashlib",
    "_ssl",
    "argparse",
    "ast",
    "asyncio",
    "copy",
    "cryptography",
    "datetime",
    "decimal",
    "dis",
    "email",
    "http",
    "importlib.metadata",
    "inspect",
    "ipaddress",
    "logging",
    "multiprocessing",
    "ntpath",
    "numpy",
    "paho",
    "selectors",
    "shutil",
    "socketserver",
    "sqlite3",
    "statistics",
    "subprocess",
    "tempfile",
    "threading",
    "tokenize",
    "tomllib",
    "traceback",
    "unittest",
    "weakref",
    "agent.runtime.host.local",
    "agent.runtime.host.speed",
    "agent.runtime.trial.trial",
    "littoral.bundle.task",
    "littoral.client",
    "littoral.wire.messages",
}

# A host that tells what it has loaded when it has started, and ends. Stand-ins are of another type than modules.
HOST = """
import sys
from agent import lean
from agent.runtime import cli

def tell():
    print(*(name for name, module in sys.modules.items() if type(module) is type(sys)))
    sys.exit(0)

lean.forget_code = tell  # the last step of a start
cli.main()
"""


def ran(script: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.engine
@pytest.mark.skipif(engine_under_test() != "litert", reason="tflite-runtime needs numpy in the host")
def test_a_host_carries_nothing_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('[runtime]\nengine = "litert"\n')
    found = set(ran(HOST, "run", "--config", str(tmp_path / "agent.toml")).split())
    assert "agent.runtime.host.host" in found
    assert sorted(found & FORBIDDEN) == []


# The same of an agent, which has been made and has not begun. It may have ssl and _sqlite3.
AGENT = """
import sys
from agent import cli, lean

def tell(agent):
    print(*(name for name, module in sys.modules.items() if type(module) is type(sys)))
    sys.exit(0)

def forget_start():
    forgotten()
    from agent import main
    main.Agent.startup = tell

forgotten, lean.forget_start = lean.forget_start, forget_start
cli.main()
"""

NOT_IN_AN_AGENT = {
    "PIL",
    "argparse",
    "ast",
    "asyncio",
    "cryptography",
    "datetime",
    "email",
    "http",
    "inspect",
    "ipaddress",
    "logging",
    "lzma",
    "ntpath",
    "numpy",
    "platform",
    "selectors",
    "shutil",
    "sqlite3",
    "statistics",
    "subprocess",
    "tempfile",
    "traceback",
    "tokenize",
    "tomllib",
    "tuf",
    "urllib.parse",
    "urllib.request",
    "uuid",
    "agent.inspection",
    "agent.install",
    "agent.link.mirror",
    "agent.plain",
    "agent.runtime",
    "littoral.bundle.task",
}

# Every kind of dataclass there is in Littoral, and some that are not.
DATACLASSES = """
from agent.lean import keep_lean
keep_lean()
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

@dataclass(frozen=True, slots=True)
class Frozen:
    '''Two values, and one that is not compared.'''
    a: int
    b: str = "b"
    c: int = field(default=0, compare=False, repr=False)

@dataclass
class Plain:
    '''It changes.'''
    a: list

@dataclass(frozen=True)
class Empty:
    '''Nothing in it.'''

@dataclass(frozen=True, slots=True)
class Own:
    '''It knows better.'''
    a: int
    def __eq__(self, other): return True
    def __hash__(self): return 7
    def __repr__(self): return "own"

@dataclass(eq=False)
class Same:
    '''Only itself.'''
    a: int

@dataclass(frozen=True, order=True)
class Ordered:
    '''By what is in it.'''
    a: int

class Child(Frozen):
    '''Of another class.'''

assert Frozen(1, c=1) == Frozen(1, c=2) != Frozen(2) and hash(Frozen(1, c=1)) == hash(Frozen(1, c=2))
assert Frozen(1) != (1, "b") and Frozen(1) != Child(1) and Frozen(1).__eq__(1) is NotImplemented
assert repr(Frozen(1)) == "Frozen(a=1, b='b')" and [each.name for each in fields(Frozen)] == ["a", "b", "c"]
assert replace(Frozen(1), a=2).a == 2 and not hasattr(Frozen(1), "__dict__")
try:
    Frozen(1).a = 2
except FrozenInstanceError:
    pass
else:
    raise AssertionError
assert Plain([1]) == Plain([1]) and Plain.__hash__ is None
plain = Plain([1])
plain.a.append(plain)
assert repr(plain) == "Plain(a=[1, ...])"
assert Empty() == Empty() and hash(Empty()) == hash(Empty()) and repr(Empty()) == "Empty()"
assert Own(1) == Own(2) and hash(Own(1)) == 7 and repr(Own(1)) == "own"
assert Same(1) != Same(1) and len({Same(1), Same(1)}) == 2
assert Ordered(1) < Ordered(2) and Ordered(1) == Ordered(1)
"""


def test_an_agent_carries_nothing_it_does_not_need(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text('device = "d"\n[broker]\nhost = "localhost"\ntls = false\n')
    found = set(ran(AGENT, "run", "--config", str(tmp_path / "agent.toml")).split())
    assert "agent.main" in found
    assert sorted(found & NOT_IN_AN_AGENT) == []


def test_dataclasses_that_share_their_methods_behave_like_all_others() -> None:
    assert ran(DATACLASSES) == ""


def test_what_is_left_out_comes_when_it_is_used_and_digests_need_no_openssl() -> None:
    script = """
from agent.lean import forget_code, keep_lean
keep_lean()
import copy, dataclasses, hashlib, inspect, ipaddress, selectors, socket, sys
import lzma, pathlib, subprocess, urllib.parse, urllib.request, uuid
assert type(sys.modules["inspect"]) is not type(sys)
assert type(sys.modules["urllib.parse"]) is not type(sys)
assert pathlib.Path("/a b").as_uri() == "file:///a%20b"
assert urllib.parse.urlsplit("http://host/path").path == "/path" and urllib.request.Request("http://host").host
assert lzma.decompress(lzma.compress(b"abc")) == b"abc" and len(uuid.uuid4().hex) == 32
assert subprocess.run(["true"]).returncode == 0
assert str(inspect.signature(lambda a, b=1: a)) == "(a, b=1)"
assert ipaddress.ip_address("10.0.0.1").is_private
assert dataclasses.asdict(dataclasses.make_dataclass("D", ["a"])([1])) == {"a": [1]}
assert selectors.EVENT_READ and copy.copy([1]) == [1]
assert "_hashlib" not in sys.modules or sys.modules["_hashlib"] is None
assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf")
forget_code()
print(sum(range(10)))
"""
    assert ran(script) == "45\n"


def test_modules_that_only_a_start_needs_can_be_imported_again() -> None:
    script = """
from agent.lean import forget_start
import argparse, shutil, tomllib
forget_start()
import argparse, tomllib
argparse.ArgumentParser().parse_args([])
assert str(tomllib.loads("a = 2026-11-22")["a"]) == "2026-11-22"
"""
    assert ran(script) == ""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc lays things out in its own way")
def test_what_is_allocated_after_gaps_were_filled_lies_together() -> None:
    script = """
import ctypes
from agent.lean import fill_gaps
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_size_t, (ctypes.c_size_t,)
sizes = [40, 200, 1000, 3000]
taken = [libc.malloc(size) for size in sizes for _ in range(200)]
for at in taken[::2]:
    libc.free(at)
fill_gaps()
print(sum(libc.malloc(size) < max(taken) for size in sizes for _ in range(20)))
"""
    assert ran(script) == "0\n"


def test_this_process_is_left_alone_until_it_is_asked() -> None:
    assert not isinstance(sys.modules.get("inspect"), lean._Later)
