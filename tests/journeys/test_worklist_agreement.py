"""The table of worklist queries, asked by DCMTK's findscu of the box and of wlmscpfs that hold the same rows.

Where the two differ, the table says so and gives the clause of the standard; a difference that it doesn't
know fails, and so does one that is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.dicom import elements
from gateway.dicom.elements import Element
from tests.domain import worklist_table
from tests.domain.worklist_table import HIDDEN, Case
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import dcmtk, needs, pynetdicom_scp
from tests.peers.dcmtk import Found

pytestmark = [pytest.mark.slow, needs.dcmtk]

TODAY = datetime.now(UTC).date()
CASES = list(worklist_table.cases())
QUERIES = [worklist_table.identifier(case.query, today=TODAY) for case in CASES]
ROWS = {
    letter: elements.encode(worklist_table.row(letter, today=TODAY), elements.EXPLICIT_LITTLE)
    for letter in worklist_table.letters()
}
LETTER_OF = {worklist_table.uid_of(letter): letter for letter in ROWS}
COPY = 'mode = "copy", deadline = "1s", fresh_for = "1h", max_stale = "24h"'


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that has every row from a RIS which ignores all keys."""
    rows = [dcmread(BytesIO(dcmtk.part10(row))) for row in ROWS.values()]
    with (
        pynetdicom_scp.worklist_scp(rows=rows) as ris,
        gateway(tmp_path_factory.mktemp("gw"), ris=[From(port=ris.port)], worklist=COPY) as box,
    ):
        box.until(lambda: len(box.rows("SELECT * FROM worklist_row")) == len(ROWS), what="the copy is filled")
        yield box


def _asked(port: int, folder: Path, called: str) -> list[tuple[Case, Found, frozenset[str]]]:
    """Every case with what was answered, as letters."""
    identifiers = [
        elements.encode(dict(sorted({0x0020000D: Element("UI", b""), **query}.items())), elements.EXPLICIT_LITTLE)
        for query in QUERIES
    ]
    answers = dcmtk.find_each(port, identifiers, folder=folder, called=called, calling="CT1")
    found = [frozenset(LETTER_OF[uid] for uid in answer.StudyInstanceUIDs) for answer in answers]
    assert all(len(answer.StudyInstanceUIDs) == len(rows) for answer, rows in zip(answers, found, strict=True))
    return list(zip(CASES, answers, found, strict=True))


def test_the_box_finds_what_the_table_says(box: Gateway, tmp_path: Path) -> None:
    wrong = {
        case.query: "".join(sorted(found))
        for case, answer, found in _asked(box.port, tmp_path, "GATEWAY_MWL")
        if found != case.found or answer.status != "Success"
    }
    assert wrong == {}


def test_wlmscpfs_differs_where_the_standard_lets_it(tmp_path: Path) -> None:
    with dcmtk.wlmscpfs(tmp_path / "ris", worklist={"RIS": []}, tuned=True) as ris:
        for letter, row in ROWS.items():
            (tmp_path / "ris" / "RIS" / f"{letter}.wl").write_bytes(dcmtk.part10(row))
        asked = _asked(ris.port, tmp_path / "asked", "RIS")
    unexplained = {}
    for case, answer, found in asked:
        shown = None if answer.status != "Success" else found if case.asks_state else found - HIDDEN
        if shown != case.by_dcmtk:
            unexplained[case.query] = f"{case.reason or 'agrees'}: {answer.status} {''.join(sorted(found))}"
    assert unexplained == {}
