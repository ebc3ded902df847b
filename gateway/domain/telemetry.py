"""What a box tells central IT: the value of each MQTT message, and the one way such a value becomes bytes.

Promises
- Nothing of a patient can enter (invariant 9). Every field is a number, a time, a word of a closed list, a name of the
  configuration, or a hash or identifier that we made: there is no field for a text. `Writer.encode` proves each value
  against its type, each name and each code against the lists that it was made with, and raises ValueError otherwise.
- One flat JSON object per message, numbers as numbers with the unit in the name (`_s`, `_bytes`, `_ratio`, `_ms`), what
  is not known left out.
- A minor version adds fields, kinds and codes, and never renames one: `read` ignores fields that it does not know. What
  breaks this gets the next major version, which is in the topic (topics.py).

Order is told by `sid` and `seq`, never by a clock. `log` names the numbering of a box's events: it is another one only
when the books of the box were lost. `sid` names a connection: `<log>.<start>-<connection>`, of one `log` ordered by the
two numbers, so a death (the will) of another connection than the last one says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from gateway.domain.command import Code as Answer
from gateway.domain.command import CommandName, Outcome, Phase, Reason
from gateway.domain.issue import Severity
from gateway.domain.signature import Flaw
from gateway.domain.telemetry_fields import (
    OTHER,
    Alias,
    Amount,
    Asked,
    BoxName,
    Code,
    ConfigKey,
    Count,
    Digest,
    EventKind,
    Log,
    Machine,
    Moment,
    Nonce,
    Ratio,
    Ref,
    Reply,
    Sid,
    Signed,
    Ulid,
    Version,
    Word,
)
from gateway.domain.topics import Leaf
from gateway.domain.update import Objection

T = TypeVar("T")

HEALTH_BYTES: Final = 1024
"""A health message is no longer."""
BACKFILL_ITEMS: Final = 100
BACKFILL_BYTES: Final = 64 * 1024


class State(StrEnum):
    """What a box says of itself, or the broker of it."""

    READY = "ready"
    ALERT = "alert"
    """An alarm of severity error or critical stands."""
    DRAINING = "draining"
    """It takes no images in and sends on what it has."""
    LOST = "lost"
    """Its connection broke: the will, which the broker publishes."""
    DISCONNECTED = "disconnected"
    """It was stopped."""


class Standing(StrEnum):
    RAISED = "raised"
    CLEARED = "cleared"


class Kind(StrEnum):
    """What happened, of an event. More may come in a minor version."""

    STARTED = "started"
    """The reporting of the box began: after a start, an update or a crash."""
    STOPPED = "stopped"
    """It ended in order."""
    STUDY_COMPLETE = "study-complete"
    STUDY_DELIVERED = "study-delivered"
    STUDY_CONFIRMED = "study-confirmed"
    ALARM_RAISED = "alarm-raised"
    ALARM_CLEARED = "alarm-cleared"
    GAP = "gap"
    """Events that were never acknowledged were given up for room: `count` of them, the last one `upto`."""


_CONFIG: Final = ConfigDict(
    revalidate_instances="always", hide_input_in_errors=True, use_attribute_docstrings=True, extra="ignore"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How far the clock of the box can be trusted."""

    __pydantic_config__ = _CONFIG

    sync: bool
    """Whether it is kept in step with a time server."""
    off_ms: Signed | None = None
    """How far it is off, as far as that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What every message of a box begins with."""

    __pydantic_config__ = _CONFIG

    box: BoxName
    """The identity of the box: its client identifier, and the common name of its certificate."""
    log: Log
    """The numbering that `seq` belongs to."""
    sid: Sid
    """The connection in which it was written, or the last one before."""
    seq: Count
    """Of an event its own number; of any other message that of the last event before it."""
    eid: Ulid
    """Of its own; a message with one that is known already is the same once more."""
    ts: Moment
    """When it was written, or happened. The will's is that of the connection."""
    mono_ms: Count
    """A clock of the box that only goes forward, from an unknown moment on."""
    clk: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Envelope):
    """Retained: how the box is. The will is one, too."""

    schema: Annotated[str, Field(pattern=r"^status/1\.[0-9]{1,3}$")] = "status/1.0"
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Info(Envelope):
    """Retained: what the box is. Published at each connection and whenever it changes."""

    schema: Annotated[str, Field(pattern=r"^info/1\.[0-9]{1,3}$")] = "info/1.0"
    model: Machine
    """The processor: "x86_64", "aarch64"."""
    sw: Version
    sbom: Digest
    """Of the names and versions of all that is installed: equal where the software is equal."""
    config: Digest
    """Of the configuration: equal where that is equal."""
    sw_seq: Count | None = None
    """The number of the release that runs; left out where none can be installed (a package on Debian)."""
    release: Count | None = None
    """The number of the release that central wished for last (`update`)."""
    release_phase: Phase | None = None
    """What became of that."""
    release_fault: Reply | None = None
    """Why it was rejected."""
    cert_not_after: Moment | None = None
    """When the certificate of this connection ends."""
    peers: Annotated[dict[Alias, Word], Field(max_length=200)]
    """The kind of each peer of the configuration: "ris", "scanner", "dicom", "dicomweb", "folder", "gateway"."""
    schemas: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z]{1,16}/[0-9]\.[0-9]{1,3}$")], ...], Field()]
    """What the box can write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Envelope):
    """Retained, and gone after 180 s: the numbers of the box, every 30 s. What is not known is left out."""

    schema: Annotated[str, Field(pattern=r"^health/1\.[0-9]{1,3}$")] = "health/1.0"
    spool_n: Count | None = None
    """Images that are not at all their destinations yet."""
    spool_bytes: Count | None = None
    spool_oldest_s: Amount | None = None
    """Since when the oldest of them waits; 0: none does."""
    in_ok_total: Count | None = None
    """Images received, ever."""
    in_fail_total: Count | None = None
    """Images refused for want of room, ever; their scanners send them again."""
    fwd_ok_total: Count | None = None
    """Deliveries that a destination took, ever."""
    fwd_fail_total: Count | None = None
    """Attempts that failed, ever."""
    fwd_lag_p95_s: Amount | None = None
    """From received to taken by a destination, of those of the last 15 minutes."""
    mwl_age_s: Amount | None = None
    """Of the oldest copy of a worklist."""
    disk_free_ratio: Ratio | None = None
    disk_forecast_h: Amount | None = None
    """How long there is room, should no destination confirm any more."""
    dest_up: Annotated[dict[Alias, bool], Field(max_length=200)] | None = None
    """Whether each destination answers; where they are too many for the size of the message, those that don't."""
    dest_n: Count | None = None
    dest_down_n: Count | None = None
    assoc_active: Count | None = None
    cpu: Ratio | None = None
    mem: Ratio | None = None
    temp_c: Signed | None = None
    cert_days: Signed | None = None
    """Until the first certificate of ours ends."""
    clk_off_ms: Signed | None = None
    quarantine_n: Count | None = None
    tasks_n: Count | None = None
    """What waits for a person."""
    alarms_n: Count | None = None
    """Alarms that stand."""
    outbox_n: Count | None = None
    """Events that central has not acknowledged."""
    samples: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Of an average: of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm(Envelope):
    """Retained: one alarm, by code and instance. `seq` and `eid` are those of the event that raised or cleared it."""

    schema: Annotated[str, Field(pattern=r"^alarm/1\.[0-9]{1,3}$")] = "alarm/1.0"
    state: Standing
    code: Code
    inst: Alias
    """What it is about: a name of the configuration, or "box"."""
    sev: Severity
    since: Moment
    count: Count
    """How often its cause was met until it was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Envelope):
    """What happened once. Kept by the box until central has acknowledged it."""

    schema: Annotated[str, Field(pattern=r"^event/1\.[0-9]{1,3}$")] = "event/1.0"
    kind: EventKind
    sev: Severity = Severity.INFO
    code: Code | None = None
    inst: Alias | None = None
    study: Ref | None = None
    images: Count | None = None
    count: Count | None = None
    upto: Count | None = None


def _schema_name(item: Any) -> str:
    schema = item.get("schema", "") if isinstance(item, Mapping) else item.schema
    return str(schema).partition("/")[0]


Item = Annotated[Annotated[Event, Tag("event")] | Annotated[Health, Tag("health")], Discriminator(_schema_name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill(Envelope):
    """What was kept while nobody acknowledged: every item that the box still has in (after, upto]."""

    schema: Annotated[str, Field(pattern=r"^backfill/1\.[0-9]{1,3}$")] = "backfill/1.0"
    hist: bool = True
    acked: Count
    """The box keeps nothing up to here: central acknowledged it, or it was given up (see the `gap` event)."""
    after: Count
    upto: Count
    items: Annotated[tuple[Item, ...], Field(max_length=BACKFILL_ITEMS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """From central: everything up to this number is committed there, so the box may forget it."""

    __pydantic_config__ = _CONFIG

    schema: Annotated[str, Field(pattern=r"^ack/1\.[0-9]{1,3}$")] = "ack/1.0"
    log: Log
    """The numbering it is about; one of another numbering is ignored."""
    event_upto: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The answer to one command (command.py); the correlation data is the nonce, too. It may come twice."""

    __pydantic_config__ = _CONFIG

    schema: Annotated[str, Field(pattern=r"^result/1\.[0-9]{1,3}$")] = "result/1.0"
    box: BoxName
    ts: Moment
    """When it was carried out, or refused."""
    nonce: Nonce
    cmd: Asked | None = None
    """Left out: there is no such command."""
    outcome: Outcome
    code: Reply
    count: Count | None = None
    """Of what was done, where that can be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Retained: what became of the configuration that central wished for last (`desired`, an `apply_config`)."""

    __pydantic_config__ = _CONFIG

    schema: Annotated[str, Field(pattern=r"^reported/1\.[0-9]{1,3}$")] = "reported/1.0"
    box: BoxName
    ts: Moment
    """When it came so far."""
    version: Count
    ring: Word
    config: Digest
    """Of the text that was wished for."""
    phase: Phase
    faults: Annotated[tuple[ConfigKey, ...], Field(max_length=20)] = ()
    """The keys for which it was rejected."""


Said = Status | Info | Health | Alarm | Event | Backfill | Result | Reported
SAID: Final[dict[Leaf, type[Said]]] = {
    Leaf.STATUS: Status,
    Leaf.INFO: Info,
    Leaf.HEALTH: Health,
    Leaf.ALARM: Alarm,
    Leaf.EVENT: Event,
    Leaf.BACKFILL: Backfill,
    Leaf.RESULT: Result,
    Leaf.REPORTED: Reported,
}
"""What a box says, by where."""
MESSAGES: Final[tuple[type[Said | Ack], ...]] = (*SAID.values(), Ack)


class Writer:
    """Writes messages of one box.

    `names` are the aliases (see `aliases`) and `codes` the alarm codes that may be named.
    """

    def __init__(self, *, box: str, names: Iterable[str], codes: Iterable[str]) -> None:
        self._context = {
            "box": frozenset({box}),
            "names": frozenset({*names, OTHER}),
            "codes": frozenset(codes),
            "kinds": frozenset(Kind),
            "commands": frozenset(CommandName),
            "replies": frozenset({*Answer, *Reason, *Flaw, *Objection}),
        }

    def encode(self, message: object) -> bytes:
        """The JSON of it. Raises ValueError, which names the field and never the value, for anything not allowed."""
        if not isinstance(message, Envelope | Ack | Result | Reported):
            raise ValueError(f"a {type(message).__name__} is no message: make it one of MESSAGES")  # noqa: TRY004
        adapter = adapter_of(type(message))
        try:
            proven = adapter.validate_python(message, strict=True, context=self._context)
        except ValidationError as error:
            raise ValueError(f"{type(message).__name__}: {_faults(error)}; only listed values may leave") from None
        return adapter.dump_json(proven, exclude_none=True)


def read(kind: type[T], payload: bytes) -> T:
    """A message of that kind, of this or a later minor version. Raises ValueError, which quotes nothing of it."""
    try:
        return adapter_of(kind).validate_json(payload)
    except ValidationError as error:
        raise ValueError(f"{kind.__name__} of {len(payload)} bytes: {_faults(error)}") from None


def adapter_of(kind: type[T]) -> TypeAdapter[T]:
    """Proves, reads and writes values of that kind."""
    found = _adapters.get(kind)
    if found is None:
        found = _adapters[kind] = TypeAdapter(kind)
    return found


_adapters: Final[dict[Any, TypeAdapter[Any]]] = {}


def _faults(error: ValidationError) -> str:
    """The fields and the kinds of fault: nothing of a value, and a key of a table is one."""
    return ", ".join(f"{one['loc'][0] if one['loc'] else 'it'}: {one['type']}" for one in error.errors()[:3])
