"""What goes wrong between the order and the header: each study with the truth behind it.

A kind of dirt is a function of (site, booking, the study before it in the room, random): it gives the header, and
whether that header agrees in everything with another order, so that no header check can see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Final

from gateway.domain.identity_model import Header, Request, Study
from gateway.domain.likeness import is_nobody
from gateway.domain.model import UID, AETitle
from gateway.domain.mpps import Performed, ScheduledReference
from gateway.domain.order_model import Identifier
from tests.adversary.site import BODY, Booking, Person, Site

WRONG_ENTRY: Final = "110514^DCM"


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A study as it came, and what is true of it."""

    study: Study
    kind: str
    person: Person
    """Who was examined."""
    booking: Booking | None
    """The order it was for; None: for none that is known."""
    picked: Booking | None = None
    """The wrong order with which the header agrees in everything."""


@dataclass(slots=True)
class Draft:
    """A header on its way: values as they stand at the console."""

    PatientID: str
    PatientName: str
    PatientBirthDate: str
    PatientSex: str
    accession: str
    uid: str
    request: Request | None
    modality: str
    body: str
    room: str
    picked: Booking | None = None
    reported: bool = False
    second: Draft | None = None
    """Other values in the later images of the study."""
    extra: list[Booking] = field(default_factory=list)


def from_row(booking: Booking, done: Booking) -> Draft:
    """What a console makes of a worklist row; `done` is what was examined."""
    candidate, procedure = booking.candidate, booking.candidate.procedure
    return Draft(
        PatientID=candidate.key.PatientID,
        PatientName=booking.person.name,
        PatientBirthDate=booking.person.born,
        PatientSex=booking.person.sex,
        accession=booking.accession,
        uid=booking.uid,
        request=Request(
            StudyInstanceUID=booking.uid,
            accession=Identifier(value=booking.accession),
            RequestedProcedureID=procedure.RequestedProcedureID,
            ScheduledProcedureStepID=procedure.steps[0].ScheduledProcedureStepID,
        ),
        modality=done.modality,
        body=next((part for word, part in BODY.items() if word in done.what), ""),
        room=done.room,
    )


def typed(site: Site, booking: Booking, random: Random) -> Draft:
    """What a person types at the console: anything may be wrong or left out."""
    draft = from_row(booking, booking)
    draft.uid, draft.request = f"1.3.{random.randrange(10**12)}", None
    draft.PatientID = mistyped(draft.PatientID, random, 0.3)
    draft.accession = random.choice([mistyped(draft.accession, random, 0.3), draft.accession, ""])
    draft.PatientName = misspelled(draft.PatientName, random, 0.4)
    draft.PatientBirthDate = misdated(draft.PatientBirthDate, random, 0.3)
    draft.PatientSex = random.choice([draft.PatientSex, draft.PatientSex, "", "O", "M"])
    return draft


def mistyped(number: str, random: Random, chance: float) -> str:
    """A number with a slip: a digit, a swap, one left out, cut, or a letter in the other case."""
    if random.random() > chance or len(number) < 3:
        return number
    at = random.randrange(1, len(number) - 1)
    slip = random.randrange(6)
    if slip == 0:
        return number[:at] + random.choice("0123456789") + number[at + 1 :]
    if slip == 1:
        return number[:at] + number[at + 1] + number[at] + number[at + 2 :]
    if slip == 2:
        return number[:at] + number[at + 1 :]
    if slip == 3:
        return number[: len(number) - random.randint(1, 3)]
    return f"0{number}" if slip == 4 else f" {number.lower()}"


def misspelled(name: str, random: Random, chance: float) -> str:
    """A name as it is heard, cut, turned round or damaged."""
    if random.random() > chance:
        return random.choice([name, name.upper(), name.replace("^", " ")])
    family, _, given = name.partition("^")
    slip = random.randrange(8)
    at = random.randrange(len(family))
    forms = (
        lambda: f"{family[:at]}{random.choice('aeiounrst')}{family[at + 1 :]}^{given}",
        lambda: f"{family}^{given[:-1]}",
        lambda: f"{given}^{family}",
        lambda: f"{family}^{given[0]}",
        lambda: name.encode("ascii", "replace").decode(),
        lambda: name.encode().decode("latin-1"),
        lambda: "UNKNOWN^PATIENT",
        lambda: "",
    )
    return forms[slip]()


def misdated(born: str, random: Random, chance: float) -> str:
    """A birth date with day and month swapped, a digit wrong, or left out."""
    if random.random() > chance:
        return born
    at = random.randrange(8)
    forms = ("", "19000101", born[:4] + born[6:] + born[4:6], born[:at] + random.choice("0123456789") + born[at + 1 :])
    return random.choice(forms)


# -- kinds of dirt --

Dirt = Callable[[Site, Booking, Booking, Random], Draft]


def clean(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    draft = from_row(booking, booking)
    draft.PatientName = random.choice([draft.PatientName, draft.PatientName.upper()])
    return draft


def typing(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """No worklist: all of it typed."""
    return typed(site, booking, random)


def edited(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """The right row, and one field of it changed by hand."""
    draft = from_row(booking, booking)
    which = random.randrange(4)
    if which == 0:
        draft.PatientID = mistyped(draft.PatientID, random, 1)
    elif which == 1:
        draft.PatientName = misspelled(draft.PatientName, random, 1)
    elif which == 2:
        draft.PatientBirthDate = misdated(draft.PatientBirthDate, random, 1)
    else:
        draft.accession = mistyped(draft.accession, random, 1)
    if random.random() < 0.5:
        draft.request = None
    return draft


def stale(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """Part of the patient before is left at the console."""
    draft, old = from_row(booking, booking), from_row(before, before)
    if random.random() < 0.5:
        draft.request = None
    fields = random.choice(
        [
            ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
            ("PatientID",),
            ("PatientName", "PatientBirthDate", "PatientSex"),
            ("PatientName",),
            ("accession",),
            ("accession", "uid"),
            ("uid",),
            ("accession", "PatientID"),
            ("accession", "PatientID", "uid"),
            ("accession", "PatientID", "uid", "PatientBirthDate", "PatientSex"),
        ]
    )
    for name in fields:
        setattr(draft, name, getattr(old, name))
    return draft


def wrong_row(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """The neighbour's row picked, and nobody noticed, or the scanner was told."""
    rows = [one for one in site.waiting(booking.room, booking.start) if one is not booking] or [before]
    family = booking.person.name.partition("^")[0]
    relatives = [one for one in rows if one.person.name.partition("^")[0] == family]
    picked = random.choice(relatives if relatives and random.random() < 0.5 else rows)
    draft = from_row(picked, booking)
    draft.picked = picked
    draft.reported = random.random() < 0.1
    return draft


def half_repaired(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """The wrong row picked, and part of it put right by hand, perhaps with a slip."""
    draft = wrong_row(site, booking, before, random)
    picked, draft.picked, draft.reported = draft.picked, None, False
    assert picked is not None
    person = booking.person
    repaired = random.choice(["name", "name+birth", "id", "id+name", "id+name+birth", "accession"])
    if "name" in repaired:
        draft.PatientName = misspelled(person.name, random, 0.2)
    if "birth" in repaired:
        draft.PatientBirthDate, draft.PatientSex = misdated(person.born, random, 0.1), person.sex
    if "id" in repaired:
        draft.PatientID = mistyped(booking.candidate.key.PatientID, random, 0.2)
    if repaired == "accession":
        draft.accession = mistyped(booking.accession, random, 0.2)
    if random.random() < 0.5:
        draft.request = None
    if _says_nothing_else(draft, picked):
        draft.picked = picked
    return draft


def _says_nothing_else(draft: Draft, picked: Booking) -> bool:
    """Whether what was retyped only took away: every value is the wrong row's, or says that nobody knows."""
    row = from_row(picked, picked)
    same = all(getattr(draft, name) in {getattr(row, name), ""} for name in ("PatientID", "accession"))
    born = draft.PatientBirthDate in {row.PatientBirthDate, "", "19000101"}
    return same and born and (is_nobody(draft.PatientName) or draft.PatientName == row.PatientName)


def relative(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """A twin's or sibling's values for the patient's own, in part."""
    at = int(booking.person.number) - int(site.people[0].number)
    family = booking.person.name.partition("^")[0]
    near = [one for one in site.people[max(0, at - 2) : at + 3] if one is not booking.person]
    others = [one for one in near if one.name.partition("^")[0] == family] or near
    other = random.choice(others)
    draft = from_row(booking, booking)
    which = random.randrange(4)
    if which in {0, 3}:
        draft.PatientID = other.number
    if which in {1, 3}:
        draft.PatientName, draft.PatientSex = other.name, other.sex
    if which in {2, 3}:
        draft.PatientBirthDate = other.born
    if random.random() < 0.5:
        draft.uid, draft.request = f"1.3.{random.randrange(10**12)}", None
    return draft


def merged(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """The console has another number of the patient than the order: the old one, or already the new one."""
    draft = from_row(booking, booking)
    other = {booking.person.number, booking.person.old} - {"", draft.PatientID}
    draft.PatientID = min(other, default=draft.PatientID)
    return draft


def two_inside(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """Another patient's values in the later images of the study."""
    draft = from_row(booking, booking)
    draft.second = replace(stale(site, booking, before, random), uid=draft.uid, request=draft.request)
    return draft


def group(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """Several orders at once, perhaps with another patient's among them."""
    draft = from_row(booking, booking)
    mine = [one for one in site.by_number[booking.candidate.key.PatientID] if one is not booking]
    draft.extra = [random.choice(mine or [before])]
    draft.accession = ""
    return draft


def same_patient_other_order(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """Two orders of one patient, and keys of both."""
    draft = from_row(booking, booking)
    mine = [one for one in site.by_number[booking.candidate.key.PatientID] if one is not booking]
    if mine:
        other = from_row(random.choice(mine), booking)
        for name in random.choice([("accession",), ("uid",), ("request",), ("accession", "uid")]):
            setattr(draft, name, getattr(other, name))
    return draft


def unordered(site: Site, booking: Booking, before: Booking, random: Random) -> Draft:
    """No order: what is typed may be another's by accident."""
    draft = typed(site, booking, random)
    draft.accession = random.choice(["", mistyped(before.accession, random, 1), mistyped(booking.accession, random, 1)])
    return draft


KINDS: Final[list[tuple[str, Dirt, float]]] = [
    ("clean", clean, 60),
    ("typed", typing, 5),
    ("edited", edited, 5),
    ("stale console", stale, 7),
    ("wrong row", wrong_row, 4),
    ("wrong row, half repaired", half_repaired, 4),
    ("twin or sibling", relative, 4),
    ("merge in flight", merged, 3),
    ("two patients inside", two_inside, 2),
    ("group case", group, 2),
    ("two orders of one patient", same_patient_other_order, 2),
    ("no order", unordered, 2),
]


def make(site: Site, booking: Booking, before: Booking, random: Random) -> Made:
    """One study of the day."""
    kind, dirt, _ = random.choices(KINDS, weights=[weight for *_, weight in KINDS])[0]
    draft = dirt(site, booking, before, random)
    headers = [_header(draft)] + ([_header(draft.second)] if draft.second else [])
    sent = booking.start + timedelta(minutes=random.randint(5, 40))
    numbers = {header.PatientID.value for header in headers}
    performed = ()
    if draft.reported:
        reference = ScheduledReference(
            StudyInstanceUID=UID(draft.uid), AccessionNumber="", RequestedProcedureID="", ScheduledProcedureStepID=""
        )
        performed = (Performed(reason=WRONG_ENTRY, references=(reference,)),)
    study = Study(
        StudyInstanceUID=UID(draft.uid),
        headers=tuple(dict.fromkeys(headers)),
        calling_aes=frozenset({AETitle(booking.room)}),
        first_received=sent,
        last_received=sent + timedelta(minutes=2),
        performed=performed,
        patients=frozenset().union(*map(site.naming, numbers)),
    )
    return Made(study, kind, booking.person, None if kind == "no order" else booking, draft.picked)


def _header(draft: Draft) -> Header:
    requests = [draft.request] if draft.request else []
    requests += [from_row(one, one).request for one in draft.extra]
    return Header(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
        StudyInstanceUID=draft.uid,
        PatientID=Identifier(value=draft.PatientID),
        PatientName=draft.PatientName,
        PatientBirthDate=draft.PatientBirthDate,
        PatientSex=draft.PatientSex,
        accession=Identifier(value=draft.accession),
        requests=tuple(one for one in requests if one is not None),
        Modality=draft.modality,
        BodyPartExamined=draft.body,
    )
