"""agent/alarms.py: each alarm by name, told once when it has come to stay and once when it has gone for good."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alarms import CALM_S, KINDS, MAX_TEXT_BYTES, SETTLED_S, Alarms, Symptom, alarm, alarms
from littoral.wire.messages import SEVERITIES, Alarm

AWAY = Symptom("runtime-away", "nobody is there")


class Told:
    """What was told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str, dict[str, Any]]] = []

    def __call__(self, kind: str, model: str, release: int, text: str, facts: dict[str, Any]) -> None:
        self.events.append((kind, model, text, facts))

    @property
    def kinds(self) -> list[str]:
        return [kind for kind, *_ in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.mark.parametrize("code", sorted(KINDS))
def test_every_alarm_has_a_title_a_severity_and_a_remedy(code: str) -> None:
    found = alarm(Symptom(code, "so it was found"))
    assert found.severity in SEVERITIES
    assert found.title == KINDS[code].title != ""
    assert found.remedy.endswith(".")
    assert found.text == "so it was found"


def test_a_text_of_any_length_fits_a_report() -> None:
    assert len(alarm(Symptom("not-served", "ä" * 5_000)).text.encode()) <= MAX_TEXT_BYTES


def test_people_read_the_worst_first() -> None:
    found = alarms([Symptom("warm", "70"), Symptom("hot", "80"), Symptom("disk-low", "none left")])
    assert [each.code for each in found] == ["disk-low", "hot", "warm"]


def test_an_alarm_is_told_once_when_it_has_stood_for_a_while(told: Told) -> None:
    book = Alarms(told)
    for second in range(100):
        book.look([AWAY], float(second))
        assert bool(book.told) is (second >= SETTLED_S)
    assert book.told == (alarm(AWAY),)
    (event,) = told.events
    facts = {"code": "runtime-away", "severity": "critical"}
    assert event == ("alarm", "", "The runtime is away: nobody is there", facts)


def test_what_is_over_before_that_is_never_told(told: Told) -> None:
    book = Alarms(told)
    book.look([AWAY], 0.0)
    for second in range(1, 200):
        book.look([], float(second))
    assert told.events == []


def test_its_end_is_told_once_it_was_away_for_a_while(told: Told) -> None:
    book = Alarms(told)
    book.look([AWAY], 0.0)
    book.look([AWAY], SETTLED_S)
    book.look([], SETTLED_S + CALM_S - 1)
    assert book.told != ()
    book.look([], SETTLED_S + CALM_S)
    assert book.told == ()
    assert told.kinds == ["alarm", "alarm-ended"]
    book.look([AWAY], 1_000.0)
    book.look([AWAY], 1_000.0 + SETTLED_S)
    assert told.kinds == ["alarm", "alarm-ended", "alarm"]


@given(st.lists(st.tuples(st.integers(11, 40), st.integers(1, int(CALM_S) - 1)), min_size=2, max_size=10))
def test_an_alarm_that_flaps_is_one_alarm(spans: list[tuple[int, int]]) -> None:
    told = Told()
    book = Alarms(told)
    there = [here for on, off in spans for here in [True] * on + [False] * off]
    for second, here in enumerate(there):
        book.look([AWAY] if here else [], float(second))
    assert told.kinds == ["alarm"]


def test_what_its_text_says_may_change_and_is_no_further_event(told: Told) -> None:
    book = Alarms(told)
    for second in range(100):
        book.look([Symptom("reports-lost", f"{second} since the agent started")], float(second))
    assert book.told[0].text == "99 since the agent started"
    assert told.kinds == ["alarm"]


def test_two_models_with_the_same_trouble_are_two_alarms(told: Told) -> None:
    book = Alarms(told)
    symptoms = [Symptom("not-served", f"{model} cannot be served", model) for model in ("cats", "dogs")]
    book.look(symptoms, 0.0)
    book.look(symptoms, SETTLED_S)
    assert [(kind, model) for kind, model, *_ in told.events] == [("alarm", "cats"), ("alarm", "dogs")]
    book.look(symptoms[1:], 200.0)
    assert book.told == (
        Alarm("not-served", KINDS["not-served"].title, "critical", "dogs cannot be served", KINDS["not-served"].remedy),
    )
