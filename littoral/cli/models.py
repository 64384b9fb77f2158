"""`littoral models`: what this device serves."""

import argparse
import json
from typing import Any

from littoral import client
from littoral.cli.text import size_text
from littoral.tensors import Tensor

# Why a model is not served as its record says, by the words of LIST.
REASONS = {
    "unvouched": "no agent vouches for it",
    "died": "its worker died",
    "failed": "it cannot be loaded",
    "safe": "it died too often",
}


def add(commands: Any, socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("models", parents=[socket], help="list what this device serves")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    entries = client.models(options.socket)
    if options.json:
        print(json.dumps(entries))
        return 0
    for entry in entries:
        print("\n".join(_lines(entry)))
    if not entries:
        print("no model")
    return 0


def _lines(entry: dict[str, Any]) -> list[str]:
    reason = f": {REASONS.get(entry['reason'], entry['reason'])}" if entry["reason"] else ""
    if entry["stage"] == "none":
        return [f"{entry['model']}  serves no release{reason}"]
    told = [f"release {entry['release']} ({entry['version']})", entry["stage"] + reason]
    if "inputs" not in entry:  # it is loaded when it is asked
        return [f"{entry['model']}  {', '.join(told)}"]
    told.append(entry["engine"])
    if entry.get("memory_bytes"):
        told.append(size_text(entry["memory_bytes"]))
    lines = [f"{entry['model']}  {', '.join(told)}"]
    if entry.get("why"):
        lines.append(f"  loaded: {entry['why']}")
    for side in ("inputs", "outputs"):
        lines.append(f"  {side}: {', '.join(tensor_text(Tensor.from_json(t)) for t in entry[side])}")
    if entry.get("detect"):
        lines.append(f"  detect: {entry['detect']}")
    return lines


def tensor_text(tensor: Tensor) -> str:
    quantized = f" scale {tensor.scale:g} zero point {tensor.zero_point}" if tensor.scale else ""
    return f"{tensor.name} {tensor.dtype}{list(tensor.shape)}{quantized}"
