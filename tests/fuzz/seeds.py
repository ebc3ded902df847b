"""Where mutation starts: headers of pydicom's test files, associations as real programs make them, and old findings.

Everything is made in code and depends on nothing but the versions of the libraries; no patient is in it.
"""

from __future__ import annotations

import struct
import zlib
from functools import cache
from pathlib import Path

from pydicom.data import data_manager
from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from gateway.dicom import commitment, elements, negotiation, part10
from gateway.dicom.associate import AssociateRequest, ExtendedNegotiation, RoleSelection, UserInformation
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.dicom.elements import DataSet, Element, ElementError
from gateway.dicom.pdu import CALLED_AE_UNKNOWN, RELEASE_RP, RELEASE_RQ, Abort, fragment_message
from gateway.domain.upstream import RETURN_KEYS, Keys, widen
from tests.fuzz.datasets import SYNTAXES
from tests.fuzz.wire import PROPOSED, US, choose

CT = "1.2.840.10008.5.1.4.1.1.2"
_PIXEL_DATA = 0x7FE00010
_LONGEST_VALUE = 200
_LONGEST_SEED = 6000
_BOMB = 64 << 20


@cache
def data_sets() -> tuple[DataSet, ...]:
    """The headers of pydicom's files without long values, and a few that no file has."""
    found = []
    for content in _files():
        try:
            meta = part10.read(content)
            parsed = elements.parse(content[meta.data_offset :], meta.TransferSyntaxUID, before=_PIXEL_DATA)
        except ElementError:
            continue
        short = {tag: one for tag, one in parsed.items() if _size(one) <= _LONGEST_VALUE}
        if len(short) > 1 and len(elements.encode(short, elements.EXPLICIT_LITTLE)) <= _LONGEST_SEED:
            found.append(short)
    return tuple(found)


def _size(element: Element) -> int:
    return (
        len(element.value)
        if isinstance(element.value, bytes)
        else sum(sum(map(_size, i.values())) for i in element.value)
    )


@cache
def _files() -> tuple[bytes, ...]:
    root = Path(data_manager.DATA_ROOT) / "test_files"
    return tuple(path.read_bytes() for path in sorted(root.glob("*.dcm")) if path.stat().st_size < 1 << 19)


def file_seeds() -> list[bytes]:
    return [content[:2000] for content in _files()]


def data_set_seeds() -> list[bytes]:
    """One byte that chooses the transfer syntax, and a data set in it."""
    seeds = []
    for dataset in data_sets():
        explicit = elements.encode(dataset, elements.EXPLICIT_LITTLE)
        seeds.append(b"\0" + explicit)
        seeds.append(b"\1" + elements.encode(dataset, elements.IMPLICIT_LITTLE))
    seeds += [b"\2" + content[part10.read(content).data_offset :][:3000] for content in _files() if _big(content)]
    seeds += [b"\3" + _deflated(seed[1:]) for seed in seeds[:10]]
    seeds += [b"\3" + _deflated(bytes(_BOMB)), b"\3" + _deflated(b"\x08\0\x16\0UI\0\0" * 200_000)]
    seeds += [b"\0" + nested(depth, "SQ") for depth in (3, 31, 32, 33, 2000)]
    seeds += [b"\0" + nested(depth, "UN") for depth in (3, 32)]
    return seeds


def _big(content: bytes) -> bool:
    try:
        return part10.read(content).TransferSyntaxUID == elements.EXPLICIT_BIG
    except ElementError:
        return False


def _deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


def nested(depth: int, vr: str) -> bytes:
    """Sequences of undefined length inside one another, never ended."""
    head = struct.pack("<HH2sHL", 0x0040, 0x0100, vr.encode(), 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    inner = head if vr == "SQ" else struct.pack("<HHL", 0x0040, 0x0100, 0xFFFFFFFF)
    return head + item + (inner + item) * (depth - 1)


def text_seeds() -> list[bytes]:
    """Two bytes that choose VR and sets, and a value with its code extensions (PS3.5 annexes H, I, J)."""
    values = (
        b"TEST^ONE=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
        "TEST^ÄÖÜ".encode(),
        "TEST^ÄÖÜ".encode("latin-1"),
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J",
        b"TEST=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
        b"\x1b$)A\xb5\xda\xd2\xbb\r\n\x1b$)A\xb5\xda",
        "王^小东".encode("gb18030"),
        b"\x1b-F\xbb\xee\\\x1b-L\xbb",
        b"ISO_IR 100\\ISO 2022 IR 87",
    )
    return [bytes((vr, sets)) + value for value in values for vr in (0, 1, 3) for sets in range(12)]


def _keys(keys: Keys) -> DataSet:
    return {
        tag: Element(vr, b"") if isinstance(vr, str) else Element("SQ", [_keys(vr)]) for tag, vr in sorted(keys.items())
    }


def query_seeds() -> list[bytes]:
    """An identifier and a row, each behind its length."""
    step: DataSet = {
        0x00080060: Element("CS", b"CT"),
        0x00400001: Element("AE", b"CT1 "),
        0x00400002: Element("DA", b"20260101"),
        0x00400003: Element("TM", b"101500"),
        0x00400009: Element("SH", b"STEP1 "),
        0x00400020: Element("CS", b"SCHEDULED "),
    }
    row: DataSet = {
        0x00080005: Element("CS", b"ISO_IR 100"),
        0x00080050: Element("SH", b"A1"),
        0x00100010: Element("PN", b"TEST^\xc4BC"),
        0x00100020: Element("LO", b"TEST1 "),
        0x0020000D: Element("UI", b"1.2.3\0"),
        0x00400100: Element("SQ", [step]),
        0x00401001: Element("SH", b"RP1 "),
    }
    asked: list[DataSet] = [
        _keys(RETURN_KEYS),
        {0x00100010: Element("PN", b"T*^?BC"), 0x00400100: Element("SQ", [_keys({0x00400020: "CS"})])},
        {0x00100020: Element("LO", b"TEST1\\*?*?*"), 0x0020000D: Element("UI", b"1.2.3\\1.2.4")},
        {0x00400100: Element("SQ", [{0x00400002: Element("DA", b"20251231-"), 0x00400003: Element("TM", b"08-1200")}])},
        {
            0x00400100: Element(
                "SQ", [{0x00400002: Element("DA", b"2026.01.01"), 0x00400001: Element("AE", b"CT1\\CT2")}]
            )
        },
        {
            0x00400100: Element("SQ", [{0x00080060: Element("CS", b"C*"), 0x00400003: Element("TM", b"10:15:00.5")}]),
            **row,
        },
    ]
    asked += [widen(one) for one in asked]  # type: ignore[misc]
    rows = [row, {**row, 0x00400100: Element("SQ", [step, step])}, *data_sets()[:6]]
    return [_half(one) + _half(other) for one in asked for other in rows]


def _half(dataset: DataSet) -> bytes:
    encoded = elements.encode(dataset, elements.EXPLICIT_LITTLE)
    return struct.pack("<H", len(encoded)) + encoded


def commitment_seeds() -> list[bytes]:
    pairs = [(CT, f"1.2.{number}") for number in range(4)]
    seeds = []
    for choice in (0, 1):
        syntax = SYNTAXES[choice]
        _, asked = commitment.action_request("1.2.3", pairs, transfer_syntax=syntax, message_id=1)
        failed = [(*pair, 0x0112) for pair in pairs]
        _, told = commitment.event_report("1.2.3", succeeded=pairs, failed=failed, transfer_syntax=syntax, message_id=1)
        seeds += [bytes((choice,)) + asked, bytes((choice,)) + told]
    return seeds


# -- the wire --


@cache
def requests() -> tuple[bytes, ...]:
    """A-ASSOCIATE-RQ as DCMTK, pynetdicom and a worst-minded peer make them."""
    storescu = AssociateRequest(
        called_ae="GATEWAY",
        calling_ae="STORESCU",
        contexts=negotiation.propose({f"1.2.840.10008.5.1.4.1.1.{n}": negotiation.NATIVE for n in range(1, 70)}),
        user=UserInformation(
            max_pdu=16384, implementation_class_uid="1.2.276.0.7230010.3.0.3.6.7", implementation_version="DCMTK_367"
        ),
    )
    modality = AssociateRequest(
        called_ae="GATEWAY",
        calling_ae="CT1",
        contexts=PROPOSED.contexts,
        user=UserInformation(
            max_pdu=0,
            implementation_class_uid="1.2.3",
            asynchronous=(0, 1),
            roles=(RoleSelection(CT, True, True), RoleSelection(negotiation.STORAGE_COMMITMENT, True, True)),
            extended=(
                ExtendedNegotiation(CT, b"\2\0\0\0\1\0"),
                ExtendedNegotiation(negotiation.MODALITY_WORKLIST, b"\1\1"),
            ),
        ),
    )
    return storescu.encode(), modality.encode(), PROPOSED.encode(), _pynetdicom_request()


def _pynetdicom_request() -> bytes:
    asked = A_ASSOCIATE()
    asked.calling_ae_title, asked.called_ae_title = "PYNETDICOM", "GATEWAY"
    asked.application_context_name = "1.2.840.10008.3.1.1.1"
    asked.presentation_context_definition_list = [build_context(uid) for uid in (negotiation.VERIFICATION, CT)]
    for number, context in enumerate(asked.presentation_context_definition_list):
        context.context_id = 2 * number + 1
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16382
    implementation.implementation_class_uid = "1.2.826.0.1.3680043.9.3811.3.0.4"
    window, extended, identity = (
        AsynchronousOperationsWindowNegotiation(),
        SOPClassExtendedNegotiation(),
        UserIdentityNegotiation(),
    )
    window.maximum_number_operations_invoked = 5
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\2\0\0\0"
    identity.user_identity_type, identity.primary_field, identity.positive_response_requested = 1, b"TEST", False
    asked.user_information = [length, implementation, window, extended, identity]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(asked)
    return pdu.encode()


@cache
def accepts() -> tuple[bytes, ...]:
    asked = (
        AssociateRequest(**{name: getattr(PROPOSED, name) for name in ("called_ae", "calling_ae", "contexts", "user")}),
    )
    return tuple(negotiation.answer(one, choose, us=US).encode() for one in asked)


@cache
def command_sets() -> tuple[bytes, ...]:
    def of(field: CommandField, **values: object) -> bytes:
        return CommandSet(CommandField=field, **values).encode()  # type: ignore[arg-type]

    return (
        of(CommandField.C_ECHO_RQ, MessageID=1, AffectedSOPClassUID=negotiation.VERIFICATION),
        of(
            CommandField.C_STORE_RQ,
            MessageID=2,
            AffectedSOPClassUID=CT,
            AffectedSOPInstanceUID="1.2.3",
            Priority=0,
            CommandDataSetType=0,
        ),
        of(
            CommandField.C_FIND_RQ, MessageID=3, AffectedSOPClassUID=negotiation.MODALITY_WORKLIST, CommandDataSetType=1
        ),
        of(CommandField.C_CANCEL_RQ, MessageIDBeingRespondedTo=3),
        of(
            CommandField.N_ACTION_RQ,
            MessageID=4,
            RequestedSOPClassUID="1.2",
            RequestedSOPInstanceUID="1.3",
            ActionTypeID=1,
        ),
        of(
            CommandField.C_STORE_RSP,
            MessageIDBeingRespondedTo=2,
            Status=0xA700,
            ErrorComment="full",
            OffendingElement=b"\x10\0\x20\0",
        ),
        of(
            CommandField.C_MOVE_RSP,
            MessageIDBeingRespondedTo=2,
            Status=0,
            NumberOfFailedSuboperations=1,
            MoveDestination="PACS",
        ),
    )


def _messages() -> list[bytes]:
    """Whole P-DATA-TF streams."""
    made = []
    for command in command_sets():
        made.append(b"".join(fragment_message(1, command, command=True, max_pdu=128)))
        made.append(made[-1] + b"".join(fragment_message(1, b"\x08\0\x16\0\0\0\0\0" * 40, command=False, max_pdu=128)))
    return made


def pdu_seeds() -> list[bytes]:
    streams = [request + b"".join(_messages()) + RELEASE_RQ for request in requests()[1:]]
    streams += [*requests(), *accepts(), *_messages(), RELEASE_RP + Abort(2, 1).encode() + CALLED_AE_UNKNOWN.encode()]
    return [bytes((number,)) + stream for number, stream in enumerate(streams)]


def message_seeds() -> list[bytes]:
    return [bytes((number,)) + command * 3 for number, command in enumerate(command_sets())]


def _call(kind: int, given: bytes = b"") -> bytes:
    return struct.pack("<BH", kind, len(given)) + given


def association_seeds() -> list[bytes]:
    """One byte for the side, then calls (`wire.association`): 0 and 1 are bytes of the peer, whole and in crumbs."""
    seeds = []
    for request in requests():
        opened = b"\0" + _call(0, request) + _call(2)
        seeds += [opened + _call(kind, message) for message in _messages() for kind in (0, 1)]
        seeds.append(opened + _call(0, _messages()[0]) + _call(4, b"\1") + _call(0, RELEASE_RQ) + _call(7))
        seeds.append(opened + _call(6) + _call(0, RELEASE_RQ) + _call(7) + _call(0, RELEASE_RP))
        seeds.append(b"\0" + _call(0, request) + _call(3) + _call(0, request) + _call(9))
    asked = b"\xff" + _call(0, accepts()[0])
    seeds += [
        asked + _call(5, b"\1" * 300) + _call(0, message) + _call(6) + _call(0, RELEASE_RP) for message in _messages()
    ]
    seeds.append(asked + _call(6) + _call(0, RELEASE_RQ) + _call(7) + _call(0, RELEASE_RP))
    seeds.append(b"\xff" + _call(0, CALLED_AE_UNKNOWN.encode()) + _call(10))
    seeds.append(asked + _call(8) + _call(0, Abort(0, 0).encode()) + _call(9))
    return [seed for seed in seeds if len(seed) < 1 << 15]
