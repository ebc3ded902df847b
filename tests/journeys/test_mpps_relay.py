"""Performed procedure steps on their way to a real RIS (pynetdicom), which fails in every way a RIS does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import Verification

from gateway.domain import mpps as rules
from gateway.domain.model import UID, AETitle
from gateway.domain.mpps import Performed, RelayState, Request, Verdict
from gateway.net.dicom_client import Peer
from gateway.roles.forward import MppsTarget
from gateway.spool import mpps, relays
from gateway.spool.audit import Subject
from tests.journeys.forwarding import LIMIT, Forwarding, forwarding, to
from tests.peers.processes import free_port
from tests.peers.pynetdicom_mpps import NATIVE, begun, encoded, ended, mpps_scp

pytestmark = pytest.mark.slow

EXPLICIT, IMPLICIT = NATIVE
BOTH = ["N-CREATE", "N-SET"]


def ris(port: int, *, name: str = "ris", timeout: float = 60) -> MppsTarget:
    def peer(_scanner: str) -> Peer:
        return Peer(
            host=to(port).host, port=port, called_ae="RIS", calling_ae="GATEWAY", connect_timeout=10, timeout=timeout
        )

    return MppsTarget(
        name=name,
        peer=peer,
        as_scanner=False,
        retry_base=timedelta(seconds=2),
        retry_cap=timedelta(minutes=10),
    )


def tell(
    box: Forwarding,
    request: str,
    uid: str,
    step: Dataset,
    *,
    syntax: str = EXPLICIT,
    targets: Sequence[str] = ("ris",),
) -> bytes:
    """Keep a message as the edge does; its bytes."""
    body = encoded(step, syntax)
    message = mpps.Message(
        request=Request(request),
        SOPInstanceUID=UID(uid),
        TransferSyntaxUID=UID(syntax),
        dataset=body,
        digest=rules.digest(syntax, body),
        calling_ae=AETitle("CT1"),
        address="10.1.1.20",
        received_at=box.clock(),
    )
    job = partial(mpps.accept, message=message, said=Performed(), targets=targets)
    assert box.spool.db.write(job).result()[0] is Verdict.KEPT
    return body


def perform(box: Forwarding, uid: str, **settings: Any) -> list[bytes]:
    """A step from its beginning to its end."""
    return [
        tell(box, "N-CREATE", uid, begun(), **settings),
        tell(box, "N-SET", uid, ended(), **settings),
    ]


def states(box: Forwarding, target: str = "ris") -> list[RelayState]:
    return [
        relay.state
        for step in mpps.steps(box.spool.db.read(), limit=100)
        for relay in step.relays
        if relay.target == target
    ]


def until_sent(box: Forwarding, target: str = "ris") -> None:
    box.until(lambda: set(states(box, target)) == {RelayState.SENT}, what="all is sent")


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_ris_gets_what_the_scanner_sent_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str
) -> None:
    with mpps_scp() as scp, forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box:
        bodies = {uid: perform(box, uid, syntax=syntax) for uid in ("2.25.1", "2.25.2", "2.25.3")}
        until_sent(box)
    for uid, sent in bodies.items():
        came = [one for one in scp.told if one.SOPInstanceUID == uid]
        assert [one.request for one in came] == BOTH
        assert [one.dataset for one in came] == sent
        assert {one.TransferSyntaxUID for one in came} == {syntax}
    assert set(scp.steps.values()) == {"COMPLETED"}


@pytest.mark.parametrize(("came", "taken"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
def test_a_ris_that_takes_another_syntax_gets_the_same_attributes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, came: str, taken: str
) -> None:
    with (
        mpps_scp(syntaxes=[taken]) as scp,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box,
    ):
        perform(box, "2.25.1", syntax=came)
        until_sent(box)
    assert [one.TransferSyntaxUID for one in scp.told] == [taken, taken]
    assert [decode(BytesIO(one.dataset), taken == IMPLICIT, True) for one in scp.told] == [begun(), ended()]


def test_after_hours_without_the_ris_every_step_arrives_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    uids = [f"2.25.{number}" for number in range(1, 21)]
    with forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(port)]) as box:
        for uid in uids[:10]:
            perform(box, uid)
        box.pass_time(timedelta(hours=6), seconds=2)
        assert set(states(box)) == {RelayState.QUEUED}
        box.until(lambda: box.alarms() == {"mpps-late"}, what="the alarm")
        for uid in uids[10:]:
            perform(box, uid)
        with mpps_scp(port) as scp:
            box.clock.run_at(60)
            until_sent(box)
            box.until(lambda: not box.alarms(), what="the alarm ends")
    assert {uid: scp.requests(uid) for uid in uids} == dict.fromkeys(uids, BOTH)


def test_a_ris_without_performed_steps_is_told_and_not_flooded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        mpps_scp(classes=[Verification]) as scp,
        forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box,
    ):
        perform(box, "2.25.1")
        box.pass_time(timedelta(minutes=20), seconds=1)

        def standing() -> list[tuple[int, str]]:
            found = relays.standing(box.spool.db.read(), Subject.MPPS, ["ris"])
            return [(one.waiting, one.last_status) for one in found]

        box.until(lambda: standing() == [(2, "context")], what="why they wait is in the books")
        box.until(lambda: "mpps-late" in box.alarms(), what="the alarm")


def test_a_refused_step_waits_for_a_person_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mpps_scp() as scp, forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box:
        scp.answers = lambda request, uid: 0x0106 if (request, uid) == ("N-CREATE", "2.25.1") else -1
        for uid in ("2.25.1", "2.25.2"):
            perform(box, uid)
        box.until(lambda: scp.steps == {"2.25.2": "COMPLETED"}, what="the other one goes on")
        box.until(lambda: "mpps-refused" in box.alarms(), what="the refusal is told")
        box.clock.run_at(3600)  # its N-SET is unknown there, and is asked again before it is given up
        box.until(lambda: states(box).count(RelayState.REFUSED) == 2, what="its N-SET is refused too")
        box.clock.run_at(1)
        scp.answers = lambda _request, _uid: -1
        for relay in mpps.not_over(box.spool.db.read(), state=RelayState.REFUSED, limit=9):
            job = partial(
                relays.decide,
                kind=Subject.MPPS,
                number=relay.id,
                state=RelayState.QUEUED,
                now=box.clock(),
                by="command:test",
            )
            assert box.spool.db.write(job).result()
        until_sent(box)
        assert scp.steps == dict.fromkeys(["2.25.1", "2.25.2"], "COMPLETED")
        box.until(lambda: not box.alarms(), what="the alarm ends")


def test_a_ris_that_fails_over_one_step_gets_the_others_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mpps_scp() as scp, forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box:
        scp.answers = lambda _request, uid: 0x0110 if uid == "2.25.1" else -1
        for uid in ("2.25.1", "2.25.2", "2.25.3"):
            perform(box, uid)
        box.until(lambda: len(scp.steps) == 2, what="the others are there")
        box.pass_time(timedelta(hours=1), seconds=1)
        assert "N-SET" not in scp.requests("2.25.1")  # never before its N-CREATE
        box.until(lambda: "mpps-late" in box.alarms(), what="the alarm")
        scp.answers = lambda _request, _uid: -1
        box.clock.run_at(600)
        until_sent(box)
        assert scp.requests("2.25.1")[-2:] == BOTH


def test_an_answer_that_was_lost_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The RIS took each message and broke off before it said so: 0111 and A710 to our second try are success."""
    lost = {("N-CREATE", "2.25.1"), ("N-SET", "2.25.1")}

    def take_and_break_off(request: str, uid: str) -> int | None:
        if (request, uid) not in lost:
            return -1
        lost.remove((request, uid))
        scp.steps[uid] = "IN PROGRESS" if request == "N-CREATE" else "COMPLETED"
        return None

    with mpps_scp() as scp, forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box:
        scp.answers = take_and_break_off
        perform(box, "2.25.1")
        box.clock.run_at(60)
        until_sent(box)
        assert scp.requests("2.25.1") == ["N-CREATE", "N-CREATE", "N-SET", "N-SET"]
        assert "mpps-refused" not in box.alarms()
        (step,) = mpps.steps(box.spool.db.read(), limit=9)
        assert [relay.last_status for relay in step.relays] == ["0111", "A710"]


def test_a_step_that_somebody_else_ended_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mpps_scp() as scp, forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box:
        scp.steps["2.25.1"] = "DISCONTINUED"
        tell(box, "N-SET", "2.25.1", ended())
        box.until(lambda: "mpps-refused" in box.alarms(), what="the refusal is told")
        assert states(box) == [RelayState.REFUSED]


def test_an_end_that_came_before_its_beginning_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mpps_scp() as scp, forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=[ris(scp.port)]) as box:
        tell(box, "N-SET", "2.25.1", ended())
        box.until(lambda: scp.requests("2.25.1"), what="it is relayed all the same")
        assert states(box) != [RelayState.SENT]
        tell(box, "N-CREATE", "2.25.1", begun())
        until_sent(box)
        assert scp.requests("2.25.1")[-2:] == BOTH
        assert scp.steps == {"2.25.1": "COMPLETED"}


def test_a_dead_ris_holds_up_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, mended = ("hung", "gone", "well"), threading.Event()
    with mpps_scp() as hung, mpps_scp() as well:
        hung.answers = _silent(mended)
        targets = [ris(hung.port, name="hung", timeout=3), ris(free_port(), name="gone"), ris(well.port, name="well")]
        with forwarding(tmp_path, [], monkeypatch=monkeypatch, mpps_targets=targets) as box:
            for number in range(5):
                perform(box, f"2.25.{number}", targets=names)
            until_sent(box, "well")
            assert RelayState.SENT not in {*states(box, "hung"), *states(box, "gone")}
            hung.answers = lambda _request, _uid: -1
            mended.set()
            box.clock.run_at(60)
            until_sent(box, "hung")
    for scp in (hung, well):
        assert list(scp.steps.values()) == ["COMPLETED"] * 5


def _silent(mended: threading.Event) -> Callable[[str, str], None]:
    """Answers nothing until then."""

    def answer(_request: str, _uid: str) -> None:
        mended.wait(LIMIT)

    return answer
