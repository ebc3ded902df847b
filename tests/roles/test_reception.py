"""Whom a port expects, and what a flood of strangers costs the books and the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
import structlog

from gateway.dicom.associate import AssociateAccept, AssociateRequest, ProposedContext, UserInformation
from gateway.dicom.dimse import CommandField
from gateway.dicom.negotiation import MPPS, NATIVE
from gateway.dicom.pdu import CALLING_AE_UNKNOWN
from gateway.domain.admission import KnownCaller
from gateway.domain.model import AETitle
from gateway.net.dicom_service import Exchange
from gateway.roles.reception import NAMES_AT_ONCE, STRANGERS_AT_ONCE, Reception
from gateway.spool import Spool, peers
from tests.net.wire import request

START = datetime(2026, 1, 1, tzinfo=UTC)
US = UserInformation(max_pdu=16384, implementation_class_uid="1.2.3")


class Desk:
    """A reception over a real spool, and its clock."""

    def __init__(self, spool: Spool, scanners: list[KnownCaller], *, mpps: bool = False) -> None:
        self.spool = spool
        self.time = START
        self.reception = Reception(
            spool,
            titles=["BOX"],
            scanners=scanners,
            own_peers=[KnownCaller(ae="PACS")],
            store=None,
            find=None,
            commitment=None,
            mpps=(_nobody, _nobody) if mpps else None,
            standard_only=False,
            us=US,
            now=lambda: self.time,
        )

    def strangers(self) -> int:
        """Rows of strangers, once all that was queued is written."""
        return self.spool.db.write(lambda c: len(peers.callers(c))).result(20)


async def _nobody(_: Exchange) -> None:
    """A handler that these tests do not reach."""


def calling(name: str) -> AssociateRequest:
    return request(calling=name)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool.open(tmp_path / "state", now=lambda: START, reserve=lambda _: 0)
    yield opened
    opened.close()


@pytest.fixture
def desk(spool: Spool) -> Desk:
    return Desk(spool, [KnownCaller(ae="CT1", networks=(ip_network("10.1.0.0/24"),)), KnownCaller(ae="MR1")])


def test_addresses_of_scanners_are_expected_and_no_others(desk: Desk) -> None:
    assert desk.reception.expects("10.1.0.7")
    assert desk.reception.expects("::ffff:10.1.0.7")
    assert not desk.reception.expects("10.1.1.7")  # MR1 may call from anywhere, which makes no address known
    assert not desk.reception.expects("")


def test_a_scanner_added_by_a_command_is_expected_within_a_second(desk: Desk) -> None:
    assert not desk.reception.expects("10.9.0.1")
    desk.spool.db.write(
        lambda c: peers.add_scanner(c, ae=AETitle("US1"), addresses=["10.9.0.1"], profile="", now=START, by="test")
    ).result(20)
    desk.time += timedelta(seconds=1)
    assert desk.reception.expects("10.9.0.1")


def test_strangers_under_ever_new_names_from_one_address_are_remembered_by_the_first(desk: Desk) -> None:
    with structlog.testing.capture_logs() as lines:
        for number in range(500):
            assert desk.reception.admit(calling(f"X{number}"), "10.2.0.1") == CALLING_AE_UNKNOWN
        assert desk.strangers() == NAMES_AT_ONCE
        desk.reception.admit(calling("NEW"), "10.3.0.1")
    assert desk.strangers() == NAMES_AT_ONCE + 1
    assert len(lines) == NAMES_AT_ONCE + 1


def test_strangers_from_ever_new_addresses_cost_few_rows_and_lines(desk: Desk) -> None:
    with structlog.testing.capture_logs() as lines:
        for number in range(3000):
            desk.reception.admit(calling(f"X{number}"), f"10.2.{number // 250}.{number % 250}")
    assert desk.strangers() == STRANGERS_AT_ONCE == len(lines)
    desk.time += timedelta(minutes=1)
    desk.reception.admit(calling("NEW"), "10.3.0.1")
    assert desk.strangers() == STRANGERS_AT_ONCE + 1


def test_one_stranger_that_goes_on_is_remembered_again(desk: Desk) -> None:
    for _ in range(10):
        desk.reception.admit(calling("X"), "10.2.0.1")
        desk.time += timedelta(seconds=2)
    (caller,) = desk.spool.db.write(peers.callers).result(20)
    assert caller.count == 4


@pytest.mark.parametrize("offered", [True, False])
def test_performed_steps_are_taken_where_the_port_offers_them(spool: Spool, offered: bool) -> None:
    reception = Desk(spool, [KnownCaller(ae="CT1")], mpps=offered).reception
    asked = replace(calling("CT1"), called_ae="BOX", contexts=(ProposedContext(1, MPPS, NATIVE),))
    answer = reception.admit(asked, "10.0.0.1")
    assert isinstance(answer, AssociateAccept)
    assert [context.result for context in answer.contexts] == [0 if offered else 3]
    assert (CommandField.N_CREATE_RQ in reception.handlers) is offered
