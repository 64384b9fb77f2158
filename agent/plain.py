"""What a device is doing, in plain words: from its slot records, and from what the running agent says of itself."""

import time
from typing import Any

from agent.slots import SlotRecord, Update
from agent.updater.clock import BUILT_AT

GREYS = " .:-=+*#%@"
SKETCH_SIDE = 8

_DOING = {
    "plan": "it is verified, and what is missing of it is listed",
    "fetch": "its chunks are fetched",
    "stage": "it is put in its place on the disk",
    "self-test": "it is tested in a child process",
    "ready": "it is tested, and waits to be switched to",
    "activate": "it is switched to",
    "probation": "it answers everyone, and is watched",
    "commit": "it is trusted, and the runtime is told",
    "rollback": "it is given up, and the runtime goes back",
    "stuck": "it was given up, and what it replaced cannot be served",
}

_LESS = {
    "strained": "nothing runs beside what apps ask for",
    "troubled": "requests are answered at a lower rate",
    "critical": "requests are answered at a much lower rate",
}


def sentence(record: SlotRecord) -> str:
    """What is served of a model, and what is on its way."""
    serves, update = record.serves, record.update
    if serves is None:
        now = "nothing is served"
    elif record.stage == "trial":
        baseline = f", release {record.other.release} waits behind it" if record.other else ""
        now = f"release {serves.release} ({serves.version}) is on trial{baseline}"
    else:
        now = f"release {serves.release} ({serves.version}) is served, committed with evidence {serves.evidence}"
    if record.removing:
        return f"{now}; it is removed, as nobody wants it here any more"
    if update is None:
        return now
    wished = ", wished for at this device" if update.local else ""
    return f"{now}; update to release {update.release}, attempt {update.attempt}{wished}: {_doing(update)}"


def account(record: SlotRecord, situation: dict[str, Any] | None, at: float) -> list[str]:
    """Since when, why and until when, a line each. situation: what the agent says of this model, None where it does
    not run. at: seconds since 1970.
    """
    update, lines = record.update, []
    if update is not None and BUILT_AT <= update.since <= at:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(update.since))
        lines.append(f"in this state since {began}, for {span(at - update.since)}")
    if situation is None:
        if update is not None and record.stage == "trial" and record.serves is not None:
            seen = f"{record.serves.healthy_s} s healthy and {record.serves.answers} answers"
            lines.append(f"{seen} when that was last written down")
        return lines
    if situation["detail"]:
        code = f" ({situation['code']})" if situation["code"] else ""
        lines.append(f"{situation['detail']}{code}")
    if situation["total_bytes"]:
        lines.append(f"{situation['fetched_bytes']} of {situation['total_bytes']} bytes are here")
    if situation["left_s"] is not None:
        lines.append(f"this may take {span(situation['left_s'])} more, then {_at_deadline(update)}")
    elif update is not None:
        lines.append("it may wait for this as long as it takes")
    if situation["watch"]:
        lines.append(f"watched on until its evidence is full: {situation['watch']}")
    return lines


def ending(record: SlotRecord) -> list[str]:
    """How the last update ended, with the numbers behind it, and what must not be tried again."""
    lines = []
    if record.last is not None:
        last = record.last
        when = "last update" if record.update is None else "the update before that"
        lines.append(f"{when}: release {last.release}, attempt {last.attempt}: {last.outcome}")
        if last.reason:
            lines.append(f"  because: {last.reason} ({last.code})")
        lines += [f"  {name}: {value}" for name, value in sorted(last.facts.items())]
    for entry in record.blocked:
        lines.append(f"blocklisted: bundle {entry.bundle[:16]}, up to attempt {entry.attempt}: {entry.code}")
    return [*lines, f"floor: {record.floor}"]


def evidence(value: dict[str, Any]) -> list[str]:
    """What is kept of how a release was judged (agent/updater/evidence.py)."""
    if not value.get("release"):
        return []
    code = f" ({value['code']})" if value.get("code") else ""
    lines = [f"evidence of release {value['release']}: {value.get('outcome', '')}{code}"]
    for part, when in (("rehearsal", "before it answered anyone"), ("shadow", "while it answered")):
        if value.get(part):
            lines += [f"  {line}" for line in _compared(value[part], when)]
    for name, test in sorted((value.get("tests") or {}).items()):
        lines.append(
            f"  {name}: {test['bad']} of {test['requests']}, in {test['bad_blocks']} of {test['blocks']} blocks; "
            f"log likelihood ratio {test['ratio_milli'] / 1_000:.1f}, bad from {test['bound_milli'] / 1_000:.1f}"
        )
    return lines


def _compared(found: dict[str, Any], when: str) -> list[str]:
    beside = f"compared with release {found.get('baseline_release', 0)} {when}"
    if found.get("why"):
        return [f"{beside}: no evidence: {found['why']}"]
    if "gate" not in found:
        return [f"{beside}: {found.get('reason', '')}"]
    lines = [f"{beside}, on {found['inputs']} inputs of {found['scenes']} scenes, as {found['gate']}:"]
    if "skill_ppm" in found:
        least = f", at least {_decimal(found['skill_limit_ppm'])}" if "skill_limit_ppm" in found else ""
        lines.append(f"  skill {_decimal(found['skill_ppm'])}{least}")
    if found.get("sure"):
        most = f", {found['disagreements_limit']} is bad" if "disagreements_limit" in found else ""
        lines.append(f"  {found['disagreements']} of {found['sure']} sure answers differ{most}")
    if "boxes_ppm" in found:
        lines.append(f"  boxes: skill {_decimal(found['boxes_ppm'])}")
    lines.append(f"  median {found['median_us']} us, {_decimal(found['ratio_ppm'])} times the baseline's")
    fired = [probe for probe in found.get("probes", ()) if probe["fires"]]
    lines += [f"  it {probe['text']}: skill {_decimal(probe['skill_ppm'])} if so" for probe in fired]
    if found.get("probes") and not fired:
        lines.append(f"  none of {len(found['probes'])} faults that were tried explains it")
    if found.get("verdict"):
        lines.append(f"  found bad: {found['reason']} ({found['verdict']})")
    for worst in found.get("worst", ()):
        said = f": baseline {worst['baseline']}, release {worst['release']}" if worst.get("baseline") else ""
        lines += [f"  {worst['far_ppm'] / 10_000:.0f} % of all difference{said}", *_drawn(worst["sketch"])]
    return lines


def _drawn(sketch: str) -> list[str]:
    """A sketch, 8x8 grey means, for a terminal with dark letters or light ones: brighter is fuller."""
    values = bytes.fromhex(sketch)  # none where the input is too small to be told of
    rows = (values[at : at + SKETCH_SIDE] for at in range(0, len(values), SKETCH_SIDE))
    return ["    " + "".join(2 * GREYS[value * len(GREYS) // 256] for value in row) for row in rows]


def _decimal(ppm: int) -> str:
    return f"{ppm / 1_000_000:.2f}"


def alarm(told: dict[str, Any]) -> list[str]:
    """Something wrong with the device: what, what was found, what can be done, a line each."""
    head = f"{told['severity']}: {told['title']} ({told['code']})"
    return [head, *(f"  {line}" for line in (told["text"], told["remedy"]) if line)]


def device(told: dict[str, Any]) -> str:
    """How the device is: what of it is known, and how much less is done on it."""
    parts = [f"{zone['name']} {zone['temperature_mc'] / 1000:.0f} °C" for zone in told["zones"]]
    if told["available_bytes"] is not None:
        parts.append(f"{told['available_bytes'] >> 20} MB of memory available")
    if told["disk_free_bytes"] is not None:
        parts.append(f"{told['disk_free_bytes'] >> 20} MB of disk free")
    if told["level"] in _LESS:
        parts.append(_LESS[told["level"]])
    return ", ".join(parts) or "it says nothing of itself"


def span(seconds: float) -> str:
    """A length of time, to two units."""
    left, parts = max(round(seconds), 0), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2]) or "0 s"


def _doing(update: Update) -> str:
    return f"{update.state}: {_DOING.get(update.state, update.state)}"


def _at_deadline(update: Update | None) -> str:
    state = "" if update is None else update.state
    if state == "probation":
        return "it is committed with evidence low if it was well for long enough, else given up"
    if state == "rollback":
        return "the model counts as stuck"
    return "the runtime is asked again" if state == "commit" else "it is given up, and tried again later"
