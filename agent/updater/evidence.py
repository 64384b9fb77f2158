"""The evidence behind what was decided of one release of a model: what its comparison and its tests found.

A file beside the slot record, for people: it decides nothing, and what the disk does not take is missing there and no
more. Integers and texts only; docs/mqtt.md describes every field, as it travels upstream too.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from agent import fsio
from littoral.wire.messages import Ending

NAME = "evidence.json"
PARTS = ("rehearsal", "shadow", "tests")


def path_of(state: Path, model: str) -> Path:
    return state / "models" / model / NAME


def read(state: Path, model: str, bundle: str = "") -> dict[str, Any]:
    """What is kept of a model; of `bundle` only, where that is given. Empty where there is none."""
    try:
        value = json.loads(fsio.read(path_of(state, model)))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and bundle in ("", value.get("bundle")) else {}


def keep(state: Path, model: str, bundle: str, parts: dict[str, Any], anew: bool = False) -> dict[str, Any]:
    """Adds parts to what is kept of this bundle, and gives all of it. anew: what was kept is of an attempt before."""
    whole = {"model": model, "bundle": bundle, **({} if anew else read(state, model, bundle)), **parts}
    with contextlib.suppress(OSError):
        fsio.write_file(path_of(state, model), json.dumps(whole).encode())
    return whole


def judgement(state: Path, model: str, ending: Ending, parts: dict[str, Any]) -> dict[str, Any]:
    """The evidence of how an update ended, kept here and given to be told upstream."""
    told = {
        "release": ending.release,
        "at": ending.at,
        "outcome": ending.outcome,
        "code": ending.code,
        "reason": ending.reason,
        **parts,
    }
    whole = keep(state, model, ending.bundle, told)
    return {**dict.fromkeys(PARTS), "tests": {}, **whole}
