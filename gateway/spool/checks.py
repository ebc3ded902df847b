"""What the check made of each study: its headers, its verdict with the evidence, its edits, and which way it goes.

Promises
- A verdict, the edits it leads to and the moves of its images are one transaction: after a crash a study stands
  as it was decided before, or as it was decided after.
- Images that agree in what the check reads share one header, so a study is decided once and not for each image.
- An image is held by a word in its row: it stays `received`, and nothing takes it for prepared.
- The map from a study to its decision is kept for as long as later images may come (`forget`).

A study is named by its StudyInstanceUID; an image without one is a study by itself, named by our id of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Final, NewType

from pydantic import TypeAdapter

from gateway.dicom import charset
from gateway.domain.header import Marks
from gateway.domain.header import read as read_header
from gateway.domain.identity_model import Decision as Ruling
from gateway.domain.identity_model import Header, Verdict
from gateway.domain.model import AETitle, Instance, InstanceId, InstanceState
from gateway.domain.task import Way
from gateway.domain.worklist import DataSet
from gateway.spool import audit, instances
from gateway.spool.datasets import character_sets, decoder, read
from gateway.spool.db import Connection, Row
from gateway.spool.queries import sql
from gateway.spool.texts import json_text
from gateway.spool.times import from_text, to_text
from gateway.spool.withdrawals import withdraw

StudyKey = NewType("StudyKey", str)
"""A StudyInstanceUID, or the id of an image that has none."""

CHECK: Final = "check"
"""Who decided, if it was no person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCheck:
    """What stands of one study."""

    study: StudyKey
    verdict: Verdict
    applied: bool
    """False: shadow mode."""
    way: Way
    held_until: datetime | None
    fingerprint: str
    """Of the evidence; see `gateway.domain.task.fingerprint`."""
    decided_by: str
    decision: int | None
    """The person's decision that stands, if one does."""
    first_at: datetime
    """When its first image came."""
    calling_ae: str = ""
    """Of its scanner, or one of them."""
    decided_at: datetime
    again: bool = False
    """It is to be looked at again: something it depends on changed."""

    @property
    def by_person(self) -> bool:
        """Whether a person's decision stands."""
        return self.decision is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHeader:
    """One of the headers of a study, and what is to be changed in the images that have it."""

    id: int
    digest: str
    dataset: DataSet
    """The elements of its excerpt."""
    header: Header
    edits: str
    """As JSON; empty: nothing."""


@cache
def _verdicts() -> TypeAdapter[Verdict]:
    return TypeAdapter(Verdict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """What is kept of a header; see `gateway.domain.header`."""

    elements: bytes
    """Explicit VR little endian."""
    marks: Marks

    @property
    def digest(self) -> str:
        """By which equal headers are known."""
        return hashlib.blake2b(self.elements + repr(self.marks).encode(), digest_size=16).hexdigest()

    def dataset(self) -> DataSet:
        """Its elements."""
        return read(self.elements)

    def header(self) -> Header:
        """What it says."""
        dataset = self.dataset()
        names = character_sets(dataset)
        return read_header(
            dataset,
            decoder(dataset),
            lambda value, vr: charset.decode_checked(value, vr, names).faithful,
            self.marks,
        )


def key_of(instance: Instance) -> StudyKey:
    """The study of an image."""
    return StudyKey(instance.StudyInstanceUID or instance.id)


def of_study(c: Connection, study: StudyKey) -> StudyCheck | None:
    """What stands of that study; None if the check never met it."""
    row = c.execute(sql("check_of"), {"study": study}).fetchone()
    return None if row is None else _check(row)


def headers_of(c: Connection, study: StudyKey) -> list[KnownHeader]:
    """The different headers of the study's images, in the order in which they came."""
    found = []
    for row in c.execute(sql("headers_of"), {"study": study}):
        excerpt = excerpt_of(row)
        found.append(
            KnownHeader(
                id=row["id"],
                digest=row["digest"],
                dataset=excerpt.dataset(),
                header=excerpt.header(),
                edits=row["edits"],
            )
        )
    return found


def excerpt_of(row: Row) -> Excerpt:
    """Of a row that has the two columns."""
    marks = json.loads(row["marks"])
    return Excerpt(elements=row["excerpt"], marks=Marks(**{**marks, "missing": tuple(marks["missing"])}))


def header_known(c: Connection, study: StudyKey, digest: str) -> tuple[int, str] | None:
    """The id of that header and its edits, if the study has it."""
    row = c.execute(sql("header_known"), {"study": study, "digest": digest}).fetchone()
    return None if row is None else (int(row["id"]), row["edits"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What is to be known of an image when its turn comes to be sent."""

    free: bool
    """Its study is not held, and it is not to be checked anew."""
    edits: str
    """What is to be changed in it on its way, as JSON; empty: nothing."""


def outgoing(c: Connection, instance_id: InstanceId) -> Outgoing:
    """As it is decided now."""
    row = c.execute(sql("instance_outgoing"), {"instance": instance_id}).fetchone()
    if row is None:
        return Outgoing(free=False, edits="")
    return Outgoing(free=row["state"] != InstanceState.RECEIVED, edits="" if row["unpatchable"] else row["edits"] or "")


def record(c: Connection, check: StudyCheck, *, now: datetime) -> None:
    """Writes what was decided of a study, in place of what was."""
    verdict = check.verdict
    values = {
        "study": check.study,
        "verdict": verdict.decision,
        "blocks": verdict.blocks,
        "applied": check.applied,
        "way": check.way,
        "held_until": to_text(check.held_until),
        "basis": _verdicts().dump_json(verdict).decode(),
        "fingerprint": check.fingerprint,
        "bound": verdict.order.id if verdict.order is not None and verdict.changes else "",
        "decided_by": check.decided_by,
        "decision": check.decision,
        "first_at": to_text(check.first_at),
        "calling_ae": check.calling_ae,
        "corrected_patient": _corrected_patient(check),
        "now": to_text(now),
    }
    c.execute(sql("check_set"), values)


def add_header(c: Connection, study: StudyKey, excerpt: Excerpt, header: Header) -> int:
    """Keeps a header of a study that is recorded; its id."""
    values = {
        "study": study,
        "digest": excerpt.digest,
        "excerpt": excerpt.elements,
        "marks": json.dumps(excerpt.marks._asdict()),
        "PatientID": header.PatientID.value,
        "AccessionNumber": header.accession.value,
    }
    return int(c.execute(sql("header_add"), values).fetchone()["id"])


def set_edits(c: Connection, edits: Mapping[int, str]) -> frozenset[int]:
    """Gives headers their edits; those for which they are different from before."""
    changed = set()
    for header, content in edits.items():
        if c.execute(sql("header_edit"), {"id": header, "edits": content}).fetchone() is not None:
            changed.add(header)
    return frozenset(changed)


def link(c: Connection, instance_id: InstanceId, header: int, *, unpatchable: str = "") -> None:
    """This image has that header. `unpatchable` says why its edits can't be made in it: then it goes as it came."""
    c.execute(sql("header_link"), {"instance": instance_id, "header": header, "unpatchable": unpatchable})


def touch_used(c: Connection, study: StudyKey, *, now: datetime) -> None:
    """Images of the study came and followed what is recorded."""
    c.execute(sql("check_used"), {"study": study, "now": to_text(now)})


# -- which studies to look at --


def again(c: Connection, *, limit: int) -> list[StudyKey]:
    """Studies that something was changed for."""
    return [StudyKey(row["study"]) for row in c.execute(sql("check_again"), {"limit": limit})]


def overdue(c: Connection, *, now: datetime, limit: int) -> list[StudyKey]:
    """Studies whose hold is over."""
    values = {"now": to_text(now), "limit": limit}
    return [StudyKey(row["study"]) for row in c.execute(sql("check_overdue"), values)]


def doubtful(c: Connection, *, looked_before: datetime, since: datetime, limit: int) -> list[StudyKey]:
    """Studies in doubt, begun after `since`, that were not looked at for a while: an order may be on a worklist now."""
    values = {"before": to_text(looked_before), "since": to_text(since), "limit": limit}
    return [StudyKey(row["study"]) for row in c.execute(sql("check_doubtful"), values)]


def settled(c: Connection, studies: Collection[StudyKey], *, now: datetime) -> None:
    """They were looked at again, and nothing is different."""
    c.execute(sql("check_settled"), {"studies": json.dumps(sorted(studies)), "now": to_text(now)})


def cursor(c: Connection) -> int:
    """Up to which change of orders and patients `touch` was called; see `order_changes`."""
    return int(c.execute(sql("check_cursor")).fetchone()["order_change"])


def move_cursor(c: Connection, seq: int) -> None:
    """Up to there, studies are marked."""
    c.execute(sql("check_cursor_move"), {"seq": seq})


def touch(c: Connection, *, studies: Collection[str], accessions: Collection[str], patients: Collection[str]) -> int:
    """Marks every study that has one of these, by our books or in a header, to be looked at again; how many."""
    marked = sum(c.execute(sql("check_touch_study"), {"study": one}).rowcount for one in studies if one)
    marked += sum(
        c.execute(sql("check_touch_accession"), {"AccessionNumber": one}).rowcount for one in accessions if one
    )
    return marked + sum(c.execute(sql("check_touch_patient"), {"PatientID": one}).rowcount for one in patients if one)


# -- the images of a study --


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """Who sent the images of a study, and when."""

    scanners: frozenset[AETitle]
    first: datetime
    last: datetime
    urgent: bool
    """One came with high priority."""


def origins(c: Connection, study: StudyKey) -> Origins | None:
    """Of all images that ever came; None if none is known."""
    rows = c.execute(sql("check_origins"), {"study": study}).fetchall()
    if not rows:
        return None
    return Origins(
        scanners=frozenset(AETitle(row["calling_ae"]) for row in rows),
        first=min(from_text(row["first"]) for row in rows),
        last=max(from_text(row["last"]) for row in rows),
        urgent=any(row["urgent"] for row in rows),
    )


def unlinked(c: Connection, study: StudyKey, *, limit: int) -> list[Instance]:
    """Images of the study whose header was never read."""
    rows = c.execute(sql("check_unlinked"), {"study": study, "limit": limit})
    return [instances.instance_of(row) for row in rows]


def destinations(c: Connection, headers: Collection[int]) -> list[str]:
    """The destinations that have images with these headers."""
    rows = c.execute(sql("check_destinations"), {"headers": json.dumps(sorted(headers))})
    return sorted(row["destination"] for row in rows)


def images(c: Connection, study: StudyKey) -> dict[InstanceId, tuple[InstanceState, str]]:
    """Every image of a study: its state, and by what word it is held."""
    rows = c.execute(sql("instances_of_study"), {"study": study})
    return {InstanceId(row["id"]): (InstanceState(row["state"]), row["held"]) for row in rows}


def with_headers(c: Connection, headers: Collection[int]) -> frozenset[InstanceId]:
    """The images that have one of these headers."""
    rows = c.execute(sql("instances_with_headers"), {"headers": json.dumps(sorted(headers))})
    return frozenset(InstanceId(row["instance"]) for row in rows)


def send_back(c: Connection, ids: Collection[InstanceId], *, held: str, now: datetime, by: str, why: str) -> None:
    """Back to `received`: free to be prepared anew, or held by that word. What was not begun of a held one is
    withdrawn from the queues. What was purged stays so: there is no file any more."""
    audit.refuse_foreign_text("by", by)
    audit.refuse_foreign_text("why", why)
    if not ids:
        return
    listed = json.dumps(sorted(ids))
    values = {"ids": listed, "at": to_text(now), "by": by, "why": why, "after": held or InstanceState.RECEIVED}
    c.execute(sql("instance_journal_many"), values)
    c.execute(sql("instance_set_many"), {"ids": listed, "held": held})
    if held:
        withdraw(c, ids, now=now, by=by, why=why)


# -- time --


def forget(c: Connection, *, before: datetime, limit: int) -> int:
    """Forgets up to `limit` studies of which nothing came since then and nothing is here; how many."""
    return c.execute(sql("check_forget"), {"before": to_text(before), "limit": limit}).rowcount


def erase(c: Connection, PatientID: str) -> int:
    """Forgets a patient's studies of which no image is here any more: headers, verdict, tasks; how many."""
    values = {"PatientID": PatientID, "quoted": json.dumps(PatientID, ensure_ascii=False)}
    studies = [row["study"] for row in c.execute(sql("check_of_patient"), values).fetchall()]
    for statement in (sql("check_erase_links"), sql("check_erase_tasks"), sql("check_erase_reads"), sql("check_erase")):
        c.executemany(statement, [{"study": study} for study in studies])
    c.execute(sql("decision_erase"))
    return len(studies)


def _corrected_patient(check: StudyCheck) -> str:
    """A digest of the patient to whom the check itself corrected the study; empty if it did not."""
    verdict = check.verdict
    by_rules = check.applied and check.decision is None and verdict.decision is Ruling.CORRECT
    if not by_rules or verdict.order is None:
        return ""
    return hashlib.blake2b(repr(verdict.order.key).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _check(row: Row) -> StudyCheck:
    return StudyCheck(
        study=StudyKey(row["study"]),
        verdict=_verdicts().validate_json(json_text(row["basis"])),
        applied=bool(row["applied"]),
        way=Way(row["way"]),
        held_until=from_text(row["held_until"]),
        fingerprint=row["fingerprint"],
        decided_by=row["decided_by"],
        decision=row["decision"],
        first_at=from_text(row["first_at"]),
        calling_ae=row["calling_ae"],
        decided_at=from_text(row["decided_at"]),
        again=bool(row["again"]),
    )
