"""agent/updater/compatibility.py: what a device refuses before it asks for a byte. test_update.py shows it do so."""

import pytest

from agent.updater import compatibility
from agent.updater.compatibility import Here
from littoral.bundle.manifest import Needs, parse, parse_engine
from littoral.errors import IncompatibleError, ManifestError, NoRoomError
from tests.repository import manifest

HERE = Here("aarch64", "litert 2.3.0", 10**8, frozenset({"edgetpu"}))


@pytest.mark.parametrize(
    "needs",
    [
        Needs(),
        Needs(architectures=("x86_64", "aarch64")),
        Needs(engines=("litert",)),
        Needs(engines=("tflite", "litert>=2.3")),
        Needs(engines=("litert>=2.3.0",)),
        Needs(engines=("litert>=1.9.9.9",)),
        Needs(memory_bytes=10**8),
        Needs(delegate="edgetpu", cpu="refuse"),
        Needs(delegate="gpu", cpu="fallback"),
    ],
)
def test_what_this_device_has_is_enough(needs: Needs) -> None:
    compatibility.check(manifest("cats", 1, needs=needs), HERE)


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        (Needs(architectures=("armv7l",)), "it is for armv7l; this device is aarch64"),
        (Needs(engines=("tflite>=2.14",)), "it needs the engine tflite>=2.14; here it is litert 2.3.0"),
        (Needs(engines=("litert>=2.3.1", "tflite")), "litert>=2.3.1 or tflite; here it is litert 2.3.0"),
        (Needs(engines=("litert>=10",)), "it needs the engine litert>=10"),
        (Needs(delegate="gpu", cpu="refuse"), "it needs a gpu delegate; none is configured here"),
    ],
)
def test_what_it_lacks_is_refused_with_the_reason(needs: Needs, reason: str) -> None:
    with pytest.raises(IncompatibleError) as caught:
        compatibility.check(manifest("cats", 1, needs=needs), HERE)
    assert reason in caught.value.cause


def test_too_little_memory_is_refused_with_both_numbers() -> None:
    with pytest.raises(NoRoomError, match="needs 100000001 bytes of memory; the budget is 100000000"):
        compatibility.check(manifest("cats", 1, needs=Needs(memory_bytes=10**8 + 1)), HERE)


@pytest.mark.parametrize(
    ("engine", "fits"),
    [
        ("", True),  # the runtime has not said
        ("litert", True),
        ("litert 2.3.0 (Interpreter: no library)", True),
        ("litert 2.2.9", False),
        ("litert 2.10", True),
        ("litert 2.3rc1", True),
        ("litert2 9", False),
    ],
)
def test_versions_compare_as_numbers_and_an_unknown_one_is_not_too_old(engine: str, fits: bool) -> None:
    found = manifest("cats", 1, needs=Needs(engines=("litert>=2.3",)))
    here = Here("aarch64", engine)
    if fits:
        compatibility.check(found, here)
    else:
        with pytest.raises(IncompatibleError):
            compatibility.check(found, here)


@pytest.mark.parametrize("entry", ["", "LiteRT", "litert>2", "litert>=", "litert>=2.x", "litert >=2", "a>=1.2.3.4.5"])
def test_an_engine_that_is_none_is_refused_where_it_is_written_and_where_it_is_read(entry: str) -> None:
    with pytest.raises(ValueError, match="no engine"):
        parse_engine(entry)
    with pytest.raises(ManifestError):
        parse(manifest("cats", 1, needs=Needs(engines=(entry,))).encode())
