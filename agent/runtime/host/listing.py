"""What is told of a model: to clients that ask LIST, and to the agent as Counters."""

from typing import Any

from agent import control
from agent.runtime import ring
from agent.runtime.host.serving import QUIET_S, Model
from agent.runtime.host.workers import Worker


def why(model: Model) -> str:
    """Why it is loaded: trial, pinned, serving, idle (until its room is needed), or loading; empty: it is not."""
    if model.current is None:
        return "loading" if model.is_loading else ""
    if model.is_watched:
        return "trial"
    if model.treatment.pinned:
        return "pinned"
    return "serving" if model.idle_s < QUIET_S else "idle"


def entry(model: Model, held: int | None) -> dict[str, Any]:
    """One model in LIST: as its WELCOME, with the stage as a word, and why it is loaded. held: its ring."""
    facts = {
        "why": why(model),
        "idle_s": round(model.idle_s, 1),
        "memory_bytes": model.memory_bytes,
        "kept": 0 if held is None else ring.count(held),
    }
    if model.current is not None:
        target = model.current.target
        return {**model.current.welcome, "stage": target.stage, "reason": target.reason, **facts}
    told: dict[str, Any] = {"model": model.name, "release": 0, "version": "", "stage": "none", "reason": model.reason}
    if model.asleep and model.target is not None:
        slot = model.target.slot
        told |= {"release": slot.release, "version": slot.version, "stage": "unloaded", "reason": model.target.reason}
    return {**told, **facts}


def reported(model: str, worker: Worker, notes: tuple[str, ...]) -> control.Reported:
    """What apps wrote about the release of one worker."""
    slot = worker.target.slot
    return control.Reported(model, slot.release, slot.bundle, notes)


def counters(model: str, worker: Worker) -> control.Counters:
    """What one worker has done, as it told last."""
    slot = worker.target.slot
    counts = {**worker.counts, "histogram": tuple(worker.counts.get("histogram", (0,) * 32))}
    counts["waiting"] = counts.get("waiting", 0) + worker.untaken
    return control.Counters(
        model=model,
        release=slot.release,
        bundle=slot.bundle,
        stage=worker.target.stage,
        worker=worker.pid,
        memory_bytes=worker.memory_bytes,
        **counts,
    )
