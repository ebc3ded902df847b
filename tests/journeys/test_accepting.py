"""What is taken, what is kept beside, and what is refused, over the wire and without harm to what is held."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsSimulator
from tests.journeys import raw_scanner
from tests.journeys.gateway_process import To, gateway
from tests.peers import objects, pynetdicom_scu
from tests.peers.bundled import data_set_bytes, data_set_offset
from tests.peers.processes import free_port
from tests.peers.pynetdicom_scp import storage_scp

pytestmark = pytest.mark.slow

A700 = 0xA700
PRIVATE = "1.3.6.1.4.1.99999.7.1"


def _stores(port: int, *files: Path, calling: str = "CT1") -> list[int | None]:
    return [one.status for one in pynetdicom_scu.send_verbatim(port, files, called="GATEWAY", calling=calling)]


def test_the_first_of_two_differing_copies_goes_on_and_the_other_waits(tmp_path: Path) -> None:
    first = objects.write(tmp_path / "1", objects.ct(1))
    other = objects.write(tmp_path / "2", objects.ct(1, PixelData=bytes(64 * 64 * 2)))
    with storage_scp() as pacs, gateway(tmp_path / "gw", to=[To(port=pacs.port)]) as box:
        assert _stores(box.port, first, first, other, other, first) == [0] * 5
        box.until_confirmed([first.stem])
        box.until_alarm("duplicate-differs")
        assert [row["quarantine"] for row in box.instances()] == ["", "duplicate-differs"]
        held = [path.read_bytes() for path in box.object_files()]
        assert sorted(one[data_set_offset(one) :] for one in held) == sorted(map(data_set_bytes, (first, other)))
        (delivery,) = box.deliveries()
        assert delivery["state"] == "confirmed"
        (got,) = pacs.received
        assert got.dataset == data_set_bytes(first)


def test_below_the_reserve_everything_is_refused_and_what_is_held_stays(tmp_path: Path) -> None:
    kept, more = (objects.write(tmp_path, objects.ct(seed)) for seed in (1, 2))
    folder, pacs = tmp_path / "gw", free_port()
    with gateway(folder, to=[To(port=pacs)], limits='disk_reserve = "0"') as box:
        assert _stores(box.port, kept) == [0]
        (file,) = box.object_files()
        before = file.read_bytes()
        assert box.stop() == 0
    with gateway(folder, to=[To(port=pacs)], limits='disk_reserve = "1000000GiB"') as box:
        assert _stores(box.port, more, kept) == [A700, A700]
        box.until(lambda: box.rows("SELECT count FROM refusal") == [{"count": 2}], what="they are counted")
        assert box.object_files() == [file]
        assert file.read_bytes() == before
        assert pynetdicom_scu.echo(box.port, called="GATEWAY") == 0
        with storage_scp(pacs):
            box.until_confirmed([kept.stem])


def test_an_object_beyond_object_max_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    big = objects.write(tmp_path, objects.ct(1, rows=1024, columns=1024))
    small = objects.write(tmp_path, objects.ct(2))
    with gateway(tmp_path / "gw", to=[To(port=free_port())], limits='object_max = "1MiB"') as box:
        assert _stores(box.port, big, small) == [A700, 0]
        box.until(
            lambda: [row["SOPInstanceUID"] for row in box.instances()] == [small.stem], what="one is in the books"
        )
        assert len(box.object_files()) == 1


@pytest.mark.parametrize("policy", ["any", "standard"])
def test_private_classes_are_taken_by_policy(tmp_path: Path, policy: str) -> None:
    private = objects.write(tmp_path, objects.ct(1, SOPClassUID=PRIVATE))
    standard = objects.write(tmp_path, objects.ct(2))
    with (
        storage_scp(private=[PRIVATE]) as pacs,
        gateway(tmp_path / "gw", to=[To(port=pacs.port)], limits=f'sop_classes = "{policy}"') as box,
    ):
        statuses = _stores(box.port, private, standard)
        assert statuses == ([0, 0] if policy == "any" else [None, 0])
        box.until_confirmed(
            [path.stem for path, status in zip((private, standard), statuses, strict=True) if status == 0]
        )
        assert len(box.instances()) == statuses.count(0)


def test_a_stranger_is_refused_and_remembered(tmp_path: Path) -> None:
    path = objects.write(tmp_path, objects.ct(1))
    with gateway(tmp_path / "gw", to=[To(port=free_port())]) as box:
        assert _stores(box.port, path, calling="STRANGER") == [None]
        assert pynetdicom_scu.echo(box.port, called="NOBODY", calling="CT1") is None
        # A destination is one of our own: it may report and echo, and is no scanner
        assert _stores(box.port, path, calling="PACS") == [None]
        assert pynetdicom_scu.echo(box.port, called="GATEWAY", calling="PACS") == 0
        box.until(lambda: len(box.rows("SELECT * FROM caller")) == 2, what="both are remembered")
        known = {(row["calling_ae"], row["called_ae"], row["reason"]) for row in box.rows("SELECT * FROM caller")}
        assert known == {("STRANGER", "GATEWAY", "calling-ae-unknown"), ("CT1", "NOBODY", "called-ae-unknown")}
        assert box.instances() == []


HOSTILE = [
    "../../../../../../tmp/gateway-was-here",
    "/tmp/gateway-was-here",
    "1.2.3\0/../4",
    "1.2.840." + "9" * 192,
    "'; DROP TABLE instance; --",
    "1.2.\u00e9\u00ff.3",
    "%s%n{0}",
    ".",
]


def test_hostile_uids_are_kept_safely_and_harm_nobody(tmp_path: Path) -> None:
    path = objects.write(tmp_path, objects.ct(1))
    honest = objects.write(tmp_path, objects.ct(2))
    pacs = PacsSimulator(folder=None)
    with hosted(pacs), gateway(tmp_path / "gw", to=[To(port=pacs.port)]) as box:
        before = _tree(tmp_path, box.state)
        statuses = raw_scanner.store(
            box.port,
            path,
            HOSTILE,
            SOPClassUID=CTImageStorage,
            TransferSyntaxUID=ExplicitVRLittleEndian,
            offset=data_set_offset(path.read_bytes()),
        )
        assert statuses == [0] * len(HOSTILE)
        assert _stores(box.port, honest) == [0]
        box.until_confirmed([honest.stem])
        box.until(
            lambda: {row["state"] for row in box.deliveries()} <= {"confirmed", "refused"}, what="all are settled"
        )
        assert len(box.instances()) == len(box.object_files()) == len(HOSTILE) + 1
        assert _tree(tmp_path, box.state) == before
        assert not Path("/tmp/gateway-was-here").exists()
        assert box.running
        box.kill()
        for database in box.state.glob("gateway.db*"):
            database.unlink()
        box.start()
        box.until(
            lambda: len(box.instances()) == len(HOSTILE) + 1, what="all are adopted"
        )  # the UIDs survive in the files themselves


def _tree(folder: Path, without: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_relative_to(without) and path.suffix != ".log"}
