"""What becomes of an update that a fault strikes, for every state and every fault, as docs/operate.md has it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.updater.machine import State
from tests.durability.faults import FAULTS, Struck

DOCUMENT = Path(__file__).parents[2] / "docs/operate.md"
HEAD = "| strikes | while it is in | the end | is told |\n|---|---|---|---|\n"

ALL_BEFORE = "plan fetch stage self-test ready activate probation commit"
GOOD = "serves 2; committed"
BACK = "serves 1; rolled-back constant"
TRIED = "fetched tested activated"
KEPT = f"{TRIED} committed"
GIVEN_UP = f"{TRIED} rolled-back"
STUCK = f"{TRIED} rolled-back stuck"


@dataclass(frozen=True, slots=True)
class Row:
    """What holds for one fault in several states: what is served sixteen days later, how the update ended, and the
    milestones after its beginning, each at its first time.
    """

    fault: str
    states: str
    end: str
    told: str


ROWS = (
    Row("error once", "plan fetch", GOOD, f"wrong-bytes {KEPT}"),
    Row("error once", "stage", GOOD, "fetched refused tested activated committed"),
    Row("error once", "self-test", "serves 1; failed golden-mismatch", "fetched failed"),
    Row("error once", "ready commit", GOOD, KEPT),
    Row("error once", "activate", "serves 1; rolled-back model-load", "fetched tested rolled-back"),
    Row("error once", "probation", BACK, GIVEN_UP),
    Row("error once", "rollback stuck", BACK, STUCK),
    Row("error for ever", "plan fetch", "serves 1; refused deadline", "wrong-bytes refused"),
    Row("error for ever", "stage", "serves 1; refused no-room", "fetched refused"),
    Row("error for ever", "self-test", "serves 1; failed golden-mismatch", "fetched failed"),
    Row("error for ever", "ready", "serves 1; waits there", "fetched tested"),
    Row("error for ever", "activate", "serves 1; rolled-back model-load", "fetched tested rolled-back"),
    Row("error for ever", "probation", BACK, GIVEN_UP),
    Row("error for ever", "commit", GOOD, KEPT),
    Row("error for ever", "rollback stuck", "serves 2; stuck", f"{STUCK} (warning)"),
    Row("power cut once", ALL_BEFORE, GOOD, KEPT),
    Row("power cut once", "rollback", BACK, GIVEN_UP),
    Row("power cut once", "stuck", BACK, STUCK),
    Row("power cut every time", "plan fetch", GOOD, f"refused {KEPT}"),
    Row("power cut every time", "stage self-test", GOOD, "fetched refused tested activated committed"),
    Row("power cut every time", "ready commit", GOOD, KEPT),
    Row("power cut every time", "activate", GOOD, "fetched tested refused activated committed"),
    Row("power cut every time", "probation", "serves 1; refused write-cap", f"{TRIED} refused"),
    Row("power cut every time", "rollback", BACK, GIVEN_UP),
    Row("power cut every time", "stuck", BACK, STUCK),
    Row("hang", "plan fetch", "serves 1; refused deadline", "refused"),
    Row("hang", "stage probation commit", GOOD, KEPT),
    Row("hang", "self-test", "serves 1; refused deadline", "fetched refused"),
    Row("hang", "ready", GOOD, "fetched tested lease-overrun activated committed"),
    Row("hang", "activate", "serves 1; stuck", "fetched tested refused stuck"),
    Row("hang", "rollback stuck", "serves 2; stuck", f"{STUCK} (warning)"),
    Row("disk full", "plan fetch", "serves 1; refused no-room", "refused"),
    Row("disk full", "stage", "serves 1; refused no-room", "fetched refused"),
    Row("disk full", "self-test ready activate probation commit", GOOD, KEPT),
    Row("disk full", "rollback", BACK, GIVEN_UP),
    Row("disk full", "stuck", BACK, STUCK),
    Row("disk read-only", "plan fetch", "serves 1; waits there", "(warning)"),
    Row("disk read-only", "stage", "serves 1; waits there", "fetched (warning)"),
    Row("disk read-only", "self-test ready", "serves 1; waits there", "fetched tested (warning)"),
    Row("disk read-only", "activate", "serves 2; waits there", "fetched tested (warning)"),
    Row("disk read-only", "probation", "serves 2; waits there", f"{TRIED} (warning)"),
    Row("disk read-only", "commit", GOOD, f"{KEPT} (warning)"),
    Row("disk read-only", "rollback", BACK, f"{GIVEN_UP} (warning)"),
    Row("disk read-only", "stuck", "serves 1; stuck", f"{STUCK} (warning)"),
    Row("clock at 1970", ALL_BEFORE, GOOD, KEPT),
    Row("clock at 1970", "rollback", BACK, GIVEN_UP),
    Row("clock at 1970", "stuck", BACK, STUCK),
    Row("clock jumping years", ALL_BEFORE, GOOD, KEPT),
    Row("clock jumping years", "rollback", BACK, GIVEN_UP),
    Row("clock jumping years", "stuck", BACK, STUCK),
    Row("out of memory", "plan", GOOD, f"wrong-bytes {KEPT}"),
    Row("out of memory", "fetch stage ready commit", GOOD, KEPT),
    Row("out of memory", "self-test", GOOD, "fetched refused tested activated committed"),
    Row("out of memory", "activate", GOOD, "fetched tested refused activated committed"),
    Row("out of memory", "probation", GOOD, f"{TRIED} worker-died refused committed"),
    Row("out of memory", "rollback stuck", BACK, STUCK),
    Row("blob corrupted at rest", "plan", GOOD, "fetched tested cancelled activated committed"),
    Row("blob corrupted at rest", "fetch stage probation commit", GOOD, KEPT),
    Row("blob corrupted at rest", "self-test", GOOD, "fetched refused tested activated committed"),
    Row("blob corrupted at rest", "ready activate", GOOD, "fetched tested refused activated committed"),
    Row("blob corrupted at rest", "rollback stuck", BACK, STUCK),
)
CASES = [(row, State(state)) for row in ROWS for state in row.states.split()]


@pytest.mark.parametrize(("row", "state"), CASES, ids=lambda case: getattr(case, "fault", case))
def test_a_fault_ends_as_the_table_says(row: Row, state: State) -> None:
    struck = Struck(state, row.fault)
    struck.live()
    assert (struck.end, struck.told) == (row.end, row.told)


def test_the_table_has_every_fault_in_every_state_once() -> None:
    every = [(fault, state) for fault in FAULTS for state in State if state is not State.IDLE]
    assert sorted((row.fault, state) for row, state in CASES) == sorted(every)


def test_the_document_has_the_same_table() -> None:
    lines = [f"| {row.fault} | {row.states.replace(' ', ', ')} | {row.end} | {row.told} |\n" for row in ROWS]
    assert HEAD + "".join(lines) in DOCUMENT.read_text()
