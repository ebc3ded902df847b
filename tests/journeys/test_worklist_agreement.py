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

from gateway.config.profiles import load_profiles
from gateway.dicom import elements
from gateway.dicom.elements import Element
from gateway.domain.profile import GENERIC, Profile, adapt
from gateway.simulate import keywords
from gateway.spool.rows import as_elements
from tests.domain import worklist_table
from tests.domain.worklist_table import HIDDEN, Case
from tests.journeys import gateway_process
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import dcmtk, needs, pynetdicom_scp

pytestmark = [pytest.mark.slow, needs.dcmtk]

TODAY = datetime.now(UTC).date()
ROWS = {
    letter: elements.encode(worklist_table.row(letter, today=TODAY), elements.EXPLICIT_LITTLE)
    for letter in worklist_table.letters()
}
LETTER_OF = {worklist_table.uid_of(letter): letter for letter in ROWS}
COPY = 'mode = "copy", deadline = "1s", fresh_for = "1h", max_stale = "24h"'
SCANNERS = {name.upper(): f'profile = "{name}"' for name in (GENERIC, *worklist_table.profiles())}
"""Lines of configuration by AE title."""


def _queries(profile: str) -> tuple[list[Case], list[elements.DataSet]]:
    """The cases of a profile, and what its scanner asks; each asks for the Study Instance UID as well."""
    cases = [case for case in worklist_table.cases() if case.profile == profile]
    asked = [worklist_table.identifier(case.query, today=TODAY) for case in cases]
    return cases, [dict(sorted({0x0020000D: Element("UI", b""), **query}.items())) for query in asked]


def _found(port: int, queries: list[elements.DataSet], folder: Path, **ae: str) -> list[tuple[str, frozenset[str]]]:
    """The final status of each query and the rows that came, as letters."""
    answers = dcmtk.find_each(
        port, [elements.encode(query, elements.EXPLICIT_LITTLE) for query in queries], folder=folder, **ae
    )
    found = [(answer.status, frozenset(LETTER_OF[uid] for uid in answer.StudyInstanceUIDs)) for answer in answers]
    assert all(len(answer.StudyInstanceUIDs) == len(rows) for answer, (_, rows) in zip(answers, found, strict=True))
    return found


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that has every row from a RIS which ignores all keys."""
    folder = tmp_path_factory.mktemp("gw")
    worklist_table.write_profiles(folder / "profiles")
    rows = [dcmread(BytesIO(dcmtk.part10(row))) for row in ROWS.values()]
    with (
        pynetdicom_scp.worklist_scp(rows=rows) as ris,
        gateway(
            folder,
            ris=[From(port=ris.port)],
            worklist=COPY,
            scanners=[*gateway_process.SCANNERS, *SCANNERS],
            scanner_more=SCANNERS,
        ) as box,
    ):
        box.until(lambda: len(box.rows("SELECT * FROM worklist_row")) == len(ROWS), what="the copy is filled")
        yield box


@pytest.mark.parametrize("title", SCANNERS)
def test_the_box_finds_what_the_table_says(box: Gateway, tmp_path: Path, title: str) -> None:
    cases, queries = _queries(title.lower())
    answers = _found(box.port, queries, tmp_path, called="GATEWAY_MWL", calling=title)
    wrong = {
        case.query: (status, "".join(sorted(found)))
        for case, (status, found) in zip(cases, answers, strict=True)
        if (status, found) != ("Success", case.found)
    }
    assert wrong == {}


def test_wlmscpfs_differs_where_the_standard_lets_it(tmp_path: Path) -> None:
    worklist_table.write_profiles(tmp_path / "profiles")
    profiles = load_profiles(tmp_path / "profiles")
    cases: list[Case] = []
    meant: list[elements.DataSet] = []
    for title in SCANNERS:
        some, queries = _queries(title.lower())
        cases += some
        meant += [as_meant(query, profiles[title.lower()], title) for query in queries]
    with dcmtk.wlmscpfs(tmp_path / "ris", worklist={"RIS": []}, tuned=True) as ris:
        for letter, row in ROWS.items():
            (tmp_path / "ris" / "RIS" / f"{letter}.wl").write_bytes(dcmtk.part10(row))
        answers = _found(ris.port, meant, tmp_path / "asked", called="RIS")
    unexplained = {}
    for case, (status, found) in zip(cases, answers, strict=True):
        shown = None if status != "Success" else found if case.asks_state else found - HIDDEN
        if shown != case.by_dcmtk:
            unexplained[case.query] = f"{case.reason or 'agrees'}: {status} {''.join(sorted(found))}"
    assert unexplained == {}


def as_meant(query: elements.DataSet, profile: Profile, title: str) -> elements.DataSet:
    """What a scanner of this profile means by its query: for an SCP that knows no profiles."""
    meant = adapt(query, profile, calling=title, today=TODAY, decode=keywords.decoder(query))
    return as_elements(meant.identifier)
