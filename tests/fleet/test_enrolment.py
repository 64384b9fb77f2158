from dataclasses import replace
from pathlib import Path

import pytest

from fleet.ca import SERVER_NAME, Authority
from fleet.enrolment import Application, admit
from fleet.store import Store
from littoral.errors import (
    BadNameError,
    BadRequestError,
    LittoralError,
    NameTakenError,
    TokenExpiredError,
    TokenUnknownError,
    TokenUsedError,
)
from tests.fleet.parts import application

NOW = 1_800_000_000
ROOT = b"the first root.json"


@pytest.fixture
def authority(data: Path) -> Authority:
    return Authority(data)


@pytest.fixture
def token(opened: Store) -> str:
    return opened.access.add_token(ROOT, NOW + 60)


def test_a_device_gets_the_name_it_asks_for(opened: Store, authority: Authority, token: str) -> None:
    admission = admit(opened, authority, application(token, "door", site="north"), NOW)
    assert (admission.device, admission.new) == ("door", True)
    device = opened.devices.get("door")
    assert device is not None
    assert (device.tags, device.architecture, device.enrolled) == ({"site": "north"}, "x86_64", NOW)


def test_a_device_without_a_name_is_given_one(opened: Store, authority: Authority, token: str) -> None:
    admission = admit(opened, authority, application(token), NOW)
    assert admission.device.startswith("device-")
    assert opened.devices.get(admission.device)


def refused(store: Store, authority: Authority, wish: Application, error: type[LittoralError], now: int = NOW) -> None:
    before = store.devices.all()
    with pytest.raises(error):
        admit(store, authority, wish, now)
    assert store.devices.all() == before


def test_an_unknown_token_is_refused(opened: Store, authority: Authority, token: str) -> None:
    for wrong in ("", "x", token + "0", token.split(".")[0], token.replace(".", ".0")):
        refused(opened, authority, application(wrong), TokenUnknownError)


def test_a_used_token_is_refused(opened: Store, authority: Authority, token: str) -> None:
    admit(opened, authority, application(token, "door"), NOW)
    refused(opened, authority, application(token, "gate"), TokenUsedError)


def test_an_expired_token_is_refused(opened: Store, authority: Authority, token: str) -> None:
    refused(opened, authority, application(token), TokenExpiredError, now=NOW + 60)


def test_a_taken_name_is_refused_and_the_token_stays_good(opened: Store, authority: Authority, token: str) -> None:
    admit(opened, authority, application(token, "door"), NOW)
    second = opened.access.add_token(ROOT, NOW + 60)
    refused(opened, authority, application(second, "door"), NameTakenError)
    assert admit(opened, authority, application(second, "gate"), NOW).device == "gate"


def test_the_servers_own_name_is_taken(opened: Store, authority: Authority, token: str) -> None:
    refused(opened, authority, application(token, SERVER_NAME), NameTakenError)


def test_a_bad_request_leaves_the_token_good(opened: Store, authority: Authority, token: str) -> None:
    good = application(token, "door")
    refused(opened, authority, replace(good, csr="nothing"), BadRequestError)
    refused(opened, authority, replace(good, name="Door!"), BadNameError)
    refused(opened, authority, replace(good, tags={"Site": "x"}), BadNameError)
    refused(opened, authority, replace(good, tags={f"t{n}": "x" for n in range(65)}), BadRequestError)
    refused(opened, authority, replace(good, architecture="x86 64\n"), BadRequestError)
    assert admit(opened, authority, good, NOW).new


def test_a_device_whose_answer_was_lost_may_ask_again(opened: Store, authority: Authority, token: str) -> None:
    wish = application(token)
    first = admit(opened, authority, wish, NOW)
    second = admit(opened, authority, wish, NOW + 3_600)
    assert (second.device, second.new) == (first.device, False)
    assert len(opened.devices.all()) == 1
