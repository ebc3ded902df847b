"""The words of the house: identifiers, the objects we promise to keep, and the moves they may make.

Everything here is a value. The state tables below are the whole life of an instance and of a
delivery; the spool refuses any move that is not in them and journals every move that is.

    Instance   received -> prepared -> delivered -> purged
               (prepared | delivered -> received: late order, merge, undo; delivered -> prepared: sent by hand;
                received | prepared -> purged only when a person rejected it, after retention)
    Delivery   queued -> sending (lease) -> sent -> confirmed
               (sending -> queued: temporary failure or lease lost; sent -> queued: commitment failed;
                sending -> refused: permanent; refused -> queued: a person asks again)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

AETitle = NewType("AETitle", str)
"""An application entity title, stripped of its padding (PS3.5 6.2, VR AE: at most 16 characters)."""
UID = NewType("UID", str)
"""A DICOM unique identifier as it was received, stripped of its padding. Never a path."""
InstanceId = NewType("InstanceId", str)
"""Our own name for a received object: lower-case hexadecimal, safe in a path. Never derived from a UID."""
DestinationName = NewType("DestinationName", str)
SourceName = NewType("SourceName", str)
"""The configured name of a RIS."""


class InstanceState(StrEnum):
    RECEIVED = "received"
    PREPARED = "prepared"
    DELIVERED = "delivered"
    PURGED = "purged"


class DeliveryState(StrEnum):
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


INSTANCE_MOVES: frozenset[tuple[InstanceState, InstanceState]] = frozenset(
    {
        (InstanceState.RECEIVED, InstanceState.PREPARED),
        (InstanceState.PREPARED, InstanceState.DELIVERED),
        (InstanceState.DELIVERED, InstanceState.PURGED),
        (InstanceState.PREPARED, InstanceState.RECEIVED),
        (InstanceState.DELIVERED, InstanceState.RECEIVED),
        (InstanceState.DELIVERED, InstanceState.PREPARED),
        (InstanceState.RECEIVED, InstanceState.PURGED),
        (InstanceState.PREPARED, InstanceState.PURGED),
    }
)

DELIVERY_MOVES: frozenset[tuple[DeliveryState, DeliveryState]] = frozenset(
    {
        (DeliveryState.QUEUED, DeliveryState.SENDING),
        (DeliveryState.SENDING, DeliveryState.QUEUED),
        (DeliveryState.SENDING, DeliveryState.SENT),
        (DeliveryState.SENDING, DeliveryState.REFUSED),
        (DeliveryState.SENT, DeliveryState.CONFIRMED),
        (DeliveryState.SENT, DeliveryState.QUEUED),
        (DeliveryState.REFUSED, DeliveryState.QUEUED),
    }
)


class Lane(StrEnum):
    """A priority lane of a destination; each has an association of its own."""

    STAT = "stat"
    ROUTINE = "routine"
    BULK = "bulk"


class Confirm(StrEnum):
    """What counts as proof that a destination holds an instance (chosen per destination)."""

    COMMITMENT = "commitment"
    """Storage Commitment Push Model, PS3.4 J."""
    QUERY = "query"
    """C-FIND at IMAGE level by SOP Instance UID, PS3.4 C."""
    STATUS = "status"
    """The C-STORE status alone."""
    HASH = "hash"
    """What was written was read back, byte for byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who sent an object, when, and over which association: kept in the file itself."""

    calling_ae: AETitle
    called_ae: AETitle
    address: str
    """IP address of the peer; empty if the object did not come over a socket."""
    association: str
    """Our own short identifier of the association."""
    received_at: datetime
    """UTC-aware."""
    priority: int = 0
    """Priority (0000,0700) as sent: 0 medium, 1 high, 2 low (PS3.7 E.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One received object: what the command set, the file meta and a look at the header told."""

    id: InstanceId
    SOPClassUID: UID
    SOPInstanceUID: UID
    TransferSyntaxUID: UID
    StudyInstanceUID: UID
    """Empty where the data set has none."""
    SeriesInstanceUID: UID
    content_hash: str
    """xxh3-128, hexadecimal, over TransferSyntaxUID and data set: "same bytes" means this."""
    size: int
    """Bytes of the data set."""
    origin: Origin
    state: InstanceState = InstanceState.RECEIVED
    quarantine: str = ""
    """Why this copy waits for a person and is not forwarded; empty if it is not in quarantine."""
    held: str = ""
    """"held" or "rejected" if its study is; empty: it is free to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One instance on its way to one destination."""

    id: int
    instance: InstanceId
    destination: DestinationName
    lane: Lane
    state: DeliveryState
    attempts: int
    not_before: datetime | None
    lease_until: datetime | None
    last_status: str
    """The last outcome as a code for people and logs, e.g. "0000", "A700", "connect"; never patient data."""
    queued_at: datetime
    sent_at: datetime | None
    confirmed_at: datetime | None
    compression: str = ""
    """The form that a rule of the site demands, "none" or "lossless"; empty: as the destination's setting says."""
    sent_as: str = ""
    """The Transfer Syntax UID in which the destination stored it last."""


class GatewayError(Exception):
    """Every error of ours. Unknown errors are treated as temporary."""


class TemporaryFailure(GatewayError):
    """It may work later: retried for ever with back-off, alarmed by age."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class PermanentFailure(GatewayError):
    """It will not work until a person changes something."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class ConfigError(GatewayError):
    """The configuration is wrong; the message names the key and the remedy."""
