import re

import httpx
import pytest

from fleet.api.page import FILES
from fleet.store import Store


@pytest.fixture
def token(opened: Store) -> str:
    return opened.access.add_admin()


def test_a_stranger_is_asked_for_the_token(visitor: httpx.Client) -> None:
    answer = visitor.get("/")
    assert "API token" in answer.text
    assert "app.js" not in answer.text


@pytest.mark.parametrize("way", ["address", "form"])
def test_the_token_is_exchanged_for_a_cookie_that_scripts_cannot_read(
    visitor: httpx.Client, token: str, way: str
) -> None:
    answer = visitor.get(f"/?token={token}") if way == "address" else visitor.post("/", data={"token": f" {token}\n"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert token not in cookie
    assert "app.js" in visitor.get("/").text


def test_the_cookie_lets_its_holder_look_and_change_nothing(visitor: httpx.Client, token: str) -> None:
    visitor.get(f"/?token={token}")
    for path in ("devices", "releases", "rollouts", "judgements", "events", "status"):
        assert visitor.get(f"/api/v1/{path}").status_code == 200
    assert visitor.post("/api/v1/tokens").status_code == 401
    assert visitor.post("/api/v1/rollouts", json={"model": "eye", "release": 1}).status_code == 401
    assert visitor.get("/api/v1/metadata").status_code == 401


@pytest.mark.parametrize("wrong", ["", "wrong", "\ud7ff\0", "x" * 3_000])
def test_a_wrong_token_opens_nothing(visitor: httpx.Client, wrong: str) -> None:
    for answer in (visitor.get("/", params={"token": wrong}), visitor.post("/", data={"token": wrong})):
        assert answer.status_code == 401
        assert "not valid" in answer.text
        assert "set-cookie" not in answer.headers


def test_a_form_that_is_too_long_is_refused(visitor: httpx.Client) -> None:
    assert visitor.post("/", content=b"token=" + bytes(5_000)).status_code == 400


def test_the_page_loads_nothing_from_elsewhere(visitor: httpx.Client) -> None:
    for file in sorted(FILES.iterdir()):
        text = file.read_text()
        foreign = [url for url in re.findall(r"https?://[^\s\"')]+", text) if "www.w3.org" not in url]
        assert foreign == [], file.name
        assert not re.search(r"\son\w+=|<style|style=|innerHTML", text), file.name
    assert "default-src 'none'" in visitor.get("/").headers["content-security-policy"]


def test_every_file_that_a_page_names_is_there(visitor: httpx.Client) -> None:
    for page in ("index.html", "enter.html", "refused.html"):
        for name in re.findall(r'(?:href|src)="(/web/[^"]+)"', (FILES / page).read_text()):
            assert visitor.get(name).status_code == 200
    for name in ("/web/index.html", "/web/..%2F__init__.py", "/web/nothing"):
        assert visitor.get(name).status_code == 404


def test_every_part_that_the_script_fills_is_on_the_page() -> None:
    script, page = (FILES / "app.js").read_text(), (FILES / "index.html").read_text()
    wanted = set(re.findall(r'(?:byId|fill)\("([a-z]+)"', script))
    assert wanted
    assert wanted <= set(re.findall(r'id="([a-z]+)"', page))
