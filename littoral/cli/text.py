"""How the command prints what a model answered: lines for people, and JSON."""

from collections import Counter
from typing import Any

from littoral.client.results import Answer, Box, Detection, Mask, Pose
from littoral.wire.vision import ResultKind

VALUES = 8  # printed of an embedding
NO_LABEL = 255  # in a mask


def size_text(size_bytes: float) -> str:
    """In MB, as people who look at a device's memory count."""
    return f"{size_bytes / 1e6:.1f} MB"


def answer_json(model: str, answer: Answer) -> dict[str, Any]:
    """outputs as lists of stored values where they are arrays, else their bytes as hexadecimal digits."""
    return {
        "model": model,
        "release": answer.release,
        "stage": answer.stage.name.lower(),
        "queued_us": answer.queued_us,
        "invoked_us": answer.invoked_us,
        "outputs": {
            name: value.hex() if isinstance(value, bytes) else value.tolist() for name, value in answer.outputs.items()
        },
    }


def detection_json(model: str, detection: Detection) -> dict[str, Any]:
    times = ("queued_us", "prepared_us", "invoked_us", "decoded_us", "width", "height")
    return {
        "model": model,
        "release": detection.release,
        "stage": detection.stage.name.lower(),
        **{name: getattr(detection, name) for name in times},
        "kind": detection.kind.name.lower(),
        "results": _results_json(detection),
    }


def _results_json(detection: Detection) -> Any:
    if detection.mask is not None:
        shares = {name: share for _, name, share in mask_shares(detection.mask, detection.labels)}
        return {"width": detection.mask.width, "height": detection.mask.height, "labels": shares}
    if detection.kind is ResultKind.RAW:
        return detection.raw.hex()
    if detection.classes:
        return [{"label": c.label, "index": c.index, "score": c.score} for c in detection.classes]
    if detection.boxes or detection.poses:
        return [_box_json(item) for item in boxes_of(detection)]
    return list(detection.embedding)


def _box_json(item: Box | Pose) -> dict[str, Any]:
    value = {"label": item.label, "index": item.index, "score": item.score, "box": [item.x0, item.y0, item.x1, item.y1]}
    return value | {"points": [[p.x, p.y, p.score] for p in item.points]} if isinstance(item, Pose) else value


def mask_shares(mask: Mask, labels: tuple[str, ...]) -> list[tuple[int, str, float]]:
    """Index and name of each label in a mask, and how much of the frame it covers, 0 to 1; the largest first."""
    counts = Counter(mask.data)
    counts.pop(NO_LABEL, None)
    return [
        (index, name_of(labels[index] if index < len(labels) else "", index), count / len(mask.data))
        for index, count in counts.most_common()
    ]


def boxes_of(detection: Detection) -> list[Box | Pose]:
    """All that has a box."""
    return [*detection.boxes, *detection.poses]


def name_of(label: str, index: int) -> str:
    """A label's name, or its number where it has none."""
    return label or f"#{index}"


def name_of_item(item: Box | Pose) -> str:
    """As name_of; a pose without a label is a pose, as its model knows nothing else."""
    return item.label or ("pose" if isinstance(item, Pose) and not item.index else name_of("", item.index))


def detection_lines(model: str, detection: Detection) -> list[str]:
    """A table for people."""
    stage = detection.stage.name.lower()
    parts = ("queued", "prepared", "invoked", "decoded")
    times = [getattr(detection, f"{part}_us") for part in parts]
    told = ", ".join(f"{part} {us / 1000:.1f}" for part, us in zip(parts, times, strict=True))
    kind = detection.kind.name.lower()
    head = f"{model}: release {detection.release} ({stage}) gave {kind} in {sum(times) / 1000:.1f} ms ({told})"
    return [head, *_result_lines(detection)]


def _result_lines(detection: Detection) -> list[str]:
    if detection.classes:
        return [f"  {found.score:8.3f}  {name_of(found.label, found.index)}" for found in detection.classes]
    if items := boxes_of(detection):
        names = [name_of_item(item) for item in items]
        wide = max(len("label"), *(len(name) for name in names))
        head = f"  {'score':>8}  {'label':{wide}}  {'x0':>7} {'y0':>7} {'x1':>7} {'y1':>7}"
        return [head, *(_box_line(item, name, wide) for item, name in zip(items, names, strict=True))]
    if detection.mask is not None:
        head = f"  mask of {detection.mask.width}x{detection.mask.height}"
        shares = mask_shares(detection.mask, detection.labels)
        return [head, *(f"  {share:8.1%}  {name}" for _, name, share in shares)]
    if detection.embedding:
        more = ", ..." if len(detection.embedding) > VALUES else ""
        shown = ", ".join(f"{value:g}" for value in detection.embedding[:VALUES])
        return [f"  {len(detection.embedding)} values: {shown}{more}"]
    return [f"  {len(detection.raw)} bytes"] if detection.raw else ["  nothing"]


def _box_line(item: Box | Pose, name: str, wide: int) -> str:
    points = f"  {len(item.points)} points" if isinstance(item, Pose) else ""
    return f"  {item.score:8.3f}  {name:{wide}}  {item.x0:7.1f} {item.y0:7.1f} {item.x1:7.1f} {item.y1:7.1f}{points}"
