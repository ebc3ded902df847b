"""Files looked at where they lie."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from gateway.spool import mapping
from gateway.spool.mapping import mapped


def test_by_path_and_by_descriptor_it_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"header and pixels")
    with mapped(path) as view:
        assert bytes(view[:6]) == b"header"
    with path.open("rb") as file, mapped(file.fileno()) as view:
        assert bytes(view) == b"header and pixels"


def test_a_page_that_can_not_be_had_is_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    """A file cut while it is mapped has pages that nobody can give, as on a disk with a bad block."""
    path = tmp_path / "a"
    path.write_bytes(bytes(4 * mmap.PAGESIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        os.truncate(path, 0)
        with pytest.raises(OSError, match="can't be read"):
            mapping._ask_for(pages)


def test_nothing_to_map_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="empty"), mapped(tmp_path / "empty"):
        pass
    with pytest.raises(FileNotFoundError), mapped(tmp_path / "gone"):
        pass
