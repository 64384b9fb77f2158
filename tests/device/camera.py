"""A camera app on a device, with nothing but what its packages bring: asks twenty times a second, and counts.

    python3 camera.py MODEL PICTURES STATUS

PICTURES: inputs of 32 x 32 x 3 bytes in a row. STATUS: a JSON file, replaced as a whole after each question. It runs
on the device by itself, so it imports nothing of the tests.
"""

import json
import sys
import time
from pathlib import Path

from littoral.client import Client
from littoral.errors import LittoralError

PICTURE_BYTES = 32 * 32 * 3
PERIOD_S = 0.05
TIMEOUT_S = 10.0


def main(model: str, pictures: Path, status: Path) -> None:
    content = pictures.read_bytes()
    inputs = [content[at : at + PICTURE_BYTES] for at in range(0, len(content), PICTURE_BYTES)]
    counts = {"answers": 0, "lost": 0}
    spans: list[list[float]] = []  # release, answers, longest wait in ms
    problem, number = "", 0
    while True:
        try:
            with Client(model, timeout_s=TIMEOUT_S, name="camera") as client:
                while True:
                    began = time.monotonic()
                    number += 1
                    answer = client.infer(inputs[number % len(inputs)])
                    counts["answers"] += 1
                    if not spans or spans[-1][0] != answer.release:
                        spans.append([answer.release, 0, 0.0])
                    spans[-1][1] += 1
                    spans[-1][2] = max(spans[-1][2], round(1000 * (time.monotonic() - began), 1))
                    tell(status, {**counts, "spans": spans, "problem": problem})
                    time.sleep(PERIOD_S)
        except LittoralError as error:
            counts["lost"] += 1
            problem = f"{type(error).__name__}: {error}"
            tell(status, {**counts, "spans": spans, "problem": problem})
            time.sleep(PERIOD_S)


def tell(status: Path, value: object) -> None:
    scratch = status.with_suffix(".new")
    scratch.write_text(json.dumps(value))
    scratch.replace(status)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
