"""littoral/notify.py, heard by a real datagram socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from littoral.notify import FEED_S, Notifier
from tests.agent.manager import Manager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path / "notify")) as made:
        yield made


def test_it_says_what_it_is_asked_to_in_datagrams(manager: Manager) -> None:
    notifier = Notifier(manager.environment(20))
    notifier.ready("serves\n/run/query.sock")
    notifier.status("well")
    notifier.feed(0.0)
    notifier.stopping()
    assert manager.hear() == [
        "READY=1\nSTATUS=serves /run/query.sock",
        "STATUS=well",
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_a_name_in_the_abstract_namespace_is_one() -> None:
    with closing(Manager()) as manager:
        Notifier(manager.environment()).stopping()
        assert manager.hear() == ["STOPPING=1"]


@pytest.mark.parametrize("address", ["", "@", "notify", "vsock:2:1234", "/nowhere/at/all"])
def test_where_nobody_can_listen_nothing_happens(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    notifier.ready("here")
    notifier.feed(0.0)


def test_no_child_inherits_it() -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Notifier(environment)
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize(("watchdog_s", "every_s"), [(60, FEED_S), (2, FEED_S), (0.5, 0.25), (0, 0)])
def test_it_is_fed_at_half_of_the_watchdogs_time_or_each_second(
    manager: Manager, watchdog_s: float, every_s: float
) -> None:
    assert Notifier(manager.environment(watchdog_s)).every_s == every_s


def test_the_watchdog_of_another_process_is_not_fed(manager: Manager) -> None:
    other = Notifier({**manager.environment(20), "WATCHDOG_PID": "1"})
    own = Notifier({**manager.environment(20), "WATCHDOG_PID": str(os.getpid())})
    other.feed(0.0)
    assert (other.every_s, manager.hear()) == (0.0, [])
    own.feed(0.0)
    assert manager.hear() == ["WATCHDOG=1"]


def test_a_loop_that_turns_often_feeds_no_more_than_twice_as_often_as_it_must(manager: Manager) -> None:
    notifier = Notifier(manager.environment(20))
    for turn in range(100):
        notifier.feed(turn / 10)
    assert 10 <= len(manager.hear()) <= 20
    nobody = Notifier(manager.environment())
    nobody.feed(0.0)
    assert manager.hear() == []


def test_a_manager_that_does_not_listen_holds_nobody_up(manager: Manager) -> None:
    notifier = Notifier(manager.environment(20))
    for _ in range(10_000):
        notifier.status("x" * 100)
