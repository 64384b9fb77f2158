"""One signature of a served model, as connections are bound to it: what they are told, and who listens."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from littoral import errors
from littoral.wire import query

if TYPE_CHECKING:
    from agent.runtime.vision.pipeline import Pipeline
    from agent.runtime.worker.connection import Connection
    from littoral.bundle.task import Task


class Signature:
    """`key`: its name for an interpreter; the first one's is empty. `digest`: the interface's, as INFER carries it.
    `frame_bytes`: of an INFER with all inputs; `begins`: its first bytes, up to the id.
    `subscribers`: who is sent copies of its answers; `answers`: how many this worker gave, for the ids of the copies.
    """

    def __init__(self, key: str, welcome: query.Welcome, task: "Task | None") -> None:
        """task: what DETECT does; None where the card does not say."""
        self.key = key
        self.welcome = welcome
        self.digest = bytes.fromhex(welcome.interface.digest)
        self.input_bytes = welcome.interface.input_bytes
        body_bytes = query.INFER_HEAD.size + self.input_bytes
        self.frame_bytes = query.HEADER.size + body_bytes
        self.begins = query.HEADER.pack(query.MAGIC, query.VERSION, query.Kind.INFER, body_bytes, 0)[:8]
        self.subscribers: list[Connection] = []
        self.answers = 0
        self._task = task
        self._pipeline: Pipeline | None = None

    def welcome_json(self, limit_bytes: int) -> dict[str, Any]:
        """As a connection with this limit is told."""
        return query.welcome_json(replace(self.welcome, max_frame_bytes=limit_bytes))

    def restage(self, stage: query.Stage) -> None:
        self.welcome = replace(self.welcome, stage=stage)

    def pipeline(self) -> "Pipeline":
        """What makes inputs of pictures and results of outputs. Raises UnsupportedError where the card asks for none,
        or numpy or Pillow is not installed.

        The first one brings numpy and Pillow into this process.
        """
        if self._task is None:
            raise errors.UnsupportedError(
                "the card of this model describes neither picture nor window",
                remedy="Serve it with a card that does (docs/card.md), or send tensors (`littoral infer`).",
            )
        if self._pipeline is None:
            try:
                from agent.runtime.vision.pipeline import Pipeline
            except ImportError as error:
                raise errors.UnsupportedError(
                    f"DETECT needs numpy and Pillow on the device: {error}",
                    remedy="Install them (Debian: python3-numpy, python3-pil), or send tensors with INFER.",
                ) from error
            self._pipeline = Pipeline(self._task)
        return self._pipeline
