"""A hospital: patients with dense numbers, many of them twins or siblings, and the orders of some days."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from gateway.domain.identity_model import Candidate, Naming
from gateway.domain.merge import Kind
from gateway.domain.model import SourceName
from gateway.domain.order_model import Identifier, Patient, PatientKey, Procedure, Status, Step

FIRST_NUMBER: Final = 70_000_000
FAMILIES: Final = [
    a + b
    for a in ("Müll", "Schm", "Fisch", "Web", "Seid", "Wagn", "Beck", "Schulz", "Hoff", "Koch", "Rich", "Klein", "Wolf",
              "Neum", "Schwarz", "Zimm", "Braun", "Krüg", "Engl", "Lang", "Pet", "Jans", "Nils", "Dub", "Pop", "Ross",
              "Con", "Mart", "García", "Łuc", "Nov", "Hor")
    for b in ("er", "idt", "mann", "ski", "sen", "ova", "berg", "ini")
]  # fmt: skip
GIVEN: Final = {
    "F": ["Anna", "Hanna", "Maria", "Marie", "Eva", "Lea", "Lena", "Julia", "Juliane", "Christiane", "Petra", "Ute",
          "Sofia", "Sophie", "Emma", "Ida", "Jana", "Johanna", "Clara", "Klara", "Mia", "Nina", "Ella", "Ellen"],
    "M": ["Jan", "Jon", "John", "Johann", "Hans", "Max", "Marc", "Mark", "Paul", "Peter", "Christian", "Karl", "Carl",
          "Tim", "Tom", "Eric", "Erik", "Luis", "Luca", "Lukas", "Noah", "Otto", "Jürgen", "Jörg"],
}  # fmt: skip
ROOMS: Final = {
    "CT": (["CT1", "CT2"], ["CT head", "CT chest", "CT abdomen", "CT knee"]),
    "MR": (["MR1", "MR2"], ["MR brain", "MR knee", "MR lumbar spine", "MR shoulder"]),
    "DX": (["DX1", "DX2", "DX3"], ["XR chest", "XR hand", "XR foot", "XR hip"]),
    "US": (["US1", "US2"], ["US abdomen", "US thyroid", "US breast"]),
}
BODY: Final = {
    "head": "HEAD", "chest": "CHEST", "abdomen": "ABDOMEN", "knee": "KNEE", "brain": "BRAIN", "spine": "LSPINE",
    "shoulder": "SHOULDER", "hand": "HAND", "foot": "FOOT", "hip": "HIP", "thyroid": "NECK", "breast": "BREAST",
}  # fmt: skip
PER_DAY: Final = 400
DAYS_KEPT: Final = 3


@dataclass(frozen=True, slots=True)
class Person:
    """Who a patient truly is."""

    number: str
    """PatientID now."""
    old: str
    """A number given up for it by a merge; empty: none."""
    is_merged: bool
    """The books know of the merge."""
    name: str
    born: str
    sex: str


@dataclass(frozen=True, slots=True, eq=False)
class Booking:
    """One order, the room it is for and the person it is truly for."""

    person: Person
    candidate: Candidate
    room: str
    modality: str
    what: str
    start: datetime

    @property
    def accession(self) -> str:
        return self.candidate.procedure.accession.value

    @property
    def uid(self) -> str:
        return self.candidate.procedure.StudyInstanceUID


class Site:
    """A population, and a box's books as they are on each day."""

    def __init__(self, random: Random, *, people: int = 20_000) -> None:
        self.random = random
        self.people = self._population(people)
        self.known = {person.number: person for person in self.people if random.random() < 0.5}
        self.days: list[list[Booking]] = []
        self.by_accession: defaultdict[str, list[Booking]] = defaultdict(list)
        self.by_uid: defaultdict[str, list[Booking]] = defaultdict(list)
        self.by_number: defaultdict[str, list[Booking]] = defaultdict(list)
        self.by_name: defaultdict[tuple[str, str], list[Booking]] = defaultdict(list)
        self.by_room: defaultdict[str, list[Booking]] = defaultdict(list)
        self._serial = 0

    def _population(self, count: int) -> list[Person]:
        people: list[Person] = []
        while len(people) < count:
            family = self.random.choice(FAMILIES)
            kind = self.random.random()
            size = 2 if kind < 0.06 else 3 if kind < 0.12 else 1
            first = datetime(1930, 1, 1, tzinfo=UTC) + timedelta(days=self.random.randrange(33_000))
            used: set[str] = set()
            for place in range(size):
                years = 0 if kind < 0.06 else place * self.random.randint(1, 3)  # twins, then siblings
                people.append(self._person(family, first, years, len(people), used))
        return people

    def _person(self, family: str, first: datetime, years: int, serial: int, used: set[str]) -> Person:
        random = self.random
        sex = random.choice("FM")
        names = [name for name in GIVEN[sex] if name not in used]
        alike = [name for name in names if used and name[0] in {other[0] for other in used}]
        given = random.choice(alike if alike and random.random() < 0.5 else names)
        used.add(given)
        merged = random.random()
        return Person(
            number=str(FIRST_NUMBER + serial),
            old=str(79_000_000 + serial) if merged < 0.02 else "",
            is_merged=merged < 0.01,
            name=f"{family}^{given}",
            born=f"{first + timedelta(days=365 * years + (years and random.randrange(28))):%Y%m%d}",
            sex=sex,
        )

    def next_day(self) -> list[Booking]:
        """Another day's orders; the oldest day leaves the books."""
        midnight = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=self._serial)
        self._serial += 1
        day: list[Booking] = []
        while len(day) < PER_DAY:
            at = self.random.randrange(len(self.people))
            # Families are booked together
            together = 3 if self.random.random() < 0.15 else 1
            group = [
                p for p in self.people[at : at + together] if p.name.split("^")[0] == self.people[at].name.split("^")[0]
            ]
            modality = self.random.choice(list(ROOMS))
            room = self.random.choice(ROOMS[modality][0])
            for person in group:
                day.append(self._book(person, modality, room, midnight, len(day)))
                if self.random.random() < 0.06:
                    day.append(self._book(person, modality, room, midnight, len(day)))
        self.days.append(day)
        if len(self.days) > DAYS_KEPT:
            self.days.pop(0)
        self._index()
        return day

    def _book(self, person: Person, modality: str, room: str, midnight: datetime, place: int) -> Booking:
        random = self.random
        what = random.choice(ROOMS[modality][1])
        start = midnight + timedelta(hours=7, seconds=place * 11 * 3600 // PER_DAY)
        accession = f"{midnight:%y%m%d}{place:04}"
        if self.days and random.random() < 0.01:
            accession = random.choice(random.choice(self.days)).accession  # used again
        step = Step(
            ScheduledProcedureStepID=f"S{place}",
            Modality=modality,
            ScheduledStationAETitle=(room,),
            start=start,
            ScheduledProcedureStepDescription=what,
        )
        procedure = Procedure(
            StudyInstanceUID=f"2.25.{midnight:%y%m%d}{place:04}",
            RequestedProcedureID=f"R{place}",
            accession=Identifier(value=accession),
            RequestedProcedureDescription=what,
            steps=(step,),
        )
        in_flight = bool(person.old) and not person.is_merged and random.random() < 0.5
        number = person.old if in_flight else person.number  # ordered under the number that is to go
        candidate = Candidate(
            id=f"{midnight:%y%m%d}-{place}",
            source=SourceName("main"),
            kind=random.choice((Kind.LIVE, Kind.HL7)),
            key=PatientKey("", number),
            patient=Patient(
                identifiers=(Identifier(value=number),),
                PatientName=person.name,
                PatientBirthDate=person.born,
                PatientSex=person.sex,
            ),
            procedure=procedure,
            status=Status.SCHEDULED,
            confirmed_at=start,
            aliases=frozenset({PatientKey("", person.old)}) if person.is_merged else frozenset(),
        )
        return Booking(person, candidate, room, modality, what, start)

    def _index(self) -> None:
        for index in (self.by_accession, self.by_uid, self.by_number, self.by_name, self.by_room):
            index.clear()
        for booking in (booking for day in self.days for booking in day):
            candidate = booking.candidate
            self.by_accession[booking.accession.casefold()].append(booking)
            self.by_uid[booking.uid].append(booking)
            for number in (candidate.key.PatientID, *(alias.PatientID for alias in candidate.aliases)):
                self.by_number[number].append(booking)
            self.by_name[booking.person.name.casefold(), booking.person.born].append(booking)
            self.by_room[booking.room].append(booking)

    def naming(self, number: str) -> frozenset[Naming]:
        """The patient whom the books know under a number."""
        number = number.strip()
        booked = self.by_number.get(number)
        if booked:
            return frozenset(Naming(PatientKey("", number), one.candidate.key) for one in booked)
        if number in self.known:
            return frozenset({Naming(PatientKey("", number), PatientKey("", number))})
        return frozenset()

    def waiting(self, room: str, at: datetime) -> list[Booking]:
        """The orders of a room that are due about then."""
        return [one for one in self.by_room[room] if abs(one.start - at) < timedelta(hours=1)]


def confirmed(candidate: Candidate, now: datetime) -> Candidate:
    """The order with its source heard just now."""
    return replace(candidate, confirmed_at=now)
