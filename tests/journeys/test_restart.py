"""Stops, kills and lost books: what was answered 0000 is in the spool, and reaches the PACS after the restart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.journeys.gateway_process import Gateway, To, gateway
from tests.peers import objects, pynetdicom_scu
from tests.peers.bundled import data_set_bytes
from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import storage_scp

pytestmark = pytest.mark.slow

SENDERS = 4
OBJECTS_EACH = 150


def _send(box: Gateway, files: list[Path], *, limit: float = 60) -> list[str]:
    """The UIDs that were answered 0000, each within `limit` seconds."""
    sent = pynetdicom_scu.send_verbatim(box.port, files, called="GATEWAY", calling="CT1", limit=limit)
    return [one.SOPInstanceUID for one in sent if one.status == 0]


@pytest.mark.parametrize("gently", [True, False], ids=["SIGTERM", "SIGKILL"])
def test_what_was_answered_before_the_end_arrives_after_it(tmp_path: Path, gently: bool) -> None:
    files = [
        [objects.write(tmp_path, objects.ct(seed, study=sender)) for seed in range(OBJECTS_EACH)]
        for sender in range(SENDERS)
    ]
    by_uid = {path.stem: path for mine in files for path in mine}
    port = free_port()
    with gateway(tmp_path / "gw", to=[To(port=port)], limits='disk_reserve = "0"') as box:
        with ThreadPoolExecutor(SENDERS) as senders:
            under_way = [senders.submit(_send, box, mine, limit=5) for mine in files]
            box.until(lambda: len(box.object_files()) > OBJECTS_EACH // 2, what="some are received")
            if gently:
                assert box.stop() == 0
            else:
                box.kill()
            answered = [uid for one in under_way for uid in one.result()]
        assert len(answered) > OBJECTS_EACH // 3
        assert gently or len(answered) < SENDERS * OBJECTS_EACH  # SIGTERM lets who is sending finish
        with storage_scp(port) as pacs:
            box.start()
            box.until_confirmed(answered)
            for uid in answered:
                assert {one.dataset for one in pacs.stored(uid)} == {data_set_bytes(by_uid[uid])}
        books = [row["SOPInstanceUID"] for row in box.instances()]
        assert len(books) == len(set(books))
        assert not box.alarms()


def test_a_lost_database_is_made_again_from_the_files(tmp_path: Path) -> None:
    files = [objects.write(tmp_path, make(8)) for make in objects.KINDS.values()]
    uids = [path.stem for path in files]
    port = free_port()
    with gateway(tmp_path / "gw", to=[To(port=port)]) as box:
        assert sorted(_send(box, files)) == sorted(uids)
        box.until(lambda: len(box.instances()) == len(files), what="all are in the books")
        before = {row["id"]: row for row in box.instances()}
        box.kill()
        for database in box.state.glob("gateway.db*"):
            database.unlink()
        with storage_scp(port) as pacs:
            box.start()
            box.until_confirmed(uids)
            assert sorted(one.SOPInstanceUID for one in pacs.received) == sorted(uids)
        after = {row["id"]: row for row in box.instances()}
        changing = ("seq", "state", "delivered_at")
        for instance, row in before.items():
            assert {k: v for k, v in after[instance].items() if k not in changing} == {
                k: v for k, v in row.items() if k not in changing
            }


def test_a_file_that_is_gone_and_one_that_is_foreign_are_told(tmp_path: Path) -> None:
    files = [objects.write(tmp_path, objects.ct(seed)) for seed in range(3)]
    port = free_port()
    with gateway(tmp_path / "gw", to=[To(port=port)]) as box:
        _send(box, files)
        box.until(lambda: len(box.instances()) == len(files), what="all are in the books")
        assert box.stop() == 0
        lost, damaged, _ = box.instances()
        box.path_of(lost["id"]).unlink()
        _flip_last_byte(box.path_of(damaged["id"]))
        garbage = box.objects / "00" / f"00{'1' * 20}.dcm"
        garbage.write_bytes(b"no DICOM at all")
        with storage_scp(port) as pacs:
            box.start()
            assert {"file-missing", "object-unreadable"} <= box.alarms()
            assert not garbage.exists()
            assert [one.read_bytes() for one in (box.state / "spool" / "quarantine").iterdir()] == [b"no DICOM at all"]
            box.until_confirmed([files[2].stem])
            box.until_state([files[0].stem, files[1].stem], "refused")
            assert "spool-damaged" in box.alarms()
            assert [one.SOPInstanceUID for one in pacs.received] == [files[2].stem]


def test_two_gateways_never_share_a_spool(tmp_path: Path) -> None:
    path = objects.write(tmp_path, objects.ct(1))
    port = free_port()
    with gateway(tmp_path / "gw", to=[To(port=port)]) as box:
        second = Gateway(folder=box.folder, port=box.port)
        second.spawn()
        assert second.wait() != 0
        assert "another process" in box.log()
        assert _send(box, [path]) == [path.stem]


def _flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
