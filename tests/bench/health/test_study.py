"""Counting, and judging one small model on a few rings."""

from pathlib import Path

import numpy as np
import pytest

from bench.health import damage, pictures, report
from bench.health.judging import Court
from bench.health.pictures import Pool
from bench.health.releases import Row, Variant, misread, rebuilt, spoiled
from bench.health.replies import Replies
from bench.health.study import HARMLESS, Tally
from bench.health.subjects import Subject
from bench.health.tflite import UNIT
from littoral.bundle.manifest import Lineage
from tests.bench.health.conftest import COLOURS, SIDE

ASKED = ("zeroed", "labels rolled", "red and blue swapped", "repacked")


def colourful() -> Pool:
    """Views of patterns, each with much of one of the colours that the small model knows."""
    numbers = np.random.default_rng(9)
    colours = np.array([[1, 0.3, 0.3], [0.3, 1, 0.3], [0.3, 0.3, 1], [0.6, 0.6, 0.6]])
    views = []
    for number in range(40):
        grey = np.kron(numbers.uniform(90, 250, (8, 8, 1)), np.ones((SIDE // 8, SIDE // 8, 1)))
        views.append((grey * colours[number % COLOURS]).astype(np.uint8))
    return pictures.day(np.array(views), seed=1)


@pytest.fixture(scope="module")
def court(model: bytes, tmp_path_factory: pytest.TempPathFactory) -> tuple[Court, Subject]:
    subject = Subject(
        "colours",
        tuple(map(str, range(COLOURS))),
        tuple(each for each in (*spoiled(model), *misread(model, UNIT), *rebuilt(model)) if each.name in ASKED),
        {"testing": colourful()},
    )
    cache: Path = tmp_path_factory.mktemp("replies")
    replies = Replies(subject, subject.pools["testing"], cache)
    replies.ask_all(subject.variants)
    assert list(cache.glob("*.npy"))
    assert not list(cache.glob("*.partial"))
    return Court(subject.pools["testing"], replies), subject


def found(court: tuple[Court, Subject], name: str) -> set[tuple[str, str]]:
    """(code under rebuild, name of the fault) on each ring that has evidence."""
    where, subject = court
    (variant,) = (each for each in subject.variants if each.name == name)
    judged = [each for each in where.judge(variant, 6, seed=1) if each.has_evidence]
    assert judged
    return {(each.found[Lineage.REBUILD].code, each.named) for each in judged}


def test_a_repacked_model_is_found_good_and_does_no_harm(court: tuple[Court, Subject]) -> None:
    assert found(court, "repacked") == {("", "")}
    (repacked,) = (each for each in court[1].variants if each.name == "repacked")
    assert court[0].harm(repacked) == 0


def test_exchanged_colours_are_named(court: tuple[Court, Subject]) -> None:
    assert found(court, "red and blue swapped") == {("misread", "red-blue")}


def test_labels_that_were_rolled_are_named(court: tuple[Court, Subject]) -> None:
    assert found(court, "labels rolled") <= {("mislabelled", "labels-up"), ("mislabelled", "labels-moved")}


def test_a_model_that_says_the_same_to_everything_is_constant(court: tuple[Court, Subject]) -> None:
    assert {code for code, _ in found(court, "zeroed")} == {"constant"}


def tally(row: Row, harm: float, evidence: int = 0, flagged: int = 0) -> Tally:
    made = Tally("m", "testing", Variant("v", row, b"", b""), harm, evidence=evidence)
    made.flagged[made.lineages[-1]] = flagged
    made.codes["differs"] = flagged
    return made


def test_a_fault_that_changes_no_answer_does_not_count_and_is_told() -> None:
    harmless, other = tally(Row.SPOILED, HARMLESS / 2, 10, 0), tally(Row.SPOILED, 0.5, 10, 10)
    assert (harmless.counts, other.counts) == (False, True)
    assert tally(Row.REBUILT, 0).counts
    told = report.text([harmless, other])
    assert "| 10 of 0 | 0 % | 100 % |" in told
    assert "harmless: changes 5%" in report.text([harmless])


@pytest.mark.parametrize(("flagged", "share"), [(0, "0 %"), (1, "0.01 %"), (9_999, "99.99 %"), (10_000, "100 %")])
def test_a_share_that_is_nearly_all_or_none_is_told_from_it(flagged: int, share: str) -> None:
    assert f"| {share} |" in report.text([tally(Row.RETRAINED, 0, 10_000, flagged)])


def test_what_cannot_be_spoiled_so_says_why(model: bytes) -> None:
    with pytest.raises(ValueError, match="answers"):
        damage.relabelled(model, np.arange(COLOURS + 1))
