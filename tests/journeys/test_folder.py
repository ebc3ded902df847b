"""A mounted share as a destination: what our books call confirmed is there, byte for byte."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.domain.model import Confirm, DeliveryState
from gateway.net.share import MARK, Share, prepare
from gateway.roles.forward.folder import Folder
from gateway.roles.forward.target import Target
from tests.journeys.forwarding import forwarding, target
from tests.peers import objects
from tests.peers.bundled import data_set_bytes

pytestmark = pytest.mark.slow


def share(path: Path) -> Target:
    way = Folder(path=path, owner="pacs", confirm=Confirm.HASH, accepts=frozenset())
    return target(0, way=way, confirm=Confirm.HASH, retry_base=timedelta(minutes=1))


def files(path: Path) -> list[Path]:
    return sorted(one for one in path.rglob("*") if one.is_file() and one.name != MARK)


def test_a_study_is_there_as_it_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "share"
    place.mkdir()
    prepare(place, "pacs")
    sources = {path.stem: path for path in (objects.write(tmp_path, make(4)) for make in objects.KINDS.values())}
    with forwarding(tmp_path, [share(place)], monkeypatch=monkeypatch) as box:
        box.until_all([box.put(path) for path in sources.values()])
        assert not box.alarms()
    written = {str(dcmread(path).SOPInstanceUID): path for path in files(place)}
    assert set(written) == set(sources)
    for uid, path in written.items():
        assert data_set_bytes(path) == data_set_bytes(sources[uid])
        assert b"CT1" not in path.read_bytes()[:400]


def test_a_share_that_is_not_mounted_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, away = tmp_path / "share", tmp_path / "away"
    away.mkdir()
    prepare(away, "pacs")
    place.mkdir()
    with forwarding(tmp_path, [share(place)], monkeypatch=monkeypatch) as box:
        uid = box.put(objects.write(tmp_path, objects.ct()))
        box.clock.run_at(60)
        box.until(lambda: "destination-unreachable" in box.alarms(), what="an alarm")
        assert list(place.iterdir()) == []
        place.rmdir()
        away.rename(place)
        box.until_all([uid])
        box.until(lambda: not box.alarms(), what="the alarm is cleared")
    assert len(files(place)) == 1


def test_what_reads_back_otherwise_is_not_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that lies once: a byte is changed behind the write."""
    place = tmp_path / "share"
    place.mkdir()
    prepare(place, "pacs")
    real, lies = Share.hash_of, [True]

    def lying(self: Share, group: str, name: str) -> str:
        path = place / group / f"{name}.dcm"
        if lies.pop() if lies else False:
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        return real(self, group, name)

    monkeypatch.setattr(Share, "hash_of", lying)
    with forwarding(tmp_path, [share(place)], monkeypatch=monkeypatch) as box:
        path = objects.write(tmp_path, objects.ct())
        uid = box.put(path)
        box.until(lambda: box.statuses(uid) == "read-back", what="the lie is found")
        assert box.states()[uid] != [DeliveryState.CONFIRMED]
        box.clock.run_at(60)
        box.until_all([uid])
        (written,) = files(place)
        assert data_set_bytes(written) == data_set_bytes(path)
