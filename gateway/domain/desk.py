"""The downtime desk: a worklist entry made here for a patient whose order has not come, and its life.

Promises:

* An entry's AccessionNumber comes from a reserved prefix and is never given out twice (`code_of`): it holds the
  second it was made, which the books never let stand still or go back, a salt and a check character. It fits SH.
* StudyInstanceUID is 2.25.<uuid> (PS3.5 B.2). RequestedProcedureID and ScheduledProcedureStepID are the accession
  number: one code to read out. A PatientID that we mint has the issuer `ISSUER`.
* What a person typed is checked as a whole: every fault at once, as field, shape and remedy, never the value.
* An entry is never a target of automatic correction: its rows are of the source `DESK`.

When the real order comes is in `desk_orders`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final

from gateway.domain import worklist
from gateway.domain.model import UID, PermanentFailure, SourceName
from gateway.domain.worklist import DataSet, Element

DESK: Final = SourceName("desk")
"""The reserved source of the rows of the desk."""
ISSUER: Final = "EDGE"
"""Issuer of Patient ID (0010,0021) of the ids we mint."""
ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter that is read as a digit."""
SALTS: Final = len(ALPHABET) ** 2
CODE_LENGTH: Final = 10
SH_LENGTH: Final = 16
LO_LENGTH: Final = 64
MOST_STATIONS: Final = 16

PATIENT_BIRTH_DATE: Final = 0x00100030
PATIENT_SEX: Final = 0x00100040
ISSUER_OF_PATIENT_ID: Final = 0x00100021
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_AMBIGUOUS: Final = str.maketrans({"O": "0", "I": "1", "L": "1"})
_MODALITY: Final = re.compile(r"[A-Z0-9_]{1,16}")
_EARLIEST_BIRTH: Final = 1850
_PN_PARTS: Final = (3, 5)
"""Component groups, and components of each (PS3.5 6.2.1)."""


class EntryState(StrEnum):
    OPEN = "open"
    """Served; its order has not come."""
    LINKED = "linked"
    """Its order came: the order is served, and what we minted is an alias."""
    EXPIRED = "expired"
    """Not served any more; its order may still come."""
    CANCELLED = "cancelled"
    """A person took it back."""


ENTRY_MOVES: Final = frozenset(
    {
        (EntryState.OPEN, EntryState.LINKED),
        (EntryState.OPEN, EntryState.EXPIRED),
        (EntryState.OPEN, EntryState.CANCELLED),
        (EntryState.EXPIRED, EntryState.LINKED),
        (EntryState.EXPIRED, EntryState.CANCELLED),
        (EntryState.LINKED, EntryState.OPEN),
        (EntryState.LINKED, EntryState.EXPIRED),
    }
)
"""The whole life of an entry; linked goes back when a person takes the link back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskPolicy:
    """The site's rules for entries."""

    accession_prefix: str
    patient_id_prefix: str
    unknown_name: str
    """PatientName of somebody nobody knows; "<accession>" stands for the accession number."""
    expires: timedelta
    """How long an entry is served."""
    most_open: int
    """Entries served at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asks the desk for. Empty: unknown."""

    stations: tuple[str, ...]
    Modality: str
    PatientName: str = ""
    PatientID: str = ""
    PatientBirthDate: str = ""
    PatientSex: str = ""
    procedure: str = ""
    emergency: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The real order behind an entry: what each of its minted values is an alias of."""

    source: SourceName
    """Whose order it is."""
    AccessionNumber: str
    StudyInstanceUID: str
    """Empty where the order has none: ours stands."""
    PatientID: str
    IssuerOfPatientID: str
    RequestedProcedureID: str
    how: str
    """"accession" or "study": the order carried what we minted; "person": a person said so."""
    at: datetime
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of the desk."""

    number: int
    """Our own name for it, free of patient data: for journal and alarms."""
    AccessionNumber: str
    StudyInstanceUID: UID
    PatientID: str
    IssuerOfPatientID: str
    """`ISSUER` if we minted PatientID, else empty."""
    PatientName: str
    PatientBirthDate: str
    PatientSex: str
    named: bool
    """Whether PatientName is a person's, not the pattern for somebody nobody knows."""
    stations: tuple[str, ...]
    Modality: str
    procedure: str
    emergency: bool
    start: datetime
    """When it was scheduled for: the site's civil time, without a zone."""
    state: EntryState
    automatic: bool
    """Whether proof alone may link it; not after a person took a link back."""
    added_at: datetime
    added_by: str
    expires_at: datetime
    link: Link | None = None

    @property
    def mints_patient(self) -> bool:
        """Whether its PatientID is one of ours."""
        return self.IssuerOfPatientID == ISSUER


class EntryRefused(PermanentFailure):
    """What was asked of the desk can't be done; a line for each fault."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults), code="desk-refused")


# -- codes --


def second_of(now: datetime, *, last: int) -> int:
    """The second of the next code: later than that of the last one, whatever the clock says."""
    return max(int((now - _EPOCH).total_seconds()), last + 1, 0)


def code_of(second: int, salt: int) -> str:
    """`CODE_LENGTH` characters of `ALPHABET`: seven of time (1,089 years), two of salt, a check character.

    The salt keeps two boxes, or a box and its restored backup with a wrong clock, apart.
    """
    body = _base32(second, CODE_LENGTH - 3) + _base32(salt % SALTS, 2)
    return body + _check(body)


def read_code(text: str, prefix: str) -> str:
    """The code as it was made, from a code that a person typed (case, O for 0, I or L for 1); "" if it is none."""
    typed = text.strip().upper()
    code = typed.removeprefix(prefix).translate(_AMBIGUOUS)
    well_formed = typed.startswith(prefix) and len(code) == CODE_LENGTH and set(code) <= set(ALPHABET)
    return prefix + code if well_formed and _check(code[:-1]) == code[-1] else ""


def _base32(number: int, length: int) -> str:
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(length)))


def _check(body: str) -> str:
    """Luhn's check character modulo 32: no single slip passes, and one swap of neighbours in five hundred."""
    total = 0
    for place, letter in enumerate(reversed(body)):
        value = ALPHABET.index(letter) * (1 if place % 2 else 2)
        total += value // 32 + value % 32
    return ALPHABET[-total % 32]


# -- what a person typed --


def accepted(request: Request, *, policy: DeskPolicy, known: Collection[str], today: date) -> Request:
    """The request in the form that is kept. `known`: AE titles that may call; `today`: the site's day.

    Raises EntryRefused with every fault.
    """
    stations = tuple(station.strip() for station in request.stations)
    tidy = replace(
        request,
        stations=stations,
        Modality=request.Modality.strip().upper(),
        PatientName=request.PatientName.strip().rstrip("^"),
        PatientID=request.PatientID.strip(),
        PatientBirthDate=request.PatientBirthDate.strip().replace("-", "", 2),
        PatientSex=request.PatientSex.strip().upper(),
        procedure=" ".join(request.procedure.split()),
    )
    spelled = {one.casefold(): one for one in known}
    faults = [*_station_faults(stations, spelled), *_patient_faults(tidy, policy, today)]
    if _MODALITY.fullmatch(tidy.Modality) is None:
        faults.append(f"Modality: is {_shape(tidy.Modality)}; write a code of PS3.3 C.7.3.1.1.1, such as CT, MR or US")
    faults += _text_faults("procedure", tidy.procedure)
    if faults:
        raise EntryRefused(*faults)
    born = worklist.date_of(tidy.PatientBirthDate)
    return replace(
        tidy,
        stations=tuple(dict.fromkeys(spelled[station.casefold()] for station in stations)),
        PatientBirthDate=f"{born:%Y%m%d}" if born else "",
    )


def _station_faults(stations: tuple[str, ...], known: Mapping[str, str]) -> Iterator[str]:
    if not 1 <= len(stations) <= MOST_STATIONS:
        yield f"station: {len(stations)} of them; name 1 to {MOST_STATIONS} scanners by their AE titles"
    unknown = sum(station.casefold() not in known for station in stations)
    if unknown:
        yield (
            f"station: {unknown} of {len(stations)} may not call here, so nobody would see the entry;"
            " `gateway peers` lists the scanners, `gateway peers add` admits one"
        )


def _patient_faults(tidy: Request, policy: DeskPolicy, today: date) -> Iterator[str]:
    yield from _name_faults(tidy.PatientName)
    yield from _text_faults("PatientID", tidy.PatientID)
    if _looks_minted(tidy.PatientID, policy) and not read_code(tidy.PatientID, policy.patient_id_prefix):
        yield (
            f"PatientID: is {_shape(tidy.PatientID)} in the form of our own ids, and its check character does not"
            " fit; read it again"
        )
    born = worklist.date_of(tidy.PatientBirthDate)
    if tidy.PatientBirthDate and (born is None or born.year < _EARLIEST_BIRTH or born > today):
        yield f"PatientBirthDate: is {_shape(tidy.PatientBirthDate)}, no day of birth; write YYYY-MM-DD"
    if tidy.PatientSex not in {"", "M", "F", "O"}:
        yield f"PatientSex: is {_shape(tidy.PatientSex)}; write M, F or O, or leave it out"


def _looks_minted(patient_id: str, policy: DeskPolicy) -> bool:
    rest = patient_id.upper().removeprefix(policy.patient_id_prefix)
    return len(rest) == CODE_LENGTH and len(patient_id) == CODE_LENGTH + len(policy.patient_id_prefix)


def _name_faults(name: str) -> Iterator[str]:
    groups = name.split("=")
    if "," in name:
        yield f"PatientName: is {_shape(name)} with a comma; write FAMILY^GIVEN"
    if len(groups) > _PN_PARTS[0] or any(group.count("^") >= _PN_PARTS[1] for group in groups):
        yield (
            f"PatientName: has {len(groups)} groups of up to {max(map(_components, groups))} components; write at"
            " most 3 groups (alphabetic=ideographic=phonetic) of 5 (family^given^middle^prefix^suffix)"
        )
    for group in groups:
        yield from _text_faults("PatientName", group)


def _components(group: str) -> int:
    return group.count("^") + 1


def _text_faults(field: str, value: str) -> Iterator[str]:
    if len(value) > LO_LENGTH:
        yield f"{field}: is {_shape(value)}; write at most {LO_LENGTH}"
    if "\\" in value or not value.isprintable():
        yield f"{field}: has a backslash or a control character, or bytes that are no text; leave it out"


def _shape(value: str) -> str:
    return f"text of {len(value)} characters" if value else "empty"


# -- entries --


def entry_of(
    request: Request,
    *,
    policy: DeskPolicy,
    code: str,
    uid: UID,
    number: int,
    now: datetime,
    start: datetime,
    by: str,
) -> Entry:
    """The entry for an accepted request. `start`: now by the site's clock, without a zone."""
    accession = policy.accession_prefix + code
    reused = read_code(request.PatientID, policy.patient_id_prefix)
    patient_id = reused or request.PatientID or policy.patient_id_prefix + code
    return Entry(
        number=number,
        AccessionNumber=accession,
        StudyInstanceUID=uid,
        PatientID=patient_id,
        IssuerOfPatientID=ISSUER if reused or not request.PatientID else "",
        PatientName=request.PatientName or policy.unknown_name.replace("<accession>", accession),
        PatientBirthDate=request.PatientBirthDate,
        PatientSex=request.PatientSex,
        named=bool(request.PatientName),
        stations=request.stations,
        Modality=request.Modality,
        procedure=request.procedure or ("Emergency" if request.emergency else "Walk-in"),
        emergency=request.emergency,
        start=start.replace(microsecond=0),
        state=EntryState.OPEN,
        automatic=True,
        added_at=now,
        added_by=by,
        expires_at=now + policy.expires,
    )


def row_of(entry: Entry) -> DataSet:
    """The entry as a worklist row (PS3.4 K.6-1): UTF-8 where it has to be, else the default repertoire."""
    step = {
        worklist.MODALITY: _text("CS", entry.Modality),
        worklist.SCHEDULED_STATION_AE_TITLE: _text("AE", "\\".join(entry.stations)),
        worklist.SPS_START_DATE: _text("DA", f"{entry.start:%Y%m%d}"),
        worklist.SPS_START_TIME: _text("TM", f"{entry.start:%H%M%S}"),
        0x00400007: _text("LO", entry.procedure),  # Scheduled Procedure Step Description
        worklist.SPS_ID: _text("SH", entry.AccessionNumber),
        worklist.SPS_STATUS: _text("CS", "SCHEDULED"),
    }
    row = {
        worklist.ACCESSION_NUMBER: _text("SH", entry.AccessionNumber),
        worklist.PATIENT_NAME: _text("PN", entry.PatientName),
        worklist.PATIENT_ID: _text("LO", entry.PatientID),
        PATIENT_BIRTH_DATE: _text("DA", entry.PatientBirthDate),
        PATIENT_SEX: _text("CS", entry.PatientSex),
        worklist.STUDY_INSTANCE_UID: _text("UI", entry.StudyInstanceUID),
        0x00321060: _text("LO", entry.procedure),  # Requested Procedure Description
        worklist.SPS_SEQUENCE: Element("SQ", [step]),
        worklist.REQUESTED_PROCEDURE_ID: _text("SH", entry.AccessionNumber),
        0x00401003: _text("SH", "STAT" if entry.emergency else "ROUTINE"),  # Requested Procedure Priority
    }
    if entry.IssuerOfPatientID:
        row[ISSUER_OF_PATIENT_ID] = _text("LO", entry.IssuerOfPatientID)
    if not (entry.PatientName + entry.PatientID + entry.procedure).isascii():
        row[worklist.SPECIFIC_CHARACTER_SET] = _text("CS", "ISO_IR 192")
    return dict(sorted(row.items()))


def _text(vr: str, value: str) -> Element:
    raw = value.encode()
    return Element(vr, raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2))
