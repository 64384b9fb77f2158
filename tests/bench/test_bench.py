"""The whole bench, once and briefly: that it works and measures all it should. How fast anything is, is not asked."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import delivery, link
from bench.__main__ import GROUPS
from bench.runtime import ROOT

MEASURES = [measure.name for module in GROUPS.values() for measure in module.MEASURES]
DELIVERY = [measure.name for measure in delivery.MEASURES]
MAY_BE_NOTHING = ("switch-wrong", "fetch-memory", "server-cpu")
LACKS = link.lacking()  # without a bad link there is no delivery to measure


@pytest.mark.slow
def test_the_bench_measures_every_row_and_no_switch_loses_an_answer(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    groups = [name for name in GROUPS if name != "delivery"] if LACKS else []
    command = [sys.executable, str(ROOT / "dev"), "bench", "--quick", "--json", str(found), *groups]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values = json.loads(found.read_text())
    assert list(values) == [name for name in MEASURES if not LACKS or name not in DELIVERY]
    assert all(set(each) == {"value", "target", "met", "unit"} for each in values.values())
    assert values["switch-wrong"] == {"value": 0, "target": 0, "met": True, "unit": "answers"}
    assert [name for name, each in values.items() if each["value"] <= 0 and name not in MAY_BE_NOTHING] == []
    if LACKS:
        pytest.skip(f"all but delivery was measured: {LACKS}")


def test_every_measure_is_in_the_document_and_no_other() -> None:
    text = (ROOT / "docs/performance.md").read_text().partition("\n## Footprint\n")[0]
    assert re.findall(r"^\| ([a-z0-9-]+) \|.* \| at (?:most|least) ", text, flags=re.MULTILINE) == MEASURES
