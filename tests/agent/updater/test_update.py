"""agent/updater/update.py: whole updates over real records on a real disk."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent import control, fsio, record, slots
from agent.config import Delegate
from agent.updater.endings import REFUSED_AGAIN_S
from agent.updater.machine import State
from littoral import errors
from littoral.bundle.manifest import Needs
from littoral.wire.messages import Desired
from tests.agent.updater.fakes import FakeVerdict, Release, make_release
from tests.agent.updater.running import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def first(device: Device) -> Release:
    return device.install(1)


def test_a_first_release_is_committed_after_one_canary_answer(device: Device) -> None:
    device.install(1, trusted=False)
    assert device.record.serves is not None
    assert device.record.serves.evidence == "first"
    assert device.world.kinds() == ["update-started", "fetched", "tested", "activated", "committed"]


def test_what_the_self_test_measured_is_kept_in_the_slot(device: Device, first: Release) -> None:
    slot = device.record.serves
    assert slot is not None
    assert (slot.memory_bytes, slot.threads, slot.interpreters, slot.cpus) == (1000, 2, 1, 12)


def test_a_release_that_may_run_on_the_cpu_needs_no_delegate(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2, needs=Needs(delegate="edgetpu")))
    device.want(second.want())
    device.until(State.PROBATION)


def test_a_release_that_refuses_the_cpu_is_taken_where_its_delegate_is(device: Device, first: Release) -> None:
    device.config.delegates["coral"] = Delegate("edgetpu", "/usr/lib/libedgetpu.so.1")
    second = device.world.add(make_release(2, needs=Needs(delegate="edgetpu", cpu="refuse")))
    device.want(second.want())
    device.until(State.PROBATION)


def test_a_good_release_is_committed_with_full_evidence(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2, floor=1))
    device.want(second.want())
    device.run()
    found = device.record
    assert found.serves is not None
    assert (found.serves.release, found.serves.evidence, found.floor) == (2, "full", 1)
    assert found.other is not None
    assert found.other.bundle == first.bundle


def test_a_bad_trial_goes_back_and_is_blocklisted(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    device.world.judge.word = FakeVerdict("constant", "the same to everything", {"run_answers": 60})
    device.run()
    found = device.record
    assert found.serves is not None
    assert found.serves.bundle == first.bundle
    assert found.last is not None
    assert (found.last.outcome, found.last.code, found.last.facts) == ("rolled-back", "constant", {"run_answers": 60})
    assert device.world.runtime.serving["cats"].bundle == first.bundle
    loads = len(device.world.runtime.loads)
    device.start()
    device.run()
    assert len(device.world.runtime.loads) == loads  # blocklisted: it is not tried again


def test_a_new_attempt_is_tried_again(device: Device, first: Release) -> None:
    test_a_bad_trial_goes_back_and_is_blocklisted(device, first)
    device.world.judge.word = None
    device.want(device.world.add(make_release(2)).want(attempt=2))
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.release == 2


def test_a_self_test_that_fails_changes_nothing_that_is_served(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.world.runtime.fails[second.bundle] = ("crashed", True)
    device.want(second.want())
    device.run()
    assert second.bundle not in device.world.runtime.loads
    assert device.record.blocks(second.bundle, 1) is not None
    assert not (device.config.state / "releases" / second.bundle).exists()


def test_a_failure_for_want_of_memory_is_not_blocklisted_and_tried_again_later(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.world.runtime.fails[second.bundle] = ("no-room", False)
    device.want(second.want())
    device.run()
    assert device.record.blocks(second.bundle, 1) is None
    assert device.record.last is not None
    assert device.record.last.outcome == "refused"
    device.world.runtime.fails.clear()
    device.turn(REFUSED_AGAIN_S)
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.release == 2


def test_a_trial_that_the_runtime_cannot_serve_goes_back(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.world.runtime.cannot_load.add(second.bundle)
    device.want(second.want())
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.bundle == first.bundle


def test_a_baseline_that_cannot_be_served_is_stuck_until_it_can(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    device.world.runtime.cannot_load.add(first.bundle)
    device.world.judge.word = FakeVerdict("late", "slow")
    device.until(State.STUCK)
    device.run(5)
    assert device.world.runtime.serving["cats"].bundle == second.bundle
    device.world.runtime.cannot_load.clear()
    device.turn(61)
    device.run(5)
    assert device.state is State.IDLE


@pytest.mark.parametrize(
    ("release", "code"),
    [
        (make_release(2, needs=Needs(architectures=("armv7l",))), "incompatible"),
        (make_release(2, needs=Needs(engines=("tflite",))), "incompatible"),
        (make_release(2, needs=Needs(engines=("tflite", "litert>=2.4"))), "incompatible"),
        (make_release(2, needs=Needs(delegate="edgetpu", cpu="refuse")), "incompatible"),
        (make_release(2, needs=Needs(memory_bytes=10**12)), "no-room"),
        (make_release(2, needs=Needs(disk_bytes=10**15)), "no-room"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_blob_is_fetched(
    device: Device, first: Release, release: Release, code: str
) -> None:
    device.world.add(release)
    asked = list(device.world.source.wanted)
    device.want(release.want())
    device.run(10)
    found = device.record
    assert found.last is not None
    assert (found.last.outcome, found.last.code) == ("refused", code)
    assert device.world.source.wanted == asked
    assert list((device.config.state / "partial").glob("*")) == []


def test_a_release_below_the_floor_is_refused(device: Device, first: Release) -> None:
    third = device.world.add(make_release(3, floor=3))
    device.want(third.want())
    device.run()
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.run()
    found = device.record
    assert found.serves is not None
    assert found.serves.release == 3
    assert found.last is not None
    assert found.last.code == "below-floor"


def test_a_manifest_that_contradicts_itself_is_blocklisted(device: Device, first: Release) -> None:
    good = make_release(2)
    liar = Release(make_release(2, floor=0).manifest, {"model": good.blobs["model"][:-70]})
    device.world.add(good)
    device.world.planner.releases[liar.bundle] = liar
    device.want(liar.want())
    device.run()
    assert device.record.blocks(liar.bundle, 1) is not None


def test_metadata_that_does_not_verify_is_asked_for_again_and_blocks_nothing(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.world.planner.error = errors.ReplayedMetadataError("old")
    device.want(second.want())
    device.run(20)
    assert device.state is State.PLAN
    assert device.world.kinds().count("wrong-bytes") == 1
    device.world.planner.error = None
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.release == 2


def test_something_newer_replaces_an_update_before_the_switch(device: Device, first: Release) -> None:
    device.want(device.world.add(make_release(2)).want())
    device.until(State.FETCH)
    device.want(device.world.add(make_release(3)).want())
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.release == 3
    assert make_release(2).bundle not in device.world.runtime.loads


def test_what_was_overtaken_is_taken_up_again_at_once_when_it_is_wanted_again(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.FETCH)
    device.want(first.want())
    device.run(5)
    device.want(second.want())
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.release == 2


def test_something_newer_waits_for_the_verdict_of_a_trial(device: Device, first: Release) -> None:
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    device.want(device.world.add(make_release(3)).want())
    device.run()
    assert [text for kind, text in device.world.told if kind == "committed"][1:] == [
        "with evidence full",
        "with evidence full",
    ]
    assert device.record.serves is not None
    assert device.record.serves.release == 3


def test_something_urgent_goes_back_first(device: Device, first: Release) -> None:
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    device.want(device.world.add(make_release(3)).want(urgent=True))
    device.run()
    assert "cancelled" in device.world.kinds()
    assert device.record.serves is not None
    assert device.record.serves.release == 3


def test_naming_the_baseline_cancels_a_trial(device: Device, first: Release) -> None:
    device.want(device.world.add(make_release(2)).want())
    device.until(State.PROBATION)
    device.want(first.want())
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.bundle == first.bundle
    assert device.record.blocked == ()


def test_the_release_in_the_other_slot_needs_no_fetch(device: Device, first: Release) -> None:
    device.want(device.world.add(make_release(2)).want())
    device.run()
    device.world.source.held.clear()
    device.want(first.want(attempt=2))
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.release == 1


def test_a_model_that_is_not_wanted_any_more_is_removed(device: Device, first: Release) -> None:
    device.want(None)
    device.run(10)
    assert device.updates.models == {}
    assert slots.names(device.config.state) == []
    assert list((device.config.state / "releases").glob("*")) == []


def test_a_model_that_is_not_named_is_left_alone(device: Device, first: Release) -> None:
    device.updates.want(Desired("main", "farm-1", 2, "", {}))
    device.run(10)
    assert device.record.stage == "committed"


def test_an_agent_that_comes_back_within_the_grace_spends_no_load(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    loads = device.world.runtime.loads.count(second.bundle)
    device.world.runtime.connections += 1
    device.start()
    device.run()
    assert device.world.runtime.loads.count(second.bundle) == loads
    assert device.record.serves is not None
    assert device.record.serves.release == 2


def test_a_runtime_that_dies_three_times_under_a_trial_ends_it_and_condemns_nothing(
    device: Device, first: Release
) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want())
    for _ in range(3):
        device.until(State.PROBATION)
        device.turn()
        device.world.runtime.restart()
        device.turn()
    device.run()
    assert device.record.blocks(second.bundle, 1) is None
    assert device.record.last is not None
    assert (device.record.last.outcome, device.record.last.code) == ("refused", "interrupted")
    assert device.record.serves is not None
    assert device.record.serves.bundle == first.bundle


def test_a_disk_that_takes_no_decision_delays_it_and_loses_none(
    device: Device, first: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    device.want(device.world.add(make_release(2)).want())
    device.until(State.READY)

    def refuse(path: Path, value: object) -> None:
        raise OSError(30, "read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(record, "write", refuse)
        device.run(10)
        assert device.record.stage == "committed"
        assert make_release(2).bundle not in device.world.runtime.loads
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.release == 2


def test_a_record_of_which_both_copies_are_lost_is_installed_anew(device: Device, first: Release) -> None:
    slots.path_of(device.config.state, "cats").write_bytes(b"\xff" * 8192)
    device.start()
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.bundle == first.bundle
    assert "failed" in device.world.kinds()


def test_a_trial_whose_files_the_disk_spoiled_goes_back_and_proves_nothing(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.want(second.want())
    device.until(State.PROBATION)
    (device.config.state / "releases" / second.bundle / "bundle.json").write_bytes(b"spoiled")
    device.world.runtime.connections += 1
    device.start()
    device.run(10)
    assert device.record.serves is not None
    assert device.record.serves.bundle == first.bundle
    assert device.record.blocked == ()


@pytest.mark.parametrize("spoil", ["blob", "link"])
def test_a_served_release_that_the_disk_spoiled_is_fetched_again(device: Device, first: Release, spoil: str) -> None:
    blob = device.config.state / "blobs" / first.manifest.blobs["model"].sha256
    link = device.config.state / "releases" / first.bundle / "model"
    blob.write_bytes(b"spoiled") if spoil == "blob" else link.unlink()
    runtime = device.world.runtime
    runtime.serving["cats"] = control.Serving("cats", 0, "", "none", "failed")
    symptom = device.updates.models["cats"].symptom
    assert symptom is not None
    assert (symptom.code, symptom.model) == ("not-served", "cats")
    assert "nothing answers: failed" in symptom.text
    code = "digest-mismatch" if spoil == "blob" else "bad-bundle"
    runtime.said.append(control.Failed("cats", first.bundle, code, "not what it was"))
    device.run(10)
    assert link.read_bytes() == first.blobs["model"]
    assert runtime.serving["cats"].bundle == first.bundle
    assert device.updates.models["cats"].symptom is None
    assert device.record.update is None
    assert device.record.serves is not None
    assert device.record.serves.evidence == "full"


def test_a_baseline_is_repaired_while_what_is_wanted_is_blocked(device: Device, first: Release) -> None:
    second = device.world.add(make_release(2))
    device.world.runtime.fails[second.bundle] = ("crashed", True)
    device.want(second.want())
    device.run()
    (device.config.state / "blobs" / first.manifest.blobs["model"].sha256).write_bytes(b"spoiled")
    device.world.runtime.said.append(control.Failed("cats", first.bundle, "digest-mismatch", "not what it was"))
    device.run(10)
    assert (device.config.state / "releases" / first.bundle / "model").read_bytes() == first.blobs["model"]


def test_a_version_of_any_letters_fits_into_the_record(device: Device, first: Release) -> None:
    release = make_release(2)
    odd = Release(replace(release.manifest, version="\U0001f41f" * 200), release.blobs)
    device.world.add(odd)
    device.want(odd.want())
    device.run()
    assert device.record.serves is not None
    assert device.record.serves.version == "\U0001f41f" * 15 + "…"


def test_a_disk_that_takes_no_new_folder_is_told_and_waited_for(
    device: Device, first: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: int = 0o755) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(fsio, "make_folder", refuse)
        device.want(device.world.add(make_release(2)).want())
        device.run(5)
        assert "no space left" in device.updates.models["cats"].problem
    device.run()
    assert device.updates.models["cats"].problem == ""
    assert device.record.serves is not None
    assert device.record.serves.release == 2
