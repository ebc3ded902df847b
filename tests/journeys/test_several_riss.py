"""Three RISs behind one gateway, two simulated and DCMTK's: one after the other fails in every way it can.

Whatever one of them does, the scanner gets the rows of all in time, none is lost, and the failure is in the books.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.config.sections import Ris
from gateway.config.values import parse_duration
from gateway.dicom.elements import DataSet, Element
from gateway.roles.worklist.sources import LISTEN, PROBE_LOOK, SILENCE
from gateway.simulate.acceptor import Host, hosted
from gateway.simulate.ris import RisBehaviour, RisSimulator, sample_row
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import dcmtk, needs, objects, pynetdicom_scu
from tests.peers.processes import Program, free_port

pytestmark = [pytest.mark.slow, needs.dcmtk]

BOUND = 10.0
"""Seconds a scanner may wait: the deadline of half a second, twenty times."""
TIMEOUT = "4s"
"""How long a RIS may be silent before we give it up: longer than until its silence is written down."""
PATIENT_ID = 0x00100020


def rows_of(*numbers: int) -> list[DataSet]:
    today = datetime.now(UTC).date()
    return [sample_row(today, "CT", "CT1", number) for number in numbers]


@dataclass(slots=True, kw_only=True)
class Site:
    """A gateway, its RISs, and what a scanner sees."""

    box: Gateway
    host: Host
    first: RisSimulator
    second: RisSimulator
    real: Program | None = None

    def find(self, **keys: object) -> tuple[int, list[str]]:
        """The final status and the Patient IDs answered."""
        began = time.monotonic()
        query = pynetdicom_scu.worklist_query(**keys)
        found = pynetdicom_scu.find_worklist(self.box.port, query, called="GATEWAY_MWL", calling="CT1")
        assert time.monotonic() - began < BOUND
        return found.status, sorted(str(row.PatientID) for row in found.rows)

    def error(self, name: str) -> str:
        rows = self.box.rows("SELECT last_error FROM worklist_source WHERE name = :name", name=name)
        return str(rows[0]["last_error"]) if rows else "never asked"

    def until_well(self) -> None:
        """All that a test did not end for good: which tests run behind it, pytest-xdist decides."""
        names = ("first", "second", *(["real"] if self.real and self.real.running else []))
        self.box.until(lambda: all(not self.error(name) for name in names), what="every RIS answers")

    def until_shown(self, shown: Callable[[list[str]], bool], *, what: str) -> None:
        self.box.until(lambda: shown(self.find()[1]), what=what)


def worklist(mode: str) -> str:
    """Where there is no copy the RISs have as long as a slow machine needs: one that is gone is known at once."""
    deadline = "5s" if mode == "live" else "500ms"
    return f'mode = "{mode}", deadline = "{deadline}", fresh_for = "1s", max_stale = "24h"'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, port = tmp_path_factory.mktemp("several"), free_port()
    today = f"{datetime.now(UTC):%Y%m%d}"
    first, second = RisSimulator(rows=rows_of(0, 1, 2, 3)), RisSimulator(rows=rows_of(10, 11, 12, 13))
    real_rows = {"RIS": [objects.scheduled(n, start=today) for n in range(3)]}
    with hosted(first, second) as host, dcmtk.wlmscpfs(folder / "ris", port, worklist=real_rows) as real:
        names = {"first": first.port, "second": second.port, "real": port}
        riss = [From(port=port, name=name, timeout=TIMEOUT) for name, port in names.items()]
        with gateway(folder / "gw", ris=riss, worklist=worklist("merge")) as box:
            site = Site(box=box, host=host, first=first, second=second, real=real)
            site.until_shown(lambda ids: len(ids) == 11, what="the rows of all three")
            yield site


@pytest.mark.parametrize("behaviour", [*sorted(set(RisBehaviour) - {RisBehaviour.ANSWER}), "killed"])
def test_a_ris_that_fails_takes_no_row_with_it(site: Site, behaviour: RisBehaviour | str) -> None:
    site.until_well()
    before = site.find()[1]
    assert len(before) == 11
    if behaviour == "killed":
        site.host.call(site.second.stop())
    else:
        site.second.behaviour = RisBehaviour(behaviour)
    try:
        site.box.until(lambda: site.error("second"), what="the failure is in the books")
        for _ in range(3):
            assert site.find() == (0, before)
            assert site.find(PatientID="NOBODY") == (0, [])
        site.box.until(lambda: not site.error("first"), what="nothing is said of the other")
    finally:
        site.host.call(site.second.start())
        site.second.behaviour = RisBehaviour.ANSWER


def test_the_real_one_hangs_and_dies(site: Site) -> None:
    site.until_well()
    before = site.find()[1]
    assert site.real is not None
    site.real.hang()
    site.box.until(lambda: site.error("real"), what="its silence is in the books")
    assert site.find() == (0, before)
    site.real.kill()
    site.box.until(lambda: site.error("real") == "connect", what="its end is in the books")
    assert site.find() == (0, before)


@pytest.fixture(scope="module")
def unasked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two RISs whose next refresh is far off; no scanner asks."""
    folder, port = tmp_path_factory.mktemp("unasked"), free_port()
    first, second = RisSimulator(rows=rows_of(0, 1)), RisSimulator(rows=rows_of(10, 11))
    second.delay = 4.0
    real_rows = {"RIS": [objects.scheduled(0, start=f"{datetime.now(UTC):%Y%m%d}")]}
    with hosted(first, second) as host, dcmtk.wlmscpfs(folder / "ris", port, worklist=real_rows) as real:
        names = {"first": first.port, "second": second.port, "real": port}
        riss = [
            From(port=port, name=name, timeout=TIMEOUT, refresh="1h", more='probe = "500ms"')
            for name, port in names.items()
        ]
        with gateway(folder / "gw", ris=riss) as box:
            site = Site(box=box, host=host, first=first, second=second, real=real)
            site.until_well()
            yield site


@pytest.mark.parametrize("behaviour", [*sorted(set(RisBehaviour) - {RisBehaviour.ANSWER}), "killed"])
def test_a_ris_that_fails_while_nobody_asks_shows_and_so_does_its_return(
    unasked: Site, behaviour: RisBehaviour | str
) -> None:
    unasked.until_well()
    if behaviour == "killed":
        unasked.host.call(unasked.second.stop())
    else:
        unasked.second.behaviour = RisBehaviour(behaviour)
    try:
        unasked.box.until(lambda: unasked.error("second"), what="the failure is in the books")
        unasked.box.until(lambda: not unasked.error("first"), what="nothing is said of the other")
    finally:
        unasked.host.call(unasked.second.start())
        unasked.second.behaviour = RisBehaviour.ANSWER
    unasked.until_well()
    copied = unasked.box.rows("SELECT source, PatientID FROM worklist_row")
    assert len(copied) == 5


def test_the_real_one_hangs_and_dies_while_nobody_asks(unasked: Site) -> None:
    unasked.until_well()
    assert unasked.real is not None
    unasked.real.hang()
    unasked.box.until(lambda: unasked.error("real") == "silence", what="its silence is in the books")
    unasked.real.wake()
    unasked.until_well()
    unasked.real.kill()
    unasked.box.until(lambda: unasked.error("real") == "connect", what="its end is in the books")


def test_by_default_a_failure_is_known_within_five_seconds() -> None:
    (probe,) = [key.default for name, key in Ris.model_fields.items() if name == "probe"]
    assert parse_duration(probe).total_seconds() + PROBE_LOOK + SILENCE + LISTEN < 5


@pytest.fixture
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    first, second = RisSimulator(rows=rows_of(0, 1)), RisSimulator(rows=rows_of(10, 11))
    mode = getattr(request, "param", "merge")
    with hosted(first, second) as host:
        riss = [From(port=one.port, name=name, timeout=TIMEOUT) for name, one in (("first", first), ("second", second))]
        with gateway(tmp_path / "gw", ris=riss, worklist=worklist(mode)) as box:
            site = Site(box=box, host=host, first=first, second=second)
            site.until_shown(lambda ids: len(ids) == 4, what="the rows of both")
            yield site


def test_a_step_of_two_riss_is_shown_once_and_stays_while_one_confirms_it(pair: Site) -> None:
    pair.second.rows = [*rows_of(10, 11), *rows_of(0)]
    copies = "SELECT source FROM worklist_row WHERE PatientID = :id ORDER BY source"
    shared = pair.find()[1][0]
    pair.box.until(lambda: len(pair.box.rows(copies, id=shared)) == 2, what="both have it")
    assert pair.find()[1].count(shared) == 1
    pair.first.rows = rows_of(1)
    pair.box.until(lambda: len(pair.box.rows(copies, id=shared)) == 1, what="the first has it no more")
    assert pair.find()[1].count(shared) == 1
    assert "worklist-conflict" not in pair.box.alarms()


def test_a_step_for_two_patients_shows_both_and_raises_an_alarm(pair: Site) -> None:
    (row,) = rows_of(0)
    pair.second.rows = [*rows_of(10, 11), {**row, PATIENT_ID: Element("LO", b"SOMEONE ELSE")}]
    pair.until_shown(lambda ids: "SOMEONE ELSE" in ids, what="the second patient")
    assert len(pair.find()[1]) == 5
    pair.box.until_alarm("worklist-conflict")


@pytest.mark.parametrize("pair", ["live"], indirect=True)
def test_live_means_from_the_riss_alone(pair: Site) -> None:
    mine = pair.find()[1]
    pair.host.call(pair.second.stop())
    pair.until_shown(lambda ids: len(ids) == 2, what="the rows of the one that answers, and no copy")
    assert set(pair.find()[1]) < set(mine)
    pair.host.call(pair.first.stop())
    pair.box.until(lambda: pair.find() == (0xC001, []), what="no RIS answers, and no empty list says otherwise")


def test_an_answer_longer_than_we_read_is_called_no_whole_one(tmp_path: Path) -> None:
    first, second = RisSimulator(rows=rows_of(0, 1, 2)), RisSimulator(rows=rows_of(10))
    with hosted(first, second) as host:
        riss = [From(port=first.port, name="first", rows_max=2), From(port=second.port, name="second")]
        with gateway(tmp_path / "gw", ris=riss, worklist=worklist("merge")) as box:
            site = Site(box=box, host=host, first=first, second=second)
            box.until(lambda: site.error("first") == "limit", what="that it has more is in the books")
            site.until_shown(lambda ids: len(ids) == 3, what="two of it, and that of the other")
