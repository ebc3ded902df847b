"""The PACS is away for a day, or refuses, or breaks off over one object: nothing is lost, nothing else waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import BasicTextSRStorage
from pynetdicom import AE, evt
from structlog.testing import capture_logs

from gateway.dicom.association import AcceptedContext
from gateway.domain.model import Confirm, DeliveryState, DestinationName, Lane
from gateway.net.dicom_client import Peer, Requestor
from gateway.roles.forward import confirm as confirming
from gateway.roles.forward import dimse
from gateway.roles.forward.dimse import Dimse
from gateway.roles.forward.learned import Learned
from gateway.roles.forward.sending import Opened
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from tests.journeys.forwarding import RETENTION, forwarding, target, to
from tests.peers import objects
from tests.peers.processes import HOST, free_port
from tests.peers.pynetdicom_scp import STANDARD_STORAGE, storage_scp

pytestmark = pytest.mark.slow

ATTEMPTS_PER_MINUTE = 2
WATCHED = timedelta(minutes=10)
WAITING = {DeliveryState.QUEUED, DeliveryState.SENDING}


@contextmanager
def touchy_pacs(wicked: set[str]) -> Iterator[tuple[int, list[str]]]:
    """A PACS that aborts the association over each of these UIDs, and which of them it has met."""
    port, broken = free_port(), list[str]()

    def store(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid in wicked:
            broken.append(uid)
            event.assoc.abort()
        return 0

    entity = AE(ae_title="PACS")
    for sop_class in STANDARD_STORAGE:
        entity.add_supported_context(sop_class)
    server = entity.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield port, broken
    finally:
        assert server is not None
        server.shutdown()


def attempts(logs: Sequence[Mapping[str, Any]]) -> int:
    return sum(line["event"] in ("destination not reached", "attempt") for line in logs)


def test_after_a_day_without_the_pacs_everything_arrives_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pacs = PacsSimulator()
    called = [""]

    def peer() -> Peer:
        return to(pacs.port, called=called[0])

    hours = timedelta(hours=8)
    uids: list[str] = []
    # One lane: on a clock this fast a trial lasts long enough for other lanes to begin theirs
    places = [target(peer, confirm=Confirm.COMMITMENT, lanes=(Lane.ROUTINE,))]
    with (
        hosted(pacs) as host,
        forwarding(tmp_path, places, monkeypatch=monkeypatch) as box,
    ):
        host.call(pacs.behave(PacsBehaviour.DOWN))
        for phase, (behaviour, title) in enumerate(
            # An attempt may be under way from one phase to the next: it calls nobody that would take anything there
            [(PacsBehaviour.DOWN, "NOBODY"), (PacsBehaviour.UP, "NOBODY"), (PacsBehaviour.REFUSE, "PACS")]
        ):
            host.call(pacs.behave(behaviour))
            called[0] = title
            uids += [
                box.put(objects.write(tmp_path, objects.ct(seed, study=phase)), priority=seed % 3) for seed in range(9)
            ]
            box.pass_time(hours - WATCHED, seconds=3)
            with capture_logs() as logs:  # slowly enough that a storm of attempts would show
                began = box.clock()
                box.clock.run_at(WATCHED / timedelta(seconds=2))
                box.until(lambda at=began, logs=logs: box.clock() - at >= WATCHED and attempts(logs), what="a trial")  # type: ignore[misc]
                passed = box.clock() - began
            assert attempts(logs) <= ATTEMPTS_PER_MINUTE * passed / timedelta(minutes=1), behaviour
            box.until(lambda: "delivery-late" in box.alarms(), what="an alarm")
            assert not pacs.held
            assert {state for states in box.states().values() for state in states} <= WAITING
        host.call(pacs.behave(PacsBehaviour.UP))
        box.clock.run_at(60)
        box.until_all(uids)
        assert {uid: held.received for uid, held in pacs.held.items()} == dict.fromkeys(uids, 1)
        box.until(lambda: not box.alarms(), what="the alarm is cleared")
        assert all(box.instance_states(uid) == ["delivered"] for uid in uids)


def test_one_refused_object_blocks_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [objects.write(tmp_path, objects.ct(seed, study="s")) for seed in range(6)]
    report = objects.write(tmp_path, objects.sr())
    bad = files[1].stem
    with (
        storage_scp(
            answer=lambda uid: 0xC000 if uid == bad else 0x0122 if uid == report.stem else 0,
        ) as pacs,
        forwarding(tmp_path, [target(pacs.port)], monkeypatch=monkeypatch) as box,
    ):
        refused = box.put(report)
        uids = [box.put(path) for path in files]
        box.until_all([uid for uid in uids if uid != bad])
        box.until_all([refused], DeliveryState.REFUSED)
        assert "delivery-refused" in box.alarms()
        assert box.states()[bad] != [DeliveryState.REFUSED]  # an archive says C000 of a lock, too
        box.clock.run_at(3600)
        box.until_all([bad], DeliveryState.REFUSED)
        box.clock.advance(RETENTION * 2)
        later = box.put(objects.write(tmp_path, objects.ct(99, study="s")))
        box.until_all([later])
        assert box.instance_states(bad) == ["prepared"]


def test_objects_over_which_the_pacs_breaks_off_block_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve poisonous objects, each older than the good ones: more than are tried in a minute of an open circuit."""
    poison = [objects.write(tmp_path, objects.sr(seed, study="p")) for seed in range(12)]
    good = [objects.write(tmp_path, objects.ct(seed, study="g")) for seed in range(4)]
    wicked = {path.stem for path in poison}

    with (
        touchy_pacs(wicked) as (port, broken),
        forwarding(tmp_path, [target(port)], monkeypatch=monkeypatch) as box,
    ):
        for path in poison:
            box.put(path)
        box.clock.run_at(120)
        box.until(lambda: set(broken) == wicked, what="each was tried")
        uids = [box.put(path) for path in good]
        began = box.clock()
        box.until_all(uids)
        assert box.clock() - began < timedelta(minutes=10)
        assert {state for uid in wicked for state in box.states()[uid]} <= WAITING


def test_an_expected_refusal_alarms_nobody_and_is_purged_with_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = [one for one in STANDARD_STORAGE if one != BasicTextSRStorage]
    with (
        storage_scp(sop_classes=classes) as pacs,
        forwarding(
            tmp_path, [target(pacs.port, expect_refused=frozenset({str(BasicTextSRStorage)}))], monkeypatch=monkeypatch
        ) as box,
    ):
        uids = [box.put(objects.write(tmp_path, make())) for make in (objects.sr, objects.ct)]
        box.until_all(uids)
        assert not box.alarms()
        box.clock.advance(RETENTION + timedelta(minutes=1))
        box.until(lambda: box.files() == 0, what="the files are gone")
        assert [box.instance_states(uid) for uid in uids] == [["purged"]] * 2


def test_nothing_is_purged_before_it_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pacs = PacsSimulator()
    pacs.silent = True
    brief = target(lambda: to(pacs.port), confirm=Confirm.COMMITMENT, commitment_wait=timedelta(seconds=1))
    with (
        hosted(pacs),
        forwarding(tmp_path, [brief], monkeypatch=monkeypatch) as box,
    ):
        uid = box.put(objects.write(tmp_path, objects.ct()))
        box.until_all([uid], DeliveryState.SENT)
        box.until(lambda: pacs.commitments, what="commitment was asked for")
        box.clock.advance(timedelta(days=1))
        box.pass_time(timedelta(hours=20), seconds=1)
        assert (box.states()[uid], box.instance_states(uid)) == ([DeliveryState.SENT], ["prepared"])
        box.clock.advance(timedelta(days=2))
        box.until(lambda: pacs.held[uid].received == 2, what="no report: sent again")
        box.pass_time(RETENTION * 2, seconds=1)
        assert box.files() == 1
        pacs.silent = False
        box.clock.advance(timedelta(days=3))
        box.until_all([uid])
        assert box.files() == 1
        box.clock.advance(RETENTION - timedelta(minutes=5))
        box.pass_time(timedelta(minutes=4), seconds=1)
        assert box.files() == 1
        box.clock.advance(timedelta(minutes=2))
        box.until(lambda: box.files() == 0, what="the file is gone")
        assert box.instance_states(uid) == ["purged"]


def test_what_one_pacs_never_reports_on_hides_nothing_from_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("SENT_LIMIT", "AT_ONCE"):
        monkeypatch.setattr(confirming, limit, 2)
    silent, prompt = PacsSimulator(), PacsSimulator()
    silent.silent = True
    proof, short = {"confirm": Confirm.COMMITMENT}, timedelta(seconds=0.5)
    places = [
        target(lambda: to(silent.port), name=DestinationName("silent"), commitment_wait=short, **proof),
        target(lambda: to(prompt.port), name=DestinationName("prompt"), **proof),
    ]
    with hosted(silent), hosted(prompt), forwarding(tmp_path, places, monkeypatch=monkeypatch) as box:
        for number in range(1, 6):
            uid = box.put(objects.write(tmp_path, objects.ct(number)))
            box.until(lambda n=number: silent.commitments == n, what="commitment was asked for")  # type: ignore[misc]
            box.until(lambda uid=uid: DeliveryState.CONFIRMED in box.states()[uid], what="the other one's proof")  # type: ignore[misc]
        asked = silent.commitments, prompt.commitments
        box.pass_time(timedelta(minutes=30), seconds=1)
        assert (silent.commitments, prompt.commitments) == asked == (5, 5)


@pytest.mark.parametrize("confirm", [Confirm.COMMITMENT, Confirm.QUERY])
def test_proof_that_cannot_be_read_is_no_proof_and_no_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, confirm: Confirm
) -> None:
    pacs = PacsSimulator()
    pacs.damaged = True
    with (
        capture_logs() as logs,
        hosted(pacs),
        forwarding(tmp_path, [target(pacs.port, confirm=confirm)], monkeypatch=monkeypatch) as box,
    ):
        uid = box.put(objects.write(tmp_path, objects.ct(1)))
        box.until(lambda: "confirmation-refused" in box.alarms(), what="an alarm that proof can't be had")
        assert box.states()[uid] == [DeliveryState.SENT]
        pacs.damaged = False
        box.clock.run_at(600)
        box.until_all([uid])
    assert [entry for entry in logs if entry["event"] == "restarted after a fault"] == []


def test_a_scanner_that_may_not_ask_for_proof_keeps_it_from_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PACS knows CT1 alone; what CT2 sent is older, and asked for first."""
    pacs = PacsSimulator()
    way = Dimse(
        peer=lambda ae: to(pacs.port, called="PACS" if ae in {"", "CT1"} else "NOBODY"),
        as_scanner=False,
        commits_as_scanner=True,
        learned=Learned(keep=timedelta(hours=12), now=lambda: datetime.now(UTC)),
    )
    place = target(0, way=way, confirm=Confirm.COMMITMENT)
    with hosted(pacs), forwarding(tmp_path, [place], monkeypatch=monkeypatch) as box:
        refused = box.put(objects.write(tmp_path, objects.ct(0)), calling="CT2")
        box.until(lambda: "confirmation-refused" in box.alarms(), what="the PACS refused CT2")
        taken = box.put(objects.write(tmp_path, objects.ct(1)), calling="CT1")
        box.clock.run_at(60)
        box.until_all([taken])
        assert box.states()[refused] == [DeliveryState.SENT]
        assert "confirmation-refused" in box.alarms()


def test_an_object_that_meets_a_fault_of_ours_blocks_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [objects.write(tmp_path, objects.ct(seed, study="s")) for seed in range(4)]
    bad = files[0].stem
    real = dimse.send

    def faulty(
        requestor: Requestor,
        context: AcceptedContext,
        opened: Opened,
        *,
        meanwhile: Callable[[], None],
        allow: Callable[[int], int],
    ) -> int:
        if opened.instance.SOPInstanceUID == bad:
            raise RuntimeError("a fault nobody thought of")
        return real(requestor, context, opened, meanwhile=meanwhile, allow=allow)

    monkeypatch.setattr(dimse, "send", faulty)
    pacs = PacsSimulator()
    with hosted(pacs), forwarding(tmp_path, [target(pacs.port)], monkeypatch=monkeypatch) as box:
        uids = [box.put(path) for path in files]
        box.until_all([uid for uid in uids if uid != bad])
        monkeypatch.setattr(dimse, "send", real)
        box.clock.run_at(600)
        box.until_all([bad])
