"""The card: what an author may say of a model, and that nothing misspelt is silently ignored."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from littoral.bundle import card
from littoral.bundle.manifest import Health, Limits, Needs
from littoral.errors import CardError

WHOLE = """
[[input]]
name = "image"
kind = "image"
colour = "rgb"
resize = "letterbox"
mean = ["127.5", "127.5", "127.5"]
scale = "0.0078125"

[[output]]
decoder = "classification"
threshold = "0.5"

[limits]
p95_us = 20000
memory_bytes = 8000000

[needs]
architectures = ["aarch64", "x86_64"]
engines = ["litert"]
memory_bytes = 4000000
disk_bytes = 1000000
delegate = "edgetpu"
cpu = "refuse"

[health]
errors = "0.02"
late = "0.1"

[golden]
compare = "top1"
tolerance_ppm = 5000
right = "0.925"
"""


def test_a_whole_card_is_read() -> None:
    read = card.parse(WHOLE)
    assert read.limits == Limits(20_000, 8_000_000)
    assert read.needs == Needs(("aarch64", "x86_64"), ("litert",), 4_000_000, 1_000_000, "edgetpu", "refuse")
    assert (read.compare, read.tolerance_ppm, read.right_ppm) == ("top1", 5000, 925_000)
    assert read.health == Health(20_000, 100_000)
    assert read.to_json()["input"][0]["name"] == "image"
    assert read.to_json()["output"] == [{"decoder": "classification", "threshold": "0.5"}]


def test_an_empty_card_makes_no_demand() -> None:
    assert card.parse("") == card.Card()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limit]\np95_us = 1", "limit"),
        ("[limits]\np95 = 1", "p95"),
        ("[limits]\np95_us = '1'", "p95_us"),
        ("[limits]\np95_us = -1", "p95_us"),
        ("[limits]\np95_us = 1.5", "p95_us"),
        ("limits = 3", "limits"),
        ("[health]\nerrors = 0.01", "errors"),
        ('[health]\nerrors = "1"', "errors"),
        ('[health]\nerrors = "0"', "errors"),
        ('[health]\nlate = "-0.1"', "late"),
        ('[health]\nlate = "nan"', "late"),
        ('[health]\nlate = "5 %"', "late"),
        ('[health]\nlateness = "0.1"', "lateness"),
        ("health = 3", "health"),
        ("[input]\nname = 'x'", "input"),
        ("[[input]]\nkind = 'smell'", "smell"),
        ("[[input]]\nmean = [127.5]", "strings"),
        ("[[input]]\nmean = ['many']", "decimal"),
        ("[[input]]\ncolor = 'rgb'", "color"),
        ("[[output]]\ndecoder = 'magic'", "magic"),
        ("[[input]]\nmean = ['nan']", "decimal"),
        ("[[input]]\nmean = ['1_0']", "decimal"),
        ("[[input]]\nmean = ['1e999']", "decimal"),
        ("[[input]]\nmean = []", "1 to"),
        ("[[input]]\nkind = ['image']", "kind is"),
        ("[[input]]\nkind = 'image'\ncolour = 'red'", "rgb, bgr, grey"),
        ("[[input]]\nkind = 'image'\nhop = 5", "kind image: holds hop"),
        ("[[input]]\nkind = 'image'\nfill = 256", "0 to 255"),
        ("[[input]]\nkind = 'image'\nfill = true", "0 to 255"),
        ("[[input]]\nkind = 'window'\nhop = 0", "from 1"),
        ("[[output]]\nthreshold = 0.5", "decoder raw: holds threshold"),
        ("[[output]]\ndecoder = 'yolo'\nthreshold = 0.5", "strings"),
        ("[[output]]\ndecoder = 'yolo'\nthreshold = '1.5'", '"0" to "1"'),
        ("[[output]]\ndecoder = 'yolo'\nvariant = 'v4'", "v5, v8"),
        ("[[output]]\ndecoder = 'yolo'\ntransposed = 1", "true or false"),
        ("[[output]]\ndecoder = 'yolo'\ntensor = -1", "from 0"),
        ("[[output]]\ndecoder = 'yolo'\nname = 'x'", "holds name"),
        ("[needs]\nengines = 'litert'", "list"),
        ("[needs]\nengines = ['litert > 2']", "no engine"),
        ("[needs]\nram = 1", "ram"),
        ("[needs]\ncpu = 'maybe'", "fallback or refuse"),
        ("[golden]\ncompare = 'exactly'", "exactly"),
        ("[golden]\nright = 0.9", "decimals are strings"),
        ("[golden]\nright = '1.01'", "from .0. to .1."),
        ("[golden]\nright = '-0.1'", "from .0. to .1."),
        ("[golden]\nright = 'nan'", "right is 'nan'"),
        ("[golden]\nright = '80 %'", "right is"),
        ("[golden", "TOML"),
        ("#" * 16_385, "bytes"),
        ("a = " + "[" * 6_000, "TOML"),
        ("a = " + "9" * 6_000, "TOML"),
    ],
)
def test_a_card_that_says_what_it_cannot_mean_is_refused(text: str, said: str) -> None:
    with pytest.raises(CardError, match=said):
        card.parse(text)


@settings(deadline=None)
@given(st.text(max_size=200) | st.text('[]="\n .,inputodecrkmaf0123456789', max_size=200))
def test_any_text_is_a_card_or_refused_by_name(text: str) -> None:
    with contextlib.suppress(CardError):
        card.parse(text)
