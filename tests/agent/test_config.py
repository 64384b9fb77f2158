"""agent/config.py: agent.toml."""

from pathlib import Path

import pytest

from agent import config
from littoral.errors import BadNameError, ConfigError


def read(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return config.read(path)


def test_an_empty_file_gives_every_default(tmp_path: Path) -> None:
    found = read(tmp_path, "")
    assert found.state == tmp_path
    assert found.query_socket == tmp_path / "query.sock"
    assert found.probation.healthy_s == 600.0


def test_settings_replace_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, 'device = "farm-1"\nquery_socket = "/run/q.sock"\n[probation]\nhealthy_s = 3\n')
    assert found.device == "farm-1"
    assert found.query_socket == Path("/run/q.sock")
    assert found.probation.healthy_s == 3.0


@pytest.mark.parametrize(
    "text",
    [
        "colour = 1",
        "[probation]\nhealthy = 3",
        "[probation]\nhealthy_s = '3'",
        "[probation]\nhealthy_s = -1",
        "[probation]\nhealthy_s = nan",
        "[probation]\nhealthy_s = inf",
        "[runtime]\nsocket_mode = '999'",
        "[runtime]\nsocket_mode = 'abc'",
        "[runtime]\nsocket_mode = ''",
        "[runtime]\nsocket_mode = '-660'",
        "[broker]\ntls = 1",
        "probation = 3",
        "not toml",
    ],
)
def test_an_unknown_or_mistyped_setting_is_a_named_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read(tmp_path, text)


def test_a_bad_device_name_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(BadNameError):
        read(tmp_path, 'device = "../etc"')


def test_a_missing_file_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        config.read(tmp_path / "none.toml")
