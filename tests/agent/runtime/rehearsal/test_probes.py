"""Probes name what is wrong with a release's input or labels: on a model of a few lines and made-up pictures."""

from collections.abc import Callable

import numpy as np
import pytest

from agent.runtime.rehearsal import probes
from agent.runtime.rehearsal.measures import Answers
from agent.runtime.vision.stored import Reals

N, SIDE, CLASSES = 64, 8, 6
RANDOM = np.random.default_rng(7)
PICTURES: Reals = np.clip(
    RANDOM.uniform(30, 160, (N, 1, 1, 3)) + RANDOM.normal(0, 25, (N, SIDE, SIDE, 3)), 0, 255
).astype(np.float32)
WEIGHTS = RANDOM.normal(0, 1, (3 * 2, CLASSES)).astype(np.float32)


def model(pictures: Reals) -> Answers:
    """Colours and their squares, weighed: it sees brightness, contrast and which channel is which."""
    means = pictures.mean(axis=(1, 2)) / 64 - 1.5
    features = np.concatenate((means, means**2), axis=1) @ WEIGHTS * 2
    powers = np.exp(features - features.max(axis=1, keepdims=True))
    return Answers(np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32), scores=True)


def as_changed(change: str, pictures: Reals = PICTURES) -> Reals:
    return np.asarray(np.clip(probes.CHANGES[change](pictures), 0, 255), np.float32)


def fired(release: Callable[[Reals], Answers]) -> set[str]:
    """Names of the probes that fire."""
    ours, theirs = release(PICTURES), model(PICTURES)

    def changed(side: str, change: str) -> Answers:
        return (release if side == "release" else model)(as_changed(change))

    found = [*probes.of_inputs(ours, theirs, changed), *probes.of_outputs(ours, theirs)]
    return {probe.name for probe in found if probe.fires}


def test_nothing_fires_for_the_same_model() -> None:
    assert fired(model) == set()


def test_nothing_fires_for_an_independent_model() -> None:
    other = RANDOM.permutation(WEIGHTS.ravel()).reshape(WEIGHTS.shape)
    assert fired(lambda pictures: Answers(np.roll(model(pictures[::-1]).values, 1, axis=0) * other[0, 0])) == set()


@pytest.mark.parametrize("fault", probes.FAULTS, ids=lambda fault: fault.name)
def test_a_release_with_a_fault_is_named(fault: probes.Fault) -> None:
    found = fired(lambda pictures: model(as_changed(fault.show, pictures)))
    assert fault.name in found


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("labels-up", np.roll(np.arange(CLASSES), 1)),
        ("labels-down", np.roll(np.arange(CLASSES), -1)),
        ("labels-reversed", np.arange(CLASSES)[::-1]),
        ("labels-moved", np.array([2, 0, 1, 5, 3, 4])),
    ],
)
def test_a_release_with_its_labels_elsewhere_is_named(name: str, order: Reals) -> None:
    found = fired(lambda pictures: Answers(model(pictures).values[:, order], scores=True))
    assert name in found


@pytest.mark.parametrize(("left", "fires"), [(0.0, True), (0.4, True), (0.6, False)])
def test_a_fault_that_costs_little_fires_where_it_explains_half_of_that(left: float, fires: bool) -> None:
    """left: of the difference to the baseline that the fault makes, what exchanged colours do not explain."""
    theirs = model(PICTURES).values
    fault = RANDOM.normal(0, 0.05, theirs.shape).astype(np.float32)
    ours = Answers(theirs + fault, scores=True)
    undone = Answers(theirs + fault * np.float32(np.sqrt(left)), scores=True)
    found = probes.of_inputs(
        ours,
        Answers(theirs, scores=True),
        lambda side, change: undone if (side, change) == ("release", "exchange") else None,
    )
    assert [probe.fires for probe in found if probe.name == "red-blue"] == [fires]


def test_another_order_is_learned_of_many_classes_of_which_few_speak() -> None:
    theirs = np.full((N, 1_001), 0.0005, np.float32)
    theirs[np.arange(N), np.arange(N) // 2 % 12 * 80] = 0.5
    order = np.random.default_rng(3).permutation(1_001)
    found = probes.of_outputs(Answers(theirs[:, order], scores=True), Answers(theirs, scores=True))
    assert "labels-moved" in {probe.name for probe in found if probe.fires}


def test_a_change_that_cannot_be_made_is_left_out() -> None:
    assert list(probes.of_inputs(model(PICTURES), model(PICTURES), lambda side, change: None)) == []
