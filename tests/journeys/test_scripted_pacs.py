"""A PACS that does what PACS do: the right class of outcome for each, and one bad object never holds up the others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import BasicTextSRStorage

from gateway.domain.model import Confirm, DeliveryState, Lane
from gateway.simulate.acceptor import hosted
from gateway.simulate.pacs import PacsBehaviour, PacsSimulator, ReportTo
from tests.journeys.forwarding import forwarding, target, to
from tests.journeys.gateway_process import SCANNERS, To, gateway
from tests.peers import objects
from tests.peers.processes import HOST, free_port

pytestmark = pytest.mark.slow

DONE = {DeliveryState.CONFIRMED}
WAITING = {DeliveryState.QUEUED, DeliveryState.SENDING}
PROMPT = {"retry_base": timedelta(seconds=5), "retry_cap": timedelta(minutes=5)}


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (PacsBehaviour.REFUSE, "A700"),
        (PacsBehaviour.FAIL, "C000"),
        (PacsBehaviour.WARN, "B000"),
        (PacsBehaviour.ABORT, "abort"),
        (PacsBehaviour.ABORT_MIDWAY, "abort"),
        (PacsBehaviour.HANG, "silence"),
        (PacsBehaviour.DROP_RESPONSE, "abort"),
    ],
)
def test_what_it_does_to_one_object_is_that_object_s_matter(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: PacsBehaviour,
    status: str,
) -> None:
    files = [objects.write(tmp_path, objects.ct(seed, study="s")) for seed in range(6)]
    bad = files[0].stem
    pacs = PacsSimulator()
    pacs.script[bad] = behaviour
    patience = 4 if behaviour is PacsBehaviour.HANG else 60
    brief = target(lambda: to(pacs.port, timeout=patience), lanes=(Lane.ROUTINE,), **PROMPT)
    with hosted(pacs), forwarding(tmp_path, [brief], monkeypatch=monkeypatch) as box:
        uids = [box.put(path) for path in files]
        box.clock.run_at(20)
        box.until_all([uid for uid in uids if uid != bad])
        box.until(lambda: box.statuses(bad), what="it came to something")
        assert box.statuses(bad) == status
        expected = DONE if behaviour is PacsBehaviour.WARN else WAITING
        assert set(box.states()[bad]) <= expected
        assert "delivery-refused" not in box.alarms()
        pacs.script.clear()
        box.until_all(uids)
        # What was tried again came as it was; nothing came twice but what the PACS took without a word
        twice = {uid: held.received for uid, held in pacs.held.items() if held.received > 1}
        assert set(twice) <= ({bad} if behaviour is PacsBehaviour.DROP_RESPONSE else set())


def test_a_class_that_is_refused_is_refused_alone_and_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = PacsSimulator()
    pacs.refused_classes = {str(BasicTextSRStorage)}
    with hosted(pacs), forwarding(tmp_path, [target(lambda: to(pacs.port))], monkeypatch=monkeypatch) as box:
        report = box.put(objects.write(tmp_path, objects.sr()))
        uids = [box.put(objects.write(tmp_path, objects.ct(seed))) for seed in range(4)]
        box.until_all(uids)
        box.until_all([report], DeliveryState.REFUSED)
        assert box.statuses(report) == "context-refused"
        assert box.alarms() == {"delivery-refused"}
        pacs.refused_classes.clear()
        box.requeue(report)
        box.until_all([report])


@pytest.mark.parametrize("late", [False, True])
def test_commitment_that_fails_is_of_the_object_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    pacs = PacsSimulator()
    pacs.commitment_seconds = 1.0 if late else 0.0
    committing = target(lambda: to(pacs.port), confirm=Confirm.COMMITMENT, lanes=(Lane.ROUTINE,), **PROMPT)
    with hosted(pacs), forwarding(tmp_path, [committing], monkeypatch=monkeypatch) as box:
        files = [objects.write(tmp_path, objects.ct(seed)) for seed in range(4)]
        bad = files[1].stem
        pacs.fail.add(bad)
        uids = [box.put(path) for path in files]
        box.until_all([uid for uid in uids if uid != bad])
        box.until(lambda: "not-committed" in box.alarms(), what="the failure is told")
        box.until(lambda: pacs.held[bad].received > 1, what="it is sent again")
        assert box.states()[bad] != [DeliveryState.CONFIRMED]
        pacs.fail.clear()
        box.clock.run_at(60)
        box.until_all(uids)
        box.until(lambda: not box.alarms(), what="the alarm is cleared")


@pytest.mark.parametrize("returns", ["any", "listener"])
def test_commitment_comes_on_an_association_of_its_own_from_anywhere(tmp_path: Path, returns: str) -> None:
    """The report is matched by its Transaction UID: who reports has another AE title than the one that was asked."""
    listen = free_port()
    pacs = PacsSimulator(report_to=ReportTo(host=HOST, port=listen, ae="GATEWAY"))
    pacs.commitment_seconds = 0.5
    pacs.reports_as = "CLUSTER2"
    with (
        hosted(pacs),
        gateway(
            tmp_path,
            port=listen,
            to=[To(port=pacs.port, confirm="commitment", more=f'commitment_return = "{returns}"')],
            scanners=[*SCANNERS, "CLUSTER2"],
        ) as box,
    ):
        files = [objects.write(tmp_path / "in", objects.ct(seed)) for seed in range(3)]
        box.send(files)
        box.until_confirmed([path.stem for path in files])
        assert {row["state"] for row in box.rows("SELECT state FROM commitment_transaction")} == {"settled"}
        assert not box.alarms()
