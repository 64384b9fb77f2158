"""Ask the models on this device. It needs nothing but Python, and takes numpy arrays where the caller has numpy.

    with Client("person-detect") as client:
        answer = client.infer({"image": pixels})
        print(answer.release, answer.outputs)

A client is one connection, and for one thread. It reconnects by itself when the runtime went away, and asks again
what was not answered. A switch to another release is only seen in `Answer.release`, unless the interface changed.
docs/clients.md shows all of it.
"""

from littoral.client.client import Client
from littoral.client.info import models, stats
from littoral.client.leases import Lease, lease
from littoral.client.link import default_socket
from littoral.client.pictures import Picture
from littoral.client.results import Answer, Box, Class, Detection, Mask, Point, Pose
from littoral.client.shares import Share, Slot
from littoral.client.subscription import Subscription, subscribe
from littoral.client.tensors import Array, dequantize, quantize
from littoral.wire.query import Stage
from littoral.wire.vision import Format, ResultKind

__all__ = [
    "Answer",
    "Array",
    "Box",
    "Class",
    "Client",
    "Detection",
    "Format",
    "Lease",
    "Mask",
    "Picture",
    "Point",
    "Pose",
    "ResultKind",
    "Share",
    "Slot",
    "Stage",
    "Subscription",
    "default_socket",
    "dequantize",
    "lease",
    "models",
    "quantize",
    "stats",
    "subscribe",
]
