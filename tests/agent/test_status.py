"""agent/status.py: what the running agent tells a person at the device."""

import select
import socket
import threading
from pathlib import Path

import pytest

from agent.status import NAME, StatusSocket, ask


def ask_beside(agent: StatusSocket, state: Path, told: dict[str, object]) -> object:
    """What somebody is told while the agent goes its rounds."""
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(ask(state)))
    asking.start()
    number = agent.fileno()
    assert number is not None
    while asking.is_alive():
        select.select([number], [], [], 0.05)
        agent.answer(lambda: told)
    asking.join()
    return answers[0]


def test_who_asks_is_told_everything_at_once(tmp_path: Path) -> None:
    agent = StatusSocket(tmp_path)
    told: dict[str, object] = {"models": {f"model-{n}": {"detail": "x" * 500} for n in range(200)}}
    assert ask_beside(agent, tmp_path, told) == told
    agent.close()


def test_nobody_but_its_user_may_ask(tmp_path: Path) -> None:
    agent = StatusSocket(tmp_path)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    agent.close()


def test_an_agent_that_is_away_tells_nothing(tmp_path: Path) -> None:
    assert ask(tmp_path) is None
    agent = StatusSocket(tmp_path)
    agent.close()
    assert not (tmp_path / NAME).exists()
    assert ask(tmp_path) is None


def test_a_socket_that_a_killed_agent_left_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / NAME))
    assert ask(tmp_path) is None
    agent = StatusSocket(tmp_path)
    assert ask_beside(agent, tmp_path, {"models": {}}) == {"models": {}}
    agent.close()


def test_an_agent_that_hangs_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.status.ASK_TIMEOUT_S", 0.1)
    agent = StatusSocket(tmp_path)
    assert ask(tmp_path) is None
    agent.close()


def test_who_leaves_before_the_answer_harms_nothing(tmp_path: Path) -> None:
    agent = StatusSocket(tmp_path)
    for _ in range(3):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as leaving:
            leaving.connect(str(tmp_path / NAME))
    agent.answer(lambda: {"models": {}})
    assert ask_beside(agent, tmp_path, {"models": {}}) == {"models": {}}
    agent.close()


def test_a_folder_too_deep_for_a_socket_has_none(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    agent = StatusSocket(deep)
    assert agent.fileno() is None
    agent.answer(dict)
    agent.close()
    assert ask(deep) is None
