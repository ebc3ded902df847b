"""What a command of central IT does on this box: each deed with an end, and none that reads or removes an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final

from gateway.app import diagnosis
from gateway.app.log_level import LogLevel
from gateway.app.peers import caller_of, now
from gateway.app.selftest import came_through, selftest
from gateway.app.updating import Box
from gateway.app.wished_release import ask as ask_for_release
from gateway.config import Config, DicomDestination, Ris
from gateway.dicom.associate import ProposedContext
from gateway.dicom.negotiation import NATIVE, VERIFICATION
from gateway.domain.command import Code, Command, CommandName, Done, Outcome
from gateway.domain.model import GatewayError, TemporaryFailure
from gateway.net.dicom_client import Requestor
from gateway.net.wake import Bell
from gateway.spool import Spool, refused

ECHO_SECONDS: Final = 10.0
HOP_SECONDS: Final = 20.0
OK: Final = Done(outcome=Outcome.DONE, code=Code.OK)
Deed = Callable[[Command], Done]


def deeds(config: Config, spool: Spool) -> Mapping[CommandName, Deed]:
    """All but a configuration, which `gateway.roles.reporting.configuration` takes."""
    return {
        CommandName.PING: lambda _: OK,
        CommandName.C_ECHO: partial(_echo, config),
        CommandName.SELFTEST: partial(_selftest, config),
        CommandName.RESEND_FAILED: partial(_resend, config, spool),
        CommandName.COLLECT_DIAG: partial(_collect, config, spool),
        CommandName.UPDATE: partial(ask_for_release, config, spool, box=Box()),
        CommandName.LOG_LEVEL: partial(_log_level, LogLevel(config.box.runtime_folder)),
    }


def _echo(config: Config, command: Command) -> Done:
    """One association and one C-ECHO."""
    peers: dict[str, Ris | DicomDestination] = {config.ris_names[one.name]: one for one in config.ris}
    peers |= {one.name: one for one in config.dicom_nodes}
    found = peers.get(command.text("peer"))
    if found is None:
        return Done(outcome=Outcome.FAILED, code=Code.UNKNOWN_NAME)
    peer = caller_of(config, found, connect_timeout=ECHO_SECONDS, timeout=ECHO_SECONDS)("")
    try:
        with Requestor.connect(peer, [ProposedContext(1, VERIFICATION, NATIVE)]) as requestor:
            status = requestor.echo()
    except TemporaryFailure:
        return Done(outcome=Outcome.FAILED, code=Code.NO_ANSWER)
    return OK if status == 0 else Done(outcome=Outcome.FAILED, code=Code.NO_ANSWER)


def _selftest(config: Config, _: Command) -> Done:
    """One round of the synthetic patient; another round that does not end, and a box without books, do not pass."""
    try:
        passed = [*selftest(config, patience=HOP_SECONDS)]
    except GatewayError:
        return Done(outcome=Outcome.FAILED, code=Code.NOT_PASSED)
    return OK if came_through(passed) else Done(outcome=Outcome.FAILED, code=Code.NOT_PASSED)


def _resend(config: Config, spool: Spool, command: Command) -> Done:
    name = command.text("destination")
    if name not in {one.name for one in config.destination}:
        return Done(outcome=Outcome.FAILED, code=Code.UNKNOWN_NAME)
    ids, asked = refused.numbers(spool.db.read(), name), 0
    for first in range(0, len(ids), refused.AT_ONCE):
        some = ids[first : first + refused.AT_ONCE]
        asked += spool.db.write(partial(refused.ask_again, ids=some, now=now(), by="command:central")).result()
    bell = Bell(config.box.runtime_folder / "forward.sock")
    bell.ring()
    bell.close()
    return Done(outcome=Outcome.DONE, code=Code.OK, count=asked)


def _collect(config: Config, spool: Spool, _: Command) -> Done:
    diagnosis.keep(config, spool.db.read(), now=now())
    return OK


def _log_level(level: LogLevel, command: Command) -> Done:
    level.ask(command.text("level"), until=now() + timedelta(minutes=command.number("minutes")))
    return OK
