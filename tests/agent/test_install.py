"""`littoral-agent install`: what is copied from a folder, what is refused, and what is left for the agent."""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent import cli, fsio, install, slots
from agent.slots import Slot, SlotRecord, Update
from agent.stick import Stick
from agent.updater import folder, local
from littoral.canonical import digest
from littoral.wire.ending import Ending
from tests import sticks
from tests.repository import NOW, Fleet, manifest, model_bytes

SOMEBODY = 12_345


class Scene:
    """An enrolled device, and a stick with `person` 2 and `vehicle` 9."""

    def __init__(self, made: Path, home: Path) -> None:
        self.stick = Path(shutil.copytree(made / "stick", home / "stick"))
        self.state = home / "state"
        shutil.copytree(made / "identity", self.state / "identity")
        (self.state / "agent.toml").write_text('device = "farm-1"\n')

    @property
    def copy(self) -> Path:
        return self.state / folder.NAME

    def install(self, *options: str) -> int:
        return cli.main(["install", str(self.stick), "--config", str(self.state / "agent.toml"), *options])

    def names(self) -> set[str]:
        return {str(path.relative_to(self.copy)) for path in self.copy.rglob("*") if path.is_file()}

    def blob(self, model: str = "person", release: int = 2) -> Path:
        return self.stick / "blob" / digest(model_bytes(model, release))

    def left(self) -> set[str]:
        """What an install left in the state folder."""
        return {path.name for path in self.state.iterdir()} - {"identity", "agent.toml"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made")
    fleet = Fleet(home / "data")
    for model, release in (("person", 1), ("person", 2), ("vehicle", 9)):
        fleet.publish(model, release)
    sticks.write(fleet, home / "stick", NOW)
    (home / "identity").mkdir()
    (home / "identity" / "root.json").write_bytes(fleet.repository.first_root())
    return home


@pytest.fixture
def scene(made: Path, tmp_path: Path) -> Scene:
    return Scene(made, tmp_path)


def test_what_is_needed_is_copied_and_a_wish_is_left(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert scene.install() == 0
    wish = local.parse((scene.copy / local.WISH).read_bytes())
    bundles = {name: digest(manifest(name, number).encode()) for name, number in (("person", 2), ("vehicle", 9))}
    assert {name: (want.release, want.bundle) for name, want in wish.models.items()} == {
        "person": (2, bundles["person"]),
        "vehicle": (9, bundles["vehicle"]),
    }
    assert wish.uid == os.getuid()
    on_stick = {str(path.relative_to(scene.stick)) for path in scene.stick.rglob("*") if path.is_file()}
    assert scene.names() - on_stick == {local.WISH}
    left_out = on_stick - scene.names()
    assert "meta/index" in left_out
    assert [b"keys" in (scene.stick / name).read_bytes() for name in left_out - {"meta/index"}] == [
        True
    ]  # director.json
    assert all((scene.copy / name).read_bytes() == (scene.stick / name).read_bytes() for name in on_stick - left_out)
    out = capsys.readouterr().out
    assert "person release 2 (v2) is handed to the agent" in out
    assert "the agent does not run" in out


def test_only_what_is_asked_for_is_copied(scene: Scene) -> None:
    assert scene.install("--model", "person", "--release", "2") == 0
    blobs = {name for name in scene.names() if name.startswith("blob/")}
    assert blobs == {f"blob/{digest(model_bytes('person', 2))}"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--model", "person", "--release", "1"), "holds no release 1 of person"),
        (("--model", "cats"), "holds no cats"),
        (("--release", "2"), "--release is of one model"),
        (("--model", "No!"), "bad-name"),
    ],
)
def test_what_is_not_on_it_is_named(
    scene: Scene, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], why: str
) -> None:
    assert scene.install(*options) == 1
    assert why in capsys.readouterr().err
    assert scene.left() == set()


def spoil_missing(scene: Scene) -> None:
    scene.blob().unlink()


def spoil_altered(scene: Scene) -> None:
    data = bytearray(scene.blob().read_bytes())
    data[7] ^= 1
    scene.blob().write_bytes(data)


def spoil_short(scene: Scene) -> None:
    os.truncate(scene.blob(), 100)


def spoil_enormous(scene: Scene) -> None:
    os.truncate(scene.blob(), 1 << 40)


def spoil_link(scene: Scene) -> None:
    scene.blob().rename(scene.stick / "elsewhere")
    scene.blob().symlink_to(scene.stick / "elsewhere")


def spoil_fifo(scene: Scene) -> None:
    scene.blob().unlink()
    os.mkfifo(scene.blob())


def spoil_list(scene: Scene) -> None:
    (scene.stick / "chunk" / manifest("person", 2).blobs["model"].chunks).unlink()


def spoil_metadata(scene: Scene) -> None:
    (scene.stick / "meta" / "timestamp.json").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_missing,
        spoil_altered,
        spoil_short,
        spoil_enormous,
        spoil_link,
        spoil_fifo,
        spoil_list,
        spoil_metadata,
    ],
)
def test_a_stick_that_is_not_whole_leaves_nothing_behind(
    scene: Scene, capsys: pytest.CaptureFixture[str], spoil: Callable[[Scene], None]
) -> None:
    spoil(scene)
    assert scene.install() == 1
    assert "bad-bundle" in capsys.readouterr().err
    assert scene.left() == set()


def test_a_stick_that_is_pulled_out_in_the_middle_leaves_nothing_behind(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Stick.pieces

    def pulled(stick: Stick, kind: str, name: str, most: int) -> object:
        if kind == "blob":
            scene.stick.rename(scene.stick.with_name("gone"))
        return real(stick, kind, name, most)

    monkeypatch.setattr(Stick, "pieces", pulled)
    assert scene.install() == 1
    assert "Copy or export it again" in capsys.readouterr().err
    assert scene.left() == set()


def test_a_device_that_was_never_enrolled_is_told_what_to_do(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    (scene.state / "identity" / "root.json").unlink()
    assert scene.install() == 1
    assert "littoral-agent enroll" in capsys.readouterr().err
    (scene.state / "agent.toml").write_text("")
    assert scene.install() == 1


def test_a_second_install_waits_for_the_end_of_the_first(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert scene.install() == 0
    assert scene.install() == 1
    assert "an earlier install is not at its end" in capsys.readouterr().err
    fsio.remove(scene.copy)
    descriptor = os.open(scene.state, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert scene.install() == 1
    assert "another install runs" in capsys.readouterr().err
    os.close(descriptor)
    assert scene.install() == 0


def test_what_an_interrupted_install_left_is_in_nobodys_way(scene: Scene) -> None:
    (scene.state / install.PART / "blob").mkdir(parents=True)
    (scene.state / install.PART / "blob" / "x").write_bytes(b"x")
    assert scene.install() == 0
    assert scene.left() == {folder.NAME}
    assert "blob/x" not in scene.names()


def test_a_disk_without_room_is_told_before_a_blob_is_copied(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    (scene.state / "agent.toml").write_text(f'device = "farm-1"\n[updates]\ndisk_reserve_bytes = {1 << 50}\n')
    assert scene.install() == 1
    assert "no-room" in capsys.readouterr().err
    assert scene.left() == set()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_what_root_copies_belongs_to_the_owner_of_the_state_folder(scene: Scene) -> None:
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)  # pytest's own folders are root's alone
        scene.state = Path(shutil.move(scene.state, above))
        for path in (scene.state, *scene.state.rglob("*")):
            os.chown(path, SOMEBODY, SOMEBODY)
        scene.stick.chmod(0o700)
        assert scene.install() == 0
        copied = [scene.copy, *scene.copy.rglob("*")]
        assert {(path.stat().st_uid, path.stat().st_gid) for path in copied} == {(SOMEBODY, SOMEBODY)}
        assert json.loads((scene.copy / local.WISH).read_bytes())["uid"] == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as somebody else")
def test_a_user_who_may_not_write_there_is_told_who_may(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        scene.state = Path(shutil.move(scene.state, above))
        scene.stick = Path(shutil.move(scene.stick, above))
        os.setresuid(SOMEBODY, SOMEBODY, 0)
        try:
            assert scene.install() == 1
        finally:
            os.setresuid(0, 0, 0)
    assert "Run it as root or as the agent's user" in capsys.readouterr().err


# --- afterwards ---------------------------------------------------------------------------------------------------


def record(scene: Scene, value: SlotRecord) -> None:
    path = slots.path_of(scene.state, value.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    slots.write(path, value)


def test_waiting_tells_each_state_once_and_ends_with_the_folder(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = digest(manifest("person", 2).encode())
    running = SlotRecord("person", update=Update(2, bundle, 1, 0, "plan", local=True))
    committed = SlotRecord("person", a=Slot(2, bundle, "v2", evidence="low"), active="a", stage="committed")
    steps: list[Callable[[], None]] = [
        lambda: record(scene, SlotRecord("person", update=Update(1, "b" * 64, 1, 3, "probation"))),
        lambda: record(scene, running),
        lambda: None,
        lambda: record(scene, committed),
        lambda: fsio.remove(scene.copy),
    ]
    monkeypatch.setattr("agent.install.time.sleep", lambda _: steps.pop(0)())
    assert scene.install("--model", "person", "--wait") == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "person: waits for the end of release 1",
        "person: plan",
        "person: release 2 is committed, with evidence low",
    ]


def test_the_status_is_0_only_where_all_were_committed_and_the_reason_is_told(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = {name: digest(manifest(name, number).encode()) for name, number in (("person", 2), ("vehicle", 9))}
    monkeypatch.setattr("agent.install.time.sleep", lambda _: fsio.remove(scene.copy))
    refused = Ending(9, bundles["vehicle"], 1, "refused", "metadata-expired", "export a new one", {}, 0)
    record(
        scene, SlotRecord("person", a=Slot(2, bundles["person"], "v2", evidence="first"), active="a", stage="committed")
    )
    record(scene, SlotRecord("vehicle", last=refused))
    assert scene.install("--wait") == 1
    out = capsys.readouterr().out
    assert "person: release 2 is committed, with evidence first" in out
    assert "vehicle: release 9 is not installed: refused, export a new one (metadata-expired)" in out


def test_a_running_agent_is_known_by_its_lock(scene: Scene) -> None:
    assert not install.is_running(scene.state)
    with (scene.state / "agent.lock").open("w") as held:
        assert not install.is_running(scene.state)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert install.is_running(scene.state)
