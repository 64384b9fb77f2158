"""The owner's checks, round by round: real scripts in a folder that changes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.health.checks import MAX_CHECKS, CheckResult, Checks, Watched, find
from tests.agent.runtime.device import until

GOOD, BAD, UNSURE = "#!/bin/sh\necho well\n", "#!/bin/sh\necho dark\nexit 1\n", "#!/bin/sh\nexit 75\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "health.d"
    for each in (made, made / "required.d", made / "wanted.d"):
        each.mkdir(mode=0o755)
    return made


class Asked:
    """Checks as the agent's loop drives them."""

    def __init__(self, folder: Path | None, every_s: float = 0.0, timeout_s: float = 60.0) -> None:
        self.checks = Checks(folder, every_s, "/run/query.sock", timeout_s)

    def next(self, watched: Watched) -> list[CheckResult]:
        """The next whole round."""
        rounds: list[tuple[CheckResult, ...]] = []

        def came() -> bool:
            self.checks.tick(time.monotonic())
            rounds.extend(watched.take())
            return bool(rounds)

        until(came, "a round of checks")
        return list(rounds[0])


@pytest.fixture
def asked(folder: Path) -> Iterator[Asked]:
    made = Asked(folder)
    yield made
    made.checks.stop()


def add(path: Path, script: str, mode: int = 0o755) -> Path:
    path.write_text(script)
    path.chmod(mode)
    return path


def states(results: list[CheckResult]) -> dict[str, str]:
    return {result.name: result.state for result in results}


def test_all_are_asked_in_the_order_of_their_names_required_ones_first(folder: Path, asked: Asked) -> None:
    add(folder / "required.d" / "20-late", BAD)
    add(folder / "required.d" / "10-early", GOOD)
    add(folder / "wanted.d" / "05-lamp", UNSURE)
    watched = asked.checks.watch("m", 2, "trial")
    assert asked.next(watched) == [
        CheckResult("10-early", True, "good", "well"),
        CheckResult("20-late", True, "bad", "dark"),
        CheckResult("05-lamp", False, "unknown", "status 75"),
    ]
    assert watched.last == tuple(asked.checks.last["m"])
    assert asked.checks.bad == ("the required check 20-late is bad: dark",)


def test_one_runs_at_a_time(folder: Path, asked: Asked, tmp_path: Path) -> None:
    script = f"#!/bin/sh\nmkdir {tmp_path}/alone || exit 1\nsleep 0.05\nrmdir {tmp_path}/alone\n"
    for number in range(5):
        add(folder / "required.d" / f"c{number}", script)
    assert set(states(asked.next(asked.checks.watch("m", 2, "trial"))).values()) == {"good"}


def test_a_check_is_told_what_it_is_asked_about_and_no_secrets(
    folder: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITTORAL_TOKEN", "secret")
    add(folder / "required.d" / "names", "#!/bin/sh\nenv | cut -d= -f1 | sort | tr '\\n' ' '\n")
    about = "$LITTORAL_MODEL $LITTORAL_RELEASE $LITTORAL_STAGE $LITTORAL_SOCKET"
    add(folder / "required.d" / "values", f'#!/bin/sh\necho "{about}"\n')
    names, values = asked.next(asked.checks.watch("person-detect", 4, "ready"))
    known = {
        "LANG",
        "LITTORAL_CHECK",
        "LITTORAL_MODEL",
        "LITTORAL_RELEASE",
        "LITTORAL_SOCKET",
        "LITTORAL_STAGE",
        "PATH",
    }
    assert set(names.text.split()) - {"PWD", "_", "SHLVL", "OLDPWD"} == known
    assert values.text == "person-detect 4 ready /run/query.sock"


@pytest.mark.parametrize("script", ["#!/bin/sh\nkill -9 $$\n", "#!/nowhere\n", "#!/bin/sh\nexit 2\n"])
def test_what_is_neither_0_nor_1_says_nothing(folder: Path, asked: Asked, script: str) -> None:
    add(folder / "required.d" / "odd", script)
    assert states(asked.next(asked.checks.watch("m", 2, "trial"))) == {"odd": "unknown"}
    assert (asked.checks.bad, asked.checks.refused) == ((), ())


def test_a_file_that_is_not_executable_says_nothing_and_says_why(folder: Path, asked: Asked) -> None:
    add(folder / "required.d" / "README", "what this is\n", 0o644)
    assert asked.next(asked.checks.watch("m", 2, "trial")) == [
        CheckResult("README", True, "unknown", "it is not executable")
    ]


def test_one_that_hangs_is_ended_and_the_next_one_is_asked(folder: Path) -> None:
    asked = Asked(folder, timeout_s=0.3)
    add(folder / "required.d" / "a-hangs", "#!/bin/sh\ntrap '' TERM\nwhile :; do :; done\n")
    add(folder / "required.d" / "b-looks", BAD)
    found = asked.next(asked.checks.watch("m", 2, "trial"))
    assert states(found) == {"a-hangs": "unknown", "b-looks": "bad"}
    assert found[0].text == "it took over 0.3 s and was ended"
    asked.checks.stop()


def test_checks_come_and_go_between_rounds_and_within_one(folder: Path, asked: Asked) -> None:
    second = add(folder / "required.d" / "b", GOOD)
    first = add(folder / "required.d" / "a", f"#!/bin/sh\nrm {second}\n")
    watched = asked.checks.watch("m", 2, "trial")
    found = asked.next(watched)
    assert states(found) == {"a": "good", "b": "unknown"}
    assert found[1].text == "it is gone"
    first.unlink()
    add(folder / "required.d" / "c", BAD)
    assert states(asked.next(watched)) == {"c": "bad"}


def test_with_no_folder_or_an_empty_one_a_round_is_over_at_once(folder: Path, tmp_path: Path) -> None:
    for where in (None, tmp_path / "missing", folder):
        asked = Asked(where)
        watched = asked.checks.watch("m", 2, "trial")
        asked.checks.tick(0.0)
        assert watched.take() == [()]
        assert (asked.checks.bad, asked.checks.refused) == ((), ())


def test_rounds_come_as_often_as_set_and_end_with_the_watch(folder: Path) -> None:
    asked = Asked(folder, every_s=60)
    watched = asked.checks.watch("m", 2, "trial")
    taken = []
    for now in range(180):
        asked.checks.tick(float(now))
        taken += [now] * len(watched.take())
    assert taken == [0, 60, 120]
    watched.end()
    watched.end()
    asked.checks.tick(1_000.0)
    assert (watched.take(), asked.checks.busy, asked.checks.last) == ([], False, {})


def test_ending_a_watch_ends_the_check_that_is_asked(folder: Path, asked: Asked, tmp_path: Path) -> None:
    add(folder / "required.d" / "sleeps", f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    watched = asked.checks.watch("m", 2, "trial")

    def runs() -> bool:
        asked.checks.tick(0.0)
        return (tmp_path / "pid").exists()

    until(runs, "the check to run")
    assert asked.checks.fileno() is not None
    watched.end()
    assert asked.checks.fileno() is None
    add(folder / "required.d" / "sleeps", GOOD)
    assert states(asked.next(asked.checks.watch("m", 3, "trial"))) == {"sleeps": "good"}


def test_two_watches_of_one_model_hear_their_own_rounds(folder: Path, asked: Asked) -> None:
    add(folder / "required.d" / "stage", '#!/bin/sh\necho "$LITTORAL_RELEASE $LITTORAL_STAGE"\n')
    committed, ready = asked.checks.watch("m", 1, "committed"), asked.checks.watch("m", 2, "ready")
    assert [asked.next(each)[0].text for each in (committed, ready)] == ["1 committed", "2 ready"]


# --- what is not run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loose", [".", "required.d", "required.d/open"])
@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_what_others_may_write_is_not_run_and_named(folder: Path, loose: str, mode: int) -> None:
    add(folder / "required.d" / "open", BAD)
    (folder / loose).chmod(mode)
    found, refused = find(folder)
    assert found == []
    assert str(folder / "required.d") in refused[0]
    assert "others than root and the agent" in refused[0]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_another_user_is_not_run(folder: Path) -> None:
    path = add(folder / "required.d" / "theirs", BAD)
    os.chown(path, 12_345, 12_345)
    assert find(folder)[0] == []


def test_a_link_is_judged_by_where_it_leads(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    link = folder / "required.d" / "link"
    link.symlink_to(add(elsewhere / "check", GOOD))
    assert find(folder) == ([(link, True)], [])
    elsewhere.chmod(0o777)
    assert find(folder)[0] == []
    link.unlink()
    link.symlink_to(link)
    assert find(folder)[0] == []


@pytest.mark.parametrize("name", ["10-lamp.dpkg-old", "lamp~", "a b", "x" * 65, "é"])
def test_what_editors_and_packages_leave_behind_is_not_run_and_named(folder: Path, name: str) -> None:
    add(folder / "required.d" / name, BAD)
    found, refused = find(folder)
    assert (found, len(refused)) == ([], 1)


def test_hidden_files_are_passed_over_and_folders_are_no_checks(folder: Path) -> None:
    add(folder / "required.d" / ".hidden", BAD)
    (folder / "wanted.d" / "folder").mkdir()
    found, refused = find(folder)
    assert found == []
    assert [why.rpartition(": ")[2] for why in refused] == ["it is no file"]


def test_there_is_a_most(folder: Path) -> None:
    for number in range(MAX_CHECKS + 1):
        add(folder / "required.d" / f"c{number:02d}", GOOD)
    found, refused = find(folder)
    assert len(found) == MAX_CHECKS
    assert "only the first 32" in refused[0]


def test_a_check_that_cannot_even_be_killed_stops_no_round(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(folder, timeout_s=0.2)
    add(folder / "required.d" / "a-stuck", "#!/bin/sh\nexec sleep 1000\n")
    add(folder / "required.d" / "b-next", GOOD)
    with monkeypatch.context() as patched:
        patched.setattr("agent.health.process.CheckProcess.gone", lambda self: False)  # as one that waits for a disk
        found = asked.next(asked.checks.watch("m", 2, "trial"))
    assert states(found) == {"a-stuck": "unknown", "b-next": "unknown"}
    assert found[1].text == "it was not asked, as another check cannot be ended"
    assert states(asked.next(asked.checks.watch("m", 3, "trial")))["b-next"] == "good"
    asked.checks.stop()
