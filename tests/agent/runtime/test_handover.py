from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.handover import Channel, State, channel_pair

states = st.builds(
    State,
    unread=st.binary(max_size=300),
    unsent=st.binary(max_size=300),
    received_ns=st.lists(st.integers(0, 2**62), max_size=5).map(tuple),
    limit_bytes=st.integers(0, 2**31),
    farewell=st.none() | st.binary(max_size=50),
    greet=st.booleans(),
    uid=st.integers(0, 2**32),
    requests_per_s=st.floats(0, 1e6),
    capped=st.booleans(),
    signature=st.text(max_size=20),
    latest=st.booleans(),
    subscribes=st.booleans(),
    alias=st.sampled_from(("", "trial", "baseline")),
    told=st.integers(0, 2**53),
    window=st.binary(max_size=300),
    shares=st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 2**40)), max_size=4).map(tuple),
    next_share=st.integers(0, 2**31),
    beside=st.lists(st.integers(0, 2**31), max_size=4).map(tuple),
)


@given(states)
def test_a_state_survives_the_way_through_a_memfd(state: State) -> None:
    memfd = state.to_memfd()
    try:
        assert State.from_memfd(memfd) == state
    finally:
        os.close(memfd)


def test_a_state_larger_than_a_message_may_be_travels_too() -> None:
    state = State(unread=os.urandom(3_000_000), unsent=os.urandom(1_000_000))
    memfd = state.to_memfd()
    assert State.from_memfd(memfd) == state
    os.close(memfd)


def test_a_message_carries_descriptors_that_work() -> None:
    host, worker = channel_pair()
    here, there = os.pipe()
    host.send("give", {"id": 7}, (there,))
    os.close(there)
    message = worker.receive()
    assert message is not None
    assert (message.op, message.body, message.lost) == ("give", {"id": 7}, False)
    os.write(message.descriptors[0], b"through")
    assert os.read(here, 10) == b"through"
    for descriptor in (here, *message.descriptors):
        os.close(descriptor)
    close(host, worker)


def test_a_message_carries_many_descriptors() -> None:
    host, worker = channel_pair()
    here, there = os.pipe()
    host.send("give", {"id": 7}, [there] * 250)
    message = worker.receive()
    assert message is not None
    assert not message.lost
    assert len(message.descriptors) == 250
    for descriptor in (here, there, *message.descriptors):
        os.close(descriptor)
    close(host, worker)


def test_a_host_never_waits_for_a_worker_that_does_not_read() -> None:
    host, worker = channel_pair()
    for number in range(2_000):
        host.send("stage", {"number": number})
    assert host.unsent > 0
    received = 0
    while host.unsent or received < 2_000:
        host.flush()
        message = worker.receive()
        assert message is not None
        assert message.body["number"] == received
        received += 1
    close(host, worker)


def test_what_was_sent_before_the_end_is_received_though_the_other_left_messages_unread() -> None:
    host, worker = channel_pair()
    host.send("stage")
    worker.send_patiently("back", {"id": 1})
    worker.close()
    message = host.receive()
    assert message is not None
    assert message.op == "back"
    with pytest.raises(EOFError):
        host.receive()
    host.close()


def test_sending_to_one_that_is_gone_is_no_error() -> None:
    host, worker = channel_pair()
    worker.close()
    assert host.send("drain") is False
    assert host.unsent == 0
    host.close()


def test_nothing_there_is_none() -> None:
    host, worker = channel_pair()
    assert host.receive() is None
    close(host, worker)


def close(*channels: Channel) -> None:
    for channel in channels:
        channel.close()


def test_a_connection_survives_its_owner_while_a_copy_is_on_its_way() -> None:
    host, worker = channel_pair()
    client, served = socket.socketpair()
    worker.send_patiently("back", {"id": 1}, (served.fileno(), State().to_memfd()))
    served.close()
    worker.close()
    message = host.receive()
    assert message is not None
    client.send(b"still here")
    assert os.read(message.descriptors[0], 20) == b"still here"
    for descriptor in message.descriptors:
        os.close(descriptor)
    client.close()
    host.close()
