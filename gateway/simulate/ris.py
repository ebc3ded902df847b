"""A RIS as a scanner sees it: a Modality Worklist SCP (PS3.4 K) with invented patients, and an MPPS SCP (PS3.4 F).

What is promised: every row that matches is answered, every key applied by `gateway.domain`, C-CANCEL heeded
before the next response (PS3.7 9.1.2.1.5). Performed procedure steps are taken by the letter of PS3.4 F.7.2: one
that it has, does not know, or has as final is refused. `behaviour` may change at any moment and holds from the next
association, query or step on. Rows are the same for the same day.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from enum import StrEnum
from typing import Final

from gateway.dicom.dimse import CommandField, Status, response_to
from gateway.dicom.elements import DataSet, ElementError, parse
from gateway.dicom.negotiation import MODALITY_WORKLIST, MPPS, VERIFICATION, choose_native
from gateway.domain.matching import compile_query
from gateway.domain.worklist import project
from gateway.net.dicom_service import Exchange, Handler
from gateway.simulate.acceptor import Chooser, Port, Session, never_answer
from gateway.simulate.keywords import data_set, decoder, encoded, text

STATIONS: Final = {"CT": "CT1", "MR": "MR1", "US": "US1", "DX": "DX1"}
"""Scheduled Station AE Title by modality."""
_PATIENTS: Final = (
    ("TEST^ADA", "F", "ISO_IR 100"),
    ("TEST^BRUNO", "M", "ISO_IR 100"),
    ("TEST^J\u00dcRGEN", "M", "ISO_IR 100"),
    ("TEST^ZO\u00c9^M", "F", "ISO_IR 100"),
    ("TEST^\u0141UCJA", "F", "ISO_IR 192"),
    ("TEST^OTTO", "M", ""),
)
_GARBAGE: Final = b"\xffHTTP/1.1 400 Bad Request\r\n\r\n"
_HALF: Final = b"\x04\x00\x00\x00\x01\x00"
"""A P-DATA-TF that announces 256 bytes and has none."""
_STATUS: Final = "PerformedProcedureStepStatus"
_FINAL: Final = frozenset({"COMPLETED", "DISCONTINUED"})
NO_LONGER_UPDATED: Final = 0xA710
"""Error ID of a refusal because the step is final (PS3.4 F.7.2.2.4)."""
_STEPS: Final = {"CT": "CT THORAX", "MR": "MR HEAD", "US": "US ABDOMEN", "DX": "DX CHEST PA"}


class RisBehaviour(StrEnum):
    ANSWER = "answer"
    """Every matching row."""
    HANG = "hang"
    """Accept the query and say nothing."""
    REFUSE = "refuse"
    """Reject every association."""
    EMPTY = "empty"
    """Success without a row, whatever was asked."""
    ABORT_MIDWAY = "abort_midway"
    """A-ABORT after half of the rows."""
    CUT_MIDWAY = "cut_midway"
    """The connection is gone in the middle of a response, after half of the rows."""
    SLOW = "slow"
    """Every matching row, `delay` seconds late."""
    GARBLED = "garbled"
    """Success after rows whose data sets can't be read."""
    GARBAGE = "garbage"
    """Bytes that are no DICOM."""
    FAIL = "fail"
    """The final status C001."""


def sample_rows(day: date, *, per_modality: int = 3, stations: Mapping[str, str] = STATIONS) -> list[DataSet]:
    """Scheduled steps of one day for each modality in `stations`, from eight o'clock on, every 20 minutes."""
    return [
        sample_row(day, modality, station, number)
        for modality, station in stations.items()
        for number in range(per_modality)
    ]


def sample_row(day: date, modality: str, station: str, number: int) -> DataSet:
    """The step `number` of a station's day."""
    name, sex, character_set = _PATIENTS[(number + sum(map(ord, modality))) % len(_PATIENTS)]
    order = f"{day:%y%m%d}{modality}{number:03}"
    minute = 8 * 60 + 20 * number
    study = int.from_bytes(hashlib.blake2b(f"{order} {station}".encode(), digest_size=16).digest())
    step = _STEPS.get(modality, f"{modality} EXAMINATION")
    return data_set(
        {
            "AccessionNumber": f"A{order}",
            "ReferringPhysicianName": "TEST^REFERRER",
            "PatientName": name,
            "PatientID": f"TEST-{order}",
            "PatientBirthDate": f"{1940 + number % 60}0{number % 9 + 1}15",
            "PatientSex": sex,
            "StudyInstanceUID": f"2.25.{study}",
            "RequestingPhysician": "TEST^REFERRER",
            "RequestedProcedureDescription": step,
            "RequestedProcedureID": f"P{order}",
            "RequestedProcedurePriority": "ROUTINE",
            "ScheduledProcedureStepSequence": [
                {
                    "Modality": modality,
                    "ScheduledStationAETitle": station,
                    "ScheduledProcedureStepStartDate": f"{day:%Y%m%d}",
                    "ScheduledProcedureStepStartTime": f"{minute // 60 % 24:02}{minute % 60:02}00",
                    "ScheduledPerformingPhysicianName": "TEST^PERFORMER",
                    "ScheduledProcedureStepDescription": step,
                    "ScheduledProcedureStepID": f"S{order}",
                    "ScheduledStationName": station,
                    "ScheduledProcedureStepStatus": "SCHEDULED",
                }
            ],
        },
        character_set,
    )


class RisSimulator:
    """The SCP. `start` and `stop`, or `async with`; after `stop` it may start again on the same port."""

    def __init__(
        self,
        *,
        rows: Sequence[DataSet] | Callable[[], Sequence[DataSet]],
        ae: str = "RIS",
        host: str = "127.0.0.1",
        port: int = 0,
        behaviour: RisBehaviour = RisBehaviour.ANSWER,
    ) -> None:
        """`rows` is what is scheduled, or gives it for each query."""
        self.rows = rows
        self.ae = ae
        self.behaviour = behaviour
        self.delay = 10.0
        """Seconds that a slow one takes before its first row."""
        self.queries = 0
        """C-FIND requests so far, whatever became of them."""
        self.cancelled = 0
        """Queries that ended by C-CANCEL."""
        self.steps: dict[str, str] = {}
        """Performed Procedure Step Status by SOP Instance UID, as it was told last."""
        self._port = Port(lambda: _RisSession(self), host, port)

    @property
    def port(self) -> int:
        return self._port.number

    async def start(self) -> None:
        """Listen. Raises OSError if the port can't be had."""
        await self._port.open()

    async def stop(self) -> None:
        await self._port.close()

    async def __aenter__(self) -> RisSimulator:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def matching(self, identifier: DataSet) -> list[DataSet]:
        """The answers to an identifier, in the order of the rows."""
        rows = self.rows() if callable(self.rows) else self.rows
        query = compile_query(identifier, decoder(identifier))
        return [row for row in rows if query.matches(row, decoder(row))]


class _RisSession(Session):
    def __init__(self, ris: RisSimulator) -> None:
        self._ris = ris
        self.ae = ris.ae
        self.handlers: Mapping[int, Handler] = {
            CommandField.C_FIND_RQ: self._find,
            CommandField.N_CREATE_RQ: self._take,
            CommandField.N_SET_RQ: self._take,
        }

    def refuses(self) -> bool:
        return self._ris.behaviour is RisBehaviour.REFUSE

    def chooser(self, abstract_syntax: str) -> Chooser | None:
        return choose_native if abstract_syntax in (MODALITY_WORKLIST, MPPS, VERIFICATION) else None

    async def _find(self, exchange: Exchange) -> None:
        self._ris.queries += 1
        match self._ris.behaviour:
            case RisBehaviour.HANG:
                await never_answer(exchange)
            case RisBehaviour.FAIL:
                exchange.respond(Status.UNABLE_TO_PROCESS, comment="the simulated RIS fails")
            case RisBehaviour.EMPTY:
                exchange.respond(Status.SUCCESS)
            case RisBehaviour.GARBAGE:
                self.link.say(_GARBAGE)
                await never_answer(exchange)
            case RisBehaviour.SLOW:
                await asyncio.sleep(self._ris.delay)
                await self._answer(exchange)
            case _:
                await self._answer(exchange)

    async def _answer(self, exchange: Exchange) -> None:
        behaviour = self._ris.behaviour
        midway = behaviour in {RisBehaviour.ABORT_MIDWAY, RisBehaviour.CUT_MIDWAY}
        syntax = exchange.context.transfer_syntax
        try:
            identifier = parse(exchange.data_set, syntax)
        except ElementError as error:
            exchange.respond(Status.IDENTIFIER_MISMATCH, comment=str(error))
            return
        rows = self._ris.matching(identifier)
        for row in rows[: len(rows) // 2] if midway else rows:
            if exchange.cancelled:
                self._ris.cancelled += 1
                exchange.respond(Status.CANCEL)
                return
            shown = _GARBAGE if behaviour is RisBehaviour.GARBLED else encoded(project(identifier, row), syntax)
            exchange.respond(Status.PENDING, data_set=shown)
            await exchange.flush()
        if behaviour is RisBehaviour.ABORT_MIDWAY:
            self.link.abort()
        elif behaviour is RisBehaviour.CUT_MIDWAY:
            self.link.say(_HALF)
            await exchange.flush()
            self.link.cut()
        else:
            exchange.respond(Status.SUCCESS)

    async def _take(self, exchange: Exchange) -> None:
        """N-CREATE or N-SET of a performed procedure step."""
        match self._ris.behaviour:
            case RisBehaviour.HANG:
                await never_answer(exchange)
            case RisBehaviour.FAIL:
                exchange.respond(Status.PROCESSING_FAILURE, comment="the simulated RIS fails")
            case _:
                try:
                    told = text(parse(exchange.data_set, exchange.context.transfer_syntax), _STATUS)
                except ElementError as error:
                    exchange.respond(Status.PROCESSING_FAILURE, comment=str(error))
                    return
                self._note(exchange, told)

    def _note(self, exchange: Exchange, told: str) -> None:
        creates = exchange.command.CommandField == CommandField.N_CREATE_RQ
        uid = (exchange.command.AffectedSOPInstanceUID if creates else exchange.command.RequestedSOPInstanceUID) or ""
        known = self._ris.steps.get(uid)
        if creates and known is not None:
            exchange.respond(Status.DUPLICATE_SOP_INSTANCE)
        elif not creates and known is None:
            exchange.respond(Status.NO_SUCH_OBJECT_INSTANCE)
        elif known in _FINAL:
            response = response_to(exchange.command, Status.PROCESSING_FAILURE)
            exchange.answered = True
            exchange.send(replace(response, ErrorID=NO_LONGER_UPDATED))
        else:
            self._ris.steps[uid] = told or known or ""
            exchange.respond(Status.SUCCESS)
