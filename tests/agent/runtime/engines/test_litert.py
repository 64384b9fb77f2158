"""LiteRT by its C API: what it falls back from, and what it leaves behind."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.runtime.engine import Result
from agent.runtime.engines import capi, compiled, engine_text, litert, open_engine, selftest
from agent.runtime.engines.installed import folder_of
from agent.runtime.host import memory
from examples.demo.assets import ensure
from littoral.errors import ModelLoadError
from tests.agent.runtime.device import ROOT, engine_under_test
from tests.agent.runtime.engines import samples
from tests.agent.runtime.engines.samples import floats

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(engine_under_test() != "litert", reason="it is about LiteRT's C API"),
]


@pytest.fixture
def engine() -> litert.LitertEngine:
    opened = open_engine("litert")
    assert isinstance(opened, litert.LitertEngine)
    return opened


def test_the_model_of_the_self_test_is_the_one_made_here() -> None:
    assert selftest.MODEL.read_bytes() == samples.selftest()


def test_neither_host_nor_worker_imports_what_takes_much_memory() -> None:
    code = """
import os, sys
from agent.runtime.engines import open_engine
from tests.agent.runtime.engines import samples
engine = open_engine("litert")
heavy = "numpy asyncio decimal importlib.metadata email subprocess".split()
opened = [name for name in heavy if name in sys.modules]
engine.load(samples.FLOAT_SAMPLE, ()).interpreter().run(bytes(16))
print(opened, [name for name in heavy if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[] []"


def test_kernels_may_read_past_the_end_of_every_tensor(engine: litert.LitertEngine) -> None:
    interpreter = engine.load(ensure().classifier.read_bytes(), ()).interpreter()
    assert isinstance(interpreter, compiled.LitertInterpreter)
    for view in (view for side in interpreter._calls[""]._tensors for view in side.views):
        buffer: Any = view.obj
        start, end = ctypes.addressof(ctypes.c_char.from_buffer(view)), ctypes.addressof(buffer) + ctypes.sizeof(buffer)
        assert start % 64 == 0
        assert start + len(view) + 64 <= end


@pytest.mark.parametrize("content", [samples.two_signatures(), samples.two_by_two(), samples.counting()])
def test_signatures_and_states_need_no_class(engine: litert.LitertEngine, content: bytes) -> None:
    assert engine.load(content, ()).engine == f"litert {engine.version}"


# --- falling back -----------------------------------------------------------------------------------------------


def test_a_model_that_the_c_api_refuses_is_run_by_the_class_and_says_so(engine: litert.LitertEngine) -> None:
    model = engine.load(samples.with_variable(), ())
    assert model.engine == f"litert {engine.version} (Interpreter)"
    assert model.stateful
    assert model.interpreter().run(floats(1, 2, 3, 4)).data == floats(1, 2, 3, 4)


def falls_back(why: str) -> None:
    """Whether LiteRT opened now runs by the class, tells why, and answers."""
    engine = open_engine("litert")
    assert why in engine.fallback
    assert engine_text(engine).startswith(f"litert {engine.version} (Interpreter: ")
    model = engine.load(samples.FLOAT_SAMPLE, ())
    assert model.engine == f"litert {engine.version} (Interpreter)"
    assert model.interpreter().run(floats(1, 2, 3, 4)).data == floats(2, 4, 6, 8)


def test_another_version_of_the_wheel_is_run_by_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "VERSIONS", ("2.1.3",))
    falls_back("known of 2.1.3")


def test_a_library_without_the_telling_symbol_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capi, "SYMBOL", "LiteRtOfAnotherDay")
    falls_back("LiteRtOfAnotherDay")


def test_a_library_that_is_not_there_is_missed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litert, "LIBRARY", "libLiteRtRuntimeCApi.so")
    falls_back("libLiteRtRuntimeCApi.so")


def test_a_library_that_aborts_kills_only_its_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capi.Library, "environment", lambda self: os.abort())
    falls_back("SIGABRT")


def test_a_library_that_answers_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right = compiled.LitertInterpreter.run

    def wrong(self: compiled.LitertInterpreter, data: bytes, signature: str = "") -> Result:
        found = right(self, data, signature)
        return Result(found.data[:-1] + bytes([found.data[-1] ^ 1]), found.finite)

    monkeypatch.setattr(compiled.LitertInterpreter, "run", wrong)
    falls_back("another answer")


def test_a_library_that_refuses_the_self_tests_model_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise capi.StatusError("LiteRtCreateModelFromBuffer", capi.UNSUPPORTED)

    monkeypatch.setattr(compiled.Opened, "__init__", refuse)
    monkeypatch.setattr(compiled.Opened, "__del__", lambda self: None)
    falls_back("takes no model")


# --- what is left behind ----------------------------------------------------------------------------------------


def leaves_nothing(once: Callable[[], None], most_bytes: int, times: int = 40) -> None:
    for _ in range(times // 2):
        once()
    before, descriptors = memory.status("VmRSS"), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(times):
        once()
    assert memory.status("VmRSS") - before < most_bytes
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_models_that_were_let_go_leave_no_memory_and_no_descriptor(engine: litert.LitertEngine) -> None:
    content = ensure().classifier.read_bytes()

    def once() -> None:
        model = engine.load(content, ())
        for interpreter in [model.interpreter() for _ in range(2)]:
            interpreter.run(bytes(model.signatures[""].input_bytes))

    leaves_nothing(once, 3 * len(content))


def test_a_small_model_that_was_let_go_leaves_nothing_either(engine: litert.LitertEngine) -> None:
    def once() -> None:
        engine.load(samples.FLOAT_SAMPLE, ()).interpreter()

    leaves_nothing(once, 512 * 1024, 4_000)


@pytest.mark.parametrize("content", [samples.FLOAT_SAMPLE[:200], samples.unknown_operator()], ids=["cut", "unknown"])
def test_what_failed_to_load_leaves_no_memory_and_no_descriptor(engine: litert.LitertEngine, content: bytes) -> None:
    def once() -> None:
        with pytest.raises(ModelLoadError):
            engine.load(content, ())

    leaves_nothing(once, 200_000)


def test_a_packages_folder_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (folder_of("ai_edge_litert") / litert.LIBRARY).is_file()
    (tmp_path / "ai_edge_litert").mkdir()  # no package: it has no __init__.py
    monkeypatch.syspath_prepend(tmp_path)
    assert folder_of("ai_edge_litert").parent != tmp_path
    with pytest.raises(ImportError, match="nothing_of_that_name"):
        folder_of("nothing_of_that_name")
