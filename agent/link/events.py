"""What the link tells the agent's single-threaded loop."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took us. Whatever was subscribed to is being subscribed to again."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection ended; what was published and not confirmed is dropped. The link comes back by itself."""

    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """Something arrived. `retain`: the broker had kept it, and sends it because we have just subscribed."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """The broker has confirmed (PUBACK) what publish() gave this number to."""

    mid: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The broker has answered, and will not take it: mostly its access rules."""

    mid: int
    reason: str


Event = Connected | Disconnected | Message | Delivered | Refused
