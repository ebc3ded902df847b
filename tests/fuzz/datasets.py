"""Targets in data sets and files: file meta, the walker, conversion, text, storage commitment, the worklist."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

from gateway.dicom import charset, commitment, convert, elements, part10
from gateway.dicom.elements import DataSet, ElementError
from gateway.dicom.layout import implicit_vr, is_retired_group_length, pad
from gateway.domain import matching, mpps, upstream, worklist
from gateway.domain.profile import Fill, FillSource, PersonNames, Profile, adapt
from gateway.domain.transliteration import Script
from gateway.roles.worklist.presenting import present, view_of
from tests.fuzz.mutate import HALVES, pieces_of
from tests.fuzz.wire import shape

SYNTAXES = (
    elements.EXPLICIT_LITTLE,
    elements.IMPLICIT_LITTLE,
    elements.EXPLICIT_BIG,
    elements.DEFLATED,
    "1.2.840.10008.1.2.4.50",
)
VRS = ("PN", "LO", "SH", "ST", "LT", "UC", "UT", "CS", "UI")
SETS = (
    b"",
    b"ISO_IR 100",
    b"ISO_IR 192",
    b"GB18030",
    b"ISO_IR 13",
    b"ISO 2022 IR 13\\ISO 2022 IR 87",
    b"\\ISO 2022 IR 87\\ISO 2022 IR 159",
    b"\\ISO 2022 IR 149",
    b"\\ISO 2022 IR 58",
    b"ISO 2022 IR 6\\ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
    b"ISO_IR 166",
    b"NO SUCH SET\\ISO 2022 IR 87",
)
PROFILES = (
    Profile(),
    Profile(
        character_sets=("\\ISO 2022 IR 87", "ISO_IR 100"),
        romanised=frozenset(Script),
        name_length=8,
        cut=((worklist.ACCESSION_NUMBER, 4), (worklist.PATIENT_ID, 4)),
        family_name_alone=True,
        clock_days=3,
        station_aliases=frozenset({"CTDEPT"}),
        modality_aliases=frozenset({"CR", "DX"}),
    ),
    Profile(
        character_sets=("ISO_IR 6",),
        person_names=PersonNames.ALPHABETIC,
        ignored=frozenset({worklist.PATIENT_ID, worklist.SPS_START_DATE}),
        fill=(
            Fill(tag=worklist.STUDY_INSTANCE_UID, source=FillSource.DERIVED),
            Fill(tag=worklist.SCHEDULED_STATION_AE_TITLE, source=FillSource.CALLING_AE),
            Fill(tag=worklist.SPS_ID, source=worklist.ACCESSION_NUMBER),
        ),
    ),
)
INFLATED = 1 << 20
_WANTED = frozenset({0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00280103})
_EVERYTHING = frozenset(range(0x00080000, 0x00080100)) | {0x0020000D, 0x00100010, 0x00100020, 0xFFFFFFFF}
_NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def files(data: bytes) -> str:
    """Any bytes as a file, and any bytes as the identifiers of a file of ours."""
    told = ""
    try:
        meta = part10.read(data)
        assert 132 <= meta.data_offset <= len(data)
        assert not meta.ours or meta.received_at is not None
        told = f"{meta.ours} {bool(meta.TransferSyntaxUID)} {bool(meta.content_hash)}"
    except ElementError as error:
        told = shape(error)
    texts = [part.decode("ascii", "surrogateescape") for part in data[:4000].split(b"\x08")]
    texts += [""] * (7 - len(texts))
    made = part10.build(
        SOPClassUID=texts[0],
        SOPInstanceUID=texts[1],
        TransferSyntaxUID=texts[2],
        calling_ae=texts[3],
        called_ae=texts[4],
        address=texts[5],
        association=texts[6],
        received_at=_NOW,
        priority=len(data),
    )
    assert len(made.header) <= part10.LONGEST_HEADER
    read = part10.read(made.header)
    assert read.ours
    assert (read.data_offset, read.received_at, read.content_hash) == (len(made.header), _NOW, "")
    assert made.header[made.hash_offset :][:33] == b"0" * 32 + b'"'
    kept = texts[1].strip(" \0")[:1024].encode("ascii", "surrogateescape").decode("latin-1")
    assert read.SOPInstanceUID == kept.strip(" \0")
    return told


def walker(data: bytes) -> str:
    """Any bytes in any transfer syntax: `leading` never raises, `parse` only ElementError, and both agree."""
    syntax = SYNTAXES[data[0] % len(SYNTAXES)] if data else SYNTAXES[0]
    body = data[1:]
    elements.leading(body, syntax, _WANTED, limit=50)
    found = elements.leading(body, syntax, _EVERYTHING)
    with suppress(ElementError):
        elements.parse(body, syntax, max_depth=3, max_elements=20, max_inflated=1000)
    try:
        parsed = elements.parse(body, syntax, max_inflated=INFLATED)
    except ElementError as error:
        return syntax + shape(error)
    for tag, value in found.items():
        assert parsed[tag].value == value
    for target in (elements.EXPLICIT_LITTLE, elements.IMPLICIT_LITTLE):
        written = _written(parsed, target)
        if written is not None and plain(parsed):
            assert meaning(elements.parse(written, target)) == meaning(parsed)
    return f"{syntax} {len(parsed)} {sorted({element.vr for element in parsed.values()})}"


def _written(dataset: DataSet, syntax: str) -> bytes | None:
    try:
        return elements.encode(dataset, syntax)
    except ElementError:
        return None


def plain(dataset: DataSet) -> bool:
    """No bytes where the dictionary has a sequence: in Implicit VR they would be read as its items."""
    return all(
        all(map(plain, value)) if isinstance(value, list) else implicit_vr(tag) != "SQ"
        for tag, (_, value) in dataset.items()
    )


def meaning(dataset: DataSet) -> dict[int, object]:
    """Tags and values, without what an encoding may change: VRs, padding and retired group lengths."""
    return {
        tag: list(map(meaning, value)) if isinstance(value, list) else value + pad(vr, len(value))
        for tag, (vr, value) in dataset.items()
        if not is_retired_group_length(tag)
    }


def _unpadded(dataset: DataSet) -> dict[int, object]:
    return {
        tag: list(map(_unpadded, value)) if isinstance(value, list) else value.rstrip(b" \0")
        for tag, (_, value) in dataset.items()
        if not is_retired_group_length(tag)
    }


def conversion(data: bytes) -> str:
    """Either ElementError, or a data set of the same meaning in the other syntax."""
    syntax = SYNTAXES[data[0] % 4] if data else SYNTAXES[0]
    body = data[1:]
    told = syntax
    for target, turn in (
        (elements.IMPLICIT_LITTLE, convert.implicit_little_endian),
        (elements.EXPLICIT_LITTLE, convert.explicit_little_endian),
    ):
        try:
            segments = turn(body, syntax, max_inflated=INFLATED)
        except ElementError as error:
            told += shape(error)
            continue
        made = b"".join(
            body[one.offset : one.offset + one.length] if isinstance(one, convert.Extent) else one for one in segments
        )
        assert convert.length_of(segments) == len(made)
        try:
            before = elements.parse(body, syntax, max_inflated=INFLATED)
        except ElementError:
            continue
        if plain(before) and target != syntax:
            assert _unpadded(elements.parse(made, target)) == _unpadded(before)
        told += f" {len(before)}"
    return told


def text(data: bytes) -> str:
    """Any bytes are text of some kind, and what can be written is read again as it was."""
    vr, names = VRS[data[0] % len(VRS)] if data else "PN", charset.character_sets(SETS[sum(data[1:2]) % len(SETS)])
    value = data[2:]
    decoded = charset.decode_checked(value, vr, names)
    assert "\ufffd" not in decoded.text or b"\xef\xbf\xbd" in value or b"\x84\x31\xa4\x37" in value
    told = f"{vr} {names} {decoded.faithful}"
    try:
        written = charset.encode(decoded.text, vr, names)
    except charset.CharsetError:
        return told
    assert charset.decode(written, vr, names) == decoded.text.rstrip(" \0")
    charset.character_sets(value)
    charset.decode(value, vr, charset.character_sets(value))
    return told + " written"


def commitments(data: bytes) -> str:
    syntax = SYNTAXES[data[0] % 2] if data else SYNTAXES[0]
    told = ""
    parsers: tuple[Callable[[bytes, str], object], ...] = (commitment.parse_request, commitment.parse_result)
    for read in parsers:
        try:
            told += type(read(data[1:], syntax)).__name__
        except (ElementError, commitment.CommitmentError) as error:
            told += shape(error)
    return told


def query(data: bytes) -> str:
    """A scanner's query and a RIS's row, both of any contents: compiled, matched, projected, widened, never raising."""
    halves = [piece.body for piece in pieces_of(data, HALVES)[0]]
    parsed: list[DataSet] = []
    for half in (*halves, b"", b"")[:2]:
        try:
            parsed.append(elements.parse(half, elements.EXPLICIT_LITTLE))
        except ElementError as error:
            return shape(error)
    identifier, row = parsed
    compiled = matching.compile_query(identifier, _decoder(identifier))
    decode = _decoder(row)
    matched = compiled.matches(row, decode)
    if matched:
        _kept(compiled.prefilter, row, decode)
    compiled.covers(date(2026, 1, 1), date(2026, 1, 8))
    answer = worklist.project(identifier, row)
    keys = {tag for tag in identifier if tag & 0xFFFF and not tag & 0x10000}
    assert keys - answer.keys() <= {worklist.QUERY_RETRIEVE_LEVEL, worklist.TIMEZONE_OFFSET_FROM_UTC, 0x00080005}
    for outgoing in (answer, upstream.widen(identifier)):
        for syntax in SYNTAXES[:2]:
            _written(outgoing, syntax)  # type: ignore[arg-type]
    for profile in PROFILES:
        _presented(profile, identifier, row)
    mpps.read(row, decode)
    reasons = worklist.validate_row(row)
    for step in worklist.split_steps(row):
        worklist.merge_key(step)
        column = worklist.columns(step, decode)
        worklist.nearest_first([column], _NOW, of=lambda one: worklist.Start(one.start_date, one.start_time, ""))
        worklist.expired(column.start_date, column.status, _NOW.date(), 2)
    worklist.freshness(_NOW, _NOW, fresh_for=timedelta(1), max_stale=timedelta(1))
    return f"{matched} {len(reasons)} {sorted(identifier)[:6]} {compiled.is_patient_based} {compiled.asks_status}"


def _presented(profile: Profile, identifier: DataSet, row: DataSet) -> None:
    """A scanner's answer: every text in it is what its declaration says, and none was given up for a "?"."""
    asked = adapt(identifier, profile, calling="CT1", today=_NOW.date(), decode=_decoder(identifier))
    matching.compile_query(asked.identifier, _decoder(identifier))
    view = view_of(profile, identifier, calling="CT1", today=_NOW.date())
    shown, _ = present(worklist.project(identifier, row), row, view)
    declared = shown[worklist.SPECIFIC_CHARACTER_SET][1]
    assert isinstance(declared, bytes)
    assert declared
    _proven(shown, charset.character_sets(declared))
    for syntax in SYNTAXES[:2]:
        _written(shown, syntax)  # type: ignore[arg-type]


def _proven(shown: worklist.DataSet, sets: list[str]) -> None:
    for vr, value in shown.values():
        if not isinstance(value, bytes):
            for item in value:
                _proven(item, sets)
        elif vr in VRS:
            assert charset.decode_checked(value, vr, sets).faithful


def _decoder(dataset: DataSet) -> worklist.Decode:
    declared = dataset.get(worklist.SPECIFIC_CHARACTER_SET)
    names = charset.character_sets(declared.value) if declared and isinstance(declared.value, bytes) else []
    return lambda value, vr: charset.decode(value, vr, names)


def _kept(prefilter: matching.Prefilter, row: DataSet, decode: worklist.Decode) -> None:
    """A row that matches is never missed by the index."""
    column = worklist.columns(row, decode)
    assert prefilter.AccessionNumber in {None, column.AccessionNumber}
    assert prefilter.PatientID in {None, column.PatientID}
    if len(worklist.items(row, worklist.SPS_SEQUENCE)) != 1:
        return
    assert prefilter.Modality is None or column.Modality in prefilter.Modality
    assert prefilter.StationAETitles is None or set(column.StationAETitles) & set(prefilter.StationAETitles)
    if prefilter.date_from is not None:
        assert column.start_date is not None
        assert column.start_date >= prefilter.date_from
    if prefilter.date_to is not None:
        assert column.start_date is not None
        assert column.start_date <= prefilter.date_to
