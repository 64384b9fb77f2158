"""raw: all outputs as ANSWER gives them, for apps that decode for themselves."""

from agent.runtime.vision.items import Items
from agent.runtime.vision.placement import Placement
from agent.runtime.vision.selection import Wanted
from agent.runtime.vision.stored import Outputs
from littoral.wire.vision import ResultKind


def raw(outputs: Outputs, placement: Placement, wanted: Wanted) -> Items:
    return Items(ResultKind.RAW, 1, len(outputs.data), outputs.data)
