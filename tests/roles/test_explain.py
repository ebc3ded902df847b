"""Every way in which a row can be missing, each through the real door: a scanner asks by DICOM, does not get
the row, and `gateway worklist explain` names the stage that took it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from gateway.domain.explain import Stage
from gateway.domain.merge import Kind
from gateway.domain.model import SourceName
from gateway.domain.profile import Profile
from gateway.domain.worklist import DataSet, Element
from gateway.net.dicom_client import Peer
from gateway.roles.worklist import Upstream
from gateway.roles.worklist.rows import validated
from gateway.simulate.acceptor import hosted
from gateway.simulate.ris import RisSimulator
from gateway.spool import worklist
from tests.cli.site import Site
from tests.domain.rows import row
from tests.peers import pynetdicom_scu
from tests.roles.worklist_front import MAIN, Front, answered

ORDER = ("--accession", "A1")
PID, ACC, UID, NAME, COMMENTS = "_00100020", "_00080050", "_0020000D", "_00100010", "_00401400"


@dataclass(slots=True)
class Scene:
    """A site, and a scanner in front of it."""

    site: Site
    front: Front

    def ask(self, **keys: object) -> list[str]:
        """The accession numbers that CT1 is answered."""
        query = pynetdicom_scu.worklist_query(**keys)
        found = pynetdicom_scu.find_worklist(self.front.port, query, called="BOX", calling="CT1")
        self.site.write(lambda _: None)  # what was asked is written behind the answer: after this it is
        return [str(one.AccessionNumber) for one in found.rows]

    def explained(self, *order: str) -> tuple[str | None, dict[str, object]]:
        """The stage of the first explanation, and all of it."""
        first = self.site.json("worklist", "explain", "--aet", "ct1", *(order or ORDER))["rows"][0]
        return first["stage"], first

    def order(self, step: dict[str, str] | None = None, /, **top: str) -> DataSet:
        """The order in question, today at CT1."""
        day = f"{self.site.clock():%Y%m%d}"
        usual = {"_00400001": "CT1", "_00400002": day, "_00400003": "080000"}
        return row({**usual, **(step or {})}, **{ACC: "A1", **top})


@pytest.fixture
def scene(site: Site) -> Iterator[Scene]:
    with standing(site) as made:
        yield made


@contextmanager
def standing(
    site: Site, *, upstreams: Sequence[Upstream] = (), profile: Profile | None = None, live: bool = False
) -> Iterator[Scene]:
    front = Front(site, upstreams=upstreams, profile=profile, live=live)
    with hosted(front):
        yield Scene(site, front)


@pytest.fixture
def site(tmp_path: object) -> Iterator[Site]:
    made = Site(tmp_path)  # type: ignore[arg-type]
    yield made
    made.close()


def upstream(port: int) -> Upstream:
    """A RIS that is asked when a scanner asks, and at no other time."""
    peer = Peer(host="127.0.0.1", port=port, called_ae="RIS", calling_ae="BOX", connect_timeout=5.0, timeout=20.0)
    return Upstream(
        name=MAIN,
        peer=lambda _: peer,
        refresh=timedelta(hours=1),
        past=timedelta(days=1),
        ahead=timedelta(days=7),
        most_rows=1000,
        probe=timedelta(),
    )


def told(scene: Scene, stage: Stage, *words: str) -> None:
    """The row is missing, and this is said to be why; what is said tells nothing of the patient."""
    found, whole = scene.explained()
    assert found == stage, whole
    text = json.dumps(whole)
    for word in words:
        assert word in text
    for secret in ("PID1", "A1", "ller", "1.2.3"):
        assert secret not in text
    plain = scene.site.run("worklist", "explain", "--aet", "CT1", *ORDER)
    assert plain.exit_code == 1
    assert stage in plain.stdout


def test_a_row_that_is_shown_is_said_to_be(scene: Scene) -> None:
    answered(scene.site, scene.order())
    assert scene.ask() == ["A1"]
    stage, whole = scene.explained()
    assert (stage, whole["reasons"], whole["source"]) == (None, [], "main")
    assert datetime.fromisoformat(str(whole["shown_at"])) == scene.site.clock()
    for order in (("--patient", "PID1"), ("--study", "1.2.3"), (*ORDER, "--patient", "PID1")):
        assert scene.explained(*order)[0] is None
    plain = scene.site.run("worklist", "explain", "--aet", "CT1", *ORDER)
    assert plain.exit_code == 0
    assert "The scanner is shown it." in plain.stdout


def test_a_row_that_came_by_the_very_question_is_said_to_be_shown(site: Site) -> None:
    """The RIS is asked while the scanner waits: the row is in the copy a moment after the scanner asked."""

    def rows() -> list[DataSet]:
        site.clock.pass_(microseconds=300)
        return [scene.order({"_00400001": "CT2"})]

    ris = RisSimulator(rows=rows)
    with hosted(ris), standing(site, upstreams=[upstream(ris.port)]) as scene:
        assert scene.ask() == ["A1"]
        assert scene.explained()[0] is None
        assert scene.ask(ScheduledStationAETitle="CT1") == []
        assert scene.explained()[0] is None


def test_1_not_ordered(scene: Scene) -> None:
    answered(scene.site, scene.order(**{ACC: "OTHER"}))
    assert scene.ask(AccessionNumber="A1") == []
    told(scene, Stage.NOT_ORDERED, "No RIS has sent this order")


def test_2_a_silent_ris(scene: Scene) -> None:
    answered(scene.site, scene.order(**{ACC: "OTHER"}))
    scene.site.write(partial(worklist.record_failure, source=MAIN, error="connect", now=scene.site.clock()))
    assert scene.ask(AccessionNumber="A1") == []
    told(scene, Stage.RIS_SILENT, "main does not answer")


@pytest.mark.parametrize("why", ["absent", "expired", "done"])
def test_3_removed(scene: Scene, why: str) -> None:
    scene.site.clock.pass_(days=-3)
    tomorrow = f"{scene.site.clock() + timedelta(days=4):%Y%m%d}"
    step = {"_00400002": tomorrow, "_00400020": "COMPLETED"} if why == "done" else {}
    answered(scene.site, scene.order(step))
    scene.site.clock.pass_(days=3)
    other = scene.order(**{ACC: "OTHER", UID: "1.2.9"})
    if why == "absent":
        answered(scene.site, other)
        answered(scene.site, other)
    else:
        answered(scene.site, other, whole=False)
        scene.site.write(scene.front.worklist._expire)
    assert scene.ask() == ["OTHER"]
    words = {
        "absent": "left it out of two whole answers",
        "expired": "Its day was over",
        "done": "is done or cancelled",
    }
    told(scene, Stage.REMOVED, words[why])


@pytest.mark.parametrize("why", ["never", "not since"])
def test_4_not_asked(scene: Scene, why: str) -> None:
    scene.site.clock.pass_(minutes=-5)
    if why == "not since":
        assert scene.ask() == []
    scene.site.clock.pass_(minutes=5)
    answered(scene.site, scene.order())
    told(
        scene,
        Stage.NOT_ASKED,
        "has not asked for a worklist" if why == "never" else "has not asked since this row came",
    )


def test_4_turned_away(scene: Scene) -> None:
    answered(scene.site, scene.order())
    query = pynetdicom_scu.worklist_query()
    assert pynetdicom_scu.find_worklist(scene.front.port, query, called="BOX", calling="XA9").status is None
    scene.site.write(lambda _: None)
    (told_of,) = scene.site.json("worklist", "explain", "--aet", "XA9", *ORDER)["rows"]
    assert told_of["stage"] == Stage.NOT_ASKED
    assert told_of["reasons"][0]["cause"] == "XA9 is turned away when it calls (calling-ae-unknown)."
    assert told_of["reasons"][0]["next_step"] == "If it is yours: gateway peers add 'XA9'"


def test_5_too_old_to_be_served(scene: Scene) -> None:
    scene.site.clock.pass_(hours=-30)
    answered(scene.site, scene.order())
    assert scene.ask() == ["A1"]
    scene.site.clock.pass_(hours=30)
    assert scene.ask() == []
    told(scene, Stage.STALE, "main confirmed it last 1 d ago")


def test_6_a_cancellation_stands_before_it(scene: Scene) -> None:
    scene.site.clock.pass_(minutes=-2)
    answered(scene.site, scene.order())
    assert scene.ask() == ["A1"]
    (order,) = validated(SourceName("orders"), scene.order({"_00400020": "CANCELED"}))[0].values()
    cancelled = replace(order, kind=Kind.HL7, stamp=scene.site.clock())
    scene.site.write(partial(worklist.merge_answer, source=order.source, rows=[cancelled], now=scene.site.clock()))
    scene.site.clock.pass_(minutes=2)
    assert scene.ask() == []
    stages = {
        row["source"]: row["stage"] for row in scene.site.json("worklist", "explain", "--aet", "CT1", *ORDER)["rows"]
    }
    assert stages == {"main": Stage.CONFLICT, "orders": Stage.STATUS}


def test_2_a_silent_ris_of_a_scanner_that_is_answered_live(site: Site) -> None:
    site.config.write_text(site.config.read_text().replace('ae = "CT1"', 'ae = "CT1"\nworklist = { mode = "live" }'))
    with standing(site, live=True) as scene:
        answered(site, scene.order())
        assert scene.ask() == []
        told(scene, Stage.RIS_SILENT, "main did not answer this very question", "answered live")


def test_7_another_station(scene: Scene) -> None:
    answered(scene.site, scene.order({"_00400001": "CT2"}))
    assert scene.ask(ScheduledStationAETitle="CT1") == []
    told(scene, Stage.STATION, "scheduled for CT2")


@pytest.mark.parametrize(
    "keys", [{"ScheduledProcedureStepStartDate": "20010101"}, {"ScheduledProcedureStepStartTime": "1000-1200"}]
)
def test_8_another_day_or_hour(scene: Scene, keys: dict[str, str]) -> None:
    answered(scene.site, scene.order())
    assert scene.ask(**keys) == []
    told(scene, Stage.DATE, f"scheduled for {scene.site.clock():%Y-%m-%d} 08:00")


def test_9_another_key(scene: Scene) -> None:
    answered(scene.site, scene.order())
    assert scene.ask(PatientID="PID2") == []
    told(scene, Stage.KEY, "PatientID")
    assert scene.ask(Modality="MR", ScheduledStationAETitle="CT9") == []
    assert [reason["stage"] for reason in scene.explained()[1]["reasons"]] == ["key"]  # the question that came nearest
    scene.site.clock.pass_(minutes=2)
    assert scene.ask() == ["A1"]
    assert scene.explained()[0] is None


def test_10_a_character_set_that_is_not_what_it_says(scene: Scene) -> None:
    bad = {
        **scene.order(),
        0x00080005: Element("CS", b"ISO_IR 192"),
        0x00100010: Element("PN", "Иванов".encode("cp1251")),
    }
    answered(scene.site, bad)
    assert scene.ask(SpecificCharacterSet="ISO_IR 192", PatientName="Иванов*") == []
    told(scene, Stage.CHARACTER_SET, "no text of the character set")


@pytest.mark.parametrize("state", ["COMPLETED", "DISCONTINUED", "CANCELED", "HELD"])
def test_11_a_state_that_is_hidden(scene: Scene, state: str) -> None:
    answered(scene.site, scene.order({"_00400020": state}))
    assert scene.ask() == []
    told(scene, Stage.STATUS, "done, cancelled or held")


def test_12_over_the_limit(site: Site) -> None:
    with standing(site, profile=Profile(max_answers=2)) as scene:
        near = [
            scene.order({"_00400003": f"{site.clock():%H%M%S}"}, **{ACC: f"N{n}", UID: f"1.9.{n}"}) for n in range(2)
        ]
        day = f"{site.clock() + timedelta(days=2):%Y%m%d}"
        answered(site, *near, scene.order({"_00400002": day}))
        assert sorted(scene.ask()) == ["N0", "N1"]
        told(scene, Stage.LIMIT, "1 row", "left out")


def test_12_the_scanner_broke_off(scene: Scene) -> None:
    """C-CANCEL after the third row of a long answer: what did not go out any more was over what the scanner took."""
    # More megabytes than the kernel takes off the hands of a server whose peer reads little
    steps = {f"N{n:03}": f"1.9.{n}" for n in range(600)}
    comments = "x" * 10_000
    orders = (scene.order(**{ACC: number, UID: uid, COMMENTS: comments}) for number, uid in steps.items())
    answered(scene.site, *orders)
    query = pynetdicom_scu.worklist_query(RequestedProcedureComments="")
    found = pynetdicom_scu.find_worklist(scene.front.port, query, called="BOX", calling="CT1", cancel_after=3)
    assert found.status == 0xFE00
    scene.site.write(lambda _: None)
    shown = {str(one.AccessionNumber) for one in found.rows}
    missing = min(set(steps) - shown)
    stage, whole = scene.explained("--accession", missing)
    assert (stage, whole["shown_at"]) == (Stage.LIMIT, None), whole
    assert scene.explained("--accession", min(shown))[0] is None


def test_every_stage_is_tested_here() -> None:
    tested = re.findall(r"Stage\.([A-Z_]+)", Path(__file__).read_text())
    elsewhere = {"PERFORMED"}  # test_worklist_performed
    assert set(tested) | elsewhere == {stage.name for stage in Stage}


def test_the_command_needs_an_order_and_a_scanner(scene: Scene) -> None:
    assert scene.site.spool.db.broken == ""
    done = scene.site.run("worklist", "explain", "--aet", "CT1")
    assert done.exit_code == 2
    assert "--accession, --patient or --study" in done.stderr
