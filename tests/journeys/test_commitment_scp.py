"""What a scanner is told of its storage commitment: what the PACS says, when it says it, and never by time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.dicom.commitment import NO_SUCH_INSTANCE, PROCESSING_FAILURE, SOP_CLASS_NOT_SUPPORTED
from gateway.domain.model import UID, AETitle, Confirm, DeliveryState, DestinationName, InstanceId
from gateway.roles.forward import Target
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator
from gateway.spool import commitments, instances
from gateway.spool.commitments import CommitmentState, Outcome, Referenced
from tests.journeys.forwarding import RETENTION, Forwarding, forwarding, target, to
from tests.peers import objects, pynetdicom_scu
from tests.peers.pynetdicom_scp import storage_scp

pytestmark = pytest.mark.slow

CT = UID("1.2.840.10008.5.1.4.1.1.2")
THEIRS, CT1 = UID("2.25.4711"), AETitle("CT1")
DAYS = timedelta(days=9)


def ask(box: Forwarding, uids: Sequence[str], sop_class: str = CT) -> None:
    """CT1 asks for these, as its N-ACTION would."""
    referenced = [Referenced(ReferencedSOPClassUID=UID(sop_class), ReferencedSOPInstanceUID=UID(uid)) for uid in uids]
    box.spool.db.write(
        lambda c: commitments.record_request(
            c, transaction_uid=THEIRS, scanner=CT1, referenced=referenced, now=box.clock()
        )
    ).result()


def told(box: Forwarding) -> Outcome | None:
    found = commitments.get_request(box.spool.db.read(), transaction_uid=THEIRS, scanner=CT1)
    assert found is not None
    assert (found.outcome is None) == (found.state is CommitmentState.OPEN)
    return found.outcome


def outcome(box: Forwarding) -> tuple[set[str], dict[str, int]]:
    box.until(lambda: told(box) is not None, what="the request is decided")
    decided = told(box)
    assert decided is not None
    kept = {one.ReferencedSOPInstanceUID for one in decided.succeeded}
    return kept, {one.ReferencedSOPInstanceUID: reason for one, reason in decided.failed}


def committing(pacs: PacsSimulator, name: str = "pacs") -> Target:
    return target(
        lambda: to(pacs.port),
        name=DestinationName(name),
        confirm=Confirm.COMMITMENT,
        commitment_wait=timedelta(seconds=1),
    )


def test_it_is_answered_only_when_every_instance_is_kept_however_long_that_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = PacsSimulator()
    with hosted(pacs) as host, forwarding(tmp_path, [committing(pacs)], monkeypatch=monkeypatch) as box:
        host.call(pacs.behave(PacsBehaviour.DOWN))
        uids = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(3)]
        ask(box, uids)
        box.pass_time(DAYS, seconds=2)
        assert told(box) is None
        pacs.silent = True
        host.call(pacs.behave(PacsBehaviour.UP))
        box.clock.run_at(60)
        box.until_all(uids, DeliveryState.SENT)
        box.until(lambda: pacs.commitments, what="the PACS is asked")
        assert told(box) is None
        pacs.silent = False
        box.clock.run_at(3600)
        assert outcome(box) == (set(uids), {})


def test_what_was_sent_before_there_was_a_gateway_is_passed_on_and_answered_as_the_pacs_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs, other = PacsSimulator(), PacsSimulator()
    old, lost = objects.ct(1), objects.ct(2)
    places = [committing(pacs), committing(other, "other")]
    with (
        hosted(pacs),
        hosted(other),
        forwarding(tmp_path, places, monkeypatch=monkeypatch) as box,
    ):
        pynetdicom_scu.send_verbatim(pacs.port, [objects.write(tmp_path / "old", old)], called="PACS")
        other.silent = True
        ask(box, [str(old.SOPInstanceUID), str(lost.SOPInstanceUID)])
        box.until(lambda: pacs.commitments and other.commitments, what="both are asked")
        box.pass_time(DAYS, seconds=1)
        assert told(box) is None  # the other may hold what this one does not
        other.silent = False
        box.clock.run_at(3600)
        assert outcome(box) == ({str(old.SOPInstanceUID)}, {str(lost.SOPInstanceUID): NO_SUCH_INSTANCE})


def test_what_comes_after_it_was_asked_for_counts_as_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pacs = PacsSimulator()
    late = objects.ct(1)
    with hosted(pacs), forwarding(tmp_path, [committing(pacs)], monkeypatch=monkeypatch) as box:
        pacs.silent = True
        ask(box, [str(late.SOPInstanceUID)])
        box.until(lambda: pacs.commitments, what="the PACS is asked")
        box.put(objects.write(tmp_path, late))
        pacs.silent = False
        box.clock.run_at(600)
        assert outcome(box) == ({str(late.SOPInstanceUID)}, {})


def test_where_nobody_can_be_asked_what_never_came_is_a_failure_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage_scp() as pacs, forwarding(tmp_path, [target(pacs.port)], monkeypatch=monkeypatch) as box:
        ask(box, ["2.25.1"])
        assert outcome(box) == (set(), {"2.25.1": NO_SUCH_INSTANCE})


def test_what_every_destination_refuses_as_expected_is_not_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = frozenset({str(CT)})
    with (
        storage_scp(answer=lambda _: 0x0122) as pacs,
        forwarding(tmp_path, [target(pacs.port, expect_refused=expected)], monkeypatch=monkeypatch) as box,
    ):
        uid = box.put(objects.write(tmp_path, objects.ct(1)))
        box.until_all([uid])
        ask(box, [uid])
        assert outcome(box) == (set(), {uid: SOP_CLASS_NOT_SUPPORTED})


def test_what_was_purged_is_promised_only_if_a_destination_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage_scp() as pacs, forwarding(tmp_path, [target(pacs.port)], monkeypatch=monkeypatch) as box:
        uid = box.put(objects.write(tmp_path, objects.ct(1)))
        box.until_all([uid])
        box.clock.advance(RETENTION + timedelta(hours=1))
        box.until(lambda: box.instance_states(uid) == ["purged"], what="it is purged")
        rejected = "2.25.77"
        (kept,) = instances.by_uid(box.spool.db.read(), UID(uid))
        # As a person's rejection leaves it: purged, and sent to nobody
        columns = [row[1] for row in box.spool.db.read().execute("PRAGMA table_info(instance)")]
        statement = (
            f"INSERT INTO instance ({', '.join(columns)}) SELECT "
            + ", ".join({"seq": "NULL", "id": ":id", "SOPInstanceUID": ":uid"}.get(name, name) for name in columns)
            + " FROM instance WHERE id = :kept"
        )
        values = {"id": InstanceId("f" * 22), "uid": rejected, "kept": kept.id}
        box.spool.db.write(lambda c: c.execute(statement, values).rowcount).result()
        ask(box, [uid, rejected])
        assert outcome(box) == ({uid}, {rejected: PROCESSING_FAILURE})
