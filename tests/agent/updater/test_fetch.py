"""agent/updater/fetch.py: chunks in any order, wrong, silent, and over a restart."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Updates
from agent.source import Wanted
from agent.updater.fetch import WRONG_BEFORE_NEED, Fetch, File, finish
from littoral.bundle import chunks
from littoral.bundle.manifest import Blob
from tests.agent.updater.fakes import NotingSource

SIZE = 100
SETTINGS = Updates(max_in_flight_bytes=4 * SIZE, answer_timeout_s=10, retry_first_s=1, retry_last_s=8)


class Bench:
    """One blob, its chunks, and a fetch of it."""

    def __init__(self, folder: Path, data: bytes, settings: Updates = SETTINGS) -> None:
        self.folder = folder
        self.data = data
        pieces = list(chunks.split(data, SIZE))
        self.pieces = {f"chunk/{chunks.digest_of(piece)}": piece for piece in pieces}
        self.digests = chunks.parse_list(chunks.list_of(iter(pieces)))
        self.blob = Blob(chunks.digest_of(data), len(data), "0" * 64)
        self.source = NotingSource()
        self.wrong: list[tuple[str, str, int]] = []
        self.settings = settings
        self.alike: tuple[Path, ...] = ()
        self.fetch = self.open()

    def open(self) -> Fetch:
        self.source.asked.clear()
        return Fetch(
            self.folder,
            [File(self.blob.sha256, len(self.data), self.digests, self.alike)],
            SIZE,
            self.source,
            self.settings,
            lambda wanted, got, repeats: self.wrong.append((wanted, got, repeats)),
        )

    def serve(self, now: float, count: int = 1000) -> None:
        """Answers up to `count` of what is asked for."""
        for name in self.source.asked[:count]:
            self.source.asked.remove(name)
            self.fetch.take(name, self.pieces[name], now)

    def run(self, now: float = 0.0) -> None:
        for step in range(1000):
            if self.fetch.complete:
                return
            self.fetch.tick(now + step, online=True)
            self.serve(now + step)


DATA = bytes(range(256)) * 8  # 2,048 bytes: 21 chunks, none like another


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, DATA)


def test_all_chunks_make_the_blob(bench: Bench, tmp_path: Path) -> None:
    bench.run()
    assert finish(tmp_path / bench.blob.sha256, bench.blob, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == DATA
    assert bench.fetch.tally.chunks == len(bench.pieces)
    assert bench.fetch.tally.repeated == 0


def test_no_more_than_a_window_is_asked_for(bench: Bench) -> None:
    for now in range(5):
        bench.fetch.tick(now, online=True)
    assert len(bench.source.asked) == 4


def test_a_restart_asks_only_for_the_rest(bench: Bench) -> None:
    bench.fetch.tick(0, online=True)
    bench.serve(0)
    held = bench.fetch.tally.chunks
    bench.fetch = bench.open()
    assert bench.fetch.tally.resumed == held
    bench.run(10)
    assert bench.fetch.tally.chunks == len(bench.pieces) - held


def test_what_a_power_cut_spoiled_is_fetched_again(bench: Bench, tmp_path: Path) -> None:
    bench.run()
    partial = tmp_path / bench.blob.sha256
    spoiled = bytearray(partial.read_bytes())
    spoiled[150] ^= 1
    partial.write_bytes(spoiled)
    bench.fetch = bench.open()
    assert not bench.fetch.complete
    bench.run(10)
    assert partial.read_bytes() == DATA


def test_wrong_bytes_are_named_kept_out_and_asked_for_again_later(bench: Bench) -> None:
    bench.fetch.tick(0, online=True)
    name = bench.source.asked[0]
    bench.fetch.take(name, b"other", 0)
    assert bench.wrong == [(name.removeprefix("chunk/"), chunks.digest_of(b"other"), 1)]
    assert name not in bench.source.asked
    bench.serve(0)
    bench.fetch.tick(0.5, online=True)
    assert name not in bench.source.asked
    bench.serve(0.5)
    bench.fetch.tick(1.0, online=True)
    assert name in bench.source.asked


def test_after_some_wrong_answers_the_server_is_asked_to_publish_again(bench: Bench) -> None:
    bench = Bench(bench.folder, DATA[:SIZE])
    for number in range(WRONG_BEFORE_NEED):
        assert bench.source.needed == []
        bench.fetch.tick(number * 100, online=True)
        bench.fetch.take(f"chunk/{bench.digests[0]}", b"other", number * 100)
    assert bench.source.needed == [bench.digests[0]]


def test_the_back_off_doubles_up_to_its_last(bench: Bench) -> None:
    bench = Bench(bench.folder, DATA[:SIZE])
    waits, now = [], 0.0
    for _ in range(6):
        bench.fetch.tick(now, online=True)
        bench.fetch.take(f"chunk/{bench.digests[0]}", b"other", now)
        began = now
        while not bench.source.asked:
            now += 0.5
            bench.fetch.tick(now, online=True)
        waits.append(now - began)
    assert waits == [1, 2, 4, 8, 8, 8]


def test_silence_is_needed_and_asked_again(bench: Bench) -> None:
    bench.fetch.tick(0, online=True)
    first = set(bench.source.asked)
    bench.fetch.tick(10, online=True)
    assert {f"chunk/{digest}" for digest in bench.source.needed} == first
    assert bench.fetch.tally.silent == 4


def test_nothing_is_silent_while_the_link_brings_anything(bench: Bench) -> None:
    bench.fetch.tick(0, online=True)
    bench.fetch.take("meta/timestamp.json", b"{}", 9)
    bench.fetch.tick(10, online=True)
    assert bench.fetch.tally.silent == 0


def test_silence_while_offline_means_nothing(bench: Bench) -> None:
    bench.fetch.tick(0, online=True)
    for now in range(100):
        bench.fetch.tick(now, online=False)
    bench.fetch.tick(101, online=True)
    assert bench.fetch.tally.silent == 0
    assert bench.source.needed == []


def test_a_rate_limit_is_kept(tmp_path: Path) -> None:
    limited = Updates(max_bytes_per_s=200, answer_timeout_s=1e9)
    bench = Bench(tmp_path, DATA, limited)
    for tick in range(81):  # eight seconds
        bench.fetch.tick(tick / 10, online=True)
        bench.serve(tick / 10)
    assert 8 * 200 - 2 * SIZE <= bench.fetch.tally.fetched_bytes <= 8 * 200 + 2 * SIZE


def test_equal_chunks_are_fetched_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, bytes(10 * SIZE))
    bench.fetch = bench.open()
    bench.run()
    assert bench.fetch.complete
    assert bench.fetch.tally.chunks + bench.fetch.tally.resumed <= 10


def test_what_another_file_has_at_the_same_place_is_taken_from_there(bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(DATA[:500] + b"?" * 100 + DATA[600:700])
    bench.alike = (tmp_path / "none", other)
    (tmp_path / bench.blob.sha256).unlink()
    bench.fetch = bench.open()
    assert bench.fetch.tally.reused == 6
    bench.run()
    assert (tmp_path / bench.blob.sha256).read_bytes() == DATA
    assert bench.fetch.tally.chunks == len(bench.pieces) - 6


def test_each_chunk_is_asked_for_with_its_place(bench: Bench) -> None:
    bench.fetch.tick(0, online=True)
    assert bench.source.wanted[1] == Wanted(f"chunk/{bench.digests[1]}", bench.blob.sha256, SIZE, SIZE)


def test_a_fetch_knows_what_it_lacks(bench: Bench) -> None:
    name = f"chunk/{bench.digests[0]}"
    assert bench.fetch.lacks(name)
    assert not bench.fetch.lacks("meta/1.root.json")
    bench.fetch.take(name, bench.pieces[name], 0)
    assert not bench.fetch.lacks(name)


def test_chunks_that_are_right_and_make_another_blob_are_told(bench: Bench, tmp_path: Path) -> None:
    bench.run()
    other = Blob("f" * 64, bench.blob.length, "0" * 64)
    assert not finish(tmp_path / bench.blob.sha256, other, tmp_path / "blob")
    assert not (tmp_path / "blob").exists()


@given(st.lists(st.integers(0, 20), max_size=40))
def test_any_order_and_any_repeats_give_the_same_blob(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    bench = Bench(tmp_path_factory.mktemp("fetch"), DATA)
    names = list(bench.pieces)
    for index in order:
        bench.fetch.take(names[index], bench.pieces[names[index]], 0)
    bench.run()
    assert (bench.folder / bench.blob.sha256).read_bytes() == DATA
    assert bench.fetch.tally.repeated == len(order) - len(set(order))
