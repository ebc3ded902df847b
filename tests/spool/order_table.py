"""The table of messages: what came before, what came, the rows and the acknowledgement it leads to."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.config.mappings import order_mapping
from gateway.domain.hl7 import Message
from gateway.domain.hl7_ack import Outcome, acknowledgement
from gateway.domain.model import SourceName
from gateway.domain.orders import Sender
from gateway.spool import Spool, orders, worklist
from gateway.spool.worklist import WorklistKeys, WorklistRow

TABLE: Final = Path(__file__).parent / "order_cases.toml"
ZONE: Final = ZoneInfo("Europe/Berlin")
NOW: Final = datetime(2026, 3, 4, 9, 40, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table."""

    message: str
    after: tuple[str, ...]
    refuse: bool
    effect: str
    ack: tuple[str, ...]
    rows: tuple[str, ...]
    alarms: tuple[str, ...]


def cases() -> list[Case]:
    """The whole table."""
    table: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["case"]
    return [
        Case(
            message=case["message"],
            after=tuple(case.get("after", ())),
            refuse=case.get("refuse", False),
            effect=case["effect"],
            ack=tuple(case["ack"]),
            rows=tuple(case["rows"]),
            alarms=tuple(case.get("alarms", ())),
        )
        for case in table
    ]


def sender(*, mapping: str = "generic", refuse: bool = False, name: str = "ris-hl7") -> Sender:
    """A sender as most of the tests have it."""
    return Sender(
        name=SourceName(name),
        mapping=order_mapping(mapping, Path("there-is-none")),
        zone=ZONE,
        scanners=("CT1", "MR1"),
        refuse_conflicts=refuse,
        refuse_faults=refuse,
    )


def receive(spool: Spool, raw: bytes, by: Sender, *, now: datetime = NOW) -> Outcome:
    """Applies a message as the orders role does."""
    message = Message.parse(raw)
    return spool.db.write(lambda c: orders.apply(c, message, by, now=now)).result()


def acknowledged(raw: bytes, outcome: Outcome) -> tuple[str, ...]:
    """The acknowledgement without its MSH; nothing for an acknowledgement."""
    if outcome.silent:
        return ()
    header = Message.parse(raw).segments[0]
    answer = acknowledgement(header, outcome.code, outcome.faults, now=NOW, control_id="GW1")
    return tuple(answer.decode("ascii").rstrip("\r").split("\r")[1:])


def kept(spool: Spool) -> list[WorklistRow]:
    """The rows of the copy."""
    return [each.row for each in worklist.rows(spool.db.read(), WorklistKeys(), limit=999)]


def shown(rows: Sequence[WorklistRow]) -> tuple[str, ...]:
    """Each row in one line."""
    return tuple(
        " | ".join(
            (
                f"{row.PatientID} {row.PatientName}",
                row.AccessionNumber,
                row.RequestedProcedureID,
                row.ScheduledProcedureStepID,
                f"{row.start_date} {row.start_time}",
                f"{row.Modality} {row.ScheduledStationAETitle}",
                row.status,
                row.StudyInstanceUID,
            )
        )
        for row in rows
    )
