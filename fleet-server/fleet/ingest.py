"""Takes what devices say into the store, many messages in one transaction, each counted once.

A message is believed only as far as its topic goes: the broker lets a device write under its own id alone. What cannot
be read is logged and left; it must not keep the rest waiting.
"""

import logging
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from fleet.link import Arrival, Connected, Received
from fleet.store import Judgement, Report, Store
from littoral.errors import BadNameError
from littoral.names import check_name
from littoral.wire.messages import (
    Metrics,
    Reported,
    parse_event,
    parse_metrics,
    parse_names,
    parse_presence,
    parse_reported,
)

MAX_TEXT_BYTES = 4_096  # of any text in a report
MAX_DEPTH = 4  # of what lies within facts: whoever shows it recurses too
_LARGEST = 2**53
_DIGEST = re.compile(r"[0-9a-f]{64}")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Taken:
    """What a batch held: who reported its state, the chunks that each device needs, and what changed for viewers."""

    reported: set[str] = field(default_factory=set)
    needed: dict[str, list[str]] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Batch:
    events: list[Report] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    metrics: list[tuple[str, Metrics]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)


def take(store: Store, arrivals: Sequence[Arrival], now: int) -> Taken:
    """Stores a batch within the caller's transaction. Raises only what the store raises."""
    taken, batch = Taken(), _Batch()
    known = store.devices.ids()
    for arrival in arrivals:
        if not isinstance(arrival, Received):
            taken.changed.add("status")
            if isinstance(arrival, Connected):
                store.devices.set_all_offline()
                taken.changed.add("devices")
        elif arrival.device in known:
            try:
                _TAKERS[arrival.kind](store, arrival, taken, batch, now)
                batch.seen.add(arrival.device)
            except sqlite3.Error:
                raise
            except Exception as error:  # whatever a device thought of: it is its own message only
                log.warning("%s of device %s left aside: %s", arrival.kind, arrival.device, error)
    if batch.events:
        store.reports.add_events(batch.events)
        taken.changed.add("events")
    if batch.judgements:
        store.judgements.put(batch.judgements)
        taken.changed.add("judgements")
    if batch.metrics:
        store.reports.add_metrics(batch.metrics, now)
        taken.changed.add("metrics")
    store.devices.seen(batch.seen - taken.reported, now)
    return taken


def _take_presence(store: Store, message: Received, taken: Taken, batch: _Batch, now: int) -> None:
    presence = _sound(parse_presence(message.payload))
    store.devices.set_presence(message.device, presence.online, presence.agent, now)
    taken.changed.add("devices")


def _take_state(store: Store, message: Received, taken: Taken, batch: _Batch, now: int) -> None:
    reported = _sound(parse_reported(message.payload))
    if reported.device != message.device:
        raise ValueError(f"it is of device {reported.device!r}")
    _check_tags_and_models(reported)
    store.devices.set_reported(message.device, reported, now)
    taken.reported.add(message.device)
    taken.changed |= {"devices", "rollouts"}


def _check_tags_and_models(reported: Reported) -> None:
    try:
        for name in (*reported.tags, *reported.tags.values(), *reported.models):
            check_name(name)
    except BadNameError as error:
        raise ValueError(str(error)) from error


def _take_event(store: Store, message: Received, taken: Taken, batch: _Batch, now: int) -> None:
    event = _sound(parse_event(message.payload))
    if event.kind == "judged":  # its evidence is kept once for each model, not for each time
        model = check_name(event.model, "model")
        batch.judgements.append(Judgement(message.device, model, event.release, event.at, now, event.facts))
        event = replace(event, facts={})
    batch.events.append(Report(message.device, now, event))


def _take_metrics(store: Store, message: Received, taken: Taken, batch: _Batch, now: int) -> None:
    batch.metrics.append((message.device, _sound(parse_metrics(message.payload))))


def _take_need(store: Store, message: Received, taken: Taken, batch: _Batch, now: int) -> None:
    names = parse_names(message.payload)
    if not all(map(_DIGEST.fullmatch, names)):
        raise ValueError("it names what is no digest")
    taken.needed.setdefault(message.device, []).extend(names)


def _take_ack(store: Store, message: Received, taken: Taken, batch: _Batch, now: int) -> None:
    """Commands are not sent yet, so there is nothing to note."""


_TAKERS: dict[str, Callable[[Store, Received, Taken, _Batch, int], None]] = {
    "presence": _take_presence,
    "state": _take_state,
    "event": _take_event,
    "metrics": _take_metrics,
    "need": _take_need,
    "ack": _take_ack,
}


_T = TypeVar("_T", bound=object)


def _sound(value: _T) -> _T:
    """`value` itself if every field holds what its type says: parsing fills them in as they came. Raises ValueError."""
    hints = get_type_hints(type(value))
    for name in (one.name for one in fields(value)):  # type: ignore[arg-type]
        _check(getattr(value, name), hints[name], name)
    return value


def _check(item: Any, hint: Any, name: str) -> None:
    """Knows the kinds of types that messages are made of."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:  # something or None
        if item is not None:
            _check(item, parts[0], name)
    elif kind is Any:
        _check_fact(item, name, MAX_DEPTH)
    elif type(item) is not kind:
        raise ValueError(f"{name} is no {kind.__name__}")
    elif kind is dict:
        for key, inner in item.items():
            _check_size(key)
            _check(inner, parts[1], name)
    elif kind is tuple:
        for inner in item:
            _check(inner, parts[0], name)
    elif is_dataclass(kind):
        _sound(item)
    else:
        _check_size(item)


def _check_fact(item: Any, name: str, depth: int) -> None:
    if isinstance(item, dict | list):
        if depth == 0:
            raise ValueError(f"{name} lie more than {MAX_DEPTH} deep")
        for inner in (*item, *item.values()) if isinstance(item, dict) else item:
            _check_fact(inner, name, depth - 1)
    elif isinstance(item, str | int):
        _check_size(item)
    elif item is not None:
        raise ValueError(f"{name} hold {item!r}, no text or whole number")


def _check_size(item: str | int) -> None:
    if isinstance(item, str):
        if len(item.encode()) > MAX_TEXT_BYTES:  # and half a surrogate pair has no encoding: a ValueError too
            raise ValueError(f"a text of {len(item)} characters")
    elif abs(item) > _LARGEST:
        raise ValueError(f"a number of {item.bit_length()} bits")
