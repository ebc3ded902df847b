"""A captured query asked again: the real role, on a spool of its own that holds the captured rows, at that moment.

What is promised: nothing but the profile differs from what a scanner would be answered; no RIS is asked and
nothing of the box is touched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from gateway.dicom import elements
from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandField, CommandSet, decode_command
from gateway.dicom.negotiation import MODALITY_WORKLIST
from gateway.dicom.readable import Table, data_set, table
from gateway.domain.model import SourceName
from gateway.domain.profile import Profile
from gateway.net.dicom_service import Caller, Exchange
from gateway.roles.worklist import Policy, Retention, Worklist
from gateway.roles.worklist.capture import Capture, encoded
from gateway.roles.worklist.rows import validated
from gateway.spool import Spool
from gateway.spool import worklist as copy

_LONG: Final = timedelta(days=1)
_SOURCE: Final = SourceName("captured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the scanner would be answered."""

    status: int
    answer: tuple[Table, ...]


async def replay(capture: Capture, profile: Profile, *, folder: Path) -> Replayed:
    """Ask again, answered by `profile`; `folder` is an empty one for the spool."""
    spool = Spool.open(folder, now=lambda: capture.at)
    try:
        rows = [row for one in capture.rows for row in validated(_SOURCE, data_set(one))[0].values()]
        spool.db.write(lambda c: copy.replace_source(c, _SOURCE, rows=rows, now=capture.at)).result()
        line = _Line()
        await _role(spool, capture, profile).find(_exchange(line, capture))
    finally:
        spool.close()
    return Replayed(status=line.status, answer=tuple(line.answer))


def _role(spool: Spool, capture: Capture, profile: Profile) -> Worklist:
    policy = Policy(ask=False, deadline=_LONG, fresh_for=_LONG, max_stale=_LONG, hide_performed=_LONG, profile=profile)
    assert capture.at.tzinfo is not None
    return Worklist(
        spool,
        [],
        policy_of=lambda _: policy,
        today=capture.at.date,
        now=lambda: capture.at,
        random=lambda: 0.0,
        retention=Retention(queries=_LONG, served=_LONG),
        entries_for=_LONG,
        zone=capture.at.tzinfo,
    )


def _exchange(line: _Line, capture: Capture) -> Exchange:
    return Exchange(
        line,
        Caller(calling_ae=capture.calling, called_ae="GATEWAY", address="", association="replay"),
        AcceptedContext(1, MODALITY_WORKLIST, elements.EXPLICIT_LITTLE),
        CommandSet(CommandField=CommandField.C_FIND_RQ, AffectedSOPClassUID=MODALITY_WORKLIST, MessageID=1),
        encoded(capture.question),
    )


@dataclass(slots=True)
class _Line:
    """The connection of a replay: what is sent on it is kept."""

    status: int = 0
    answer: list[Table] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        return False

    @property
    def releasing(self) -> bool:
        return False

    def next_message_id(self) -> int:
        return 1

    async def ask(self, _context: int, _command: CommandSet, _data_set: bytes | None) -> CommandSet | None:
        return None

    def send(self, _context: int, command: CommandSet | bytes, data_set: bytes | None) -> None:
        response = decode_command(command) if isinstance(command, bytes) else command
        self.status = response.Status or 0
        if data_set is not None:
            self.answer.append(table(elements.parse(data_set, elements.EXPLICIT_LITTLE)))

    async def flush(self) -> None:
        return None
