"""`python -m bench.peers.web PORT MODEL`: uvicorn with httptools, raw bytes in and out, and nothing between it and the
model."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from bench.peers.runner import Runner

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class App:
    """Every request is for the model."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message["body"])
            more = message["more_body"]
        answer, invoked_us = self._runner.run(b"".join(parts))
        headers = [(b"content-length", b"%d" % len(answer)), (b"x-invoked-us", b"%d" % invoked_us)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    port, model = sys.argv[1:]
    options: dict[str, Any] = {"lifespan": "off", "access_log": False, "log_level": "warning"}
    uvicorn.run(App(Runner(model)), port=int(port), http="httptools", loop="asyncio", **options)
