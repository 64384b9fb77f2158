"""`littoral detect`: what a model sees in an image."""

import argparse
import json
from pathlib import Path
from typing import Any

from littoral import client, errors
from littoral.cli import draw
from littoral.cli.files import open_image, read_picture
from littoral.cli.text import detection_json, detection_lines


def add(commands: Any, socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "detect",
        parents=[socket],
        help="what a model sees in an image",
        description="Sends an image as it is; the runtime does what the model's card says, and answers in the image's "
        "own pixels.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model, or an alias: MODEL@baseline, MODEL@trial")
    parser.add_argument("image", type=Path, metavar="IMAGE", help="JPEG, or whatever Pillow reads")
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="least score, 0 to 1 (the card's)")
    parser.add_argument("--overlap", type=float, metavar="IOU", help="above which the weaker of two boxes goes, 0 to 1")
    parser.add_argument("--labels", default="", metavar="A,B", help="only these")
    parser.add_argument("--top", type=int, metavar="N", help="at most so many")
    parser.add_argument("--out", type=Path, metavar="F.png", help="write the image with the results drawn on it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    picture = read_picture(options.image)
    with client.Client(options.model, options.socket, name="littoral detect") as connection:
        detection = connection.detect(
            picture,
            threshold=options.threshold,
            overlap=options.overlap,
            top=options.top,
            labels=[label for label in options.labels.split(",") if label],
        )
    if options.json:
        print(json.dumps(detection_json(options.model, detection)))
    else:
        print("\n".join(detection_lines(options.model, detection)))
    if options.out is not None:
        drawn = draw.annotated(open_image(options.image), detection)
        try:
            drawn.save(options.out)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise errors.ConfigError(f"{options.out} cannot be written: {why}") from error
        if not options.json:
            print(f"drawn in {options.out}")
    return 0
