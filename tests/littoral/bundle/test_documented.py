"""docs/card.md says what a card may hold: no field is left out, and every example fits the model it names."""

import re
from pathlib import Path

import pytest

from littoral.bundle import card, fields, task
from littoral.tensors import Interface, Tensor

DOCUMENT = (Path(__file__).parents[3] / "docs/card.md").read_text()
EXAMPLES = re.findall(r"^```toml\n# in: ([^\n]+)\n# out: ([^\n]+)\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


def section(head: str) -> str:
    found = re.search(rf"^### {re.escape(head)}\n(.*?)(?=^##|\Z)", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def told(head: str) -> dict[str, str]:
    """The fields of a section's table, with their defaults as they are written."""
    found = re.findall(r"^\| `(\w+)` \|([^|]*)\|", section(head), flags=re.MULTILINE)
    return {name: default.strip(" `") for name, default in found}


def known(table: dict[str, fields.Field]) -> dict[str, str]:
    return {name: written(field.default) for name, field in table.items()}


def written(default: object) -> str:
    """As the document has it: without quotes round a single string."""
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default).replace("'", '"')


@pytest.mark.parametrize("kind", ["image", "window"])
def test_every_field_of_an_input_is_documented_with_its_default_and_no_other(kind: str) -> None:
    assert told(f'kind = "{kind}"') == known(fields.INPUTS[kind])


@pytest.mark.parametrize("decoder", sorted(fields.OUTPUTS))
def test_every_field_of_a_decoder_is_documented_with_its_default_and_no_other(decoder: str) -> None:
    expected = known(fields.OUTPUTS[decoder])
    del expected["decoder"]
    assert told(decoder) == expected


def tensors(text: str) -> tuple[Tensor, ...]:
    found = []
    for number, one in enumerate(text.split("; ")):
        dtype, _, shape = one.partition(" ")
        found.append(Tensor(f"tensor {number}", dtype, tuple(int(n) for n in shape.strip("[]").split(", ")), 0.5))
    return tuple(found)


@pytest.mark.parametrize(("given", "answered", "text"), EXAMPLES)
def test_every_example_fits_the_model_it_names(given: str, answered: str, text: str) -> None:
    assert task.read(card.parse(text), Interface(tensors(given), tensors(answered))) is not None


def test_every_decoder_has_an_example() -> None:
    shown = {card.parse(text).outputs[0]["decoder"] for _, _, text in EXAMPLES}
    assert shown == set(fields.OUTPUTS)
    assert len(EXAMPLES) == DOCUMENT.count("```toml")
