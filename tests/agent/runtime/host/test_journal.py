"""What the runtime says of itself is sentences."""

from __future__ import annotations

import pytest

from agent import control
from agent.runtime.host import journal

BUNDLE = "0123456789ab" + "0" * 52


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (control.Serving("m", 2, BUNDLE, "trial"), "INFO m: release 2 is served, trial"),
        (
            control.Serving("m", 1, BUNDLE, "committed", "died"),
            "INFO m: release 1 is served, committed, not what its record names: its worker died",
        ),
        (control.Serving("m", 0, "", "none"), "INFO m: nothing is served"),
        (control.Serving("m", 0, "", "none", "failed"), "INFO m: nothing is served: it cannot be loaded"),
        (control.Serving("m", 0, BUNDLE, "local"), "INFO m: release 0 is served, local"),
        (
            control.Failed("m", BUNDLE, "model-load", "it is no model"),
            "WARNING m: bundle 0123456789ab cannot be loaded (model-load): it is no model",
        ),
        (
            control.Failed("m", "", "bad-record", "both copies are lost"),
            "WARNING m: its slot record cannot be read (bad-record): both copies are lost",
        ),
        (
            control.Died("m", 3, BUNDLE, "trial", 9, 0, True),
            "WARNING m: the worker of release 3 ended with signal 9, for want of memory",
        ),
        (
            control.Died("m", 3, BUNDLE, "committed", 0, 70),
            "WARNING m: the worker of release 3 ended with status 70",
        ),
        (control.Pace(100, shadows=False), "INFO workers rest 100 % of each run's time, without shadows"),
        (control.Pace(0, shadows=True), "INFO at full pace, with shadows"),
        (control.Tried(1, "m", BUNDLE), "INFO m: bundle 0123456789ab passed its self-test"),
        (
            control.Tried(1, "m", BUNDLE, "hung", "it did not end"),
            "INFO m: bundle 0123456789ab failed its self-test (hung): it did not end",
        ),
        (control.Greeting("litert 2.3.0", 1), "INFO the agent has connected"),
    ],
)
def test_what_the_agent_is_told_is_said_in_words(
    message: control.Message, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.tell(message)
    assert capsys.readouterr().err == f"{line}\n"


def test_what_fails_again_and_again_is_said_once_until_the_model_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    failed = control.Failed("again", BUNDLE, "model-load", "it is no model")
    nothing = control.Serving("again", 0, "", "none", "failed")
    served = control.Serving("again", 1, BUNDLE, "committed")
    other = control.Failed("again", BUNDLE, "model-load", "it is half a model")
    for message in (failed, failed, nothing, failed, nothing, other, other, served, served, failed):
        journal.tell(message)
    said = [line.partition("again: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "bundle 0123456789ab cannot be loaded (model-load): it is no model",
        "nothing is served: it cannot be loaded",
        "bundle 0123456789ab cannot be loaded (model-load): it is half a model",
        "release 1 is served, committed",
        "release 1 is served, committed",
        "bundle 0123456789ab cannot be loaded (model-load): it is no model",
    ]


def test_what_is_no_news_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    journal.tell(control.Memory(1, {}))
    journal.tell(control.Counters("m", 1, BUNDLE, "committed", 7))
    assert capsys.readouterr().err == ""
