"""A folder as a destination: whole files or none, and nothing in a place that was not prepared."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import xxhash

from gateway.dicom.convert import Extent
from gateway.domain.model import TemporaryFailure
from gateway.net.share import MARK, Share, group_of, prepare

NAME, GROUP = "00ff", "abcd"
CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def source(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "share"
    folder.mkdir()
    prepare(folder, "archive")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != MARK)


@contextmanager
def fails(code: str) -> Iterator[None]:
    with pytest.raises(TemporaryFailure) as caught:
        yield
    assert caught.value.code == code


def test_a_file_is_what_the_segments_say_and_reads_back(folder: Path, source: int) -> None:
    with Share(folder, "archive") as share:
        segments = [b"head", Extent(offset=100, length=70_000), b"", b"tail"]
        written = share.store(GROUP, NAME, segments, source, allow=lambda want: min(want, 1000))
        assert share.hash_of(GROUP, NAME) == written
    content = b"head" + CONTENT[100:70_100] + b"tail"
    assert (folder / GROUP / f"{NAME}.dcm").read_bytes() == content
    assert written == xxhash.xxh3_128(content).hexdigest()
    assert files(folder) == [f"{GROUP}/{NAME}.dcm"]


def test_a_repetition_takes_the_place_of_what_it_repeats(folder: Path, source: int) -> None:
    with Share(folder, "archive") as share:
        for content in (b"first", b"second"):
            share.store(GROUP, NAME, [content], source, allow=int)
    assert (folder / GROUP / f"{NAME}.dcm").read_bytes() == b"second"


def test_what_breaks_off_leaves_what_was_there(folder: Path, source: int) -> None:
    with Share(folder, "archive") as share:
        share.store(GROUP, NAME, [b"first"], source, allow=int)
        with fails("spool"):
            share.store(GROUP, NAME, [b"x", Extent(offset=0, length=len(CONTENT) + 1)], source, allow=int)
    assert files(folder) == [f"{GROUP}/{NAME}.dcm"]
    assert (folder / GROUP / f"{NAME}.dcm").read_bytes() == b"first"


def test_a_full_place_says_so(folder: Path, source: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Share(folder, "archive") as share, fails("share-full"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            share.store(GROUP, NAME, [Extent(offset=0, length=len(CONTENT))], source, allow=int)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(folder) == []


def test_nothing_is_written_where_nothing_was_prepared(tmp_path: Path, folder: Path, source: int) -> None:
    """What is left when a share is not mounted: an empty folder of the same name."""
    folder.rename(tmp_path / "elsewhere")
    with fails("share-away"):
        Share(folder, "archive")
    folder.mkdir()
    with fails("share-away"):
        Share(folder, "archive")
    assert list(folder.iterdir()) == []


def test_a_share_that_goes_meanwhile_takes_nothing_to_another_place(tmp_path: Path, folder: Path, source: int) -> None:
    with Share(folder, "archive") as share:
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()
        share.store(GROUP, NAME, [b"x"], source, allow=int)
        assert list(folder.iterdir()) == []
        assert files(tmp_path / "elsewhere") == [f"{GROUP}/{NAME}.dcm"]


def test_a_folder_is_of_one_destination(tmp_path: Path, folder: Path) -> None:
    with fails("share-away"):
        Share(folder, "second")
    with fails("share-away"):
        prepare(folder, "second")
    prepare(folder, "archive")
    with fails("share"):
        prepare(tmp_path / "nowhere", "archive")


@pytest.mark.parametrize("name", ["..", "a/b", "", "A", "x" * 3, "0" * 65])
def test_only_names_of_ours_are_names(folder: Path, source: int, name: str) -> None:
    with Share(folder, "archive") as share:
        for group, file in ((name, NAME), (GROUP, name)):
            with pytest.raises(ValueError, match="hexadecimal"):
                share.store(group, file, [b"x"], source, allow=int)
    assert files(folder) == []


def test_any_uid_has_a_folder_of_its_own() -> None:
    uids = ["1.2.3", "", "../../etc", "1.2.3\udc80", "ÄÖ"]
    groups = [group_of(uid) for uid in uids]
    assert len(set(groups)) == len(uids)
    assert all(set(group) <= set("0123456789abcdef") for group in groups)


def test_what_a_trial_left_that_was_broken_off_is_no_hindrance(folder: Path, source: int) -> None:
    """It was killed after it had written, or another goes on beside it."""
    with Share(folder, "archive") as share:
        share.store(group_of("try out"), NAME, [b"left"], source, allow=int)
        share.try_out()
    assert files(folder) == [f"{group_of('try out')}/{NAME}.dcm"]
