"""`python3 probe.py COMMAND MODEL TIMES`, on the device: milliseconds to the first answer, each time, as JSON.

`start`: from `systemctl start` of a runtime that was stopped; `activation`: from the connection to its socket. `boot`
waits for the first answer and says when it came, seconds since 1970. `ask`: TIMES questions, one a second. It imports
nothing but what the packages bring.
"""

import json
import subprocess
import sys
import time

from littoral.client import Client
from littoral.errors import LittoralError

RUNTIME, AGENT = "littoral-runtime.service", "littoral-agent.service"
PATIENCE_S = 60.0


def answer(model: str) -> None:
    """Returns once there was an answer."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            with Client(model, timeout_s=PATIENCE_S) as client:
                client.infer(bytes(client.interface.input_bytes))
            return
        except LittoralError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=True)


def once(command: str, model: str) -> float:
    systemctl("stop", RUNTIME)
    systemctl("reset-failed")
    systemctl("start", "littoral-runtime.socket", "littoral-runtime-control.socket")
    time.sleep(1.0)
    began = time.monotonic()
    if command == "start":
        systemctl("start", "--no-block", RUNTIME)
    answer(model)
    return (time.monotonic() - began) * 1000


def main(command: str, model: str, times: int) -> object:
    if command == "ask":
        for _ in range(times):
            answer(model)
            time.sleep(1.0)
        return times
    if command == "boot":
        answer(model)
        return time.time()
    systemctl("stop", AGENT)  # which would connect, and so start the runtime, before anybody asks
    try:
        return [once(command, model) for _ in range(times)]
    finally:
        systemctl("start", AGENT)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
