"""The files: what is written, what it hashes to, and when the disk is not trusted."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.model import InstanceId, TemporaryFailure
from gateway.spool import Spool, SpoolFiles
from gateway.spool.files import _write_all
from tests.spool.objects import Clock


def test_every_folder_is_there_before_the_first_object(spool: Spool) -> None:
    assert len(list(spool.files.objects.iterdir())) == 256
    assert stat.S_IMODE(spool.files.objects.stat().st_mode) == 0o700


def test_an_incoming_file_is_ours_alone_and_counts_what_it_is_told_to(spool: Spool) -> None:
    incoming = spool.files.begin(seed=b"1.2.3")
    incoming.write([b"header"], content=False)
    incoming.write([b"ab", b"", memoryview(b"cd"), bytearray(b"e")])
    incoming.write([])
    assert stat.S_IMODE(incoming.path.stat().st_mode) == 0o600
    assert incoming.path.read_bytes() == b"headerabcde"
    assert (incoming.size, incoming.file_size) == (5, 11)
    assert incoming.content_hash == xxhash.xxh3_128_hexdigest(b"1.2.3abcde")
    incoming.abandon()
    incoming.abandon()
    assert list(spool.files.objects.glob("*/*")) == []
    with pytest.raises(ValueError, match="closed"):
        incoming.write([b"more"])


@given(pieces=st.lists(st.binary(max_size=6), max_size=40), grasp=st.integers(1, 7))
def test_short_writes_and_many_views_lose_nothing(pieces: list[bytes], grasp: int) -> None:
    """A kernel that takes at most `grasp` bytes of the views at a time."""
    real = os.writev

    def stingy(fd: int, views: list[memoryview]) -> int:
        return real(fd, [memoryview(b"".join(views))[:grasp]])

    fd = os.memfd_create("short")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "writev", stingy)
            _write_all(fd, [memoryview(piece) for piece in pieces if piece])
        assert os.pread(fd, 1 << 16, 0) == b"".join(pieces)
    finally:
        os.close(fd)


def test_more_views_than_one_call_takes(spool: Spool) -> None:
    incoming = spool.files.begin()
    incoming.write([bytes([n % 256]) for n in range(5000)])
    assert incoming.path.read_bytes() == bytes(n % 256 for n in range(5000))
    incoming.abandon()


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "1.2.840.113619", "A" * 22, "0" * 21, "0" * 23, "0" * 22 + "\n", "\u0660" * 22]
)
def test_nothing_but_an_id_of_ours_becomes_a_path(spool: Spool, name: str) -> None:
    with pytest.raises(ValueError, match="22 lower-case"):
        spool.files.path_of(InstanceId(name))


def test_ids_differ_and_share_a_folder_for_ten_minutes(spool: Spool, clock: Clock) -> None:
    ids = [spool.files.new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(re.fullmatch("[0-9a-f]{22}", each) for each in ids)
    clock.pass_(minutes=9, seconds=59)
    assert {each[:2] for each in [*ids, spool.files.new_id()]} == {ids[0][:2]}
    clock.pass_(seconds=1)
    assert spool.files.new_id()[:2] == f"{(int(ids[0][:2], 16) + 1) % 256:02x}"


def test_a_path_lies_in_the_folder_of_its_id(spool: Spool) -> None:
    instance_id = spool.files.new_id()
    assert spool.files.path_of(instance_id).parent.is_dir()
    assert spool.files.path_of(instance_id).parent.name == instance_id[:2]


def test_the_reserve_counts_what_is_about_to_come_and_what_was_just_written(tmp_path: Path) -> None:
    time = [0.0]
    keep = [0]
    files = SpoolFiles(tmp_path / "spool", reserve=lambda _total: keep[0], now=Clock(), monotonic=lambda: time[0])
    free = files.free_bytes()
    keep[0] = free - 1000
    assert not files.below_reserve()
    assert files.below_reserve(1001)
    incoming = files.begin()
    incoming.write([bytes(1001)])
    assert files.below_reserve()  # before the file system is asked again
    time[0] = 1.0
    keep[0] = 0
    assert not files.below_reserve()
    incoming.abandon()


def test_the_disk_is_asked_again_after_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time = [0.0]
    asked: list[Path] = []
    real = os.statvfs

    def recording(path: Path) -> os.statvfs_result:
        asked.append(path)
        return real(path)

    monkeypatch.setattr(os, "statvfs", recording)
    files = SpoolFiles(tmp_path / "spool", reserve=lambda _total: 0, now=Clock(), monotonic=lambda: time[0])
    for moment in (0.0, 0.5, 0.99, 1.0, 1.5):
        time[0] = moment
        files.below_reserve(1)
    assert len(asked) == 2


def test_a_doubted_disk_must_take_a_new_file_first(spool: Spool) -> None:
    spool.files.doubt()
    away = spool.files.derived.rename(spool.files.derived.with_name("away"))
    with pytest.raises(TemporaryFailure) as caught:
        spool.files.begin()
    assert caught.value.code == "A700"
    assert str(away.parent) not in str(caught.value)
    away.rename(spool.files.derived)
    spool.files.begin().abandon()
    assert list(spool.files.derived.iterdir()) == []


def test_a_file_put_aside_keeps_its_name_if_that_is_ours_and_never_replaces_another(spool: Spool) -> None:
    instance_id = spool.files.new_id()
    for content in (b"first", b"second"):
        path = spool.files.path_of(instance_id)
        path.write_bytes(content)
        spool.files.put_aside(path)
    foreign = spool.files.objects / "00" / "DOE^JOHN.dcm"
    foreign.write_bytes(b"third")
    spool.files.put_aside(foreign)
    aside = list(spool.files.quarantine.iterdir())
    assert sorted(path.read_bytes() for path in aside) == [b"first", b"second", b"third"]
    assert all(re.fullmatch(r"[0-9a-f]{22}\.dcm", path.name) for path in aside)
