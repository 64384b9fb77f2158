"""littoral/wire/topics.py: names of topics."""

import pytest

from littoral.errors import BadNameError
from littoral.wire.topics import Topics

TOPICS = Topics("main")


def test_topics_are_under_their_tenant() -> None:
    assert TOPICS.index == "lt/v1/main/meta/index"
    assert TOPICS.meta("3.m-cats.json") == "lt/v1/main/meta/3.m-cats.json"
    assert TOPICS.chunk("a" * 64) == f"lt/v1/main/chunk/{'a' * 64}"
    assert TOPICS.desired("farm-1") == "lt/v1/main/dev/farm-1/desired"
    assert TOPICS.up("farm-1", "state") == "lt/v1/main/dev/farm-1/up/state"


def test_no_topic_has_more_levels_than_a_cloud_broker_takes() -> None:
    assert max(t.count("/") for t in (TOPICS.up("d", "state"), TOPICS.command("d", "logs"))) <= 7


@pytest.mark.parametrize("bad", ["", "+", "a/b", "#", "A"])
def test_a_tenant_is_a_name(bad: str) -> None:
    with pytest.raises(BadNameError):
        Topics(bad)


@pytest.mark.parametrize("bad", ["../x", "a/b", "#", ""])
def test_what_is_no_file_name_has_no_topic(bad: str) -> None:
    with pytest.raises(ValueError, match="name"):
        TOPICS.meta(bad)


def test_what_is_no_digest_has_no_topic() -> None:
    with pytest.raises(ValueError, match="digest"):
        TOPICS.chunk("A" * 64)


def test_messages_of_devices_are_told_apart() -> None:
    assert TOPICS.parse_up(TOPICS.up("farm-1", "need")) == ("farm-1", "need")
    for other in (TOPICS.desired("farm-1"), Topics("else").up("farm-1", "need"), "lt/v1/main/dev/x/up/a/b"):
        assert TOPICS.parse_up(other) is None
