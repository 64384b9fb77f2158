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
        "[probation]\nalpha = 0",
        "[probation]\nalpha = 0.2",
        "[probation]\nerrors_most = 0.6",
        "[probation]\nlate_most = 1",
        "[updates]\nwindows = 'sun 02:00-05:00'",
        "[updates]\nwindows = ['sun 02:00-05:00', 'whenever']",
        "probation = 3",
        "not toml",
    ],
)
def test_an_unknown_or_mistyped_setting_is_a_named_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        read(tmp_path, text)


def test_windows_are_read_as_they_are_written(tmp_path: Path) -> None:
    found = read(tmp_path, "[updates]\nwindows = ['mon-fri 02:00-05:00', 'sun 00:00-24:00']\n")
    assert found.updates.windows == ("mon-fri 02:00-05:00", "sun 00:00-24:00")


def test_a_bad_device_name_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(BadNameError):
        read(tmp_path, 'device = "../etc"')


def test_a_missing_file_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        config.read(tmp_path / "none.toml")


def test_a_model_without_a_table_is_treated_as_the_runtime_says(tmp_path: Path) -> None:
    found = read(
        tmp_path, "[runtime]\nidle_unload_s = 60\n[models.door]\npinned = true\n[models.cat]\nidle_unload_s = 5\n"
    )
    assert found.model("person") == config.Model(idle_unload_s=60.0)
    assert found.model("door") == config.Model(pinned=True, idle_unload_s=60.0)
    assert found.model("cat") == config.Model(idle_unload_s=5.0)


def test_tables_of_access_keep_their_order(tmp_path: Path) -> None:
    text = (
        "[[access]]\nmodels = ['door']\ngroups = ['cameras']\n[[access]]\nusers = ['ann', '1000']\nrequests_per_s = 5\n"
    )
    first, second = read(tmp_path, text).access
    assert first == config.Access(models=("door",), groups=("cameras",))
    assert second == config.Access(models=("*",), users=("ann", "1000"), requests_per_s=5.0)


def test_a_delegate_is_of_the_kind_that_its_table_is_called_unless_it_says_so(tmp_path: Path) -> None:
    text = (
        "[delegates.npu]\npath = '/usr/lib/npu.so'\n[delegates.b]\nkind = 'npu'\npath = '/b'\noptions = { a = '1' }\n"
    )
    found = read(tmp_path, text).delegates
    assert found["npu"] == config.Delegate("npu", "/usr/lib/npu.so")
    assert found["b"] == config.Delegate("npu", "/b", {"a": "1"})


@pytest.mark.parametrize(
    "text",
    [
        "[models.M]\npinned = true",
        "[models.m]\ncolour = 1",
        "models = 3",
        "[access]\nmodels = ['m']",
        "[[access]]\nmodels = 'm'",
        "[[access]]\nusers = [1000]",
        "[[access]]\nrequests_per_s = -1",
        "[delegates.npu]\nkind = 'npu'",
        "[delegates.npu]\npath = '/x'\noptions = { threads = 2 }",
    ],
)
def test_a_table_that_cannot_be_read_is_a_named_error(tmp_path: Path, text: str) -> None:
    with pytest.raises((ConfigError, BadNameError)):
        read(tmp_path, text)
