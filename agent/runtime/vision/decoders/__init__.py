"""What a model's outputs mean, one file for each decoder that a card may name (docs/card.md).

A decoder is made once for a model, and called with the outputs of a run, where the frame lies in the model's picture,
and what the request wants.
"""

from collections.abc import Callable

from agent.runtime.vision.decoders.anchor_free import AnchorFree
from agent.runtime.vision.decoders.classification import Classification
from agent.runtime.vision.decoders.embedding import Embedding
from agent.runtime.vision.decoders.keypoints import Keypoints
from agent.runtime.vision.decoders.raw import raw
from agent.runtime.vision.decoders.segmentation import Segmentation
from agent.runtime.vision.decoders.ssd import Ssd
from agent.runtime.vision.decoders.yolo import Yolo
from agent.runtime.vision.items import Items
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Outputs
from littoral.bundle.task import Task

Decoder = Callable[[Outputs, Placement, Wanted], Items]

DECODERS: dict[str, Callable[[Task], Decoder]] = {
    "anchor-free": AnchorFree,
    "classification": Classification,
    "embedding": Embedding,
    "keypoints": Keypoints,
    "raw": lambda task: raw,
    "segmentation": Segmentation,
    "ssd": Ssd,
    "yolo": Yolo,
}
