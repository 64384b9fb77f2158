"""`littoral infer`: asks a model with arrays or an image."""

import argparse
import json
from pathlib import Path
from typing import Any

from littoral import client, errors
from littoral.cli.files import Question, read, write_arrays
from littoral.cli.text import answer_json

TOP = 5  # labels printed of a classification
VALUES = 8  # printed of an output without labels
LARGEST = 3  # of a longer one, where it is a single row


def add(commands: Any, socket: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "infer",
        parents=[socket],
        help="ask a model",
        description="Asks a model. Arrays must have the dtype and shape of the input; an image is resized to the input "
        "and quantized by its scale.",
    )
    parser.add_argument("model", metavar="MODEL", help="a model, or an alias: MODEL@baseline, MODEL@trial")
    parser.add_argument(
        "--input", required=True, type=Path, metavar="F", help="F.npz (arrays by tensor name), F.npy or an image"
    )
    parser.add_argument("--output", type=Path, metavar="F.npz", help="write the outputs, by tensor name")
    parser.add_argument("--signature", default="", metavar="NAME", help="which of the model's signatures; its first")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.output is not None and options.output.suffix != ".npz":
        raise errors.ConfigError(f"--output {options.output} does not end in .npz")
    with client.Client(options.model, options.socket, name="littoral infer", signature=options.signature) as connection:
        question = read(options.input, connection.interface)
        answer = connection.infer(question.inputs)
    if options.output is not None:
        write_arrays(options.output, answer.outputs)
    _print(answer, question, options)
    return 0


def _print(answer: client.Answer, question: Question, options: argparse.Namespace) -> None:
    top = _top(answer)
    if options.json:
        best = [{"label": label, "score": score} for label, score in top]
        print(json.dumps(answer_json(options.model, answer) | {"input": question.done, "top": best}))
        return
    if question.done:
        print(question.done)
    stage = answer.stage.name.lower()
    print(f"{options.model}: release {answer.release} ({stage}) answered in {answer.invoked_us} us")
    for label, score in top:
        print(f"  {score:8.3f}  {label}")
    if not top:
        for name, array in answer.outputs.items():
            values = ", ".join(f"{value:g}" for value in array.reshape(-1)[:VALUES].tolist())
            more = ", ..." if array.size > VALUES else ""
            print(f"  {name} {array.dtype}{list(array.shape)}: {values}{more}")
            if more and array.shape[-1] == array.size:
                largest = sorted(enumerate(array.reshape(-1).tolist()), key=lambda pair: -pair[1])[:LARGEST]
                print(f"    largest: {', '.join(f'{value:g} at {index}' for index, value in largest)}")
    if options.output is not None:
        print(f"outputs are in {options.output}")


def _top(answer: client.Answer) -> list[tuple[str, float]]:
    """The best labels with their scores, where the only output has one score for each label."""
    labels, outputs = answer.interface.labels, answer.interface.outputs
    if len(outputs) != 1 or not labels or answer.outputs[outputs[0].name].size != len(labels):
        return []
    tensor = outputs[0]
    array = answer.outputs[tensor.name]
    scores = (client.dequantize(array, tensor) if tensor.scale else array).reshape(-1).tolist()
    ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])
    return [(label, float(score)) for label, score in ranked[:TOP]]
