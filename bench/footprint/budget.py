"""What Littoral may take of a device: the targets, and what continuous integration lets pass. Nothing is measured here.

A budget is looser than its target only by what varies from run to run, or from machine to machine: shared machines are
slow at times, which is no fault of a change. What lies above its budget fails `./dev footprint`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.measures import Measure, Result


@dataclass(frozen=True, slots=True)
class Budget:
    """most: the largest value that passes; why: the reason why that is not the target."""

    measure: Measure
    most: float
    why: str


PSS_VARIES = "pages of files and an agent's heap vary by up to 5 %, and the float model of --quick takes more"
SHARED = "machines of continuous integration are shared, and three times as slow at times"
OURS = "no target was set: what was measured when this was written, and a tenth more"


def _of(name: str, what: str, target: float, unit: str, most: float, why: str) -> Budget:
    return Budget(Measure(name, what, target, unit), most, why)


BUDGETS = (
    _of("pss-idle", "PSS of agent and runtime, enrolled and connected, no model", 32.0, "MB", 33.0, PSS_VARIES),
    _of("pss-96", "the same with a 96x96 model serving", 36.0, "MB", 39.0, PSS_VARIES),
    _of("pss-224", "the same with a 224x224 model instead", 48.0, "MB", 49.5, PSS_VARIES),
    _of(
        "pss-trial",
        "the same while the 96x96 model is fetched, verified and tried, at its peak",
        52.0,
        "MB",
        57.0,
        OURS,
    ),
    _of("installed", "disk that a device's packages take, with compiled Python", 44.0, "MB", 48.0, OURS),
    _of("deb-amd64", "packages of a device to download, amd64", 16.0, "MB", 16.0, "a file's size does not vary"),
    _of("deb-arm64", "the same, arm64", 16.0, "MB", 16.0, "a file's size does not vary"),
    _of("deb-armhf", "the same, armhf", 4.0, "MB", 4.0, "a file's size does not vary"),
    _of("start", "`systemctl start` of the runtime to the first answer, 96x96, p50", 400.0, "ms", 1_200.0, SHARED),
    _of("activation", "first answer by socket activation, 96x96, p50", 400.0, "ms", 1_200.0, SHARED),
    _of("boot", "start of PID 1 to the first answer, 96x96", 3.0, "s", 12.0, SHARED),
    _of("flash-idle", "bytes to flash in a day, connected, no model", 1.0, "MB", 1.0, "what is written does not vary"),
    _of("flash-serving", "the same, a model serving one question a second", 1.0, "MB", 1.0, "as above"),
)


def over(results: Iterable[Result]) -> list[str]:
    """What lies above its budget, a sentence each."""
    most = {budget.measure.name: budget for budget in BUDGETS}
    return [
        f"{result.measure.name} is {result.reading.value:.4g} {result.measure.unit}; "
        f"the budget is {most[result.measure.name].most:g} ({most[result.measure.name].why})"
        for result in results
        if result.reading.value > most[result.measure.name].most
    ]
