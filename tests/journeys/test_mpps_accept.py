"""Performed procedure steps from scanners to a real gateway: pynetdicom, and the bytes that DCMTK makes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset

from gateway.dicom.associate import ProposedContext
from gateway.dicom.dimse import NO_DATA_SET, CommandField, CommandSet
from gateway.dicom.negotiation import MPPS
from gateway.net.dicom_client import Peer, Requestor
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import needs
from tests.peers.processes import HOST
from tests.peers.pynetdicom_mpps import NATIVE, MppsSCP, Scanner, begun, encoded, ended, mpps_scp

pytestmark = pytest.mark.slow

EXPLICIT, IMPLICIT = NATIVE
BOTH = ["N-CREATE", "N-SET"]
UNREADABLE = "2.25.17."
"""Steps that begin so are refused by the RIS: pynetdicom can't read them either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    box: Gateway
    ris: MppsSCP

    def until_relayed(self, uid: str, requests: list[str]) -> None:
        self.box.until(lambda: self.ris.requests(uid) == requests, what=f"{requests} at the RIS")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One gateway and one RIS for all tests; each has UIDs of its own."""
    with mpps_scp() as ris, gateway(tmp_path_factory.mktemp("mpps") / "gw", ris=[From(port=ris.port)]) as box:
        ris.answers = lambda _request, uid: 0x0106 if uid.startswith(UNREADABLE) else -1
        yield Site(box=box, ris=ris)


def status_of(answer: Dataset) -> int:
    return int(answer.Status)


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_step_is_taken_and_relayed_as_it_came(site: Site, syntax: str) -> None:
    uid = f"2.25.10{NATIVE.index(syntax)}"
    scanner = Scanner(site.box.port, syntax=syntax)
    assert status_of(scanner.create(begun(study=f"{uid}.1"), uid)) == 0
    assert status_of(scanner.set(ended(), uid)) == 0
    site.until_relayed(uid, BOTH)
    site.box.until(lambda: site.ris.steps.get(uid) == "COMPLETED", what="the RIS has read it")
    assert {one.TransferSyntaxUID for one in site.ris.told if one.SOPInstanceUID == uid} == {syntax}
    (row,) = site.box.rows("SELECT * FROM mpps_step WHERE SOPInstanceUID = :uid", uid=uid)
    assert (row["status"], row["PatientID"], row["series"], row["instances"]) == ("COMPLETED", "TEST-1", 1, 2)
    assert row["ended_at"]
    (reference,) = site.box.rows("SELECT * FROM mpps_reference WHERE step = :step", step=row["id"])
    assert (reference["StudyInstanceUID"], reference["ScheduledProcedureStepID"]) == (f"{uid}.1", "S1")


def test_a_wrong_worklist_entry_is_kept_as_evidence(site: Site) -> None:
    scanner = Scanner(site.box.port)
    scanner.create(begun(), "2.25.110")
    assert status_of(scanner.set(ended("DISCONTINUED"), "2.25.110")) == 0
    (row,) = site.box.rows("SELECT * FROM mpps_step WHERE SOPInstanceUID = '2.25.110'")
    assert (row["status"], row["reason"]) == ("DISCONTINUED", "110514^DCM")


def test_what_is_sent_again_is_answered_again_and_relayed_once(site: Site) -> None:
    scanner, uid = Scanner(site.box.port), "2.25.120"
    for _ in range(2):
        assert status_of(scanner.create(begun(), uid)) == 0
    for _ in range(2):
        assert status_of(scanner.set(ended(), uid)) == 0
    site.until_relayed(uid, BOTH)
    kept = site.box.rows(
        "SELECT 1 FROM mpps_message AS m JOIN mpps_step AS s ON s.id = m.step WHERE s.SOPInstanceUID = :uid", uid=uid
    )
    assert len(kept) == 2


def test_another_step_under_the_same_uid_is_a_duplicate(site: Site) -> None:
    scanner, uid = Scanner(site.box.port), "2.25.130"
    assert status_of(scanner.create(begun(at="120000"), uid)) == 0
    assert status_of(scanner.create(begun(at="130000"), uid)) == 0x0111


def test_a_final_step_is_changed_no_more(site: Site) -> None:
    scanner, uid = Scanner(site.box.port), "2.25.140"
    scanner.create(begun(), uid)
    scanner.set(ended(), uid)
    answer = scanner.set(ended("DISCONTINUED"), uid)
    assert (status_of(answer), int(answer.ErrorID)) == (0x0110, 0xA710)
    site.until_relayed(uid, BOTH)
    site.box.until(lambda: site.ris.steps.get(uid) == "COMPLETED", what="the RIS has read it")


def test_a_step_without_a_uid_gets_one_and_keeps_it_when_sent_again(site: Site) -> None:
    context = ProposedContext(1, MPPS, (EXPLICIT,))
    command = CommandSet(
        CommandField=CommandField.N_CREATE_RQ, AffectedSOPClassUID=MPPS, MessageID=1, CommandDataSetType=1
    )
    answers = [ask(site.box.port, context, command, encoded(begun(at="150000"))) for _ in range(2)]
    assert [one.Status for one in answers] == [0, 0]
    uid = answers[0].AffectedSOPInstanceUID
    assert uid is not None
    assert uid.startswith("2.25.")
    assert answers[1].AffectedSOPInstanceUID == uid
    assert status_of(Scanner(site.box.port).set(ended(), uid)) == 0
    site.until_relayed(uid, BOTH)


def test_an_end_without_a_beginning_is_relayed_not_refused(site: Site) -> None:
    assert status_of(Scanner(site.box.port).set(ended(), "2.25.160")) == 0
    site.box.until(lambda: site.ris.requests("2.25.160"), what="it is relayed")


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        (b"\x08\x00\x60\x00CS\xff\xff", CommandField.N_CREATE_RQ),
        (b"no data set at all", CommandField.N_SET_RQ),
        (b"", CommandField.N_CREATE_RQ),
    ],
)
def test_what_nobody_can_read_is_kept_and_relayed_all_the_same(site: Site, body: bytes, request_: CommandField) -> None:
    creates = request_ is CommandField.N_CREATE_RQ
    uid = f"{UNREADABLE}{len(body)}"
    command = CommandSet(
        CommandField=request_,
        AffectedSOPClassUID=MPPS if creates else None,
        AffectedSOPInstanceUID=uid if creates else None,
        RequestedSOPClassUID=None if creates else MPPS,
        RequestedSOPInstanceUID=None if creates else uid,
        MessageID=1,
        CommandDataSetType=1 if body else NO_DATA_SET,
    )
    assert ask(site.box.port, ProposedContext(1, MPPS, (EXPLICIT,)), command, body or None).Status == 0
    site.box.until(lambda: site.ris.requests(uid), what="it is relayed")
    assert [one.dataset for one in site.ris.told if one.SOPInstanceUID == uid] == [body]


@pytest.mark.parametrize("uid", ["", "2.25." + "1" * 64])
def test_a_change_of_nothing_is_refused(site: Site, uid: str) -> None:
    command = CommandSet(
        CommandField=CommandField.N_SET_RQ, RequestedSOPClassUID=MPPS, RequestedSOPInstanceUID=uid, MessageID=1
    )
    assert ask(site.box.port, ProposedContext(1, MPPS, (EXPLICIT,)), command, None).Status == 0x0117


def test_a_step_of_thousands_of_images_is_taken_whole(site: Site) -> None:
    scanner, uid = Scanner(site.box.port), "2.25.180"
    scanner.create(begun(), uid)
    assert status_of(scanner.set(ended(images=5000), uid)) == 0
    site.until_relayed(uid, BOTH)
    (row,) = site.box.rows("SELECT instances FROM mpps_step WHERE SOPInstanceUID = :uid", uid=uid)
    assert row["instances"] == 5000


@needs.dcmtk
@pytest.mark.parametrize("syntax", NATIVE)
def test_the_bytes_that_dcmtk_makes(site: Site, tmp_path: Path, syntax: str) -> None:
    """DCMTK has no MPPS SCU; its data sets are made by its own `dump2dcm`, its commands are implicit as all are."""
    create, change = (dcmtk_bytes(tmp_path, dump, syntax) for dump in (_BEGUN, _ENDED))
    uid = f"2.25.19{NATIVE.index(syntax)}"
    context = ProposedContext(1, MPPS, (syntax,))
    began = CommandSet(
        CommandField=CommandField.N_CREATE_RQ,
        AffectedSOPClassUID=MPPS,
        AffectedSOPInstanceUID=uid,
        MessageID=1,
        CommandDataSetType=1,
    )
    over = CommandSet(
        CommandField=CommandField.N_SET_RQ,
        RequestedSOPClassUID=MPPS,
        RequestedSOPInstanceUID=uid,
        MessageID=1,
        CommandDataSetType=1,
    )
    assert ask(site.box.port, context, began, create).Status == 0
    assert ask(site.box.port, context, over, change).Status == 0
    site.until_relayed(uid, BOTH)
    assert [one.dataset for one in site.ris.told if one.SOPInstanceUID == uid] == [create, change]
    (row,) = site.box.rows("SELECT * FROM mpps_step WHERE SOPInstanceUID = :uid", uid=uid)
    assert (row["status"], row["reason"], row["instances"]) == ("DISCONTINUED", "110514^DCM", 1)


_BEGUN = """\
(0008,0005) CS [ISO_IR 192]
(0008,0060) CS [CT]
(0010,0010) PN [TEST^JÜRGEN]
(0010,0020) LO [TEST-7]
(0040,0252) CS [IN PROGRESS]
(0040,0253) SH [PPS7]
(0040,0270) SQ
(fffe,e000) na
(0008,0050) SH [A7]
(0020,000d) UI [2.25.77]
(0040,0009) SH [S7]
(0040,1001) SH [P7]
(fffe,e00d) na
(fffe,e0dd) na
(0040,0340) SQ
(fffe,e0dd) na
"""
_ENDED = """\
(0040,0252) CS [DISCONTINUED]
(0040,0281) SQ
(fffe,e000) na
(0008,0100) SH [110514]
(0008,0102) SH [DCM]
(fffe,e00d) na
(fffe,e0dd) na
(0040,0340) SQ
(fffe,e000) na
(0008,1140) SQ
(fffe,e000) na
(0008,1150) UI [1.2.840.10008.5.1.4.1.1.2]
(0008,1155) UI [2.25.88]
(fffe,e00d) na
(fffe,e0dd) na
(fffe,e00d) na
(fffe,e0dd) na
"""


def dcmtk_bytes(folder: Path, dump: str, syntax: str) -> bytes:
    """The data set of a dump as DCMTK encodes it for the wire: explicit lengths, no group lengths."""
    text, made = folder / "dump.txt", folder / "made.dcm"
    text.write_text(dump, "utf-8")
    how = ["-F", "+te" if syntax == EXPLICIT else "+ti", "+e", "-g"]
    subprocess.run(["/usr/bin/dump2dcm", *how, str(text), str(made)], check=True, timeout=30)
    return made.read_bytes()


def ask(port: int, context: ProposedContext, command: CommandSet, body: bytes | None) -> CommandSet:
    """One request on an association of its own; its response."""
    peer = Peer(host=HOST, port=port, called_ae="GATEWAY", calling_ae="CT1", connect_timeout=5, timeout=20)
    with Requestor.connect(peer, [context]) as requestor:
        accepted = requestor.context_for(MPPS)
        assert accepted is not None
        return requestor.request(accepted, command, body).command
