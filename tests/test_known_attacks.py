"""Each class of published attacks on DICOM programs that touches us, tried on a whole gateway over loopback.

The classes are those of the CVEs named at each test. After every attack the gateway is asked for what it is there
for: a scanner's C-ECHO, and where objects are meant, an object that goes its whole way.

Not here, because there is nothing to attack: C-GET and C-MOVE (DCMTK CVE-2026-50003) are neither asked nor served,
DICOMDIR (pydicom CVE-2026-32711 in its own form) is never read, and no pixel is ever decoded.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

import psutil
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gateway.dicom import commitment, elements
from gateway.dicom.dimse import CommandSet, Status
from gateway.dicom.elements import DataSet, Element
from gateway.dicom.pdu import ControlPdu, PduType, fragment_message
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsSimulator
from tests.fuzz.seeds import nested, query_seeds
from tests.fuzz.targets import TARGETS
from tests.journeys import raw_scanner
from tests.journeys.gateway_process import ROOT, Gateway, To, gateway
from tests.net.wire import CT, MAX_PDU, Raw, find_rq, request, store_rq
from tests.peers import objects, pynetdicom_scu
from tests.peers.processes import free_port

pytestmark = pytest.mark.slow

MB = 1 << 20
GROWTH = 64 * MB
"""Bytes that one hostile peer may make us hold."""
EDGE = ("worklist", "storage")
OUR_NAMES = re.compile(r"gateway\.(db(-wal|-shm)?|log|toml)|[0-9a-f]{2}|[0-9a-f]{22}\.dcm|[a-z]+(\.lock)?")


def associated(box: Gateway, **changed: object) -> Raw:
    return Raw(box.port).associate(called="GATEWAY", **changed)


def final(peer: Raw) -> CommandSet:
    """The response that ends an operation, behind its pending ones."""
    while True:
        command, _ = peer.message()
        if command.Status not in {Status.PENDING, Status.PENDING_WARNING}:
            return command


def unharmed(box: Gateway) -> None:
    assert box.running
    assert pynetdicom_scu.echo(box.port, called="GATEWAY", calling="CT1") == 0


@contextmanager
def bounded_memory(box: Gateway) -> Iterator[None]:
    """The gateway never holds `GROWTH` more than it does now."""
    Path(f"/proc/{box.pid}/clear_refs").write_text("5")  # the high-water mark begins anew
    before = box.memory("VmRSS")
    yield
    assert box.memory("VmHWM") - before <= GROWTH


def names_under(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def deflated(data: Collection[bytes]) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(map(stream.compress, data)) + stream.flush()


def encoded(dataset: DataSet) -> bytes:
    return elements.encode(dataset, elements.EXPLICIT_LITTLE)


def commitment_rq(transaction: str, instance: str) -> bytes:
    command, data_set = commitment.action_request(
        transaction, [(CT, instance)], transfer_syntax=elements.IMPLICIT_LITTLE, message_id=9
    )
    pieces = fragment_message(7, command.encode(), command=True, max_pdu=MAX_PDU)
    return b"".join(pieces + fragment_message(7, data_set, command=False, max_pdu=MAX_PDU))


# -- identifiers --


def hostile_identifiers(outside: Path) -> list[str]:
    return [
        "../../../../../../" + str(outside),
        f"..{outside}",
        str(outside),
        f"file://{outside}",
        "..",
        ".",
        "..\\..\\outside",
        f"1.2.3\0{outside}",
        "\0" * 64,
        "1." * 500 + "1",
        "9" * 4000,
        "1.2.3\n1.2.4\r\n",
        "\xff\xfe\x80..\xaf",
        "con",
        "'; DROP TABLE instance; --",
        "%n%s%s{0.__class__}",
        "",
    ]


def test_identifiers_are_never_paths(tmp_path: Path) -> None:
    """pynetdicom CVE-2026-56445 (qrscp, 9.1), pydicom CVE-2026-32711, MicroDicom CVE-2024-22100: traversal by UIDs."""
    outside = tmp_path / "outside"
    identifiers = hostile_identifiers(outside)
    with gateway(tmp_path / "gw", to=[To(port=free_port())]) as box:
        before = names_under(tmp_path)
        with associated(box) as peer:
            for identifier in identifiers:
                text = Element("UI", identifier.encode("latin-1")[:65000])
                body = encoded(dict.fromkeys((0x00080016, 0x00080018, 0x0020000D, 0x0020000E), text))
                peer.send(store_rq(body, instance=identifier))
                assert peer.message()[0].Status == 0, identifier
                peer.send(commitment_rq(identifier, identifier))
                final(peer)
                peer.send(find_rq(identifier=elements.encode({0x0020000D: text}, elements.IMPLICIT_LITTLE)))
                assert final(peer).Status is not None
        box.until(lambda: len(box.instances()) == len(identifiers), what="every object has its row")
        assert len(box.object_files()) == len(identifiers)
        new = names_under(tmp_path) - before
        assert all(path.is_relative_to(box.state) and OUR_NAMES.fullmatch(path.name) for path in new), new
        unharmed(box)


def test_identifiers_are_never_commands(tmp_path: Path) -> None:
    """DCMTK CVE-2026-5663: storescp ran what stood in an AE title or a UID."""
    outside = tmp_path / "outside"
    words = [
        form.format(f"touch {outside}") for form in ("$({})", "`{}`", ";{};", "|{}", "\n{}\n", '"; {} #', "' && {} '")
    ]
    with gateway(tmp_path / "gw", to=[To(port=free_port())]) as box:
        for word in words:
            with Raw(box.port) as peer:
                peer.send(request(called=word, calling=word).encode())
                pdu = peer.pdu()
                assert isinstance(pdu, ControlPdu)
                assert pdu.type == PduType.ASSOCIATE_RJ
            with associated(box) as peer:
                text = Element("LO", word.encode())
                body = encoded({0x00080060: text, 0x00100010: text, 0x00100020: text, 0x0020000D: text})
                peer.send(store_rq(body, instance=word))
                assert peer.message()[0].Status == 0
        box.until(lambda: len(box.deliveries()) == len(words), what="all objects are routed")
        assert psutil.Process(box.pid).children() == []
        unharmed(box)
    assert not outside.exists()
    assert not (ROOT / "outside").exists()


# -- lengths --


def test_a_pdu_of_four_gigabytes_is_refused_at_its_header(tmp_path: Path) -> None:
    """pynetdicom #1086: a PDU of any declared length was buffered, 600 MB sent were 600 MB held."""
    endless = bytes(MB)
    with gateway(tmp_path / "gw", to=[To(port=free_port())], roles=EDGE) as box, bounded_memory(box):
        for kind in (PduType.ASSOCIATE_RQ, PduType.P_DATA, PduType.ABORT):
            for opened in (False, True):
                with associated(box) if opened else Raw(box.port) as peer, suppress(OSError):
                    peer.send(struct.pack(">BxL", kind, 0xFFFFFFFF))
                    for _ in range(200):
                        peer.send(endless)
        unharmed(box)


def test_an_endless_message_is_bounded(tmp_path: Path) -> None:
    """The same without a lie: a command set and an identifier that never end."""
    piece = bytes(60_000)
    with gateway(tmp_path / "gw", to=[To(port=free_port())], roles=EDGE) as box, bounded_memory(box):
        for command in (True, False):
            with associated(box) as peer, suppress(OSError):
                peer.send(find_rq()[:-20] if not command else b"")
                for _ in range(2000):
                    peer.send(
                        b"".join(fragment_message(5, piece, command=command, max_pdu=MAX_PDU))[:11] + b"\0" + piece
                    )
        unharmed(box)


def lying_data_sets() -> list[bytes]:
    """Lengths that are not there, and dimensions of another VR than theirs."""
    head = encoded({0x00080016: Element("UI", CT.encode()), 0x00080018: Element("UI", b"1.2")})
    rows = struct.pack("<HH2sHL", 0x0028, 0x0010, b"UL", 4, 0xFFFFFFFF) + struct.pack(
        "<HH2sHL", 0x0028, 0x0011, b"UL", 4, 0xFFFFFFFF
    )
    lies = [0xFFFFFFFE, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000]
    made = [head + rows + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, lie) + bytes(64) for lie in lies]
    made += [head + struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, lie) + bytes(64) for lie in lies]
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFE)
    return [*made, head + struct.pack("<HH2sHL", 0x0040, 0x0100, b"SQ", 0, 0xFFFFFFFF) + item]


def test_declared_lengths_are_not_believed(tmp_path: Path) -> None:
    """Orthanc CVE-2026-5437..5445 (4 GB declared, UL dimensions), MicroDicom CVE-2025-35975, GDCM CVE-2026-3650."""
    uids = [f"1.2.{number}" for number in range(len(lying_data_sets()))]
    pacs = PacsSimulator(transfer_syntaxes=[ImplicitVRLittleEndian])
    with hosted(pacs), gateway(tmp_path / "gw", to=[To(port=pacs.port)]) as box:
        with bounded_memory(box), associated(box) as peer:
            for uid, body in zip(uids, lying_data_sets(), strict=True):
                peer.send(store_rq(body, instance=uid))
                assert peer.message()[0].Status == 0
                peer.send(find_rq(identifier=body))
                assert final(peer).Status == Status.UNABLE_TO_PROCESS
            box.until_state(uids, "refused")  # they can only go as they came, and this PACS takes none of that
        assert len(box.object_files()) == len(uids)
        passes(box, tmp_path)


def passes(box: Gateway, folder: Path) -> None:
    """An honest object goes its whole way."""
    honest = objects.write(folder, objects.ct(1))
    assert [one.status for one in pynetdicom_scu.send_verbatim(box.port, [honest], called="GATEWAY")] == [0]
    box.until_confirmed([honest.stem])
    unharmed(box)


# -- bombs --


def test_a_decompression_bomb_costs_no_memory(tmp_path: Path) -> None:
    """pynetdicom #1086, Orthanc CVE-2026-5438: 0.5 MB that inflate to 512 MB, for a PACS that wants it inflated."""
    bomb = tmp_path / "bomb"
    block = encoded({0x00080016: Element("UI", CT.encode())})
    bomb.write_bytes(deflated([block, *[bytes(MB)] * 512]))
    pacs = PacsSimulator(transfer_syntaxes=[ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    with hosted(pacs), gateway(tmp_path / "gw", to=[To(port=pacs.port)]) as box:
        with bounded_memory(box):
            statuses = raw_scanner.store(
                box.port,
                bomb,
                ["1.2.3"],
                SOPClassUID=CT,
                TransferSyntaxUID=DeflatedExplicitVRLittleEndian,
                offset=0,
            )
            assert statuses == [0]
            box.until_state(["1.2.3"], "refused")
        passes(box, tmp_path)


@pytest.mark.parametrize("vr", ["SQ", "UN"])
def test_deep_nesting_ends_at_its_limit(tmp_path: Path, vr: str) -> None:
    """Nested sequences: RecursionError in pydicom at 200 levels (reference D1), stack overflows elsewhere."""
    pacs = PacsSimulator(transfer_syntaxes=[ImplicitVRLittleEndian])
    with hosted(pacs), gateway(tmp_path / "gw", to=[To(port=pacs.port)]) as box:
        with bounded_memory(box), associated(box) as peer:
            for number, depth in enumerate((200, 1000, 5000, 50_000)):
                peer.send(store_rq(nested(depth, vr), instance=f"1.2.{number}"))
                assert peer.message()[0].Status == 0
                # A query that is longer ends the association before it is read
                inside = b"\x40\0\0\1\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * min(depth, 3000)
                peer.send(find_rq(identifier=inside))
                assert final(peer).Status == Status.UNABLE_TO_PROCESS
            box.until_state([f"1.2.{number}" for number in range(4)], "refused")
        passes(box, tmp_path)


# -- queries --


def test_odd_worklist_queries_are_answered(tmp_path: Path) -> None:
    """DCMTK CVE-2026-44628: a query that ended wlmscpfs."""
    random = Random(3)
    target, seeds = TARGETS["query"], query_seeds()
    queries = [target.mutated(seed, random, seeds)[2:] for seed in seeds * 3]
    with gateway(tmp_path / "gw", to=[To(port=free_port())], roles=EDGE) as box, bounded_memory(box):
        with associated(box) as peer:
            for number, query in enumerate(queries):
                peer.send(find_rq(number % 60_000, query or b"\0"))
                answer = final(peer)
                assert answer.MessageIDBeingRespondedTo == number % 60_000
                assert answer.Status in {Status.SUCCESS, Status.UNABLE_TO_PROCESS}
        unharmed(box)


@pytest.mark.parametrize("called", ["../GATEWAY", "GATEWAY/..", "/GATEWAY", "GATEWAY\0/../X", "*", ".", ""])
def test_the_called_title_chooses_nothing_but_a_title(tmp_path: Path, called: str) -> None:
    """DCMTK CVE-2026-52868: the called AE title was a folder, and `..` the worklist of another area."""
    with gateway(tmp_path / "gw", to=[To(port=free_port())], roles=EDGE) as box:
        with Raw(box.port) as peer:
            peer.send(request(called=called).encode())
            pdu = peer.pdu()
            assert isinstance(pdu, ControlPdu)
            assert pdu.type == PduType.ASSOCIATE_RJ
        unharmed(box)


# -- leaks --


def _connect(box: Gateway) -> None:
    Raw(box.port).socket.close()


def _reset(box: Gateway) -> None:
    peer = Raw(box.port)
    peer.send(request(called="GATEWAY").encode()[:40])
    peer.reset()


def _be_refused(box: Gateway) -> None:
    with Raw(box.port) as peer:
        peer.send(request(called="NOBODY", calling="NOBODY").encode())
        peer.pdu()


def _leave_an_object(box: Gateway) -> None:
    with associated(box) as peer:
        peer.send(store_rq(bytes(20_000))[:-5000])
        peer.reset()


def _break_the_rules(box: Gateway) -> None:
    with associated(box) as peer:
        peer.send(b"\x09\0\0\0\0\4\0\0\0\0")
        peer.pdu()


def test_repeated_connections_leave_nothing_behind(tmp_path: Path) -> None:
    """DCMTK CVE-2026-50254, -35505, GDCM CVE-2026-3650, pynetdicom #669: memory lost by each connection."""
    visits: tuple[Callable[[Gateway], None], ...] = (_connect, _reset, _be_refused, _leave_an_object, _break_the_rules)

    def visit(times: int) -> None:
        for _ in range(times):
            for one in visits:
                one(box)

    def open_files() -> int:
        return len(list(Path(f"/proc/{box.pid}/fd").iterdir()))

    def threads() -> int:
        return len(list(Path(f"/proc/{box.pid}/task").iterdir()))

    with gateway(tmp_path / "gw", to=[To(port=free_port())], roles=EDGE) as box:
        visit(30)
        unharmed(box)
        box.until(lambda: not box.object_files(), what="no half object is left")
        rss, files, tasks = box.memory(), open_files(), threads()
        visit(100)
        box.until(lambda: open_files() <= files, what="every file is closed")
        assert threads() <= tasks
        assert not box.object_files()
        assert box.memory() - rss <= 4 * MB
        unharmed(box)
