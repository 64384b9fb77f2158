"""docs/security.md claims nothing that no test shows."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/security.md").read_text()


def test_every_test_that_the_document_names_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", TEXT))
    there = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert named
    assert named - there == set()


def test_every_attack_on_metadata_that_is_tested_is_in_the_document() -> None:
    """So that a new attack comes with its line."""
    files = [ROOT / f"tests/agent/updater/test_trust_{what}.py" for what in ("attacks", "recovery")]
    nodes = [node for file in files for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
    tested = {node.name for node in nodes if node.name.startswith("test_")}
    elsewhere = {
        "test_a_first_root_that_does_not_verify_by_itself_is_refused",
        "test_expiry_is_judged_by_the_time_that_was_given_and_not_by_the_systems",
        "test_a_signed_chunk_list_of_another_length_than_its_blob_makes_no_sense",
    }
    assert {name for name in tested - elsewhere if f"`{name}`" not in TEXT} == set()
