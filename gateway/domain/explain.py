"""Why a row is not on a scanner's worklist: the stages in which it can be lost, one by one.

Promises

* The stages are named once, here. The worklist role counts what it drops by these names, and `explain` says of one
  order which of them it was, by the very predicates that the role applies (`Query`, `merge`).
* An order is explained by that question of the scanner, among its last ones, that came nearest to showing it.
* Every reason is a cause and a next step, in words for the person at the scanner. They name stations, days, keys and
  RISs, and no value that tells a patient.

The ways in which a row can be missing are the values of `Stage`, each tested at the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from pydicom.datadict import keyword_for_tag

from gateway.domain.words import admission, age, printable
from gateway.domain.worklist import (
    SCHEDULED_STATION_AE_TITLE,
    SPS_SEQUENCE,
    SPS_START_DATE,
    SPS_START_TIME,
    DataSet,
    Decode,
    columns,
    items,
)

if TYPE_CHECKING:
    from gateway.domain.matching import Query, TagPath


class Stage(StrEnum):
    """Where a row can be lost; stable names, for programs too."""

    NOT_ORDERED = "not-ordered"
    """No RIS has ever sent it."""
    RIS_SILENT = "ris-silent"
    """It is not in the copy, and a RIS that may have it does not answer."""
    REMOVED = "removed"
    """It was in the copy: its RIS left it out of two whole answers, its time was over or its step was done."""
    NOT_ASKED = "not-asked"
    """The scanner has not asked since the row came, or is turned away."""
    STALE = "stale"
    """Its RIS has been silent for longer than this scanner may be served from the copy."""
    CONFLICT = "conflict"
    """Another source's row of the same step stands before it, or a cancellation does."""
    STATION = "station"
    """It is scheduled for another station."""
    DATE = "date"
    """It is scheduled outside the days or hours the scanner asked for."""
    CHARACTER_SET = "character-set"
    """A key does not hold, and the text it is compared with can't be read in its character set."""
    KEY = "key"
    """Another key of the scanner's question does not hold."""
    STATUS = "status"
    """Its step is done or held, and the scanner asked for no state."""
    PERFORMED = "performed"
    """A scanner said that its step is completed, long enough ago."""
    LIMIT = "limit"
    """It matched, and came after the limit or after the scanner broke off."""


_ORDER: Final = tuple(Stage)
Readable: TypeAlias = Callable[[bytes, str], bool]
"""(value, VR) -> whether it is text of the character set that its data set declares."""


class Removal(StrEnum):
    """Why a row left the copy."""

    ABSENT = "absent"
    EXPIRED = "expired"
    DONE = "done"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedRow:
    """A row of the copy that is of the order in question."""

    source: str
    key: str
    dataset: DataSet
    decode: Decode
    readable: Readable
    since: datetime
    """When it came into the copy."""
    confirmed: datetime
    """When its source last said that it is scheduled."""
    too_old: bool
    """That is longer ago than this scanner may be served."""
    rival: str = ""
    """The source whose row of the same step stands before it; "" if none does."""
    shown_at: datetime | None = None
    """When this scanner was last shown it."""
    performed_at: datetime | None = None
    """When a scanner said that its step is completed, if that is longer ago than this scanner is shown it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A row of the order that was in the copy."""

    source: str
    reason: Removal
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """How one RIS is doing."""

    source: str
    last_success: datetime | None
    error: str
    """Of the last attempt; "" if it was answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastQuery:
    """A question of the scanner."""

    first_asked: datetime
    last_asked: datetime
    answered: datetime
    """When that was over, at the latest: its RISs were asked meanwhile, so its rows may be younger than it."""
    query: Query | None
    """None if it could not be read, or was too long to be kept."""
    dropped: Mapping[Stage, int]
    sources: Mapping[str, str]
    """The RISs that were asked, and what came of it: "answered" or why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything there is to know of one order and one scanner."""

    calling_ae: str
    now: datetime
    rows: Sequence[CopiedRow]
    gone: Sequence[Gone]
    heard: Sequence[Heard]
    queries: Sequence[PastQuery]
    """The last ones, latest first."""
    turned_away: str
    """Why the scanner was turned away when it called last; "" if it was not."""
    known: bool
    """The scanner may call."""
    live: bool
    """It is shown what a RIS answers to its very question, never the copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One stage in which the row is lost."""

    stage: Stage
    cause: str
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What became of one row, or of an order of which there is none."""

    source: str
    """Whose row; "" if there is none."""
    reasons: tuple[Reason, ...]
    """The first is the stage that took it. Empty: the scanner is shown it."""
    shown_at: datetime | None
    asked_at: datetime | None
    """The question it is explained by."""

    @property
    def stage(self) -> Stage | None:
        """The stage that took it; None if it is shown."""
        return self.reasons[0].stage if self.reasons else None


_ORDER_ENTRY: Final = "Look for the order in the RIS"


def explain(case: Case) -> list[Explanation]:
    """One explanation for each row of the order; one alone if there is no row."""
    if not case.rows:
        return [Explanation(source="", reasons=(_absent(case),), shown_at=None, asked_at=None)]
    return [_of_row(case, row) for row in case.rows]


# -- orders without a row --


def _absent(case: Case) -> Reason:
    if case.gone:
        return _removed(case, max(case.gone, key=lambda one: one.at))
    silent = [one for one in case.heard if one.error or one.last_success is None]
    if silent:
        names = " and ".join(one.source for one in silent)
        since = [age(one.last_success, case.now) for one in silent if one.last_success is not None]
        answered = f"; it answered {since[0]} ago" if len(silent) == 1 and since else ""
        return Reason(
            stage=Stage.RIS_SILENT,
            cause=f"No RIS has sent this order, but {names} does not answer{answered}, so it may not have come yet.",
            next_step=f"Get {names} going again (`gateway worklist`), or make an entry at the downtime desk.",
        )
    return Reason(
        stage=Stage.NOT_ORDERED,
        cause="No RIS has sent this order for the days that the copy holds.",
        next_step=f"{_ORDER_ENTRY}: is it scheduled, as a step with a modality, for these days, under this identifier?",
    )


def _removed(case: Case, gone: Gone) -> Reason:
    ago = age(gone.at, case.now)
    told = {
        Removal.ABSENT: (
            f"{gone.source} sent this order and then left it out of two whole answers; it was removed {ago} ago.",
            f"{_ORDER_ENTRY}: was it cancelled, performed or moved to other days?",
        ),
        Removal.EXPIRED: (
            f"Its day was over, and {gone.source} did not confirm it for a day; it was removed {ago} ago.",
            "Let the RIS schedule it anew.",
        ),
        Removal.DONE: (
            f"{gone.source} said that its step is done or cancelled; it was removed {ago} ago.",
            "If it is to be performed all the same, let the RIS schedule it anew.",
        ),
        Removal.WITHDRAWN: (
            f"It was an entry of the downtime desk; it was linked to its order, cancelled or over {ago} ago.",
            "Look at `gateway desk list --all`: if it was linked, ask for its order.",
        ),
    }
    cause, next_step = told[gone.reason]
    return Reason(stage=Stage.REMOVED, cause=cause, next_step=next_step)


# -- rows --


def _of_row(case: Case, row: CopiedRow) -> Explanation:
    kept = _kept_back(case, row)
    since = [query for query in case.queries if query.answered >= row.since]
    judged = [(query, _by_query(case, row, query)) for query in since if query.query is not None]
    query, reasons = min(judged, key=lambda one: len(one[1]), default=(None, [_not_asked(case, row)]))
    return Explanation(
        source=row.source,
        reasons=(*kept, *reasons),
        shown_at=row.shown_at,
        asked_at=None if query is None else query.last_asked,
    )


def _kept_back(case: Case, row: CopiedRow) -> list[Reason]:
    """What keeps the row back whatever is asked."""
    found = []
    if row.too_old:
        found.append(
            Reason(
                stage=Stage.STALE,
                cause=f"{row.source} confirmed it last {age(row.confirmed, case.now)} ago, longer than this scanner may"
                " be served without (max_stale).",
                next_step=f"Get {row.source} going again (`gateway worklist`), raise max_stale of this scanner, or make"
                " an entry at the downtime desk.",
            )
        )
    if row.rival:
        found.append(
            Reason(
                stage=Stage.CONFLICT,
                cause=f"The same step from {row.rival} stands before the row of {row.source}, or cancels it.",
                next_step="Compare the two in their systems; the one that is wrong must be corrected there.",
            )
        )
    if row.performed_at is not None:
        found.append(
            Reason(
                stage=Stage.PERFORMED,
                cause=f"A scanner said {age(row.performed_at, case.now)} ago that its step is completed, longer than"
                " this scanner is shown it (hide_performed).",
                next_step="If it is to be performed again, let the RIS schedule it anew; see `gateway mpps`.",
            )
        )
    return found


def _not_asked(case: Case, row: CopiedRow) -> Reason:
    scanner, command = printable(case.calling_ae), admission(case.calling_ae)
    if case.turned_away or not case.known:
        why = f"is turned away when it calls ({case.turned_away})" if case.turned_away else "may not call"
        return Reason(
            stage=Stage.NOT_ASKED,
            cause=f"{scanner} {why}.",
            next_step=f"If it is yours: {command}" if command else "Give it an AE title (PS3.5 6.2).",
        )
    if not case.queries:
        cause = f"{scanner} has not asked for a worklist."
    else:
        cause = f"{scanner} has not asked since this row came, {age(row.since, case.now)} ago."
    return Reason(stage=Stage.NOT_ASKED, cause=cause, next_step="Refresh the worklist at the scanner.")


def _by_query(case: Case, row: CopiedRow, asked: PastQuery) -> list[Reason]:
    """Why this question does not show the row, in the order of the stages."""
    query = asked.query
    assert query is not None
    reasons = [_key_reason(row, path) for path in query.failing(row.dataset, row.decode)]
    reasons.sort(key=lambda reason: _ORDER.index(reason.stage))
    if query.hides(row.dataset):
        reasons.append(
            Reason(
                stage=Stage.STATUS,
                cause="Its step is done, cancelled or held, and the scanner asked for no state.",
                next_step="If it is to be performed all the same, let the RIS schedule it anew.",
            )
        )
    unseen = row.shown_at is None or row.shown_at < asked.first_asked
    if not reasons and unseen:
        reasons.append(_unheard(row, asked) if case.live else _matching_but_unseen(case, asked))
    return reasons


def _unheard(row: CopiedRow, asked: PastQuery) -> Reason:
    """Why a row of the copy was not in a live answer."""
    outcome = asked.sources.get(row.source, "not asked")
    if outcome == "answered":
        return Reason(
            stage=Stage.KEY,
            cause=f"{row.source} left it out of its answer to this very question, and this scanner is answered live.",
            next_step=f"Compare the question with the order in {row.source}.",
        )
    return Reason(
        stage=Stage.RIS_SILENT,
        cause=f"{row.source} did not answer this very question ({outcome}), and this scanner is answered live.",
        next_step=f'Get {row.source} going again (`gateway worklist`), or set mode = "merge" for this scanner.',
    )


def _matching_but_unseen(case: Case, asked: PastQuery) -> Reason:
    cut = asked.dropped.get(Stage.LIMIT, 0)
    if cut:
        return Reason(
            stage=Stage.LIMIT,
            cause=f"{cut:,} rows that matched were left out: the scanner takes no more, or it broke off.",
            next_step="Ask for less at the scanner: a day, a modality or a patient; or raise the limit in its profile.",
        )
    return Reason(
        stage=Stage.NOT_ASKED,
        cause=f"The row has changed since {printable(case.calling_ae)} asked, {age(asked.last_asked, case.now)} ago.",
        next_step="Refresh the worklist at the scanner.",
    )


def _key_reason(row: CopiedRow, path: TagPath) -> Reason:
    """Why one key of the question does not hold."""
    found = columns(row.dataset, row.decode)
    if path == (SPS_SEQUENCE, SCHEDULED_STATION_AE_TITLE):
        stations = printable(", ".join(found.StationAETitles))
        return Reason(
            stage=Stage.STATION,
            cause=f"It is scheduled for {stations or 'no station'}, and the scanner asked for another.",
            next_step="Let the RIS schedule it for this scanner, or give its profile that station as an alias.",
        )
    if path in {(SPS_SEQUENCE, SPS_START_DATE), (SPS_SEQUENCE, SPS_START_TIME)}:
        at = f" {found.start_time:%H:%M}" if found.start_time else ""
        day = f"for {found.start_date}{at}" if found.start_date else "without a date"
        return Reason(
            stage=Stage.DATE,
            cause=f"It is scheduled {day}, and the scanner asked for other days or hours.",
            next_step="Ask for that day at the scanner, and check its clock; or let the RIS schedule it anew.",
        )
    keyword = " > ".join(keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in path)
    if not _readable(row.dataset, path, row.readable):
        return Reason(
            stage=Stage.CHARACTER_SET,
            cause=f"The scanner asked by {keyword}, and what {row.source} sent there is no text of the character set"
            " that it declares.",
            next_step=f"Let {row.source} declare the character set that it writes; meanwhile ask by an identifier.",
        )
    return Reason(
        stage=Stage.KEY,
        cause=f"The scanner asked by {keyword}, and the row has another value there, or none.",
        next_step="Compare the value at the scanner with the RIS's, or ask without it.",
    )


def _readable(dataset: DataSet, path: TagPath, readable: Readable) -> bool:
    """Whether the value at that path is text in its character set; what is absent is."""
    *outer, last = path
    for tag in outer:
        dataset = next(iter(items(dataset, tag)), {})
    vr, value = dataset.get(last, ("", b""))
    return not isinstance(value, bytes) or readable(value, vr)
