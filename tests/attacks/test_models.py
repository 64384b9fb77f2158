"""Bad models and cards against the trial child, and a model's file that is cut while it is served."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent import slots
from agent.slots import Slot
from examples.demo import damage
from littoral import errors
from littoral.bundle import card, fields
from tests.agent.runtime.device import interface_digests, until
from tests.attacks.test_frames import LIVE, anything
from tests.attacks.victim import Victim

# How a trial child may end (agent/control.py), beside the names of errors.
ENDS = {"", "golden-mismatch", "not-finite", "wrong-interface", "crashed", "hung", "no-room"}
MUTATIONS = [
    pytest.param(25, id="short", marks=pytest.mark.slow),
    pytest.param(1_000, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3_600)]),
]


@pytest.mark.parametrize("mutations", MUTATIONS)
def test_corrupted_models_end_their_trial_by_name_and_harm_nobody(victim: Victim, mutations: int) -> None:
    device = victim.device
    model = (slots.release_folder(device.state, bundle_of(victim).bundle) / "model").read_bytes()
    labels = "\n".join(victim.welcome.interface.labels).encode()
    declared = interface_digests(victim.welcome.interface, labels)
    spoil = random.Random(mutations)
    agent = device.agent()
    with victim.unharmed():
        for content in corrupted(model, mutations, spoil):
            added = device.add(victim.model, 2, content, interface=declared, labels=labels)
            tried = agent.trial(victim.model, added)
            assert tried.code in ENDS | set(errors.all_errors()), tried
            assert tried.code != "internal", tried
            assert tried.reason or not tried.code
        agent.close()


def corrupted(model: bytes, count: int, spoil: random.Random) -> Iterator[bytes]:
    """Models of every class of corruption: what is known to kill, cut, random, flipped, and well-formed nonsense."""
    yield damage.crash(model)
    yield b""
    yield spoil.randbytes(len(model))
    yield model[:8] + spoil.randbytes(len(model) - 8)
    structure = sorted(places_of_structure(model))
    for number in range(count - 4):
        changed = bytearray(model)
        if number % 4 == 0:
            del changed[spoil.randrange(len(model)) :]
        elif number % 4 == 1:
            place = spoil.randrange(len(model))
            changed[place] ^= 1 << spoil.randrange(8)
        else:
            for _ in range(spoil.choice((1, 2, 8))):
                place = spoil.choice(structure)
                word = spoil.choice((-1, 0, 1, 0x7FFFFFFF, place, spoil.getrandbits(31)))
                changed[place : place + 4] = word.to_bytes(4, "little", signed=True)
        yield bytes(changed)


def places_of_structure(model: bytes) -> set[int]:
    """Where the words of the flatbuffer lie that are no weights: small numbers, and few of them in a row."""
    return {at for at in range(0, len(model) - 4, 4) if model[at + 2 : at + 4] in (b"\0\0", b"\xff\xff")}


def test_a_model_file_that_is_cut_while_it_is_served_changes_no_answer(victim: Victim) -> None:
    folder = slots.release_folder(victim.device.state, bundle_of(victim).bundle)
    with victim.unharmed():
        os.truncate(folder / "model", 100)
        victim.answers()
        os.truncate(folder / "card", 0)
        os.truncate(folder / "bundle.json", 3)
        victim.answers()


def test_a_model_file_that_was_cut_is_not_loaded_again(victim: Victim) -> None:
    device = victim.device
    worker = device.agent().expect_counts(victim.model, errors=0).worker
    os.truncate(slots.release_folder(device.state, bundle_of(victim).bundle) / "model", 100)
    os.kill(worker, signal.SIGKILL)
    until(lambda: device.serves(victim.model) == 0, "the model to be served no more")
    assert device.serves("keywords") == 1


def bundle_of(victim: Victim) -> Slot:
    record = slots.read(slots.path_of(victim.device.state, victim.model))
    assert record is not None
    assert record.a is not None
    return record.a


# --- cards


def toml(value: object) -> str:
    """A value as TOML would have it, where it can be said in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, int | float):
        return repr(value)
    return '"' + str(value).encode("unicode_escape").decode().replace('"', "'").replace("\\x", "\\u00") + '"'


KNOWN = {"[[input]]": fields.INPUTS, "[[output]]": fields.OUTPUTS}
AS_USUAL = object()
WORDS = ["image", "window", "tensor", *fields.OUTPUTS, "rgb", "128", "-0.5", "nan", "1e999", "letterbox", "dfl", "v5"]
words = st.sampled_from(WORDS)
values = words | st.integers(-2, 2_000) | st.lists(words | st.integers(0, 64), max_size=4) | anything


def table(head: str, kind: str) -> st.SearchStrategy[str]:
    """An input or output of a card of this kind, of whose fields some are anything."""
    known = KNOWN[head][kind]
    named = f"{'kind' if head == '[[input]]' else 'decoder'} = {toml(kind)}"
    usual = {name: field.default for name, field in known.items() if field.default is not None}
    names = st.sampled_from(sorted(known)).filter(lambda name: name not in ("kind", "decoder"))
    body = st.dictionaries(names, st.just(AS_USUAL) | st.just(AS_USUAL) | values, max_size=3)

    def written(given: dict[str, object]) -> str:
        whole = {name: usual.get(name, 0) if value is AS_USUAL else value for name, value in given.items()}
        return "\n".join([head, named, *(f"{name} = {toml(value)}" for name, value in whole.items())])

    return body.map(written)


TABLES = [table(head, kind) for head, known in KNOWN.items() for kind in known]
cards = st.lists(st.one_of(TABLES), max_size=3).map("\n".join)


@settings(LIVE, max_examples=500)
@given(text=cards | st.text(max_size=300))
@example(text="input = " + "[" * 5_000)
@example(text="[[input]]\nfill = " + "9" * 16_000)
def test_any_card_is_read_or_refused_by_name(text: str) -> None:
    with suppress(errors.CardError):
        card.parse(text)


@settings(LIVE, max_examples=30)
@given(text=cards)
def test_any_card_that_can_be_read_passes_its_trial_or_is_refused_there_by_name(victim: Victim, text: str) -> None:
    try:
        card.parse(text)
    except errors.CardError:
        return
    device = victim.device
    slot = bundle_of(victim)
    model = (slots.release_folder(device.state, slot.bundle) / "model").read_bytes()
    agent = device.agent()
    tried = agent.trial(victim.model, device.add(victim.model, 3, model, card=text.encode()))
    agent.close()
    assert tried.code in ("", "bad-card", "wrong-interface"), tried
