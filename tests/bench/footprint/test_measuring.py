"""What is measured of files, and where what runs on a device has to be able to run."""

import ast
import re
import sys
from pathlib import Path

import pytest

from bench.device import packages
from bench.footprint import __main__, measuring, site
from bench.footprint.budget import BUDGETS


def test_packages_of_another_architecture_count_where_both_are_there(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.mkdir()
    for name, size in (
        ("python3-littoral_1_all", 100_000),
        ("littoral-agent_1_arm64", 4_000_000),
        ("littoral-client-dev_1_arm64", 9),
    ):
        (built / f"{name}.deb").write_bytes(bytes(size))
    debs = {name: next(built.glob(f"{name}_*")) for name in packages.DEVICE}
    (built / "littoral-agent_1_armhf.deb").write_bytes(bytes(1_000_000))
    readings = measuring.sizes(debs, built)
    assert {name: reading.value for name, reading in readings.items()} == pytest.approx(
        {"deb-arm64": 4.1, "deb-armhf": 1.1}
    )


def test_what_runs_on_a_device_imports_only_what_is_there() -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(site.PROBE.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {*sys.stdlib_module_names, "littoral"}


def test_without_root_it_says_so_and_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bench.footprint.__main__.tree.lacking", lambda: "needs root")
    monkeypatch.setattr(sys, "argv", ["footprint"])
    assert __main__.main() == 2
    assert capsys.readouterr().err == "footprint: it needs root\n"


def test_every_budget_is_in_the_document_and_no_other() -> None:
    text = (
        (Path(__file__).resolve().parents[3] / "docs" / "performance.md").read_text().partition("\n## Footprint\n")[2]
    )
    documented = re.findall(r"^\| ([a-z0-9-]+) \|.* \| at most ", text, flags=re.MULTILINE)
    assert documented == [budget.measure.name for budget in BUDGETS]
