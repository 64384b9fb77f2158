"""What the host of a device must not carry, looked for in a real one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from agent.runtime import lean
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
from agent.runtime import cli, lean

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


def test_what_is_left_out_comes_when_it_is_used_and_digests_need_no_openssl() -> None:
    script = """
from agent.runtime.lean import forget_code, keep_lean
keep_lean()
import copy, dataclasses, hashlib, inspect, ipaddress, selectors, socket, sys
assert type(sys.modules["inspect"]) is not type(sys)
assert str(inspect.signature(lambda a, b=1: a)) == "(a, b=1)"
assert ipaddress.ip_address("10.0.0.1").is_private
assert dataclasses.asdict(dataclasses.make_dataclass("D", ["a"])([1])) == {"a": [1]}
assert selectors.EVENT_READ and copy.copy([1]) == [1]
assert hashlib.sha256(b"abc").hexdigest().startswith("ba7816bf")
assert "_ssl" not in sys.modules
forget_code()
print(sum(range(10)))
"""
    assert ran(script) == "45\n"


def test_modules_that_only_a_start_needs_can_be_imported_again() -> None:
    script = """
from agent.runtime.lean import forget_start
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
from agent.runtime.lean import fill_gaps
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
