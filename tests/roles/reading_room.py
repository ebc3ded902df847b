"""The check and its books without threads: orders come as HL7, images by the storage role, and a round is a call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gateway.dicom.association import AcceptedContext
from gateway.dicom.dimse import CommandField, CommandSet
from gateway.domain.identity_model import CheckPolicy
from gateway.domain.model import UID, DestinationName, Instance, InstanceState, Lane
from gateway.domain.task import Choice, Mode, Patience, Resend
from gateway.net.dicom_service import Caller
from gateway.roles.forward.check import Check
from gateway.roles.forward.judging import CheckRules
from gateway.roles.forward.preparing import Preparer
from gateway.roles.forward.reconciling import Reconciler
from gateway.roles.forward.routing import Policy, Router
from gateway.roles.storage import Storage
from gateway.spool import Spool, audit, checks, deliveries, instances, tasks
from gateway.spool.checks import StudyCheck, StudyKey
from gateway.spool.deliveries import Arrived
from gateway.spool.tasks import Task
from tests.peers import objects
from tests.peers.bundled import data_set_bytes
from tests.spool.objects import Clock, open_spool
from tests.spool.order_table import receive, sender

ZONE = ZoneInfo("Europe/Berlin")
PACS, ASIDE = DestinationName("pacs"), DestinationName("aside")
ADA = {
    "PatientID": "70011111",
    "PatientName": "Okafor-Lindqvist^Ada",
    "PatientBirthDate": "19800229",
    "PatientSex": "F",
}
BEN = {"PatientID": "70022222", "PatientName": "Orlov^Ben", "PatientBirthDate": "19510705", "PatientSex": "M"}
ORDER = objects.uid("ordered study")


def rules(**changes: Any) -> CheckRules:
    """The default rules of a site that has orders."""
    settings: dict[str, Any] = {
        "mode": Mode.APPLY,
        "policy": CheckPolicy(zone=ZONE),
        "patience": Patience(),
        "resend": Resend.PERSON,
        "expects_orders": True,
        "system": "GATEWAY",
    }
    return CheckRules(**{**settings, **changes})


@dataclass(slots=True)
class Room:
    """The box from the storage role to the queues."""

    folder: Path
    spool: Spool
    storage: Storage
    clock: Clock
    preparer: Preparer
    _messages: int = field(default=0)
    _images: int = field(default=0)

    # -- what comes --

    def order(
        self,
        patient: dict[str, str],
        accession: str,
        *,
        study: str = ORDER,
        at: str = "",
        charset: str = "8859/1",
        priority: str = "R",
        station: str = "",
    ) -> None:
        """An order message of now, for an examination of now."""
        stamp = f"{self.clock().astimezone(ZONE):%Y%m%d%H%M%S}"
        self._tell(
            "ORM^O01",
            self._patient(patient),
            f"ORC|NW|P{accession}^HIS|F{accession}^RIS||SC||1^once^^{at or stamp}^^{priority}||{stamp}"
            f"|||||||||{station}",
            f"OBR|1|P{accession}^HIS|F{accession}^RIS|CTHEAD^CT head^RIS|R|||||||||||||{accession}|RP{accession}"
            f"|SPS{accession}||||CT|||1^once^^{at or stamp}^^{priority}",
            f"ZDS|{study}^RIS^Application^DICOM",
            charset=charset,
        )

    def merge(self, old: dict[str, str], survivor: dict[str, str]) -> None:
        """Two numbers are one patient."""
        stamp = f"{self.clock().astimezone(ZONE):%Y%m%d%H%M%S}"
        self._tell("ADT^A40", f"EVN|A40|{stamp}", self._patient(survivor), f"MRG|{old['PatientID']}^^^HOSP^MR")

    def _patient(self, patient: dict[str, str]) -> str:
        name, birth, sex = patient["PatientName"], patient["PatientBirthDate"], patient["PatientSex"]
        return f"PID|1||{patient['PatientID']}^^^{patient.get('issuer', 'HOSP')}^MR||{name}||{birth}|{sex}"

    def _tell(self, kind: str, *segments: str, charset: str = "8859/1") -> None:
        self._messages += 1
        self.clock.pass_(seconds=1)
        stamp = f"{self.clock().astimezone(ZONE):%Y%m%d%H%M%S}"
        header = f"MSH|^~\\&|RIS|NORD|GW|CT|{stamp}||{kind}|M{self._messages}|P|2.3.1||||||{charset}"
        outcome = receive(self.spool, "\r".join([header, *segments, ""]).encode(), sender(), now=self.clock())
        assert outcome.code == "AA", outcome
        assert outcome.faults == (), outcome

    def image(self, *, study: str = ORDER, seed: int | None = None, calling: str = "CT1", **values: Any) -> Instance:
        """A CT image is received."""
        self._images += 1
        today = self.clock().astimezone(ZONE)
        times = {"StudyDate": f"{today:%Y%m%d}", "SeriesDate": f"{today:%Y%m%d}", "AcquisitionDate": f"{today:%Y%m%d}"}
        times |= {"ContentDate": f"{today:%Y%m%d}", "StudyTime": f"{today:%H%M%S}"}
        whole = objects.ct(seed if seed is not None else self._images, study=study)
        for keyword, value in {**times, "StudyInstanceUID": study, **values}.items():
            if value is None:
                delattr(whole, keyword)
            else:
                setattr(whole, keyword, value)
        path = objects.write(self.folder / "sent", whole)
        receiver = self.storage.begin_store(
            Caller(calling_ae=calling, called_ae="GATEWAY", address="127.0.0.1", association="a1"),
            AcceptedContext(id=1, abstract_syntax=whole.SOPClassUID, transfer_syntax=whole.file_meta.TransferSyntaxUID),
            CommandSet(
                CommandField=CommandField.C_STORE_RQ,
                AffectedSOPClassUID=whole.SOPClassUID,
                AffectedSOPInstanceUID=whole.SOPInstanceUID,
                MessageID=1,
                CommandDataSetType=1,
            ),
        )
        receiver.write([memoryview(data_set_bytes(path))])
        assert receiver.complete().result() == (0, "")
        for _ in range(10_000):  # the row follows the answer
            self.spool.db.write(lambda _: None, rebuildable=True).result()
            if found := instances.by_uid(self.spool.db.read(), UID(whole.SOPInstanceUID)):
                return found[-1]
        raise AssertionError("an image without a row")

    # -- what happens --

    def rounds(self) -> None:
        """Until there is nothing to do."""
        for _ in range(20):
            if not self.preparer.round():
                return
        raise AssertionError("the check never comes to rest")

    def deliver(self, confirmed: bool = True) -> int:
        """Everything queued arrives; how many."""
        sent = 0
        for destination in (PACS, ASIDE):
            claimed = self.spool.db.write(
                lambda c, to=destination: deliveries.claim(
                    c, destination=to, lane=Lane.ROUTINE, now=self.clock(), lease=timedelta(minutes=5), limit=1000
                )
            ).result()
            arrived = [Arrived(delivery=one, status="0000", at=self.clock()) for one in claimed]
            self.spool.db.write(lambda c, these=arrived: deliveries.settle_sent(c, these, by="test")).result()
            if confirmed:
                ids = [one.id for one in claimed]
                self.spool.db.write(
                    lambda c, these=ids: deliveries.settle_confirmed(
                        c, these, now=self.clock(), by="test", why="commitment"
                    )
                ).result()
            sent += len(claimed)
        return sent

    def decide(self, choice: Choice, study: str = ORDER, *, remember: bool = False, **target: str) -> None:
        """A person decides, and it is carried out."""
        self.spool.db.write(
            lambda c: tasks.decide(
                c, StudyKey(study), choice, target=target, remember=remember, why="test", by="ada", now=self.clock()
            )
        ).result()
        self.rounds()

    # -- what stands --

    def state(self, instance: Instance) -> tuple[InstanceState, str]:
        found = instances.get(self.spool.db.read(), instance.id)
        assert found is not None
        return found.state, found.held

    def check(self, study: str = ORDER) -> StudyCheck:
        found = checks.of_study(self.spool.db.read(), StudyKey(study))
        assert found is not None
        return found

    def edits(self, instance: Instance) -> str:
        return checks.outgoing(self.spool.db.read(), instance.id).edits

    def open_tasks(self) -> list[Task]:
        return tasks.latest(self.spool.db.read(), every=False, limit=100)

    def kinds(self) -> list[str]:
        return [one.kind.value for one in self.open_tasks()]

    def queues(self, instance: Instance) -> list[tuple[str, str]]:
        found = deliveries.of_instance(self.spool.db.read(), instance.id)
        return [(one.destination, one.state.value) for one in found]

    def alarms(self) -> list[str]:
        return [one.code for one in audit.active_alarms(self.spool.db.read())]


@contextmanager
def reading_room(folder: Path, settings: CheckRules | None = None) -> Iterator[Room]:
    """A box with one PACS and a route for what can't be verified."""
    clock = Clock()
    spool = open_spool(folder / "state", clock)
    settings = settings or rules()
    check = Check(spool, settings, now=clock)
    router = Router(
        Policy(
            default=(PACS,),
            rules=(),
            lanes_of={PACS: tuple(Lane), ASIDE: tuple(Lane)},
            urgency=lambda _: None,
            unverified=ASIDE,
        ),
        lambda one: spool.files.path_of(one.id),
    )
    reconciler = Reconciler(spool, check, settings, now=clock)
    storage = Storage(spool, spool.accepting(), object_max=1 << 30, now=clock, received=lambda: None)
    try:
        yield Room(
            folder=folder,
            spool=spool,
            storage=storage,
            clock=clock,
            preparer=Preparer(spool, check, reconciler, router, now=clock, prepared=lambda: None),
        )
    finally:
        spool.close()
