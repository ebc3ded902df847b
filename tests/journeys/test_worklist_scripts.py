"""Names in twelve scripts and alphabets, each from a RIS that declares another character set, read by DCMTK and by
pynetdicom in the set they asked for, or in what their profile says they can read. Nothing becomes a question mark.
"""

# ruff: noqa: RUF001 -- letters of other alphabets are what this is about

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from gateway.dicom import elements
from gateway.simulate import keywords
from tests.journeys import gateway_process
from tests.journeys.gateway_process import From, Gateway, gateway
from tests.peers import dcmtk, needs, pynetdicom_scp, pynetdicom_scu

pytestmark = [pytest.mark.slow, needs.dcmtk]

TODAY = f"{datetime.now(UTC):%Y%m%d}"
ROWS = {
    "german": ("ISO_IR 100", "Müller^Änne", "Schädel"),
    "polish": ("ISO_IR 101", "Łukasiewicz^Żaneta", "Żołądek"),
    "turkish": ("ISO_IR 148", "Çelik^Işıl", "Göğüs"),
    "russian": ("ISO_IR 144", "Соколова^Вера", "Грудь"),
    "greek": ("ISO_IR 126", "Παπαδόπουλος^Γιώργος", "Θώρακας"),
    "arabic": ("ISO_IR 127", "حسن^محمد", "صدر"),
    "hebrew": ("ISO_IR 138", "כהן^שרה", "חזה"),
    "thai": ("ISO_IR 166", "สมชาย^ใจดี", "ทรวงอก"),
    "japanese": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "胸部"),
    "korean": ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "흉부"),
    "chinese": ("GB18030", "Zhang^XiaoDong=张^小东", "胸部"),
    "simplified": ("\\ISO 2022 IR 58", "Wang^XiaoDong=王^小东", "胸部"),
    "vietnamese": ("ISO_IR 192", "Nguyễn^Đức", "Ngực"),
}
"""Specific Character Set, Patient's Name and Requested Procedure Description of each row, by its accession number."""
ASKED = ["", *dict.fromkeys(declared for declared, _, _ in ROWS.values())]
DCMTK_CANNOT = "ISO 2022 IR 87"
"""GNU iconv can't, so DCMTK built with it refuses to convert (tests/dicom/test_charset_readers.py)."""
PYDICOM_LEAVES = "\x1b$)A"
"""pydicom 3.0 keeps the escape of ISO 2022 IR 58 in the text, as the same tests say."""
PROFILES = {
    "LATIN": ('character_sets = ["ISO_IR 100"]', "ISO_IR 100"),
    "ROMAN": ('character_sets = ["ISO_IR 6"]\nromanise = ["cyrillic", "greek"]', "ISO_IR 6"),
    "JAPAN": ('character_sets = ["\\\\ISO 2022 IR 87"]', "\\ISO 2022 IR 87"),
}
"""A scanner's profile by its AE title, and the one set it reads."""
UNREADABLE = "NAME NOT READABLE"
SHOWN = {
    "LATIN": {
        **{"german": "Müller^Änne", "polish": "Lukasiewicz^Zaneta", "turkish": "Çelik^Isil"},
        **dict.fromkeys(["russian", "greek", "arabic", "hebrew", "thai"], UNREADABLE),
        **{"japanese": "Yamada^Tarou", "korean": "Hong^Gildong", "chinese": "Zhang^XiaoDong"},
        **{"simplified": "Wang^XiaoDong", "vietnamese": "Nguyên^Duc"},
    },
    "ROMAN": {
        **{"german": "Muller^Anne", "polish": "Lukasiewicz^Zaneta", "turkish": "Celik^Isil"},
        **{"russian": "Sokolova^Vera", "greek": "Papadopoulos^Giorgos"},
        **dict.fromkeys(["arabic", "hebrew", "thai"], UNREADABLE),
        **{"japanese": "Yamada^Tarou", "korean": "Hong^Gildong", "chinese": "Zhang^XiaoDong"},
        **{"simplified": "Wang^XiaoDong", "vietnamese": "Nguyen^Duc"},
    },
}


def _uid(accession: str) -> str:
    return f"2.25.{list(ROWS).index(accession) + 1}"


def _row(accession: str) -> Dataset:
    declared, name, description = ROWS[accession]
    step = {
        "ScheduledStationAETitle": "CT1",
        "Modality": "CT",
        "ScheduledProcedureStepStartDate": TODAY,
        "ScheduledProcedureStepStartTime": "1200",
        "ScheduledProcedureStepID": "SPS1",
    }
    row = keywords.data_set(
        {
            "PatientName": name,
            "PatientID": accession,
            "AccessionNumber": accession,
            "StudyInstanceUID": _uid(accession),
            "RequestedProcedureDescription": description,
            "RequestedProcedureID": "RP1",
            "ScheduledProcedureStepSequence": [step],
        },
        declared,
    )
    return dcmread(BytesIO(dcmtk.part10(elements.encode(row, elements.EXPLICIT_LITTLE))))


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gw")
    (folder / "profiles").mkdir()
    for title, (keys, _) in PROFILES.items():
        (folder / "profiles" / f"{title.lower()}.toml").write_text(f'source = ["a test"]\n{keys}\n', "utf-8")
    with (
        pynetdicom_scp.worklist_scp(rows=[_row(accession) for accession in ROWS]) as ris,
        gateway(
            folder,
            ris=[From(port=ris.port)],
            worklist='mode = "copy", deadline = "1s", fresh_for = "1h", max_stale = "24h"',
            scanners=[*gateway_process.SCANNERS, *PROFILES],
            scanner_more={title: f'profile = "{title.lower()}"' for title in PROFILES},
        ) as box,
    ):
        box.until(lambda: len(box.rows("SELECT * FROM worklist_row")) == len(ROWS), what="the copy is filled")
        yield box


def _asked_by_dcmtk(box: Gateway, folder: Path, calling: str, declared: str = "") -> dict[str, tuple[Dataset, str]]:
    """Each row as it came, and its name as DCMTK reads it; "" where its declaration is one that DCMTK can't convert."""
    keys = ["PatientName", "AccessionNumber", "RequestedProcedureDescription"]
    keys += [f"SpecificCharacterSet={declared}"] if declared else []
    answer = dcmtk.findscu(box.port, keys, folder=folder, called="GATEWAY_MWL", calling=calling)
    assert answer.succeeded
    files = [path for path in sorted(folder.glob("rsp*.dcm")) if DCMTK_CANNOT.encode() not in path.read_bytes()]
    names = dict(zip(files, dcmtk.patient_names(files) if files else [], strict=True))
    paths = sorted(folder.glob("rsp*.dcm"))
    return {str(row.AccessionNumber): (row, names.get(path, "")) for path, row in zip(paths, answer.rows, strict=True)}


def _declared(row: Dataset) -> str:
    sets = row.SpecificCharacterSet
    return sets if isinstance(sets, str) else "\\".join(sets)


def _texts(row: Dataset) -> tuple[str, str]:
    """Name and description as pydicom reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        name, description = str(row.PatientName), str(row.get("RequestedProcedureDescription") or "")
    if "IR 58" in _declared(row):
        assert PYDICOM_LEAVES in name + description or (name + description).isascii()
    return name.replace(PYDICOM_LEAVES, ""), description.replace(PYDICOM_LEAVES, "")


@pytest.mark.parametrize("declared", ASKED)
def test_every_script_arrives_readable_whatever_set_was_asked_for(box: Gateway, tmp_path: Path, declared: str) -> None:
    rows = _asked_by_dcmtk(box, tmp_path, "CT1", declared)
    asked = Dataset()
    asked.PatientName = asked.AccessionNumber = asked.RequestedProcedureDescription = ""
    if declared:
        asked.SpecificCharacterSet = declared.split("\\")
    found = pynetdicom_scu.find_worklist(box.port, asked, called="GATEWAY_MWL")
    by_pynetdicom = {str(row.AccessionNumber): row for row in found.rows}
    assert set(rows) == set(by_pynetdicom) == set(ROWS)
    for accession, (its_own, name, description) in ROWS.items():
        row, by_dcmtk = rows[accession]
        assert _texts(row) == _texts(by_pynetdicom[accession]) == (name, description)
        assert by_dcmtk == ("" if DCMTK_CANNOT in _declared(row) else name)
        assert _declared(row) == _declared(by_pynetdicom[accession])
        assert _declared(row) in {declared, its_own, "ISO_IR 100"}
        if declared in {its_own, "ISO_IR 192", "GB18030"}:
            assert _declared(row) == declared


@pytest.mark.parametrize("title", SHOWN)
def test_a_scanner_of_one_set_is_shown_what_it_can_read(box: Gateway, tmp_path: Path, title: str) -> None:
    rows = _asked_by_dcmtk(box, tmp_path, title)
    assert {accession: name for accession, (_, name) in rows.items()} == SHOWN[title]
    for row, name in rows.values():
        assert _declared(row) == PROFILES[title][1]
        assert str(row.PatientName) == name


@pytest.mark.parametrize("title", SHOWN)
def test_a_row_is_found_by_the_name_that_the_scanner_was_shown(box: Gateway, tmp_path: Path, title: str) -> None:
    shown = {accession: name for accession, name in SHOWN[title].items() if name != UNREADABLE}
    queries = [
        elements.encode(
            keywords.data_set({"PatientName": name.upper(), "StudyInstanceUID": ""}, PROFILES[title][1]),
            elements.EXPLICIT_LITTLE,
        )
        for name in shown.values()
    ]
    answers = dcmtk.find_each(box.port, queries, folder=tmp_path, called="GATEWAY_MWL", calling=title)
    assert [answer.StudyInstanceUIDs for answer in answers] == [(_uid(accession),) for accession in shown]


def test_a_japanese_scanner_reads_what_japanese_has_letters_for(box: Gateway, tmp_path: Path) -> None:
    rows = {accession: row for accession, (row, _) in _asked_by_dcmtk(box, tmp_path, "JAPAN").items()}
    assert {_declared(row) for row in rows.values()} == {"\\ISO 2022 IR 87"}
    names = {accession: str(row.PatientName) for accession, row in rows.items()}
    assert names["japanese"] == ROWS["japanese"][1]
    assert names["russian"] == ROWS["russian"][1]
    assert (names["german"], names["korean"], names["thai"]) == ("Muller^Anne", "Hong^Gildong=洪^吉洞", UNREADABLE)


@pytest.mark.parametrize("title", ["CT1", *PROFILES])
def test_nothing_is_ever_replaced_by_a_question_mark(box: Gateway, tmp_path: Path, title: str) -> None:
    for declared in ("", "ISO_IR 100", "ISO_IR 13", "\\ISO 2022 IR 58", "NO SUCH SET"):
        folder = tmp_path / declared.strip("\\").replace(" ", "_")
        for row, by_dcmtk in _asked_by_dcmtk(box, folder, title, declared).values():
            assert "?" not in by_dcmtk
            assert "?" not in "".join(_texts(row))
