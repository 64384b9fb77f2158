import asyncio
import threading

import pytest

from fleet.changes import Changes


def run(changes: Changes, rounds: int) -> list[list[str]]:
    """What a follower is told, until it was told `rounds` times or the changes were closed."""

    async def follow() -> list[list[str]]:
        told = []
        async for nouns in changes.follow():
            told.append(nouns)
            if len(told) == rounds:
                break
        return told

    return asyncio.run(asyncio.wait_for(follow(), 60))


def announce_until_heard(changes: Changes, *nouns: str) -> threading.Event:
    heard = threading.Event()

    def announce() -> None:
        while not heard.wait(0.01):
            changes.announce(*nouns)

    threading.Thread(target=announce, daemon=True).start()
    return heard


def test_a_follower_is_told_what_changed() -> None:
    changes = Changes()
    heard = announce_until_heard(changes, "rollouts", "devices")
    assert run(changes, 1) == [["devices", "rollouts"]]
    heard.set()


def test_changes_between_two_questions_are_told_together() -> None:
    changes = Changes()

    async def follow() -> list[str]:
        told = changes.follow()
        first = asyncio.ensure_future(anext(told))
        while not changes._followers:
            await asyncio.sleep(0)
        changes.announce("devices")
        changes.announce("events")
        changes.announce("devices")
        answer = await first
        await told.aclose()  # type: ignore[attr-defined]
        return answer

    assert asyncio.run(follow()) == ["devices", "events"]
    assert changes._followers == set()


def test_a_follower_hears_now_and_then_that_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.changes.IDLE_S", 0.01)
    assert run(Changes(), 2) == [[], []]


def test_closing_ends_every_follower() -> None:
    changes = Changes()
    threading.Timer(0.05, changes.close).start()
    assert run(changes, 1) == []
