"""The answers of the API as types. Within /api/v1 a field may be added; none is renamed, removed or given another
meaning. Times are UTC (RFC 3339); numbers carry their unit in their name: `_s`, `_bytes`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.domain.explain import Stage
from gateway.domain.model import DeliveryState
from gateway.domain.overview import Mood
from gateway.domain.study import Standing
from gateway.domain.words import printable
from gateway.domain.worklist import Freshness
from gateway.spool.query_log import QueryOutcome

Plain = Annotated[str, BeforeValidator(printable)]
"""Text that may be a peer's: what is not printable is replaced."""


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(Answer):
    """The state of the box, flat: one number per field for collectors."""

    sentence: str = Field(description="The worst that stands, or that all is well; the same as `gateway status`.")
    mood: Mood
    needs_a_person: bool
    at: datetime
    instances_received: int
    instances_prepared: int
    instances_delivered: int
    instances_purged: int
    instances_quarantined: int
    deliveries_waiting: int
    deliveries_unconfirmed: int
    deliveries_refused: int
    oldest_delivery_age_s: float = Field(description="Of what is neither confirmed nor refused; 0 if nothing is.")
    worklist_sources: int
    worklist_stale: int
    worklist_oldest_age_s: float | None = Field(description="Of the oldest copy; null if none ever came.")
    mpps_waiting: int = Field(description="Messages about performed procedure steps that a RIS has not taken yet.")
    mpps_refused: int
    mpps_oldest_age_s: float = Field(description="Of what waits; 0 if nothing does.")
    orders_out_waiting: int = Field(description="Messages about orders that a RIS has not taken yet.")
    orders_out_refused: int
    orders_out_oldest_age_s: float = Field(description="Of what waits; 0 if nothing does.")
    studies_held: int = Field(description="Studies that wait for a person's decision.")
    tasks_open: int = Field(description="Of persons, those that hold a study included.")
    alarms: int
    callers_turned_away: int
    disk_free_bytes: int
    disk_total_bytes: int | None = Field(description="Null in this and the next: forward never looked.")
    disk_confirmed_bytes: int | None = Field(description="Of images that may be let go, should room be needed.")
    disk_ingest_bytes_per_s: float | None = Field(description="The faster of the last hour and day; null: none came.")
    disk_holds_out_s: float | None = Field(description="Room left at that rate, should nothing more be confirmed.")


class Queue(Answer):
    """What waits for one destination."""

    destination: str
    configured: bool = Field(description="False: nobody sends these until the configuration names it again.")
    waiting: int
    unconfirmed: int = Field(description="Sent; the destination has not proven yet that it keeps them.")
    refused: int = Field(description="Wait for a person.")
    oldest: datetime | None = Field(description="When the oldest that is neither confirmed nor refused was queued.")
    oldest_age_s: float
    last_status: str
    reason: str = Field(description="The cause and the remedy behind last_status; empty if there is none.")


class Queues(Answer):
    at: datetime
    destinations: list[Queue]


class Study(Answer):
    """One study in counts."""

    StudyInstanceUID: Plain
    id: str = Field(description="Our own id of it, where its UID is not wanted; also taken by /api/v1/studies/{uid}.")
    standing: Standing
    calling_ae: list[Plain]
    first_received: datetime
    last_received: datetime
    images: int
    size_bytes: int
    settled: int = Field(description="Confirmed everywhere.")
    purged: int = Field(description="Of the settled: no longer kept here.")
    quarantined: int
    refused: int
    unrouted: int
    held: int = Field(description="Held for a decision or an order, or rejected by a person.")


class Studies(Answer):
    at: datetime
    studies: list[Study]


class Received(Answer):
    calling_ae: Plain
    address: str
    images: int
    size_bytes: int
    first: datetime
    last: datetime


class Delivered(Answer):
    destination: str
    state: DeliveryState
    last_status: str
    reason: str
    images: int
    attempts: int = Field(description="The most of any.")
    first_queued: datetime
    last_sent: datetime | None
    last_confirmed: datetime | None


class StudyHops(Study):
    """One study, hop by hop."""

    received: list[Received]
    deliveries: list[Delivered]


class Transit(Answer):
    """A study on its way to one destination; bytes are those of the images as received."""

    destination: str
    images: int
    size_bytes: int
    waiting_images: int = Field(description="Queued or being sent.")
    waiting_bytes: int
    ahead_bytes: int = Field(description="Of other studies that are sent before the last of this.")
    sent_images: int = Field(description="Not confirmed yet.")
    confirmed_images: int
    refused_images: int
    rate_bytes_per_s: float | None = Field(description="What the destination took in the last minute; null: nothing.")
    arrives_in_s: float | None = Field(description="At that rate; 0 if nothing waits, null if it can't be told.")


class StudyProgress(Answer):
    """How far a study is."""

    StudyInstanceUID: Plain
    at: datetime
    is_over: bool = Field(description="The examination is over: no more images are expected.")
    received_images: int
    received_bytes: int
    last_received: datetime
    destinations: list[Transit]


class WorklistSource(Answer):
    name: str
    rows: int
    stale: bool
    last_attempt: datetime | None
    last_success: datetime | None
    age_s: float | None = Field(description="Since the last valid answer; null if none ever came.")
    last_error: str
    copied: int = Field(description="Rows of it in the copy now.")
    resting_until: datetime | None = Field(description="Left alone after failures until then; null or past: asked.")


class WorklistSources(Answer):
    at: datetime
    sources: list[WorklistSource]


class WorklistQuestion(Answer):
    """A question of a scanner, and what became of it."""

    asked_at: datetime
    count: int = Field(description="How often it was asked, with the same answer, within a minute.")
    outcome: QueryOutcome
    answered: int = Field(description="Rows.")
    looked_at: int = Field(description="Rows of the copy that the index found.")
    dropped: dict[Stage, int] = Field(description="Rows lost in each stage.")
    quirks: dict[str, int] = Field(description="What the scanner's profile did, and to how many rows.")
    asked: dict[str, str] = Field(description="By RIS that was asked for it: answered, deadline, or a failure's code.")
    copy_age_s: float | None = Field(description="Of the oldest copy that was looked at.")
    slowest_s: float


class WorklistScanner(Answer):
    """One scanner: what it would be answered from now, and what became of its last question."""

    calling_ae: Plain
    mode: str = Field(description="merge, live or copy.")
    served_from: dict[str, Freshness] = Field(
        description="By RIS: fresh (answered from the copy at once), stale (asked first), expired (not served)."
    )
    last: WorklistQuestion | None = Field(description="Null: none within the retention of questions.")


class WorklistScanners(Answer):
    at: datetime
    scanners: list[WorklistScanner]


class WorklistReason(Answer):
    stage: Stage
    cause: str
    next_step: str


class WorklistExplained(Answer):
    """One row of the order; one without a source if there is none."""

    source: str
    stage: Stage | None = Field(description="What took it from the scanner; null if the scanner is shown it.")
    shown_at: datetime | None
    asked_at: datetime | None = Field(description="The scanner's question that it is explained by.")
    reasons: list[WorklistReason]


class WorklistExplanation(Answer):
    at: datetime
    rows: list[WorklistExplained]


class Alarm(Answer):
    code: str = Field(description="Stable; its page is docs/operations/alarms.md.")
    subject: str
    since: datetime
    last: datetime
    count: int
    next_step: str


class Alarms(Answer):
    at: datetime
    total: int
    alarms: list[Alarm]


class ScannerOfConfiguration(Answer):
    ae: str
    addresses: list[str] = Field(description="Empty: any.")
    profile: str


class ScannerAdded(Answer):
    ae: Plain
    addresses: list[str]
    profile: str
    added_at: datetime
    added_by: str


class Stranger(Answer):
    calling_ae: Plain
    called_ae: Plain
    address: str
    first_seen: datetime
    last_seen: datetime
    count: int
    reason: str
    command: str = Field(description="Admits it; safe to paste. Empty if its title is none that can be admitted.")


class Peers(Answer):
    at: datetime
    configured: list[ScannerOfConfiguration]
    added: list[ScannerAdded]
    turned_away: list[Stranger]


class Health(Answer):
    """What a 200 proves, and no more: the index was read, the disk of the spool was asked, and every part of the box
    proved its work of late."""

    at: datetime
    index_read: bool
    disk_free_bytes: int


class Problem(Answer):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class RelayPeer(Answer):
    """A RIS or PACS that messages are passed on to: performed procedure steps, or what is told of orders."""

    name: str
    configured: bool = Field(description="False: nobody sends what waits until the configuration names it again.")
    waiting: int
    refused: int = Field(description="Wait for a person.")
    oldest: datetime | None = Field(description="When the oldest that waits came.")
    oldest_age_s: float
    last_status: str
    reason: str = Field(description="The cause and the remedy behind last_status; empty if there is none.")
